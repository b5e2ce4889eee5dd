//! gRPC calls and streams to other servers.

use super::Answer;
use crate::abi::memory::{GuestMemory, split};
use crate::abi::protobuf::Reader;
use crate::grpc::{GrpcCall, Kind, Outbox};
use crate::state::State;
use crate::stream::fields::write::{new_field, new_grpc_request};
use crate::tape::Event;
use crate::{Effect, limits::GRPC_MESSAGE_BYTES};
use http::{HeaderName, HeaderValue, header, request};
use std::{rc::Rc, time::Duration};
use tidegate_abi::{LogLevel, PairsReader, Status};
use wasmtime::Caller;

/// `proxy_grpc_call`: one message there, one back.
#[expect(clippy::too_many_arguments, reason = "the ABI has that many")]
pub(super) fn call(
    caller: &mut Caller<'_, State>,
    to: u32,
    tos: u32,
    service: u32,
    services: u32,
    method: u32,
    methods: u32,
    pairs: u32,
    pair: u32,
    message: u32,
    messages: u32,
    timeout: u32,
    at_token: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    memory.write_u32(at_token, 0)?;
    let place = Place {
        to: (to, tos),
        service: (service, services),
        method: (method, methods),
        pairs: (pairs, pair),
    };
    let message = memory.read(message, messages)?;
    state.budget.copies(message.len());
    if message.len() > GRPC_MESSAGE_BYTES {
        return Err(Status::InternalFailure.into());
    }
    let timeout = (timeout > 0).then(|| Duration::from_millis(u64::from(timeout)));
    let call = open(&memory, state, Kind::Call, &place, timeout)?;
    call.outbox.push(message)?;
    call.outbox.end();
    start(state, call, &mut memory, at_token)
}

/// `proxy_grpc_stream`: as many messages as either side wants.
#[expect(clippy::too_many_arguments, reason = "the ABI has that many")]
pub(super) fn stream(
    caller: &mut Caller<'_, State>,
    to: u32,
    tos: u32,
    service: u32,
    services: u32,
    method: u32,
    methods: u32,
    pairs: u32,
    pair: u32,
    at_token: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    memory.write_u32(at_token, 0)?;
    let place = Place {
        to: (to, tos),
        service: (service, services),
        method: (method, methods),
        pairs: (pairs, pair),
    };
    let call = open(&memory, state, Kind::Stream, &place, None)?;
    start(state, call, &mut memory, at_token)
}

/// `proxy_grpc_send`: a message on a stream.
pub(super) fn send(caller: &mut Caller<'_, State>, token: u32, data: u32, size: u32, end: u32) -> Answer {
    let (memory, state) = split(caller)?;
    if Kind::of(token) != Some(Kind::Stream) {
        return Err(Status::BadArgument.into());
    }
    let message = memory.read(data, size)?;
    state.budget.copies(message.len());
    let outbox = &state.grpc.find(token).ok_or(Status::NotFound)?.outbox;
    outbox.push(message)?;
    if end != 0 {
        outbox.end();
    }
    if state.tapes > 0 {
        let now = state.now();
        state.note_call(token, now, |tape, call| Event::GrpcSent { call, body: tape.content(message) });
    }
    Ok(())
}

/// `proxy_grpc_cancel`: the server learns of it, the guest hears nothing more.
pub(super) fn cancel(caller: &mut Caller<'_, State>, token: u32) -> Answer {
    let state = caller.data_mut();
    known(token)?;
    state.grpc.remove(token).ok_or(Status::NotFound)?;
    state.answered(token);
    state.push(Effect::GrpcCancel { token })
}

/// `proxy_grpc_close`: of a stream only this side; the other one may go on. A call is cancelled.
pub(super) fn close(caller: &mut Caller<'_, State>, token: u32) -> Answer {
    if known(token)? == Kind::Call {
        return cancel(caller, token);
    }
    caller.data_mut().grpc.find(token).ok_or(Status::NotFound)?.outbox.end();
    Ok(())
}

fn known(token: u32) -> Result<Kind, Status> {
    Kind::of(token).filter(|kind| matches!(kind, Kind::Call | Kind::Stream)).ok_or(Status::BadArgument)
}

/// Where in the guest's memory the parts of a call are.
struct Place {
    to: (u32, u32),
    service: (u32, u32),
    method: (u32, u32),
    pairs: (u32, u32),
}

