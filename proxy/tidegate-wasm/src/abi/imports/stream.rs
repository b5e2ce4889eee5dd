//! What a guest does to its stream: go on, answer, break off. All of it is noted and happens
//! after the callback.

use super::{Answer, reply};
use crate::abi::memory::{Fault, GuestMemory, split};
use crate::state::State;
use crate::stream::fields::write::new_field;
use crate::{BodyAccess, Effect, Side, StreamId};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::rc::Rc;
use tidegate_abi::{PairsReader, Status, StreamKind};
use wasmtime::Caller;

/// `proxy_continue_stream`.
pub(super) fn continue_stream(caller: &mut Caller<'_, State>, kind: u32) -> Answer {
    let of_bytes = caller.data().stream().is_some_and(|stream| stream.of_bytes);
    match StreamKind::from_number(kind) {
        Some(StreamKind::Downstream) if of_bytes => resume(caller.data_mut(), Side::Request),
        Some(_) if of_bytes && kind < 2 => Ok(()),
        Some(StreamKind::Request) => resume(caller.data_mut(), Side::Request),
        Some(StreamKind::Response) => resume(caller.data_mut(), Side::Response),
        Some(StreamKind::Downstream) => Ok(()),
        Some(StreamKind::Upstream) => Err(Status::Unimplemented.into()),
        None => Err(Status::BadArgument.into()),
    }
}

/// `proxy_continue_request` of 0.1.0.
pub(super) fn continue_request(caller: &mut Caller<'_, State>) -> Answer {
    resume(caller.data_mut(), Side::Request)
}

/// `proxy_continue_response` of 0.1.0.
pub(super) fn continue_response(caller: &mut Caller<'_, State>) -> Answer {
    resume(caller.data_mut(), Side::Response)
}

fn resume(state: &mut State, side: Side) -> Answer {
    let Some(stream) = state.stream_mut() else { return Ok(()) };
    let id = StreamId(stream.id);
    // A request that was answered goes nowhere; the answer, which passes the guest, may.
    if stream.ended && side == Side::Request {
        return Ok(());
    }
    let flow = stream.flow_mut(side);
    flow.resumed = flow.part != crate::stream::Part::Idle;
    flow.hold = crate::stream::Hold::None;
    state.push(Effect::Resume { stream: id, side })
}

/// The foreign function `tidegate_feed`: a guest that holds a head wants to see the body. One byte of argument, 0 for the
/// request and 1 for the response. While the guest is asked about this side its answer says the same.
pub(super) fn feed(state: &mut State, args: &[u8]) -> Answer {
    let side = match args {
        [0] => Side::Request,
        [1] => Side::Response,
        _ => return Err(Status::BadArgument.into()),
    };
    let stream = state.stream_mut().ok_or(Status::BadArgument)?;
    let id = StreamId(stream.id);
    if stream.ended && side == Side::Request {
        return Ok(());
    }
    let flow = stream.flow_mut(side);
    if !matches!(flow.hold, crate::stream::Hold::All | crate::stream::Hold::Stopped) {
        return Ok(());
    }
    flow.hold = crate::stream::Hold::Parts;
    state.push(Effect::Feed { stream: id, side })
}

/// `tidegate_append`: a byte as for [`break_off`], and what goes on behind the body whose trailers are here. Buffers have
/// nothing there to write to: the body has gone on.
pub(super) fn append(state: &mut State, args: &[u8]) -> Answer {
    let (side, bytes) = match args {
        [0, bytes @ ..] => (Side::Request, bytes),
        [1, bytes @ ..] => (Side::Response, bytes),
        _ => return Err(Status::BadArgument.into()),
    };
    if state.plugin.spec.capabilities.body(side) != BodyAccess::Write {
        state.refuse("tidegate_append");
        return Err(Status::InternalFailure.into());
    }
    let call = state.call;
    let stream = state.stream_mut().filter(|stream| !stream.of_bytes && !stream.closing);
    let stream = stream.filter(|stream| stream.flow(side).trailers.is_some()).ok_or(Status::BadArgument)?;
    stream.keep_body(side, call);
    match side {
        Side::Request => stream.request_head.as_mut().map(|head| &mut Rc::make_mut(head).headers),
        Side::Response => stream.response_head.as_mut().map(|head| &mut head.headers),
    }
    .map(|headers| headers.remove(header::CONTENT_LENGTH));
    let flow = stream.flow_mut(side);
    flow.touched = true;
    flow.body.write(u32::MAX, 0, bytes)?;
    Ok(())
}

