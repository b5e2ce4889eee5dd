//! Upstreams: groups of servers, the choice among them, and this worker's connections to them.
pub(crate) mod backoff;
pub(crate) mod balance;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod ejection;
pub(crate) mod grpc;
pub(crate) mod http1;
pub(crate) mod member;
pub(crate) mod peer;
pub(crate) mod pool;
pub(crate) mod redis;
pub(crate) mod roster;
pub(crate) mod send;
pub(crate) mod server;
