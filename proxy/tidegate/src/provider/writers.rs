//! Files that somebody is writing just now. What has come of one so far may well be a configuration, of less than what
//! is meant: it is not read before its writer has closed it. Time comes in as an argument.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};

/// Files that were written and not closed since.
#[derive(Debug, Default)]
pub(super) struct Writers {
    open: Mutex<BTreeMap<PathBuf, Writes>>,
}

/// When a file was written for the first and the last time since it was opened.
#[derive(Debug, Clone, Copy)]
struct Writes {
    first: Instant,
    last: Instant,
}

impl Writes {
    /// Until when to wait for the writer.
    fn until(self) -> Instant {
        (self.last + PATIENCE).min(self.first + LONGEST)
    }
}

impl Writers {
    /// An event was seen.
    pub(super) fn on_event(&self, event: &Event, now: Instant) {
        let written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        if !written && !ends(event.kind) {
            return;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, writes| now.duration_since(writes.last) < PATIENCE);
        for path in &event.paths {
            if written {
                open.entry(path.clone()).or_insert(Writes { first: now, last: now }).last = now;
            } else {
                open.remove(path);
            }
        }
    }

    /// Until when to wait for the writers of files that matter; they may be done before.
    pub(super) fn until(&self, matters: impl Fn(&Path) -> bool) -> Option<Instant> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().filter(|(path, _)| matters(path)).map(|(_, writes)| writes.until()).max()
    }
}

/// Whether nobody writes to the file of that name any more: it was closed, removed or given another name.
fn ends(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// A writer that writes nothing for so long is not waited for: some never close their files.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nor is one that has been writing for so long: it may be a log.
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, RemoveKind};

    use super::*;

    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(PathBuf::from(path))
    }

    #[test]
    fn a_writer_is_waited_for_until_it_closes() {
        let (writers, start) = (Writers::default(), Instant::now());
        writers.on_event(&event(WRITE, "/a"), start);
        assert_eq!(writers.until(|_| true), Some(start + PATIENCE));
        let later = start + Duration::from_secs(1);
        writers.on_event(&event(WRITE, "/a"), later);
        writers.on_event(&event(WRITE, "/b"), start);
        assert_eq!(writers.until(|_| true), Some(later + PATIENCE), "the last one counts");
        writers.on_event(&event(CLOSE, "/a"), later);
        assert_eq!(writers.until(|_| true), Some(start + PATIENCE));
        writers.on_event(&event(EventKind::Remove(RemoveKind::File), "/b"), later);
        assert_eq!(writers.until(|_| true), None);
    }

    #[test]
    fn who_never_ends_is_not_waited_for() {
        let (writers, start) = (Writers::default(), Instant::now());
        for second in 0..100 {
            writers.on_event(&event(WRITE, "/log.json"), start + Duration::from_secs(second));
        }
        assert_eq!(writers.until(|_| true), Some(start + LONGEST));
    }

    #[test]
    fn other_files_and_the_dead_are_not_waited_for() {
        let (writers, start) = (Writers::default(), Instant::now());
        writers.on_event(&event(WRITE, "/access.log"), start);
        assert_eq!(writers.until(|path| path == Path::new("/a")), None);
        writers.on_event(&event(WRITE, "/a"), start + PATIENCE);
        assert_eq!(writers.until(|_| true), Some(start + PATIENCE * 2));
        assert_eq!(writers.open.lock().expect("nobody panicked").len(), 1, "the first one is forgotten");
    }
}