/// `tidegate_break_off`: a byte, 0 for the request's body and 1 for the response's.
pub(super) fn break_off(state: &mut State, args: &[u8]) -> Answer {
    let side = match args {
        [0] => Side::Request,
        [1] => Side::Response,
        _ => return Err(Status::BadArgument.into()),
    };
    let stream = state.stream_mut().filter(|stream| !stream.of_bytes && !stream.closing);
    let id = StreamId(stream.ok_or(Status::BadArgument)?.id);
    state.push(Effect::BreakOff { stream: id, side })
}

/// `proxy_close_stream`: HTTP streams break off, connections end once what they let through is written.
pub(super) fn close_stream(caller: &mut Caller<'_, State>, kind: u32) -> Answer {
    let kind = StreamKind::from_number(kind).ok_or(Status::BadArgument)?;
    let of_http = matches!(kind, StreamKind::Request | StreamKind::Response);
    let state = caller.data_mut();
    let Some(stream) = state.stream_mut() else { return Ok(()) };
    // At its end there is nothing left to break off.
    if of_http == stream.of_bytes || stream.closing || !stream.end() {
        return Ok(());
    }
    let stream = StreamId(stream.id);
    state.push(Effect::Reset { stream, details: String::new() })
}

/// `proxy_send_local_response`: the first answer counts, and one in its place while it passes the guest itself.
#[expect(clippy::too_many_arguments, reason = "the ABI has that many")]
pub(super) fn local_response(
    caller: &mut Caller<'_, State>,
    code: u32,
    details: u32,
    detail: u32,
    body: u32,
    bodies: u32,
    pairs: u32,
    pair: u32,
    grpc: u32,
) -> Answer {
    let (memory, state) = split(caller)?;
    let details = String::from_utf8_lossy(memory.read(details, detail)?).into_owned();
    let body = Bytes::copy_from_slice(memory.read(body, bodies)?);
    state.budget.copies(body.len() + pair as usize);
    let mut headers = reply_headers(&memory, pairs, pair)?;
    let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| status.as_u16() >= 200).ok_or(Status::BadArgument)?;
    let Some(stream) = state.stream_mut() else { return Err(Status::BadArgument.into()) };
    // A connection has no requests that could be answered, and nobody waits at the end of one.
    if stream.of_bytes || stream.closing || !stream.end() {
        return Ok(());
    }
    stream.details = Some(details.clone());
    let grpc_status = (grpc <= 16).then_some(grpc);
    let (status, body) = if stream.is_grpc() {
        reply::for_grpc(status, grpc_status, &body, &mut headers);
        (StatusCode::OK, Bytes::new())
    } else {
        reply::with_type(&body, &mut headers);
        (status, body)
    };
    let stream = StreamId(stream.id);
    state.push(Effect::LocalReply { stream, status, headers, body, grpc_status, details })
}

fn reply_headers(
    memory: &GuestMemory<'_>,
    at: u32,
    size: u32,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let pairs = PairsReader::check(memory.read(at, size)?).map_err(|_| Status::BadArgument)?;
    let mut headers = Vec::with_capacity(pairs.len());
    for (name, value) in pairs.filter(|(name, _)| name.first() != Some(&b':')) {
        headers.extend(new_field(name, value)?);
    }
    Ok(headers)
}

/// `proxy_clear_route_cache` of 0.1.0, a foreign function since. A plugin itself has no route.
pub(super) fn clear_route(caller: &mut Caller<'_, State>) -> Answer {
    clear_route_of(caller.data_mut())
}

/// As [`clear_route`].
pub(super) fn clear_route_of(state: &mut State) -> Answer {
    match state.stream().filter(|stream| !stream.closing).map(|stream| StreamId(stream.id)) {
        Some(stream) => state.push(Effect::ClearRoute { stream }),
        None => Ok(()),
    }
}
