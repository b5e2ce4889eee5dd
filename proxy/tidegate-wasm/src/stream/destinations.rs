//! Where filters may send a request, besides where its head leads.

use std::fmt;
use std::net::SocketAddr;

/// The gateway's upstreams and rules by name, as a request's plugins may choose them. The numbers are the gateway's own.
pub trait Destinations: fmt::Debug {
    /// The upstream of this name.
    fn upstream(&self, name: &str) -> Option<usize>;

    /// The rule of this name on the request's listener: `ROUTE/RULE`, the first rule of `ROUTE`, or the only `RULE` of
    /// that name.
    fn rule(&self, name: &str) -> Option<usize>;

    /// The servers of the upstream of this name, and whether requests go to each of them; none: there is no such upstream.
    fn servers(&self, upstream: &str) -> Option<Vec<(SocketAddr, bool)>>;
}
