//! Long suites that need outside programs. `cargo xtask suites` prepares what they need and starts them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test program fails by panicking")]

mod envoy;
mod limits;
mod process;
mod prometheus;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let suite = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match suite.as_str() {
        "envoy" => envoy::main(&rest),
        "limits" => limits::main(&rest),
        "prometheus" => prometheus::main(&rest),
        _ => {
            eprintln!("no suite of the name {suite:?}; run `cargo xtask suites`, which names them");
            ExitCode::FAILURE
        }
    }
}
