//! Shared data and queues.

use super::Answer;
use crate::Effect;
use crate::abi::memory::{give, split};
use crate::state::State;
use tidegate_abi::Status;
use wasmtime::Caller;

/// `proxy_get_shared_data`.
pub(super) fn value(
    caller: &mut Caller<'_, State>,
    key: u32,
    keys: u32,
    pointer: u32,
    size: u32,
    at_cas: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    let found = state.plugin.space.value(memory.read(key, keys)?);
    let (value, cas) = found.ok_or(Status::NotFound)?;
    memory.write_u32(at_cas, cas)?;
    give(caller, &value, pointer, size)
}

/// `proxy_set_shared_data`.
pub(super) fn set_value(
    caller: &mut Caller<'_, State>,
    key: u32,
    keys: u32,
    value: u32,
    values: u32,
    cas: u32,
) -> Answer {
    let (memory, state) = split(caller)?;
    let (key, value) = (memory.read(key, keys)?, memory.read(value, values)?);
    state.budget.copies(key.len() + value.len());
    Ok(state.plugin.space.set_value(key, value, cas)?)
}

/// `proxy_register_shared_queue`.
pub(super) fn register(caller: &mut Caller<'_, State>, name: u32, names: u32, at: u32) -> Answer {
    let (mut memory, state) = split(caller)?;
    memory.write_u32(at, 0)?;
    let queue = state.plugin.space.register_queue(memory.read(name, names)?)?;
    state.listens = true;
    state.push(Effect::QueueRegistered { queue })?;
    Ok(memory.write_u32(at, queue)?)
}

/// `proxy_resolve_shared_queue`: by a VM's id or a plugin's name, or nothing for the own one.
pub(super) fn resolve(
    caller: &mut Caller<'_, State>,
    vm: u32,
    vms: u32,
    name: u32,
    names: u32,
    at: u32,
) -> Answer {
    let (mut memory, state) = split(caller)?;
    let found = state.plugin.space.find_queue(memory.read(vm, vms)?, memory.read(name, names)?);
    Ok(memory.write_u32(at, found.ok_or(Status::NotFound)?)?)
}

/// `proxy_enqueue_shared_queue`.
pub(super) fn enqueue(caller: &mut Caller<'_, State>, queue: u32, value: u32, values: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let value = memory.read(value, values)?;
    state.budget.copies(value.len());
    match state.plugin.space.enqueue(queue, value)? {
        Some(plugin) => state.push(Effect::QueueReady { plugin, queue }),
        None => Ok(()),
    }
}

/// `proxy_dequeue_shared_queue`.
pub(super) fn dequeue(caller: &mut Caller<'_, State>, queue: u32, pointer: u32, size: u32) -> Answer {
    let value = caller.data().plugin.space.dequeue(queue)?;
    give(caller, &value, pointer, size)
}
