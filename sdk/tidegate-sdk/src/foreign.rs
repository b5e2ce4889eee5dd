//! Functions that a host offers by name beyond the ABI.

use crate::{Error, Outcome, host};

/// Calls a function of the host; what arguments and result mean is up to it.
///
/// # Errors
/// When the host does not know the function (status 1), or the function refuses.
pub fn call(name: &str, arguments: &[u8]) -> Outcome<Vec<u8>> {
    host::foreign(name, arguments)
        .map_err(|refusal| Error::refused(format!("call the host's function {name}"), refusal))
}
