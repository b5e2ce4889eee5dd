//! Limits as Tidegate keeps them for its workers, in the test's own time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use tidegate_abi::Status;
use tidegate_limiter::wire::{self, Act, Entry, Question};
use tidegate_limiter::{Algorithm, Limit, Moment, State, Verdict};

use super::{Answer, Memory, ROOT};

/// What was taken, and what streams hold of it.
#[derive(Default)]
pub(super) struct Limits {
    states: BTreeMap<Vec<u8>, State>,
    leases: Vec<Lease>,
}

struct Lease {
    stream: u32,
    limit: Limit,
    key: Vec<u8>,
    units: i64,
}

impl Memory {
    /// The question with the client's address where that is asked for. What is left of a request is shown all the same.
    fn filled(&self, arguments: &[u8]) -> Answer<Vec<u8>> {
        let mut address = Vec::new();
        if wire::marks(arguments).by_address {
            let source = self.with_stream(|stream| Ok(stream.property(b"source.address")))?;
            let source = source.and_then(|text| ip(&String::from_utf8(text).ok()?));
            address = source.ok_or(Status::BadArgument)?.to_string().into_bytes();
        }
        Ok(wire::fill(arguments, &address).ok_or(Status::BadArgument)?)
    }

    /// The foreign function.
    pub(super) fn limit(&self, arguments: &[u8]) -> Answer<Vec<u8>> {
        let filled = self.filled(arguments)?;
        let question = Question::read(&filled).ok_or(Status::BadArgument)?;
        let (stream, now) = (self.context.get(), Moment::of_wall(self.now.get()));
        let concurrent = question.entries().any(|entry| entry.limit.algorithm == Algorithm::Concurrency);
        if concurrent && stream == ROOT && question.act != Act::Look {
            return Err(Status::NotFound.into());
        }
        if concurrent && question.act == Act::Charge {
            return Err(Status::BadArgument.into());
        }
        let mut limits = self.limits.borrow_mut();
        if question.act == Act::Leave {
            let keys: Vec<_> = question.entries().map(|entry| entry.key.to_vec()).collect();
            limits.leave(|lease| lease.stream == stream && keys.contains(&lease.key));
            return Ok(Vec::new());
        }
        Ok(limits.decide(&question, stream, now))
    }

    /// A stream is over, and what it held is free again.
    pub(crate) fn leave(&self, stream: u32) {
        self.limits.borrow_mut().leave(|lease| lease.stream == stream);
    }
}

/// A test may leave out the port.
fn ip(address: &str) -> Option<IpAddr> {
    let with_port = address.parse().map(|address: SocketAddr| address.ip());
    with_port.or_else(|_| address.parse()).ok()
}

impl Limits {
    fn leave(&mut self, which: impl Fn(&Lease) -> bool) {
        let states = &mut self.states;
        self.leases.retain(|lease| {
            let over = which(lease);
            if let (true, Some(state)) = (over, states.get_mut(&lease.key)) {
                state.charge(&lease.limit, -lease.units, Moment::default());
            }
            !over
        });
    }

    fn look(&mut self, entry: &Entry<'_>, now: Moment) -> Verdict {
        let state = self.states.entry(entry.key.to_vec()).or_insert_with(|| State::new(&entry.limit));
        state.look(&entry.limit, entry.cost.unsigned_abs(), now)
    }

    fn decide(&mut self, question: &Question<'_>, stream: u32, now: Moment) -> Vec<u8> {
        let mut all = true;
        for entry in question.entries() {
            all &= entry.advisory || self.look(&entry, now).allowed;
        }
        let mut answer = Vec::new();
        for entry in question.entries() {
            let mut verdict = self.look(&entry, now);
            let charged = question.act == Act::Charge;
            let takes = charged || (question.act == Act::Take && all && verdict.allowed);
            if let (true, Some(state)) = (takes, self.states.get_mut(entry.key)) {
                state.charge(&entry.limit, entry.cost, now);
                verdict = Verdict { allowed: true, retry_after: 0, ..state.look(&entry.limit, 0, now) };
                if entry.limit.algorithm == Algorithm::Concurrency {
                    let Entry { limit, cost: units, .. } = entry;
                    self.leases.push(Lease { stream, limit, key: entry.key.to_vec(), units });
                }
            }
            wire::put_verdict(&verdict, &mut answer);
        }
        answer
    }
}
