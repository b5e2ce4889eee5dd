//! Metrics to a collector: everything that `/metrics` has, by OTLP, every so often.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_proxy::{Form, MetricsPush};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Shown, metrics};

/// The push that the configuration wants.
#[derive(Default)]
pub(super) struct Pushing(RefCell<Option<(MetricsPush, AbortHandle)>>);

impl Pushing {
    /// Pushes where this configuration says so.
    pub(super) fn follow(&self, push: Option<&MetricsPush>, shown: &Rc<Shown>) {
        let mut pushing = self.0.borrow_mut();
        if let (Some((before, _)), Some(push)) = (&*pushing, push)
            && before.is_same(push)
        {
            return;
        }
        if let Some((_, task)) = pushing.take() {
            task.abort();
        }
        *pushing = push.map(|push| {
            let task = spawn_local(always(push.clone(), Rc::downgrade(shown)));
            (push.clone(), task.abort_handle())
        });
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Some((_, task)) = self.0.get_mut() {
            task.abort();
        }
    }
}

/// One more push, now.
pub(super) fn once(push: &MetricsPush, shown: &Shown) {
    let page = metrics::page(shown, Form::Points);
    push.push(page, since_epoch(shown.status.since), since_epoch(SystemTime::now()));
}

async fn always(push: MetricsPush, shown: Weak<Shown>) {
    let mut turns = tokio::time::interval_at(Instant::now() + push.interval(), push.interval());
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(shown) = shown.upgrade() else { return };
        once(&push, &shown);
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
