//! Ten thousand new versions of a module under load: memory stays flat, nothing of the old ones is held.

use crate::Outcome;
use crate::shell;

/// Runs the test of the binary with that many reloads, or as many as the argument says.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    let reloads = match arguments {
        [] => "10000",
        [one] if one.parse::<u64>().is_ok_and(|number| number >= 20) => one,
        _ => return Err("takes one argument at most: how many reloads, at least 20".into()),
    };
    let mut command = shell::cargo();
    command.args(["test", "-p", "tidegate", "--test", "reloads", "--", "--nocapture"]);
    shell::passes(command.env("TIDEGATE_RELOADS", reloads))
}
