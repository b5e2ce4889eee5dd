//! HTTP calls to other servers.

use super::Answer;
use crate::Effect;
use crate::abi::memory::{GuestMemory, split};
use crate::grpc::Kind;
use crate::state::State;
use crate::stream::fields::write::{new_field, new_request};
use bytes::Bytes;
use http::{HeaderMap, request};
use std::time::Duration;
use tidegate_abi::{LogLevel, PairsReader, Status};
use wasmtime::Caller;

/// `proxy_http_call`: the gateway makes the call, its answer comes by a callback.
#[expect(clippy::too_many_arguments, reason = "the ABI has that many")]
pub(super) fn http(
    caller: &mut Caller<'_, State>,
    to: u32,
    tos: u32,
    pairs: u32,
    pair: u32,
    body: u32,
    bodies: u32,
    trailers: u32,
    trailer: u32,
    timeout: u32,
    at_token: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    // Writing it now shows that it can be written; later would be too late.
    memory.write_u32(at_token, 0)?;
    let upstream = String::from_utf8_lossy(memory.read(to, tos)?).into_owned();
    if !state.plugin.spec.callable.contains(&upstream) {
        state.remark(
            LogLevel::Error,
            &format!("http call to {upstream:?} refused: the plugin may not call it"),
        );
        return Err(Status::BadArgument.into());
    }
    let head = call_head(&memory, pairs, pair)?;
    let body = Bytes::copy_from_slice(memory.read(body, bodies)?);
    state.budget.copies(body.len() + pair as usize + trailer as usize);
    let trailers = call_trailers(&memory, trailers, trailer)?;
    let timeout = match i32::try_from(timeout) {
        Ok(0) => None,
        Ok(ms) => Some(Duration::from_millis(u64::from(ms.unsigned_abs()))),
        Err(_) => return Err(Status::BadArgument.into()),
    };
    let stream = state.stream_id();
    let token = state.open_call(Kind::Http).ok_or(Status::InternalFailure)?;
    state.push(Effect::HttpCall { token, stream, upstream, head, body, trailers, timeout })?;
    Ok(memory.write_u32(at_token, token)?)
}

fn call_head(memory: &GuestMemory<'_>, at: u32, size: u32) -> Result<request::Parts, Status> {
    new_request(PairsReader::check(memory.read(at, size)?).map_err(|_| Status::BadArgument)?)
}

fn call_trailers(memory: &GuestMemory<'_>, at: u32, size: u32) -> Result<HeaderMap, Status> {
    let pairs = PairsReader::check(memory.read(at, size)?).map_err(|_| Status::BadArgument)?;
    let mut map = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        if let Some((name, value)) = new_field(name, value)? {
            map.try_append(name, value).map_err(|_| Status::BadArgument)?;
        }
    }
    Ok(map)
}
