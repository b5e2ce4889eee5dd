//! What else filters of Higress import: the servers that a request may go to, and bytes that go on while a body is held.

use super::{Answer, property};
use crate::abi::memory::{give_filled, split};
use crate::state::State;
use crate::stream::{Injected, Part};
use crate::{BodyAccess, Effect, StreamId};
use std::net::SocketAddr;
use tidegate_abi::{Status, encode_pairs};
use wasmtime::Caller;

/// What a server that requests go to is, in the words that filters know; its own metrics are not asked for.
const HEALTHY: &str = r#"{"health_status":"Healthy","metrics":""}"#;
/// One that they do not go to.
const UNHEALTHY: &str = r#"{"health_status":"Unhealthy","metrics":""}"#;

/// `proxy_get_upstream_hosts`: the servers of the request's upstream, each with what is known of it as JSON. Status 1: it is
/// not known yet which upstream that is.
pub(super) fn servers(caller: &mut Caller<'_, State>, pointer: u32, size: u32) -> Answer {
    give_filled(caller, pointer, size, |_, state, out| {
        let stream = state.stream().filter(|stream| !stream.of_bytes).ok_or(Status::BadArgument)?;
        let upstream = property::upstream_name(stream).ok_or(Status::NotFound)?;
        let destinations = stream.info.destinations.as_ref();
        let servers = destinations.and_then(|all| all.servers(&upstream)).ok_or(Status::NotFound)?;
        let words = |well: bool| if well { HEALTHY } else { UNHEALTHY };
        let named: Vec<_> =
            servers.into_iter().map(|(address, well)| (address.to_string(), words(well))).collect();
        encode_pairs(|| named.iter().map(|(address, about)| (address.as_bytes(), about.as_bytes())), out);
        Ok(())
    })
}

/// `proxy_set_upstream_override_host`: the server that the request goes to, by its address. Where the upstream has no such
/// server, or cannot use it, it chooses as always.
pub(super) fn choose_server(caller: &mut Caller<'_, State>, address: u32, size: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let text = std::str::from_utf8(memory.read(address, size)?).map_err(|_| Status::BadArgument)?;
    let address: SocketAddr = text.parse().map_err(|_| Status::BadArgument)?;
    let stream = state.stream().filter(|stream| stream.request_head.is_some() && !stream.ended);
    let stream = StreamId(stream.ok_or(Status::BadArgument)?.id);
    state.push(Effect::SetServer { stream, address })
}

/// `proxy_inject_encoded_data_to_filter_chain`: bytes that go on behind what has gone on of the response's body, while the
/// guest may hold what is left of it; `end`: nothing follows.
pub(super) fn inject(caller: &mut Caller<'_, State>, data: u32, size: u32, end: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let data = memory.read(data, size)?;
    state.budget.copies(data.len());
    if state.plugin.spec.capabilities.response_body != BodyAccess::Write {
        state.refuse("proxy_inject_encoded_data_to_filter_chain");
        return Err(Status::InternalFailure.into());
    }
    let room = state.plugin.spec.limits.held_bytes;
    let stream = state.stream_mut().filter(|stream| !stream.of_bytes && !stream.closing);
    let stream = stream.ok_or(Status::BadArgument)?;
    let shown = stream.response.received > 0 || matches!(stream.response.part, Part::Body { .. });
    if stream.response_head.is_some() || !shown {
        return Err(Status::BadArgument.into());
    }
    let id = StreamId(stream.id);
    let Injected { bytes, end: ends } = &mut **stream.injected.get_or_insert_default();
    // What follows an end goes nowhere.
    if *ends {
        return Ok(());
    }
    if bytes.len() + data.len() > room {
        return Err(Status::InternalFailure.into());
    }
    bytes.extend_from_slice(data);
    *ends = end != 0;
    state.push(Effect::Inject { stream: id })
}
