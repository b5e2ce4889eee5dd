//! Foreign functions of Tidegate's own. Their arguments, results and statuses are in docs/filters/host-functions.md.

use super::{Answer, token};
use crate::abi::imports::stream;
use crate::abi::memory::Fault;
use crate::abi::protobuf::{Reader, Value};
use crate::foreign::interest::Interest;
use crate::foreign::password::PasswordCheck;
use crate::foreign::tokens;
use crate::foreign::{FOREIGN_FUNCTIONS, redis};
use crate::grpc::Kind;
use crate::state::State;
use crate::{Effect, ForeignCall, StreamId};
use http::HeaderName;
use std::time::Duration;
use tidegate_abi::{LogLevel, Status};

/// Calls the function of this name.
pub(super) fn call(state: &mut State, name: &[u8], args: &[u8]) -> Result<Vec<u8>, Fault> {
    match name {
        b"tidegate_append" => stream::append(state, args)?,
        b"tidegate_break_off" => stream::break_off(state, args)?,
        b"tidegate_cancel" => cancel(state, token(args)?)?,
        b"tidegate_feed" => stream::feed(state, args)?,
        b"tidegate_has" if has(state, args) => {}
        b"tidegate_interest" => interest(state, args)?,
        b"tidegate_leave" => leave(state)?,
        b"tidegate_redis" => return redis(state, args),
        b"tidegate_reset" => reset(state, args)?,
        b"tidegate_set_route" => set_route(state, args)?,
        b"tidegate_set_upstream" => set_upstream(state, args)?,
        b"tidegate_sleep" => return sleep(state, args),
        b"tidegate_verify" => return Ok(verify(args)?),
        b"tidegate_verify_password" => {
            let check = PasswordCheck::read(args).ok_or(Status::BadArgument)?;
            return later(state, ForeignCall::VerifyPassword(check));
        }
        _ => return Err(Status::NotFound.into()),
    }
    Ok(Vec::new())
}

/// Whether the guest can call a function of this name.
fn has(state: &State, name: &[u8]) -> bool {
    FOREIGN_FUNCTIONS.iter().any(|known| known.as_bytes() == name)
        && state.plugin.spec.capabilities.has_foreign(name)
}

/// Has the gateway do something that takes time. The guest gets its token, and the result by
/// `proxy_on_foreign_function`.
fn later(state: &mut State, call: ForeignCall) -> Result<Vec<u8>, Fault> {
    let stream = state.stream_id();
    let token = state.open_call(Kind::Foreign).ok_or(Status::InternalFailure)?;
    state.push(Effect::Foreign { token, stream, call })?;
    Ok(token.to_le_bytes().to_vec())
}

/// Milliseconds, as four bytes; less than one is one. A plugin itself has ticks.
fn sleep(state: &mut State, args: &[u8]) -> Result<Vec<u8>, Fault> {
    let time = args.try_into().map(u32::from_le_bytes).map_err(|_| Status::BadArgument)?;
    if state.stream().is_none_or(|stream| stream.closing) {
        return Err(Status::BadArgument.into());
    }
    later(state, ForeignCall::Sleep(Duration::from_millis(u64::from(time.max(1)))))
}

