//! The built binary as users run it: commands, reloads, the admin API, the end.

mod commands;
mod process;
mod reload;
mod serve;