fn open(
    memory: &GuestMemory<'_>,
    state: &mut State,
    kind: Kind,
    place: &Place,
    timeout: Option<Duration>,
) -> Result<GrpcCall, Status> {
    let read = |(at, len)| memory.read(at, len);
    let server = server(read(place.to)?, &state.plugin.spec.callable);
    let (service, method, pairs) = (read(place.service)?, read(place.method)?, read(place.pairs)?);
    let Some(Server { upstream, authority }) = server else {
        let to = read(place.to)?;
        let name = String::from_utf8_lossy(in_message(to).map_or(to, |(name, _)| name)).into_owned();
        state.remark(LogLevel::Error, &format!("grpc call to {name:?} refused: the plugin may not call it"));
        return Err(Status::ParseFailure);
    };
    // Guests know no other status for a call that cannot be made.
    let broken = Status::InternalFailure;
    let path = [b"/", service, b"/", method].concat();
    let mut head = new_grpc_request(&path, authority.as_bytes()).ok_or(broken)?;
    add_metadata(&mut head, PairsReader::check(pairs).map_err(|_| broken)?).map_err(|_| broken)?;
    if let Some(timeout) = timeout {
        head.headers.insert(HeaderName::from_static("grpc-timeout"), grpc_timeout(timeout));
    }
    let token = state.new_token(kind).ok_or(broken)?;
    let outbox = Rc::new(Outbox::default());
    Ok(GrpcCall { token, stream: state.stream_id(), upstream, head, timeout, outbox })
}

fn start(state: &mut State, call: GrpcCall, memory: &mut GuestMemory<'_>, at_token: u32) -> Answer {
    let token = call.token;
    state.grpc.add(token, call.outbox.clone());
    state.called(token);
    state.push(Effect::GrpcCall(Box::new(call)))?;
    Ok(memory.write_u32(at_token, token)?)
}

/// Which upstream is called, and by which name it is asked for.
struct Server {
    upstream: String,
    authority: String,
}

/// Reads the name of an upstream, or a serialized `envoy.config.core.v3.GrpcService`, which has it twice below. None: not
/// one that may be called.
fn server(bytes: &[u8], callable: &[String]) -> Option<Server> {
    let callable = |name: &[u8]| callable.iter().find(|known| known.as_bytes() == name).cloned();
    if let Some(upstream) = callable(bytes) {
        return Some(Server { authority: upstream.clone(), upstream });
    }
    let (name, authority) = in_message(bytes)?;
    let upstream = callable(name)?;
    let authority = match authority.filter(|name| !name.is_empty()) {
        Some(name) => String::from_utf8(name.to_vec()).ok()?,
        None => upstream.clone(),
    };
    Some(Server { upstream, authority })
}

/// A `GrpcService`'s name of a server and its authority: field 1 is `envoy_grpc`, and in it field 1 `cluster_name`, field
/// 2 `authority`; field 2 is `google_grpc`, and in it field 1 `target_uri`, which is the name of an upstream here.
fn in_message(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if let Some(envoy) = Reader::new(bytes).bytes_of(1) {
        return Some((Reader::new(envoy).bytes_of(1)?, Reader::new(envoy).bytes_of(2)));
    }
    Some((Reader::new(Reader::new(bytes).bytes_of(2)?).bytes_of(1)?, None))
}

fn add_metadata(head: &mut request::Parts, pairs: PairsReader<'_>) -> Result<(), Status> {
    for (name, value) in pairs.filter(|(name, _)| name.first() != Some(&b':')) {
        let Some((name, value)) = new_field(name, value)? else { continue };
        // The gateway frames the messages, so it says how.
        let framing =
            [header::CONTENT_TYPE, header::HOST].contains(&name) || name.as_str().starts_with("grpc-");
        if !framing {
            head.headers.try_append(name, value).map_err(|_| Status::BadArgument)?;
        }
    }
    Ok(())
}

/// At most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    let millis = timeout.as_millis();
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", timeout.as_secs()) };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_plainly_or_by_message() {
        let callable = ["auth".to_owned()];
        let found = |bytes: &[u8]| server(bytes, &callable).map(|found| (found.upstream, found.authority));
        let both = |authority: &str| Some(("auth".to_owned(), authority.to_owned()));
        assert_eq!(found(b"auth"), both("auth"));
        assert_eq!(found(b"\x0a\x06\x0a\x04auth"), both("auth"));
        assert_eq!(found(b"\x1a\x02\x08\x05\x0a\x0b\x0a\x04auth\x12\x03a.b"), both("a.b"));
        assert_eq!(found(b"\x12\x06\x0a\x04auth"), both("auth"));
        for other in [&b"other"[..], b"", b"\x0a\x06\x0a\x04oops", b"\x0a\x7f", b"\x12\x06\x0a\x04oops"] {
            assert_eq!(found(other), None, "{other:?}");
        }
    }

    #[test]
    fn timeouts_fit_into_eight_digits() {
        assert_eq!(grpc_timeout(Duration::from_millis(1500)), "1500m");
        assert_eq!(grpc_timeout(Duration::from_millis(u64::from(u32::MAX))), "4294967S");
    }
}
