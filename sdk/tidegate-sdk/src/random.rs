//! Random bytes that nobody can guess, for keys, nonces and names of sessions.
//!
//! Each call asks the host, so that instances which were made from one image do not draw the same bytes. A generator that
//! is seeded while the plugin is configured would.
//!
//! ```no_run
//! use tidegate_sdk::{Outcome, random};
//!
//! fn nonce() -> Outcome<[u8; 16]> {
//!     random::bytes()
//! }
//! ```

use crate::{Error, Outcome, host};

/// Fills bytes with random ones.
///
/// # Errors
/// When the host refuses, as where the plugin may not use `random_get`.
pub fn fill(bytes: &mut [u8]) -> Outcome<()> {
    host::random(bytes).map_err(|refusal| Error::refused("get random bytes", refusal))
}

/// Some random bytes.
///
/// # Errors
/// As [`fill`].
pub fn bytes<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}
