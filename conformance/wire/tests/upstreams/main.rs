//! Where requests go: choice of the server, health, limits, further attempts, releases, and servers that fail.

mod balancing;
mod deadlines;
mod ejection;
mod faults;
mod health;
mod health_tls;
mod hedging;
mod mirrors;
mod pending;
mod pools;
mod releases;
mod retries;
mod routing;
mod servers;
mod sessions;
mod splitting;
