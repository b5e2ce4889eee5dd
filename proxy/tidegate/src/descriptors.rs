//! How many file descriptors the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// As many as the system allows: the soft limit below that is for programs that cannot have descriptors of high numbers.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, ?current, ?maximum, "the limit of file descriptors cannot be raised");
    }
}

/// What is open at most; none: there is no limit.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
