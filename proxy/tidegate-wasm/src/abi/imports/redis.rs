//! Redis as Higress offers it to its filters: functions of a vendor's version of the ABI. They do what `tidegate_redis`
//! does; replies come by `proxy_on_redis_call_response`.

use super::Answer;
use crate::abi::memory::split;
use crate::foreign::redis::{PATIENCE, commands};
use crate::grpc::Kind;
use crate::state::State;
use crate::{Effect, ForeignCall};
use bytes::Bytes;
use std::time::Duration;
use tidegate_abi::{LogLevel, Status};
use wasmtime::Caller;

/// Upstreams that one plugin may name.
const CLIENTS: usize = 64;

/// How long calls wait that nothing was said about.
const USUAL: Duration = Duration::from_secs(1);

/// `proxy_redis_init`: how long calls to an upstream wait. Behind a `?` of its name stand the number of a database and
/// settings of buffers; those, and who logs in, are in the upstream's own configuration here.
#[expect(clippy::too_many_arguments, reason = "the ABI has that many")]
pub(super) fn init(
    caller: &mut Caller<'_, State>,
    to: u32,
    tos: u32,
    user: u32,
    users: u32,
    password: u32,
    passwords: u32,
    timeout: u32,
) -> Answer {
    let (memory, state) = split(caller)?;
    let named = String::from_utf8_lossy(memory.read(to, tos)?).into_owned();
    memory.read(user, users)?;
    memory.read(password, passwords)?;
    let (upstream, settings) = parts(&named);
    may_call(state, upstream)?;
    let database = settings.split('&').any(|setting| setting.starts_with("db="));
    if users > 0 || passwords > 0 || database {
        let message = format!("redis {upstream:?}: login and database are those of the upstream's `login`");
        state.remark(LogLevel::Info, &message);
    }
    let timeout = match timeout {
        0 => USUAL,
        millis => Duration::from_millis(u64::from(millis)).min(PATIENCE),
    };
    let clients = &mut state.definitions_mut().redis;
    clients.retain(|(known, _)| known != upstream);
    if clients.len() >= CLIENTS {
        return Err(Status::InternalFailure.into());
    }
    clients.push((upstream.to_owned(), timeout));
    Ok(())
}

/// `proxy_redis_call`: sends commands. The call is the plugin's own: its replies come whatever becomes of the stream.
pub(super) fn call(
    caller: &mut Caller<'_, State>,
    to: u32,
    tos: u32,
    query: u32,
    queries: u32,
    at_token: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    // Writing it now shows that it can be written; later would be too late.
    memory.write_u32(at_token, 0)?;
    let named = String::from_utf8_lossy(memory.read(to, tos)?);
    let upstream = parts(&named).0.to_owned();
    let bytes = memory.read(query, queries)?;
    may_call(state, &upstream)?;
    state.budget.copies(bytes.len());
    let count = commands(bytes).ok_or(Status::BadArgument)?;
    let known = state.definitions.redis.iter().find(|(known, _)| *known == upstream);
    let timeout = known.map_or(USUAL, |(_, timeout)| *timeout);
    let commands = Bytes::copy_from_slice(bytes);
    let stream = state.stream_id();
    let token = state.open_call(Kind::Foreign).ok_or(Status::InternalFailure)?;
    let call = ForeignCall::Redis { upstream, timeout, commands, count };
    state.push(Effect::Foreign { token, stream, call })?;
    state.redis_calls.push(token);
    Ok(memory.write_u32(at_token, token)?)
}

/// The upstream and the settings behind its name: the SDK for Rust names both whenever it calls, that for Go once.
fn parts(named: &str) -> (&str, &str) {
    named.split_once('?').unwrap_or((named, ""))
}

fn may_call(state: &mut State, upstream: &str) -> Result<(), Status> {
    if state.plugin.spec.callable.iter().any(|known| known == upstream) {
        return Ok(());
    }
    let message = format!("redis call to {upstream:?} refused: the plugin may not call it");
    state.remark(LogLevel::Error, &message);
    Err(Status::BadArgument)
}
