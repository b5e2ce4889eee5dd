//! The built binary as users run it: commands, reloads, the admin API, the end.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

mod commands;
mod process;
mod reload;
mod serve;
