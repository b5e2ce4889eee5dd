//! Foreign functions: what guests call by name, with arguments of each function's own form.

mod own;

use super::{Answer, property, stream};
use crate::abi::memory::{Fault, give, give_filled, split};
use crate::abi::protobuf::{self, Reader, Value};
use crate::foreign::Declared;
use crate::foreign::crypto::{self, Key, Refusal};
use crate::foreign::zlib;
use crate::state::State;
use crate::time::nanoseconds;
use tidegate_abi::{LogLevel, Status};
use tidegate_limiter::Moment;
use tidegate_limiter::wire::{self, Question};
use wasmtime::{Caller, Val};

/// Properties that one plugin may declare.
const DECLARED: usize = 256;

/// `proxy_call_foreign_function`. A guest that wants no result passes no place for it.
pub(super) fn call(
    caller: &mut Caller<'_, State>,
    name: u32,
    names: u32,
    args: u32,
    arg: u32,
    pointer: u32,
    size: u32,
) -> Answer {
    let arguments = (args, arg);
    let (memory, state) = split(caller)?;
    let (name, args) = (memory.read(name, names)?, memory.read(args, arg)?);
    state.budget.copies(args.len());
    if !state.plugin.spec.capabilities.has_foreign(name) {
        return if is_own(name) { Err(Status::NotFound.into()) } else { refused(state, name) };
    }
    // Asked for each request by many, so in memory that is used again.
    if name == b"tidegate_limit" && pointer != 0 && size != 0 {
        let (start, length) = arguments;
        return give_filled(caller, pointer, size, |memory, state, out| {
            limit(state, memory.read(start, length)?, out)
        });
    }
    let mut result = Vec::new();
    match name {
        b"clear_route_cache" => stream::clear_route_of(state)?,
        b"tidegate_limit" => limit(state, args, &mut result)?,
        b"get_log_level" => result.extend(state.plugin.log_level().number().to_le_bytes()),
        b"compress" => result = zlib::compress(args)?,
        b"uncompress" => result = zlib::uncompress(args)?,
        b"set_envoy_filter_state" => set_filter_state(state, args)?,
        b"declare_property" => declare_property(state, args)?,
        b"sign" => result = sign(args)?,
        b"verify_signature" => result = verify(args)?,
        b"expr_create" => result.extend(state.definitions_mut().expressions.create(args)?.to_le_bytes()),
        b"expr_evaluate" => evaluate(state, args, &mut result)?,
        b"expr_delete" => state.definitions_mut().expressions.delete(token(args)?),
        name => result = own::call(state, name, args)?,
    }
    if pointer != 0 && size != 0 {
        return give(caller, &result, pointer, size);
    }
    let (mut memory, _) = split(caller)?;
    for at in [pointer, size].into_iter().filter(|at| *at != 0) {
        memory.write_u32(at, 0)?;
    }
    Ok(())
}

/// Whether a guest only asks for, or gives up, something of its own by it: SDKs do so for every guest, whatever it is
/// granted, so that its refusal says nothing about the plugin.
fn is_own(name: &[u8]) -> bool {
    matches!(name, b"tidegate_has" | b"tidegate_leave")
}

/// Whether a call that is refused, whichever function it is of, is one of [those](is_own).
#[cold]
pub(super) fn is_own_call(caller: &mut Caller<'_, State>, function: &str, params: &[Val]) -> bool {
    let [Val::I32(name), Val::I32(names), ..] = *params else { return false };
    function == "proxy_call_foreign_function"
        && split(caller)
            .and_then(|(memory, _)| memory.read(name.cast_unsigned(), names.cast_unsigned()).map(is_own))
            .unwrap_or(false)
}

#[cold]
fn refused(state: &mut State, name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name).into_owned();
    state.remark(LogLevel::Error, &format!("foreign function {name:?} refused: the plugin may not call it"));
    state.refuse("proxy_call_foreign_function");
    Err(Status::InternalFailure.into())
}

/// A question in the form of [`tidegate_limiter::wire`].
fn limit(state: &mut State, args: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
    let marks = wire::marks(args);
    if marks == wire::Marks::default() {
        return decide(state, args, out).map(drop);
    }
    let stream = state.stream_mut().filter(|stream| !marks.leaves || !stream.of_bytes);
    let source = stream.ok_or(Status::BadArgument)?.info.source;
    let mut address = Vec::new();
    if marks.by_address {
        property::write_ip(source, &mut address).ok_or(Status::InternalFailure)?;
    }
    let allowed = decide(state, &wire::fill(args, &address).ok_or(Status::BadArgument)?, out)?;
    if let (true, true, Some(stream)) = (marks.leaves, allowed, state.stream_mut()) {
        stream.left = true;
    }
    Ok(())
}

