//! Metrics. A number holds the place of the metric among those of its kind, and the kind.

use super::Answer;
use crate::abi::memory::split;
use crate::shared::Cell;
use crate::state::State;
use std::sync::Arc;
use tidegate_abi::{MetricKind, Status};
use wasmtime::Caller;

/// Numbers that one instance may have; a guest that defines a metric for each request runs into it.
const NUMBERS: usize = 16_384;

/// `proxy_define_metric`: the same name again is another number for the same metric.
pub(super) fn define(caller: &mut Caller<'_, State>, kind: u32, name: u32, names: u32, at: u32) -> Answer {
    let kind = MetricKind::from_number(kind).ok_or(Status::BadArgument)?;
    let (mut memory, state) = split(caller)?;
    memory.write_u32(at, 0)?;
    let list =
        Arc::make_mut(&mut state.metrics).get_mut(kind.number() as usize).ok_or(Status::BadArgument)?;
    if list.len() < NUMBERS {
        list.push(state.plugin.space.define_metric(kind, memory.read(name, names)?));
    }
    let place = u32::try_from(list.len()).map_err(|_| Status::InternalFailure)?;
    Ok(memory.write_u32(at, place * 4 + kind.number())?)
}

/// `proxy_increment_metric`.
pub(super) fn increment(caller: &mut Caller<'_, State>, metric: u32, by: i64) -> Answer {
    Ok(cell(caller.data(), metric)?.increment(by)?)
}

/// `proxy_record_metric`.
pub(super) fn record(caller: &mut Caller<'_, State>, metric: u32, value: i64) -> Answer {
    cell(caller.data(), metric)?.record(value);
    Ok(())
}

/// `proxy_get_metric`.
pub(super) fn value(caller: &mut Caller<'_, State>, metric: u32, at: u32) -> Answer {
    let value = cell(caller.data(), metric)?.value()?;
    let (mut memory, _) = split(caller)?;
    Ok(memory.write_u64(at, value)?)
}

fn cell(state: &State, metric: u32) -> Result<&Arc<Cell>, Status> {
    let list = state.metrics.get((metric % 4) as usize).ok_or(Status::NotFound)?;
    let place = (metric / 4).checked_sub(1).ok_or(Status::NotFound)?;
    list.get(place as usize).ok_or(Status::NotFound)
}
