//! Data that all instances of a plugin share, on all workers: values by key, each with a version.
//!
//! Nothing here waits: the host does each step at once. Values that are to be changed together with what others do are
//! changed by [`update`], which tries again when somebody was faster. The ABI cannot remove a value; an empty one takes
//! the least space, and [`put_for`] gives values an end.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Outcome, shared};
//!
//! fn is_over_limit(client: &str) -> Outcome<bool> {
//!     let count = shared::add(client, 1, Duration::from_secs(60))?;
//!     Ok(count > 100)
//! }
//! ```

use std::time::Duration;

use tidegate_abi::Status;

use crate::{Error, Outcome, host, time};

/// A value, and which of its versions it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// For [`set_if`].
    pub version: u32,
}

/// The value of a key.
///
/// # Errors
/// When the host refuses.
pub fn get(key: &str) -> Outcome<Option<Versioned>> {
    let found = host::shared(key).map_err(|refusal| cannot("read", key, refusal))?;
    Ok(found.map(|(value, version)| Versioned { value, version }))
}

/// Sets a value, whatever was there.
///
/// # Errors
/// When the host refuses, as for more than it keeps.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Outcome<()> {
    host::set_shared(key, value.as_ref(), 0).map_err(|refusal| cannot("set", key, refusal))
}

/// Sets a value if it is still the version that was read; false when it is not. A value that is not there yet has no
/// version to compare: of two that set it first, both succeed.
///
/// ```no_run
/// # use tidegate_sdk::{Outcome, shared};
/// /// Whether it is this instance that has the turn.
/// fn take_turn() -> Outcome<bool> {
///     let Some(turn) = shared::get("turn")? else { return Ok(false) };
///     shared::set_if("turn", b"taken", turn.version)
/// }
/// ```
///
/// # Errors
/// When the host refuses.
pub fn set_if(key: &str, value: impl AsRef<[u8]>, version: u32) -> Outcome<bool> {
    match host::set_shared(key, value.as_ref(), version) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.is(Status::CasMismatch) => Ok(false),
        Err(refusal) => Err(cannot("set", key, refusal)),
    }
}

/// Changes a value by a function of what is there, and again when somebody else was faster; returns what it is then.
///
/// ```no_run
/// # use tidegate_sdk::{Outcome, shared};
/// /// The longest path so far.
/// fn longest(path: &str) -> Outcome<Vec<u8>> {
///     shared::update("longest", |old| match old {
///         Some(old) if old.len() >= path.len() => old.to_vec(),
///         _ => path.as_bytes().to_vec(),
///     })
/// }
/// ```
///
/// # Errors
/// When the host refuses, or others were faster [`TRIES`] times.
pub fn update(key: &str, mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> Outcome<Vec<u8>> {
    for _ in 0..TRIES {
        let old = get(key)?;
        let new = change(old.as_ref().map(|old| old.value.as_slice()));
        if set_if(key, &new, old.map_or(0, |old| old.version))? {
            return Ok(new);
        }
    }
    Err(cannot("change", key, Status::CasMismatch.into()))
}

/// How often [`update`] tries.
pub const TRIES: usize = 32;

/// Sets a value that is there for a while only; read it by [`get_fresh`].
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::{Outcome, shared};
/// fn remember(token: &str) -> Outcome<bool> {
///     let known = shared::get_fresh(token)?.is_some();
///     if !known {
///         shared::put_for(token, b"", Duration::from_secs(300))?;
///     }
///     Ok(known)
/// }
/// ```
///
/// # Errors
/// When the host refuses.
pub fn put_for(key: &str, value: impl AsRef<[u8]>, lifetime: Duration) -> Outcome<()> {
    set(key, with_end(time::now().saturating_add(lifetime), value.as_ref()))
}

/// A value of [`put_for`] or [`add`], while it is there.
///
/// # Errors
/// When the host refuses.
pub fn get_fresh(key: &str) -> Outcome<Option<Vec<u8>>> {
    let found = get(key)?;
    Ok(found.and_then(|found| fresh(&found.value).map(|(_, value)| value.to_vec())))
}

/// Adds to a counter that begins at 0 and ends some time after it began; returns its value. All instances count together.
///
/// # Errors
/// When the host refuses, or others were faster [`TRIES`] times.
pub fn add(key: &str, amount: u64, lifetime: Duration) -> Outcome<u64> {
    let mut count = 0;
    update(key, |old| {
        let (end, before) = match old.and_then(fresh) {
            Some((end, value)) => (end, value.try_into().map_or(0, u64::from_le_bytes)),
            None => (time::now().saturating_add(lifetime), 0),
        };
        count = before.saturating_add(amount);
        with_end(end, &count.to_le_bytes())
    })?;
    Ok(count)
}

/// Eight bytes of when it ends, in nanoseconds since 1970, then the value.
fn with_end(end: Duration, value: &[u8]) -> Vec<u8> {
    let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
    let mut bytes = Vec::with_capacity(8 + value.len());
    bytes.extend_from_slice(&end.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn fresh(bytes: &[u8]) -> Option<(Duration, &[u8])> {
    let (end, value) = bytes.split_first_chunk()?;
    let end = Duration::from_nanos(u64::from_le_bytes(*end));
    (time::now() < end).then_some((end, value))
}

#[cold]
fn cannot(verb: &str, key: &str, refusal: host::Refusal) -> Error {
    Error::refused(format!("{verb} the shared value {key:?}"), refusal)
}
