//! A connection of a client that is forwarded byte by byte: route, server, then both directions until both have ended.
//!
//! One task for each connection. It holds no buffer while nothing flows, and follows the snapshot that it began with.

mod chain;
mod record;
mod splice;

use std::rc::Rc;

use tidegate_config::plan::RetryOn;

use crate::conn::tcp::{BYTES, Speaking};
use crate::http::fail::{Fail, Reason};
use crate::local::Client;
use crate::snapshot::{Action, Rule};
use crate::time::Deadline;
use crate::transport::{Stream, Transport};
use crate::upstream::backoff;
use crate::upstream::balance::{Wish, key};
use crate::upstream::pool::{Open, Place};
use chain::Chain;
use record::{End, Record};
use splice::Splice;

/// Servers that one connection tries at most, whatever the rule says.
const ATTEMPTS: u32 = 16;

/// Serves a connection to its end.
pub(crate) async fn serve(client: Rc<Client>, transport: Transport) {
    let stream = Stream::new(transport, Vec::new());
    let _speaking = Speaking::begin(&client, BYTES, &stream);
    let mut record = Record::begin(client, &stream);
    let end = run(&mut record, stream).await;
    record.ended(end);
}

async fn run(record: &mut Record, mut stream: Stream) -> End {
    let view = record.view.clone();
    let Some(listener) = view.listener(record.listener) else { return End::of(Reason::Internal) };
    let name = record.client.server_name.as_deref().unwrap_or_default();
    let found = listener.streams.as_ref().and_then(|streams| streams.find(name.as_bytes()));
    let Some((id, rule)) = found.and_then(|id| Some((id, view.rule(id)?))) else {
        return End::of(Reason::NoRoute);
    };
    record.routed(id, rule);
    let deadline = Deadline::new(&record.client.local.deadlines);
    let steps = listener.steps.iter().chain(&rule.steps);
    let mut chain = match Chain::build(record, &stream, steps) {
        Ok(chain) => chain,
        Err(end) => return end,
    };
    if let Some(chain) = &mut chain {
        deadline.set(Some(rule.timeouts.idle));
        if let Err(end) = Box::pin(chain.opened(&mut stream, record, &deadline)).await {
            record.failed_by = chain.failed_by();
            chain.finish(record.closed_by, end);
            return end;
        }
    }
    let server = match connect(record, rule).await {
        Ok(server) => server,
        Err(fail) => return record.failed(&fail),
    };
    if let Some(chain) = &mut chain {
        chain.connected(record);
    }
    let Connected { stream: mut upstream, _open, _place } = server;
    let splice = Splice::new(record, chain, (deadline, rule.timeouts.idle));
    splice.run(&mut stream, &mut upstream).await
}

/// A server that takes the client's bytes.
struct Connected {
    stream: Stream,
    _open: Open,
    _place: Place,
}

/// Connects to a server of one of the rule's upstreams, as often as the rule allows.
async fn connect(record: &mut Record, rule: &Rule) -> Result<Connected, Fail> {
    let Action::Forward(targets) = &rule.action else { return Err(Fail::gateway(Reason::Internal)) };
    let index =
        targets.next(record.client.local.shard.worker).ok_or_else(|| Fail::gateway(Reason::NoUpstream))?;
    let view = record.view.clone();
    let pool = view.pools.get(index).ok_or_else(|| Fail::gateway(Reason::Internal))?;
    let allowed = rule.retries.attempts.min(ATTEMPTS);
    let (mut tried, mut permit) = (Vec::new(), None);
    let address = || key::of_bytes(record.client.address.ip().to_canonical().to_string().as_bytes());
    let key = pool.cluster.spec.balance.is_by_key().then(address);
    loop {
        let place = pool.place(&Wish { key, ..Wish::other_than(&tried) })?;
        record.attempt(index, place.member.clone());
        match place.bytes().await {
            Ok((stream, open)) => {
                record.connected();
                pool.took(&place.member);
                return Ok(Connected { stream, _open: open, _place: place });
            }
            Err(fail) => {
                let again = fail.reason == Reason::Connect && rule.retries.on.contains(&RetryOn::Connect);
                if !again || record.attempts > allowed {
                    return Err(fail);
                }
                // The repetition before, if there was one, is over.
                drop(permit.take());
                let Ok(next) = pool.may_repeat() else { return Err(fail) };
                permit = Some(next);
                tried.push(place.member.id());
                let random = &record.client.local.random;
                if let Some(wait) = backoff::before_retry(&rule.retries, tried.len(), random) {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Rc<Client>, Transport) -> F) -> usize {
        size_of::<F>()
    }

    /// Each connection holds one, idle or not.
    #[test]
    fn a_connection_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
    }
}