/// A message with `algorithm` 1, `key` 2, `signature` 3, `text` 4; the answer is one byte, 1 for a valid signature.
fn verify(args: &[u8]) -> Result<Vec<u8>, Status> {
    let (mut algorithm, mut key, mut signature, mut text) = (&b""[..], &b""[..], &b""[..], &b""[..]);
    for (number, field) in Reader::new(args).fields().ok_or(Status::BadArgument)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => algorithm = bytes,
            (2, Value::Bytes(bytes)) => key = bytes,
            (3, Value::Bytes(bytes)) => signature = bytes,
            (4, Value::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    let valid = tokens::verify(algorithm, key, signature, text).ok_or(Status::BadArgument)?;
    Ok(vec![u8::from(valid)])
}

/// Commands for an upstream that speaks Redis; see [`crate::foreign::redis`].
fn redis(state: &mut State, args: &[u8]) -> Result<Vec<u8>, Fault> {
    let call = redis::read(args).ok_or(Status::BadArgument)?;
    let ForeignCall::Redis { upstream, .. } = &call else { return Err(Status::InternalFailure.into()) };
    if !state.plugin.spec.callable.contains(upstream) {
        let message = format!("redis call to {upstream:?} refused: the plugin may not call it");
        state.remark(LogLevel::Error, &message);
        return Err(Status::BadArgument.into());
    }
    later(state, call)
}

/// Nobody waits for the result any more.
fn cancel(state: &mut State, token: u32) -> Answer {
    let open = state.calls.iter().position(|open| *open == token);
    let at = open.filter(|_| Kind::of(token) == Some(Kind::Foreign)).ok_or(Status::NotFound)?;
    state.calls.swap_remove(at);
    state.redis_calls.retain(|known| *known != token);
    state.answered(token);
    state.push(Effect::ForeignCancel { token })
}

/// Which requests the guest is shown, said by the plugin itself.
fn interest(state: &mut State, text: &[u8]) -> Answer {
    if state.stream().is_some() {
        return Err(Status::BadArgument.into());
    }
    let interest = Interest::read(text).ok_or(Status::BadArgument)?;
    // It would learn of fields that it may not read.
    let readable = state.plugin.spec.capabilities.request_headers.read.as_ref();
    let hidden = |name: &HeaderName| readable.is_some_and(|names| !names.has(name.as_str().as_bytes()));
    if let Some(name) = interest.headers().find(|name| hidden(name)) {
        let name = name.as_str().to_owned();
        return refused(state, "tidegate_interest", &name);
    }
    state.definitions_mut().interest = Some(interest);
    Ok(())
}

/// The guest has nothing more to do with this request: no further part of it, or of its answer, is shown.
fn leave(state: &mut State) -> Answer {
    let stream = state.stream_mut().filter(|stream| !stream.of_bytes).ok_or(Status::BadArgument)?;
    stream.left = true;
    Ok(())
}

/// The client gets no answer; the argument says why, for the access log.
fn reset(state: &mut State, details: &[u8]) -> Answer {
    let details = String::from_utf8_lossy(details).into_owned();
    let stream = state.stream_mut().ok_or(Status::BadArgument)?;
    if stream.closing {
        return Err(Status::BadArgument.into());
    }
    let id = StreamId(stream.id);
    if !stream.end() {
        return Ok(());
    }
    state.push(Effect::Reset { stream: id, details })
}

fn set_upstream(state: &mut State, name: &[u8]) -> Answer {
    let (stream, name) = undecided(state, name)?;
    if state.plugin.spec.capabilities.forward_to.as_ref().is_some_and(|known| !known.contains(&name)) {
        return refused(state, "tidegate_set_upstream", &name);
    }
    let info = state.stream().map(|stream| stream.info.clone());
    let found = info.and_then(|info| info.destinations.as_ref()?.upstream(&name));
    state.push(Effect::SetUpstream { stream, upstream: found.ok_or(Status::NotFound)? })
}

fn set_route(state: &mut State, name: &[u8]) -> Answer {
    let (stream, name) = undecided(state, name)?;
    if state.plugin.spec.capabilities.route_to.as_ref().is_some_and(|known| !known.contains(&name)) {
        return refused(state, "tidegate_set_route", &name);
    }
    let info = state.stream().map(|stream| stream.info.clone());
    let found = info.and_then(|info| info.destinations.as_ref()?.rule(&name));
    state.push(Effect::SetRoute { stream, rule: found.ok_or(Status::NotFound)? })
}

/// A request whose head the guest still has, so that its way is not decided yet; and a name.
fn undecided(state: &State, name: &[u8]) -> Result<(StreamId, String), Status> {
    let stream = state.stream().filter(|stream| stream.request_head.is_some() && !stream.ended);
    let stream = stream.ok_or(Status::BadArgument)?;
    let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
    Ok((StreamId(stream.id), name.to_owned()))
}

#[cold]
fn refused(state: &mut State, function: &str, name: &str) -> Answer {
    state.remark(LogLevel::Error, &format!("{function} {name:?} refused: the plugin may not name it"));
    state.refuse(function);
    Err(Status::InternalFailure.into())
}
