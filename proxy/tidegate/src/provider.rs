//! Providers: where documents come from. A provider yields documents and says when they may have changed; it never
//! touches the gateway.

mod debounce;
mod file;
mod folders;
mod recheck;
mod secrets;
mod writers;

pub(crate) use file::{FileProvider, read};
pub(crate) use secrets::FileSecrets;
