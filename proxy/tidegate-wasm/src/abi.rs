//! The border between host and guest: the functions of either side and the guest's memory.

pub(crate) mod chain;
pub(crate) mod exports;
pub(crate) mod imports;
pub(crate) mod memory;
pub(crate) mod protobuf;
