//! What a request passes on its way: built-in steps and Wasm plugins.
pub(crate) mod chain;
pub(crate) mod entry;
pub(crate) mod failure;
pub(crate) mod grpc;
pub(crate) mod guest_body;
pub(crate) mod held;
pub(crate) mod isolated;
pub(crate) mod leaving;
pub(crate) mod log;
pub(crate) mod network;
pub(crate) mod plugins;
pub(crate) mod rebuild;
pub(crate) mod taping;
pub(crate) mod version;
pub(crate) mod wasm;
