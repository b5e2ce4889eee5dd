//! A request that goes to the upstream, and what its response does to the cache.

use std::cell::{Cell, RefCell};

use tidegate_request_parts::Taken;
use tidegate_sdk::{Body, Fields, Flow, Headers, Reply, Response, Result, log, time};

use crate::answer::Asked;
use crate::control::Control;
use crate::freshness::{self, Times, replaces_errors};
use crate::record::{Entry, Record};
use crate::{CONFIRMED, HITS, Inner, Left, STALE, STORED, key};

/// A request for something that may be kept.
pub struct Fetch {
    /// The target's key.
    pub key: Vec<u8>,
    /// The request's headers as it came.
    pub fields: Fields,
    /// Where credentials were that it does not have any more.
    pub taken: Taken,
    /// What it wants to know.
    pub asked: Asked,
    /// Its directives.
    pub control: Control,
    /// When it came, in nanoseconds since 1970.
    pub started: u64,
    /// The end of its claim, if it has one.
    pub claim: Option<u64>,
    /// What is kept and must be confirmed.
    pub stale: Option<Box<Entry>>,
    /// Why it goes to the upstream, in the words of RFC 9211.
    pub forward: &'static str,
    /// It has waited for another's response.
    pub waited: bool,
}

impl Fetch {
    /// One that has just come.
    pub fn new(key: Vec<u8>, fields: Fields, asked: Asked, control: Control) -> Self {
        let started = nanos();
        Fetch {
            key,
            fields,
            taken: Taken::default(),
            asked,
            control,
            started,
            claim: None,
            stale: None,
            forward: "uri-miss",
            waited: false,
        }
    }

    /// Whether it has, or had, credentials that the answer may be for alone: in `authorization`, or in the target itself.
    pub fn is_authorized(&self) -> bool {
        const AUTHORIZATION: &str = "authorization";
        self.fields.get(AUTHORIZATION).is_some()
            || self.taken.has(AUTHORIZATION)
            || self.taken.has(Taken::QUERY)
    }

    /// The headers that a response differs by; `None` when it differs by anything, or by what the request does not have any
    /// more.
    pub fn vary(&self, headers: &Fields) -> Option<Vec<String>> {
        key::vary(headers).filter(|names| !names.iter().any(|name| self.taken.has(name)))
    }

    /// Whether nothing is to be given to it unconfirmed, so that another's response is of no use to it.
    pub fn insists(&self) -> bool {
        self.control.no_cache || self.control.max_age == Some(0)
    }

    /// The answer from what is kept.
    pub fn hit(&mut self, name: &str, now: u64) -> Option<Reply> {
        let entry = *self.stale.take()?;
        let left = i128::from(entry.lifetime) - i128::from(entry.age(now));
        if left > 0 { &HITS } else { &STALE }.increment();
        Some(self.asked.answer(entry, now, &format!("{name}; hit; ttl={left}")))
    }

    /// Asks the upstream whether what is kept is still right, in place of what the client asked.
    pub fn ask(&self, headers: &Headers, only_read: bool) {
        let Some(stale) = self.stale.as_ref().filter(|stale| !only_read && stale.has_validator()) else {
            return;
        };
        for (condition, validator) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
            match stale.headers.get(validator) {
                Some(value) => headers.set(condition, value),
                None => headers.remove(condition),
            }
        }
    }
}

impl Inner {
    /// Takes in what the upstream has answered; true when the next request may be answered from it.
    pub(crate) async fn take_in(
        &self,
        fetch: &mut Fetch,
        response: &mut Response<RefCell<Left>>,
        body: &mut Body,
    ) -> Result<(Flow, bool)> {
        let (status, headers) = (response.status(), response.headers().all());
        let now = time::now().as_secs();
        let times = Times { asked: fetch.started / 1_000_000_000, answered: now };
        let name = &self.config.name;
        let stale = fetch.stale.take();
        match stale {
            Some(old) if status == 304 && old.has_validator() && !freshness::is_same(&old, &headers) => {
                return Ok((self.other_version(fetch, *old, now), false));
            }
            Some(old) if status == 304 && old.has_validator() => {
                CONFIRMED.increment();
                let confirmed =
                    freshness::confirmed(&self.config, &old, &headers, fetch.is_authorized(), times);
                let fresh = confirmed.as_ref().is_some_and(|entry| is_fresh(entry, now));
                // What may not be kept any more still is this client's answer.
                let stored = confirmed.as_ref().is_some_and(|entry| self.keep(fetch, entry));
                let entry = confirmed.unwrap_or_else(|| Entry {
                    stored: now,
                    initial_age: 0,
                    headers: freshness::merged(&old, &headers),
                    ..*old
                });
                let line = format!(
                    "{name}; fwd={}; fwd-status=304{}",
                    fetch.forward,
                    if stored { "; stored" } else { "" }
                );
                return Ok((fetch.asked.answer(entry, now, &line).into(), fresh));
            }
            Some(old) if ERRORS.contains(&status) && replaces_errors(&old, &fetch.control, now) => {
                STALE.increment();
                let line = format!("{name}; fwd={}; fwd-status={status}", fetch.forward);
                return Ok((fetch.asked.answer(*old, now, &line).into(), true));
            }
            _ => {}
        }
        let line = format!("{name}; fwd={}; fwd-status={status}", fetch.forward);
        let length = headers.get("content-length").and_then(|length| length.parse::<usize>());
        let limit = self.config.entry_size.0;
        let entry = freshness::entry(&self.config, &headers, status, fetch.is_authorized(), times);
        let entry =
            entry.filter(|_| length.is_none_or(|length| length <= limit) && fetch.vary(&headers).is_some());
        let Some(mut entry) = entry else {
            response.headers().add("cache-status", line);
            // A confirmation that the client asked for says nothing of others.
            return Ok((Flow::Continue, status == 304));
        };
        response.headers().add("cache-status", if length.is_some() { line + "; stored" } else { line });
        if response.has_body() {
            let Some(gathered) = self.gather(body, limit).await? else { return Ok((Flow::Continue, false)) };
            entry.body = gathered;
        }
        if length.is_some_and(|length| length != entry.body.len()) {
            return Ok((Flow::Continue, false));
        }
        let kept = self.keep(fetch, &entry);
        Ok((Flow::Continue, kept && is_fresh(&entry, now)))
    }

