//! What clients and servers may rely on, byte by byte, over each version of HTTP and over plain connections.

mod behaviour;
mod framing;
mod heads;
mod http1_connection;
mod http2_aborts;
mod http2_attacks;
mod http2_requests;
mod http2_streams;
mod http2_upstream;
mod interim;
mod listeners;
mod paths;
mod patience;
mod proxies;
mod tcp;
mod tcp_budget;
mod uplink;
mod whole;
