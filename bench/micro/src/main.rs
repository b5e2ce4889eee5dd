//! What single steps cost: of the Wasm host a callback, a header, a property; of the gateway finding a rule and a server.
//! `bench/micro/run.py` adds instruction counts and compares with the bars.
//!
//!     tidegate-micro [BEGINNING]     every case, or those whose names begin so: nanoseconds for one step, the least and
//!                                    the median of the rounds
//!     tidegate-micro CASE ROUNDS     one case, so many rounds, nothing measured: for a tool that counts instructions

mod cases;
mod picks;
mod rules;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Calls in a round: long enough for the clock, short enough for rounds that nothing disturbs.
const CALLS: u32 = 2_000;
const ROUNDS: usize = 60;
/// The same of changes, which take longer.
const CHANGES: u32 = 50;

/// What is called over and over.
type Call = Box<dyn FnMut() -> Result<()>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => names().try_for_each(|(name, steps)| measure(name, steps)),
        [beginning] => names()
            .filter(|(name, _)| name.starts_with(beginning.as_str()))
            .try_for_each(|(name, steps)| measure(name, steps)),
        [name, rounds] => {
            let rounds: u32 =
                rounds.parse().with_context(|| format!("rounds must be a number, not `{rounds}`"))?;
            let mut call = start(name)?;
            (0..rounds).try_for_each(|_| call())
        }
        _ => bail!("use: tidegate-micro [BEGINNING | CASE ROUNDS]"),
    }
}

/// All cases, with the steps of a call.
fn names() -> impl Iterator<Item = (&'static str, u32)> {
    let guests = cases::CASES.iter().map(|case| (case.name, case.steps));
    let picks = picks::CASES.iter().map(|case| (case.name, 1));
    guests.chain(rules::CASES.iter().map(|case| (case.name, 1))).chain(picks)
}

fn start(name: &str) -> Result<Call> {
    if let Some(case) = cases::CASES.iter().find(|case| case.name == name) {
        let mut running = cases::Running::start(case)?;
        return Ok(Box::new(move || running.call()));
    }
    if let Some(case) = picks::CASES.iter().find(|case| case.name == name) {
        let mut running = picks::Running::start(case)?;
        return Ok(Box::new(move || running.call()));
    }
    let case = rules::CASES.iter().find(|case| case.name == name).with_context(|| {
        let names: Vec<&str> = names().map(|(name, _)| name).collect();
        format!("there is no case `{name}`; there are {}", names.join(", "))
    })?;
    let mut running = rules::Running::start(case)?;
    Ok(Box::new(move || running.call()))
}

fn measure(name: &str, steps: u32) -> Result<()> {
    let mut call = start(name)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    let calls = if name.starts_with("change") { CHANGES } else { CALLS };
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        rounds.push(per_step(began.elapsed(), calls * steps.max(1)));
    }
    rounds.sort_by(f64::total_cmp);
    let (Some(least), Some(median)) = (rounds.first(), rounds.get(ROUNDS / 2)) else { return Ok(()) };
    println!("{name:<24} {least:>8.1} {median:>8.1}  ns");
    Ok(())
}

fn per_step(time: Duration, steps: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(steps)
}
