//! File descriptors that clients' connections leave to others: to connections to servers, without which no request is
//! served, to files that are read again, and to the admin API.
//!
//! The system gives a new descriptor the lowest number that is free. So where clients' sockets only have numbers below
//! a ceiling, all above it are left, and nobody needs to count.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{Resource, getrlimit};

/// Of those that the gateway does not have anyway, one in so many is kept from clients.
const KEPT: u64 = 4;
/// A worker's runtime has so many.
const OF_A_WORKER: usize = 4;
/// As many as all else that is always open: logs, the control thread, the watch of files.
const OF_THE_REST: usize = 16;

/// The lowest number that no client's socket may have, in a process with so many workers and listening sockets of each.
pub(crate) fn ceiling(workers: usize, listening: usize) -> RawFd {
    let doors = workers * listening;
    let own = doors + workers * OF_A_WORKER + OF_THE_REST;
    below(getrlimit(Resource::Nofile).current, own as u64, doors as u64)
}

/// `waiting` clients, one at each socket, have one above it.
fn below(limit: Option<u64>, own: u64, waiting: u64) -> RawFd {
    let limit = limit.unwrap_or(u64::MAX);
    let free = limit.saturating_sub(own);
    RawFd::try_from(limit - (free / KEPT + waiting).min(free)).unwrap_or(RawFd::MAX)
}

/// Why a client waits.
pub(crate) fn few() -> io::Error {
    io::Error::other("the file descriptors that are left are kept for connections to servers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_those_that_are_free_is_kept() {
        assert_eq!(below(Some(1024), 24, 0), 774);
        assert_eq!(below(Some(1024), 24, 4), 770);
        assert_eq!(below(Some(64), 21, 1), 53);
        assert_eq!(below(Some(64), 80, 1), 64, "nothing is kept where there is nothing");
        assert_eq!(below(None, 24, 1), RawFd::MAX);
        assert!(ceiling(1, 1) > 0);
    }
}
