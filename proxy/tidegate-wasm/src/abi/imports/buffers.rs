//! Buffers: bodies, bytes of connections, configurations, the body of a call's answer.

use super::Answer;
use crate::abi::memory::{Fault, give, split};
use crate::state::{Answer as CallAnswer, State};
use crate::{BodyAccess, Side};
use bytes::Bytes;
use http::header;
use std::rc::Rc;
use tidegate_abi::{BufferKind, Status};
use wasmtime::Caller;

/// `proxy_get_buffer_bytes`: a part of a buffer, cut at its end.
pub(super) fn bytes(
    caller: &mut Caller<'_, State>,
    kind: u32,
    start: u32,
    max: u32,
    pointer: u32,
    size: u32,
) -> Answer {
    let kind = readable(caller.data(), kind)?;
    let end = u64::from(start) + u64::from(max);
    let end = usize::try_from(end).map_err(|_| Status::BadArgument)?;
    let part = |buffer: &[u8]| {
        let end = end.min(buffer.len());
        (start as usize).min(end)..end
    };
    // Bodies are set aside while the guest looks for memory: it cannot touch them in there.
    let stream = caller.data_mut().stream_mut();
    let side = stream.as_ref().and_then(|stream| stream.side_of(kind));
    let body = stream.zip(side).and_then(|(stream, side)| {
        let flow = stream.flow_mut(side);
        flow.touched = true;
        flow.has_body().then(|| std::mem::take(&mut flow.body))
    });
    let Some(body) = body else {
        let buffer = fixed(caller.data(), kind).or_else(|| empty(kind)).ok_or(Status::NotFound)?;
        return give(caller, buffer.get(part(&buffer)).unwrap_or_default(), pointer, size);
    };
    let slice = body.as_slice();
    let given = give(caller, slice.get(part(slice)).unwrap_or_default(), pointer, size);
    if let (Some(stream), Some(side)) = (caller.data_mut().stream_mut(), side) {
        stream.flow_mut(side).body = body;
    }
    given
}

/// `proxy_get_buffer_status`: the length; there are no flags.
pub(super) fn status(caller: &mut Caller<'_, State>, kind: u32, len: u32, flags: u32) -> Answer {
    let kind = readable(caller.data(), kind)?;
    let (mut memory, state) = split(caller)?;
    let side = state.stream().and_then(|stream| stream.side_of(kind));
    let bytes = match state.stream_mut().zip(side) {
        Some((stream, side)) => {
            let flow = stream.flow_mut(side);
            flow.touched = true;
            flow.has_body().then(|| flow.body.len())
        }
        None => fixed(state, kind).map(|buffer| buffer.len()),
    };
    let bytes = bytes.or_else(|| empty(kind).map(|none| none.len())).ok_or(Status::NotFound)?;
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    memory.write_u32(len, bytes)?;
    Ok(memory.write_u32(flags, 0)?)
}

/// `proxy_set_buffer_bytes`: only bodies and bytes of connections can be written. The announced length is then wrong, so it
/// is taken out of a head that is still here.
pub(super) fn set(
    caller: &mut Caller<'_, State>,
    kind: u32,
    start: u32,
    len: u32,
    data: u32,
    size: u32,
) -> Answer {
    let kind = BufferKind::from_number(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = split(caller)?;
    let data = memory.read(data, size)?;
    state.budget.copies(data.len());
    let Some(side) = state.stream().and_then(|stream| stream.side_of(kind)) else {
        let absent = fixed(state, kind).is_none();
        return Err(Fault::Status(if absent { Status::NotFound } else { Status::BadArgument }));
    };
    if state.plugin.spec.capabilities.body(side) != BodyAccess::Write {
        state.refuse("proxy_set_buffer_bytes");
        return Err(Status::InternalFailure.into());
    }
    let call = state.call;
    let stream = state.stream_mut().ok_or(Status::NotFound)?;
    stream.keep_body(side, call);
    let headers = match side {
        Side::Request => stream.request_head.as_mut().map(|head| &mut Rc::make_mut(head).headers),
        Side::Response => stream.response_head.as_mut().map(|head| &mut head.headers),
    };
    let flow = match side {
        Side::Request => &mut stream.request,
        Side::Response => &mut stream.response,
    };
    flow.touched = true;
    if !flow.has_body() {
        return Err(Status::NotFound.into());
    }
    flow.body.write(start, len, data)?;
    if let Some(headers) = headers {
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(())
}

/// `proxy_get_configuration` of 0.1.0: the plugin's while it is configured, otherwise the VM's.
pub(super) fn configuration(caller: &mut Caller<'_, State>, pointer: u32, size: u32) -> Answer {
    let state = caller.data();
    let own = fixed(state, BufferKind::PluginConfiguration);
    let config = own.unwrap_or_else(|| state.plugin.spec.vm_config.clone());
    give(caller, &config, pointer, size)
}

/// The number 9 is Higress's for the replies of Redis, while a guest is told of some.
fn readable(state: &State, kind: u32) -> Result<BufferKind, Status> {
    let replies =
        || (kind == 9 && matches!(state.answer, CallAnswer::Foreign(_))).then_some(BufferKind::CallData);
    BufferKind::from_number(kind).or_else(replies).ok_or(Status::BadArgument)
}

/// What is read of a buffer that is not there: guests in the field take nothing for nothing, and a status for a failure.
fn empty(kind: BufferKind) -> Option<Bytes> {
    let known = !matches!(kind, BufferKind::CallBody | BufferKind::PluginConfiguration);
    known.then(Bytes::new)
}

/// A buffer that guests only read.
fn fixed(state: &State, kind: BufferKind) -> Option<Bytes> {
    match kind {
        BufferKind::PluginConfiguration if state.configuring => Some(state.plugin.spec.config.clone()),
        BufferKind::VmConfiguration => Some(state.plugin.spec.vm_config.clone()),
        BufferKind::CallBody => match &state.answer {
            CallAnswer::Failed => Some(Bytes::new()),
            CallAnswer::Response(response) => Some(response.body.clone()),
            _ => None,
        },
        BufferKind::CallData => match &state.answer {
            CallAnswer::Foreign(bytes) => Some(bytes.clone()),
            _ => None,
        },
        BufferKind::GrpcMessage => match &state.answer {
            CallAnswer::GrpcMessage(message) => Some(message.clone()),
            _ => None,
        },
        _ => None,
    }
}