    /// The answer where the upstream confirms another version than it was asked about. The kept one is asked about no more,
    /// or it would never be another.
    fn other_version(&self, fetch: &mut Fetch, old: Entry, now: u64) -> Flow {
        log::debug!("a confirmation names another version than the kept one");
        self.forget(&fetch.key);
        let line = format!("{}; fwd={}; fwd-status=304", self.config.name, fetch.forward);
        // RFC 9111, 5.2.2.2: not to be given without a confirmation.
        if old.strict || old.no_cache || fetch.insists() {
            let reply = Reply::text(504, "the response cannot be confirmed");
            return reply.header("cache-status", line).details("cache_unconfirmed").into();
        }
        fetch.asked.answer(old, now, &line).into()
    }

    /// What the answer to HEAD says of the kept answer to GET: the same version lives on, another one takes its place at
    /// the upstream (RFC 9111, 4.3.5).
    pub(crate) fn compare(&self, fetch: &mut Fetch, response: &Response<RefCell<Left>>) {
        let Some(old) = fetch.stale.take().filter(|_| response.status() == 200) else { return };
        let headers = response.headers().all();
        let length = headers.get("content-length").and_then(|length| length.parse::<usize>());
        if old.status != 200
            || !freshness::is_same(&old, &headers)
            || length.is_some_and(|length| length != old.body.len())
        {
            self.forget(&fetch.key);
        } else if old.has_validator() {
            let times = Times { asked: fetch.started / 1_000_000_000, answered: time::now().as_secs() };
            let confirmed = freshness::confirmed(&self.config, &old, &headers, fetch.is_authorized(), times);
            if let Some(entry) = confirmed {
                self.keep(fetch, &entry);
            }
        }
    }

    /// The body, while it goes on to the client; `None` when it is too large.
    async fn gather(&self, body: &mut Body, limit: usize) -> Result<Option<Vec<u8>>> {
        let (mut whole, mut held) = (Vec::new(), Gathering { all: &self.gathering, own: 0 });
        while let Some(chunk) = body.next().await? {
            if whole.len() + chunk.len() > limit || !held.more(chunk.len()) {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// Keeps a response, unless its target was invalidated after it was asked for.
    pub(crate) fn keep(&self, fetch: &Fetch, entry: &Entry) -> bool {
        let Some(names) = fetch.vary(&entry.headers) else { return false };
        let entry = &Entry { since: fetch.started, ..entry.clone() };
        if self.purges.are_of(&fetch.key, entry) {
            return false;
        }
        let there = self.store.get(&fetch.key);
        let kept = match (&there, names.is_empty()) {
            (Some(Record::Gone(time)), _) if *time >= fetch.started => return false,
            (_, true) => self.put(&fetch.key, entry),
            (Some(Record::Vary { names: known, generation }), false) if *known == names => {
                self.put(&key::of_variant(&fetch.key, *generation, &names, &fetch.fields), entry)
            }
            (_, false) => {
                let generation = nanos();
                let variant = key::of_variant(&fetch.key, generation, &names, &fetch.fields);
                let put = self.store.put(&fetch.key, &Record::Vary { names, generation });
                put.is_ok() && self.put(&variant, entry)
            }
        };
        if kept {
            STORED.increment();
        }
        kept
    }

    fn put(&self, key: &[u8], entry: &Entry) -> bool {
        let outcome = self.store.put(key, &Record::Entry(Box::new(entry.clone())));
        if let Err(error) = &outcome {
            log::warn!("a response is not kept: {error}");
        }
        outcome.is_ok()
    }
}

/// Counts the bytes of one body among those that are being gathered.
struct Gathering<'a> {
    all: &'a Cell<usize>,
    own: usize,
}

impl Gathering<'_> {
    /// Whether so many more may be held.
    fn more(&mut self, count: usize) -> bool {
        let all = self.all.get() + count;
        if all > MOST_GATHERED {
            return false;
        }
        self.all.set(all);
        self.own += count;
        true
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(self.own));
    }
}

pub(crate) fn is_fresh(entry: &Entry, now: u64) -> bool {
    !entry.no_cache && entry.age(now) < entry.lifetime + entry.while_revalidate
}

/// Now, in nanoseconds since 1970.
pub fn nanos() -> u64 {
    u64::try_from(time::now().as_nanos()).unwrap_or(u64::MAX)
}

/// Answers in whose place a stale one may be given (RFC 5861, 4).
pub(crate) const ERRORS: [u16; 4] = [500, 502, 503, 504];

/// Bytes of bodies that one instance gathers at a time.
const MOST_GATHERED: usize = 8 << 20;
