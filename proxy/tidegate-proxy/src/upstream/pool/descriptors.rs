//! Connections that the process has no file descriptor for: that is no fault of the server, and passes when requests that
//! are under way end.

use std::io;
use std::time::Duration;

use crate::upstream::course::Course;
use crate::upstream::pool::{Lease, Place};

/// Between two tries.
const BREATH: Duration = Duration::from_millis(20);

/// Whether the process, or the system, may open no more.
pub(super) fn have_run_out(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

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
        while have_run_out(&error) && pool.now() < until {
            tokio::time::sleep(BREATH).await;
            if let Some(lease) = self.idle() {
                return Ok(lease);
            }
            match pool.dial(&self.member, course).await {
                Ok(fresh) => return Ok(self.lease(fresh)),
                Err(another) => error = another,
            }
        }
        Err(error)
    }
}
