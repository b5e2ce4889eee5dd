//! Logs, time, ticks, the effective context.

use super::{Answer, Imports, watched};
use crate::Effect;
use crate::abi::chain;
use crate::abi::memory::{give, split};
use crate::state::State;
use std::time::Duration;
use tidegate_abi::{LogLevel, Status};
use wasmtime::Caller;

/// Links what may be called at any time.
pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    imports.linker.func_wrap(
        "env",
        "proxy_log",
        |mut caller: Caller<'_, State>, level: u32, data: u32, size: u32| -> wasmtime::Result<u32> {
            watched::call_anytime(&mut caller, |caller| {
                Ok(log(caller, level, data, size).err().unwrap_or(Status::Ok).number())
            })
        },
    )?;
    imports.linker.func_wrap("env", "pthread_equal", |a: u32, b: u32| u32::from(a == b))?;
    imports.linker.func_wrap("env", "emscripten_notify_memory_growth", |_: u32| {})?;
    imports
        .names
        .extend(["proxy_log", "pthread_equal", "emscripten_notify_memory_growth"].map(|name| ("env", name)));
    Ok(())
}

fn log(caller: &mut Caller<'_, State>, level: u32, data: u32, size: u32) -> Result<(), Status> {
    let level = LogLevel::from_number(level).ok_or(Status::BadArgument)?;
    let (memory, state) = split(caller)?;
    state.budget.copies(size as usize);
    state.log(level, memory.read(data, size)?);
    Ok(())
}

/// `proxy_get_log_level`.
pub(super) fn log_level(caller: &mut Caller<'_, State>, at: u32) -> Answer {
    let (mut memory, state) = split(caller)?;
    Ok(memory.write_u32(at, state.plugin.log_level().number())?)
}

/// `proxy_get_current_time_nanoseconds`.
pub(super) fn time(caller: &mut Caller<'_, State>, at: u32) -> Answer {
    let (mut memory, state) = split(caller)?;
    Ok(memory.write_u64(at, state.wall_clock())?)
}

/// `proxy_set_tick_period_milliseconds`; zero stops the ticks.
pub(super) fn tick_period(caller: &mut Caller<'_, State>, period: u32) -> Answer {
    let state = caller.data_mut();
    let period = (period > 0).then(|| Duration::from_millis(u64::from(period)));
    state.push(Effect::TickPeriod(period))?;
    state.tick_period = period;
    Ok(())
}

/// `proxy_set_effective_context`: holds until the callback returns.
pub(super) fn effective(caller: &mut Caller<'_, State>, id: u32) -> Answer {
    let state = caller.data_mut();
    if !state.knows(id) {
        return Err(Status::BadArgument.into());
    }
    state.effective = id;
    chain::stop(caller);
    Ok(())
}

/// `proxy_done`: for a plugin that has answered its end with false; nothing else waits for it.
pub(super) fn done(caller: &mut Caller<'_, State>) -> Answer {
    let state = caller.data_mut();
    if !std::mem::take(&mut state.parting) {
        return Err(Status::NotFound.into());
    }
    state.push(Effect::Done)
}

/// `proxy_get_status`: how the last call failed, or how the last gRPC call ended.
pub(super) fn status(caller: &mut Caller<'_, State>, code: u32, pointer: u32, size: u32) -> Answer {
    let (mut memory, state) = split(caller)?;
    memory.write_u32(code, state.last_status)?;
    let message = state.status_message.clone();
    give(caller, message.as_bytes(), pointer, size)
}