/// Whether the limits allow it.
fn decide(state: &mut State, question: &[u8], out: &mut Vec<u8>) -> Result<bool, Status> {
    let question = Question::read(question).ok_or(Status::BadArgument)?;
    let now = state.now();
    let now = Moment { monotonic: nanoseconds(now.monotonic), wall: nanoseconds(now.wall()) };
    let plugin = state.plugin.clone();
    let leases = state.stream_mut().map(|stream| &mut stream.leases);
    plugin.space.limit(&question, now, leases, out)?;
    Ok(question.entries().zip(wire::verdicts(out)).all(|(entry, verdict)| verdict.allowed || entry.advisory))
}

/// A message with `path` 1, `value` 2 and a life span that is always the request here.
fn set_filter_state(state: &mut State, args: &[u8]) -> Result<(), Fault> {
    let (mut path, mut value) = (&b""[..], &b""[..]);
    for (number, field) in Reader::new(args).fields().ok_or(Status::BadArgument)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => path = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if path.is_empty() {
        return Err(Status::BadArgument.into());
    }
    let stream = state.stream_mut().ok_or(Status::NotFound)?;
    Ok(stream.facts().set_state(path, value)?)
}

/// A message with `name` 1, `readonly` 2, `type` 3 (1 is a string), a schema and a life span.
fn declare_property(state: &mut State, args: &[u8]) -> Result<(), Fault> {
    let mut declared = Declared::default();
    for (number, field) in Reader::new(args).fields().ok_or(Status::BadArgument)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => declared.name = bytes.into(),
            (2, Value::Number(flag)) => declared.readonly = flag != 0,
            (3, Value::Number(kind)) => declared.text = kind == 1,
            _ => {}
        }
    }
    let list = &mut state.definitions_mut().declared;
    if list.len() >= DECLARED || list.iter().any(|known| known.name == declared.name) {
        return Err(Status::BadArgument.into());
    }
    list.push(declared);
    Ok(())
}

/// A message with `hash_function` 1, `private_key` 2, `text` 3, `private_key_pem` 4; the answer has `result` 1,
/// `signature` 2, `error` 3.
fn sign(args: &[u8]) -> Result<Vec<u8>, Status> {
    let (mut hash, mut key, mut text) = (&b""[..], Key::default(), &b""[..]);
    for (number, field) in Reader::new(args).fields().ok_or(Status::BadArgument)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => hash = bytes,
            (2, Value::Bytes(bytes)) => key.der = bytes,
            (3, Value::Bytes(bytes)) => text = bytes,
            (4, Value::Bytes(bytes)) => key.pem = bytes,
            _ => {}
        }
    }
    let mut answer = Vec::new();
    match crypto::sign(hash, key, text) {
        Ok(signature) => {
            protobuf::put_flag(&mut answer, 1);
            protobuf::put_bytes(&mut answer, 2, &signature);
        }
        Err(Refusal::Key) => return Err(Status::BadArgument),
        Err(Refusal::Reason(reason)) => protobuf::put_bytes(&mut answer, 3, reason.as_bytes()),
    }
    Ok(answer)
}

/// A message with `hash_function` 1, `public_key` 2, `signature` 3, `text` 4, `public_key_pem` 5; the answer has
/// `result` 1, `error` 2.
fn verify(args: &[u8]) -> Result<Vec<u8>, Status> {
    let (mut hash, mut key, mut signature, mut text) = (&b""[..], Key::default(), &b""[..], &b""[..]);
    for (number, field) in Reader::new(args).fields().ok_or(Status::BadArgument)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => hash = bytes,
            (2, Value::Bytes(bytes)) => key.der = bytes,
            (3, Value::Bytes(bytes)) => signature = bytes,
            (4, Value::Bytes(bytes)) => text = bytes,
            (5, Value::Bytes(bytes)) => key.pem = bytes,
            _ => {}
        }
    }
    let mut answer = Vec::new();
    match crypto::verify(hash, key, signature, text) {
        Ok(()) => protobuf::put_flag(&mut answer, 1),
        Err(Refusal::Key) => return Err(Status::BadArgument),
        Err(Refusal::Reason(reason)) => protobuf::put_bytes(&mut answer, 2, reason.as_bytes()),
    }
    Ok(answer)
}

fn evaluate(state: &mut State, args: &[u8], out: &mut Vec<u8>) -> Result<(), Status> {
    state.complete_head();
    let state = &*state;
    let expression = state.definitions.expressions.find(token(args)?).ok_or(Status::NotFound)?;
    expression.evaluate(|path, out| property::find(state, path.join("\0").as_bytes(), out).ok(), out)
}

fn token(args: &[u8]) -> Result<u32, Status> {
    args.try_into().map(u32::from_le_bytes).map_err(|_| Status::BadArgument)
}
