//! Connections that the process has no file descriptor for: that is no fault of the server, and passes when requests that
//! are under way end.

use std::io;
use std::time::Duration;

use crate::upstream::connect::no_descriptor_is_left;
use crate::upstream::course::Course;
use crate::upstream::pool::{Lease, Place};

/// Between two tries. A time, since nothing tells when a descriptor comes free: a client's connection on another worker may
/// have had it.
const BREATH: Duration = Duration::from_millis(20);

impl Place {
    /// Tries again for as long as a connect may take: for a connection that has come free meanwhile, or a new one.
    ///
    /// # Errors
    /// The last one.
    pub(super) async fn once_there_is_a_descriptor(
        &self,
        mut error: io::Error,
        course: Option<&Course>,
    ) -> io::Result<Lease> {
        let pool = &self.pool;
        let until = pool.now() + pool.cluster.spec.connect_timeout;
        while no_descriptor_is_left(&error) && pool.now() < until {
            tokio::time::sleep(BREATH).await;
            if let Some(lease) = self.idle() {
                return Ok(lease);
            }
            // As before a first try: not beyond the upstream's limit, and one for all that can share it.
            if !pool.makes_room() || self.is_shared_soon() {
                continue;
            }
            let left = until.saturating_sub(pool.now());
            match tokio::time::timeout(left, pool.dial(&self.member, course)).await {
                Ok(Ok(fresh)) => return Ok(self.lease(fresh)),
                Ok(Err(another)) => error = another,
                Err(_) => break,
            }
        }
        Err(error)
    }
}
