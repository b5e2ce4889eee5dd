//! What is known of sources: what each said last and when, and why it does not say more. The admin API shows it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::SystemTime;

use tidegate_config::plan::Discover;
use tokio::sync::watch;

/// By the names of upstreams.
#[derive(Debug)]
pub(crate) struct Book {
    sources: RefCell<BTreeMap<String, SourceState>>,
    changed: watch::Sender<()>,
}

impl Default for Book {
    fn default() -> Self {
        Self { sources: RefCell::default(), changed: watch::Sender::new(()) }
    }
}

/// How one source fares.
#[derive(Debug, Clone)]
pub(crate) struct SourceState {
    /// `dns`, `srv`, `file`, `http` or `consul`.
    pub(crate) kind: &'static str,
    /// What is asked.
    pub(crate) place: String,
    /// How often it answered.
    pub(crate) answers: u64,
    /// How often it did not, or with what cannot be used.
    pub(crate) failures: u64,
    /// Servers in the list that holds.
    pub(crate) servers: usize,
    /// How often that list changed.
    pub(crate) changes: u64,
    /// When it answered last.
    pub(crate) last_answer: Option<SystemTime>,
    /// When the list changed last.
    pub(crate) last_change: Option<SystemTime>,
    /// Why it does not answer now, and since when.
    pub(crate) trouble: Option<(String, SystemTime)>,
}

/// What an answer or a failure means for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that was not said before.
    None,
    /// It fails, or in another way than before.
    Fails,
    /// It answers again.
    Mended,
}

impl Book {
    /// Calls `show` for each source.
    pub(crate) fn each(&self, mut show: impl FnMut(&str, &SourceState)) {
        self.sources.borrow().iter().for_each(|(name, state)| show(name, state));
    }

    /// The source of an upstream.
    pub(crate) fn of(&self, upstream: &str) -> Option<SourceState> {
        self.sources.borrow().get(upstream).cloned()
    }

    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.sources.borrow_mut().retain(|name, _| keep(name));
        self.changed.send_replace(());
    }

    /// A source is asked from now on. What another one said for the upstream holds until this one answers.
    pub(super) fn begin(&self, upstream: &str, spec: &Discover) {
        let mut sources = self.sources.borrow_mut();
        let servers = sources.get(upstream).map_or(0, |before| before.servers);
        let state = SourceState {
            kind: spec.kind(),
            place: spec.place(),
            answers: 0,
            failures: 0,
            servers,
            changes: 0,
            last_answer: None,
            last_change: None,
            trouble: None,
        };
        sources.insert(upstream.to_owned(), state);
    }

    pub(super) fn answered(&self, upstream: &str, now: SystemTime) -> News {
        let mut sources = self.sources.borrow_mut();
        let Some(state) = sources.get_mut(upstream) else { return News::None };
        state.answers += 1;
        state.last_answer = Some(now);
        let news = if state.trouble.take().is_some() { News::Mended } else { News::None };
        drop(sources);
        self.changed.send_replace(());
        news
    }

    pub(super) fn listed(&self, upstream: &str, servers: usize, now: SystemTime) {
        if let Some(state) = self.sources.borrow_mut().get_mut(upstream) {
            state.servers = servers;
            state.changes += 1;
            state.last_change = Some(now);
        }
    }

    pub(super) fn failed(&self, upstream: &str, why: String, now: SystemTime) -> News {
        let mut sources = self.sources.borrow_mut();
        let Some(state) = sources.get_mut(upstream) else { return News::None };
        state.failures += 1;
        match &mut state.trouble {
            Some((known, _)) if *known == why => News::None,
            Some((known, _)) => {
                *known = why;
                News::Fails
            }
            none => {
                *none = Some((why, now));
                News::Fails
            }
        }
    }

    /// Waits until each source has answered at least once.
    pub(super) async fn all_told(&self) {
        let mut changed = self.changed.subscribe();
        while self.sources.borrow().values().any(|state| state.answers == 0) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let book = Book::default();
        book.begin("u", &Discover::File("/servers.yaml".into()));
        let now = SystemTime::UNIX_EPOCH;
        let failed = |why: &str| book.failed("u", why.to_owned(), now);
        assert_eq!([failed("a"), failed("a"), failed("b")], [News::Fails, News::None, News::Fails]);
        assert_eq!([book.answered("u", now), book.answered("u", now)], [News::Mended, News::None]);
        let state = book.of("u").expect("it was begun");
        assert_eq!((state.failures, state.answers, state.trouble), (3, 2, None));
        book.listed("u", 3, now);
        // Another source: what the first one said still holds.
        book.begin("u", &Discover::File("/others.yaml".into()));
        assert_eq!(book.of("u").map(|state| (state.servers, state.answers)), Some((3, 0)));
        book.retain(|_| false);
        assert!(book.of("u").is_none());
    }
}
