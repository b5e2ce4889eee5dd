//! The built binary as users run it: commands, reloads, the admin API, the end.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

mod admin;
mod admin_tls;
mod bench;
mod commands;
mod descriptors;
mod discovery;
mod fetch;
mod filters;
mod memory;
mod metrics;
mod plugins;
mod process;
mod profile;
mod push;
mod readme;
mod registry;
mod releases;
mod reload;
mod replay;
mod serve;
mod shown;
mod taps;
mod templates;
mod tools;
