//! The filters that the binary carries, named `builtin:NAME` in a configuration.

/// The module behind `builtin:NAME`, if this build has it.
pub(crate) fn module(name: &str) -> Option<&'static [u8]> {
    MODULES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

/// The names of the modules that this build has.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
