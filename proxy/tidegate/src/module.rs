//! What can be told of a module's bytes without running it: its sections, who signed it, what it says it needs.

pub(crate) mod commands;
mod contents;
pub(crate) mod inspect;
pub(crate) mod manifest;
mod powers;
mod sections;
pub(crate) mod signature;
