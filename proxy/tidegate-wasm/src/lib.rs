//! Runs proxy-wasm filters without doing any I/O.
