//! The numbers and encodings of proxy-wasm.
#![no_std]
