//! The data plane of Tidegate: workers that accept connections, route requests, run filters and forward to upstreams.
mod http;
mod route;
