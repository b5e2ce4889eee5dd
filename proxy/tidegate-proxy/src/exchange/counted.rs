//! What is counted of exchanges and their attempts.

use std::time::Duration;

use crate::exchange::finish::Record;
use crate::http::fail::{Fail, Origin};
use crate::shared::durations;
use crate::shared::traffic::{CLASSES, End};
use crate::upstream::pool::Pool;
use crate::upstream::send::Answer;

/// Counts an exchange that is over.
pub(crate) fn count(record: &Record, took: Duration) {
    let worker = record.client.local.shard.worker;
    let status = record.status.map(|status| status.as_u16());
    let end = End {
        class: class(status),
        reason: record.reason.map(|reason| reason as usize),
        took,
        trace: record.exemplar(),
    };
    let received = record.progress.as_ref().map_or(0, |progress| progress.bytes.get());
    let listener = &record.client.cells().traffic;
    // Both count the same time: its place is looked for once.
    let place = durations::place(took);
    listener.note_at(&end, place);
    listener.bytes(received, record.sent);
    let pool = record.upstream.as_ref().and_then(|(upstream, _)| record.view.pools.get(*upstream));
    if let Some(pool) = pool {
        pool.cluster.counters.of(worker).attempts.bytes(received, record.sent);
    }
    if let Some(rule) = record.rule.and_then(|rule| record.view.rule(rule)) {
        let cells = rule.counters.of(worker);
        cells.traffic.note_at(&end, place);
        cells.traffic.bytes(received, record.sent);
        let failed = end.reason.is_some() || end.class == CLASSES.len() - 1;
        let upstream = pool.map_or(0, |pool| pool.cluster.counters.id());
        cells.targets.note(record.client.counters.id(), upstream, failed);
    }
}

/// The class of a status; an exchange without one was cut off.
fn class(status: Option<u16>) -> usize {
    status.map_or(CLASSES.len(), |status| usize::from(status / 100)).saturating_sub(1)
}

impl Record {
    /// An attempt is over: the head of its answer came, or it failed.
    pub(crate) fn attempt_over(&mut self, pool: &Pool, outcome: &Result<Answer, Fail>) {
        let Some(sent) = self.sent_at else { return };
        let local = &self.client.local;
        let took = local.deadlines.now().saturating_sub(sent);
        if let Some((_, member)) = &self.upstream {
            pool.attempted(member, outcome.is_ok().then_some(took));
        }
        let end = End {
            class: match outcome {
                Ok(answer) => class(Some(answer.response.status().as_u16())),
                // No class: there was no answer.
                Err(_) => CLASSES.len(),
            },
            reason: outcome.as_ref().err().map(|fail| fail.reason as usize),
            took,
            trace: self.exemplar(),
        };
        pool.cluster.counters.of(local.shard.worker).attempts.note(&end);
        if self.watched {
            self.watch_outcome(outcome, took);
        }
        self.latency = outcome.is_ok().then_some(end.took);
        if let Some((_, member)) = &self.upstream
            && let Some(tally) = &member.tally
        {
            let failed = match outcome {
                Ok(answer) => answer.response.status().is_server_error(),
                Err(fail) => fail.origin == Origin::Upstream,
            };
            tally.add(end.took, failed);
        }
    }
}
