//! Calls of host functions that are looked at before and after, where limits count them or the callback is timed. All
//! others never come here.

use crate::state::{Phase, State};
use wasmtime::Caller;

/// Calls a host function for a guest whose calls are watched.
#[inline(never)]
pub(super) fn call<R>(
    caller: &mut Caller<'_, State>,
    function: impl FnOnce(&mut Caller<'_, State>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    let state = caller.data_mut();
    state.budget.host_call(&state.plugin.spec.limits).map_err(wasmtime::Error::new)?;
    let began = state.measured.clock();
    let answer = function(caller)?;
    let state = caller.data_mut();
    if let Some(began) = began {
        state.measured.in_host(began);
    }
    state.budget.check_copied(&state.plugin.spec.limits).map_err(wasmtime::Error::new)?;
    Ok(answer)
}

/// As [`call`] for a function that may be called in other phases as well.
#[inline]
pub(super) fn call_anytime<R>(
    caller: &mut Caller<'_, State>,
    function: impl FnOnce(&mut Caller<'_, State>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    if caller.data().phase == Phase::Watched { call(caller, function) } else { function(caller) }
}
