//! Limits in hosts that have none: each count is a shared value, changed by compare-and-swap.

use std::fmt::Write;

use tidegate_abi::Status;
use tidegate_limiter::{Algorithm, Limit, Moment, State, Verdict};

use super::{Ask, Permit, Taken, refused};
use crate::{Outcome, host, shared};

/// Units that are given back at the end.
#[derive(Debug)]
pub(super) struct Held(Vec<(Limit, String, i64)>);

impl Drop for Held {
    fn drop(&mut self) {
        for (limit, key, units) in &self.0 {
            // A host that does not take it has lost the data as well.
            let _ = change(limit, key, |state, now| state.charge(limit, -units, now));
        }
    }
}

pub(super) fn take(asks: &[Ask<'_>]) -> Outcome<Taken> {
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(asks.len());
    let mut taken = Vec::new();
    let mut allowed = true;
    for ask in asks {
        let key = name(ask.key);
        let verdict = change(ask.limit, &key, |state, now| state.take(ask.limit, ask.cost, now))?;
        verdicts.push(verdict);
        if verdict.allowed {
            taken.push((*ask.limit, key, i64::try_from(ask.cost).unwrap_or(i64::MAX)));
        }
        allowed &= verdict.allowed || ask.advisory;
    }
    if !allowed {
        let allowing = verdicts.iter_mut().filter(|verdict| verdict.allowed);
        for ((limit, key, units), verdict) in taken.iter().zip(allowing) {
            *verdict = change(limit, key, |state, now| {
                state.charge(limit, -units, now);
                Verdict { allowed: true, ..state.look(limit, 0, now) }
            })?;
        }
        return Ok(Taken { verdicts, allowed, permit: Permit::default() });
    }
    taken.retain(|(limit, ..)| limit.algorithm == Algorithm::Concurrency);
    let permit = Permit((!taken.is_empty()).then(|| Box::new(Held(taken))));
    Ok(Taken { verdicts, allowed, permit })
}

pub(super) fn look(asks: &[Ask<'_>]) -> Outcome<Vec<Verdict>> {
    asks.iter()
        .map(|ask| {
            check(ask.limit)?;
            let found = shared::get(&name(ask.key))?;
            let mut state = state(ask.limit, found.as_ref().map(|found| found.value.as_slice()));
            Ok(state.look(ask.limit, ask.cost, now()))
        })
        .collect()
}

pub(super) fn charge(limit: &Limit, key: &[u8], cost: i64) -> Outcome<Verdict> {
    change(limit, &name(key), |state, now| {
        state.charge(limit, cost, now);
        Verdict { allowed: true, ..state.look(limit, 0, now) }
    })
}

fn change<T>(limit: &Limit, key: &str, mut act: impl FnMut(&mut State, Moment) -> T) -> Outcome<T> {
    check(limit)?;
    let mut result = None;
    shared::update(key, |old| {
        let mut state = state(limit, old);
        result = Some(act(&mut state, now()));
        let mut bytes = Vec::with_capacity(64);
        state.encode(&mut bytes);
        bytes
    })?;
    result.ok_or_else(|| refused(Status::InternalFailure.into()))
}

fn check(limit: &Limit) -> Outcome<()> {
    if limit.is_sound() { Ok(()) } else { Err(refused(Status::BadArgument.into())) }
}

fn state(limit: &Limit, bytes: Option<&[u8]>) -> State {
    bytes.and_then(State::decode).unwrap_or_else(|| State::new(limit))
}

fn now() -> Moment {
    Moment::of_wall(host::now())
}

/// A key as the name of a shared value, which is text.
fn name(key: &[u8]) -> String {
    let mut name = String::with_capacity(6 + key.len());
    name.push_str("limit/");
    match std::str::from_utf8(key) {
        Ok(text) => name.push_str(text),
        Err(_) => {
            // A zero byte keeps it apart from text.
            name.push('\0');
            for byte in key {
                // Writing to a string cannot fail.
                let _ = write!(name, "{byte:02x}");
            }
        }
    }
    name
}
