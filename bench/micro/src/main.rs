//! What single steps of the Wasm host cost: a callback, a header, a property. `bench/micro/run.py` adds instruction
//! counts and compares with the bars.
//!
//!     tidegate-micro                 every case, nanoseconds for one step: the least and the median of the rounds
//!     tidegate-micro CASE ROUNDS     one case, so many rounds, nothing measured: for a tool that counts instructions

mod cases;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use cases::{CASES, Case, Running};

/// Calls in a round: long enough for the clock, short enough for rounds that nothing disturbs.
const CALLS: u32 = 2_000;
const ROUNDS: usize = 60;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => CASES.iter().try_for_each(measure),
        [name, rounds] => {
            let case = CASES.iter().find(|case| case.name == name).with_context(|| {
                let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
                format!("there is no case `{name}`; there are {}", names.join(", "))
            })?;
            let rounds =
                rounds.parse().with_context(|| format!("rounds must be a number, not `{rounds}`"))?;
            let mut running = Running::start(case)?;
            (0..rounds).try_for_each(|_| running.call())
        }
        _ => bail!("use: tidegate-micro [CASE ROUNDS]"),
    }
}

fn measure(case: &Case) -> Result<()> {
    let mut running = Running::start(case)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..CALLS {
            running.call()?;
        }
        rounds.push(per_step(began.elapsed(), case));
    }
    rounds.sort_by(f64::total_cmp);
    let (Some(least), Some(median)) = (rounds.first(), rounds.get(ROUNDS / 2)) else { return Ok(()) };
    println!("{:<24} {least:>8.1} {median:>8.1}  ns", case.name);
    Ok(())
}

fn per_step(time: Duration, case: &Case) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(CALLS) / f64::from(case.steps.max(1))
}
