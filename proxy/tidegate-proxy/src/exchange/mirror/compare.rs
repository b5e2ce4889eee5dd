//! What a copy's upstream answered beside what the client got: counted, and told to the log now and then.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Uri};

use crate::shared::MirrorCells;
use crate::snapshot::Mirror;
use crate::time::Clock;

/// The time between two lines about the differences of one mirror, on each worker.
const BETWEEN: u64 = 1000;

/// An answer's status, and how long its head took.
type Answered = (StatusCode, Duration);

/// Both answers of a request that was copied, as they come.
pub(super) struct Pair {
    mirror: Arc<Mirror>,
    worker: usize,
    clock: Clock,
    method: Method,
    /// Without its query, which may hold secrets.
    path: String,
    main: Cell<Option<Answered>>,
    copy: Cell<Option<Answered>>,
}

impl Pair {
    pub(super) fn new(
        mirror: &Arc<Mirror>,
        worker: usize,
        clock: Clock,
        (method, uri): (&Method, &Uri),
    ) -> Rc<Self> {
        Rc::new(Self {
            mirror: mirror.clone(),
            worker,
            clock,
            method: method.clone(),
            path: uri.path().to_owned(),
            main: Cell::new(None),
            copy: Cell::new(None),
        })
    }

    /// What is counted of the copies.
    pub(super) fn cells(&self) -> &MirrorCells {
        self.mirror.counters.of(self.worker)
    }

    /// The client's answer is there.
    pub(super) fn main_answered(&self, status: StatusCode, time: Duration) {
        self.main.set(Some((status, time)));
        self.compare();
    }

    /// The copy's is.
    pub(super) fn copy_answered(&self, status: StatusCode, time: Duration) {
        self.copy.set(Some((status, time)));
        self.compare();
    }

    fn compare(&self) {
        let (Some(main), Some(copy)) = (self.main.get(), self.copy.get()) else { return };
        let cells = self.cells();
        cells.main_times.add(main.1);
        cells.times.add(copy.1);
        if main.0 == copy.0 {
            cells.same.add(1);
            return;
        }
        cells.different.add(1);
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
        match may_tell(cells.told.value(), now) {
            false => cells.untold.add(1),
            true => {
                let untold = cells.untold.value();
                cells.told.set(now);
                cells.untold.set(0);
                self.tell(main, copy, untold);
            }
        }
    }

    fn tell(&self, main: Answered, copy: Answered, untold: u64) {
        tracing::info!(
            rule = self.mirror.rule,
            mirror = self.mirror.upstream,
            method = %self.method,
            path = self.path,
            status = main.0.as_u16(),
            mirrored = copy.0.as_u16(),
            untold,
            "a mirrored request was answered differently"
        );
    }
}

/// Whether the log may be told, with the time when it was last; 0: never.
fn may_tell(told: u64, now: u64) -> bool {
    told == 0 || now.saturating_sub(told) >= BETWEEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_in_a_while() {
        assert!(may_tell(0, 5));
        assert!(!may_tell(5, 6));
        assert!(!may_tell(5, 1004));
        assert!(may_tell(5, 1005));
    }
}
