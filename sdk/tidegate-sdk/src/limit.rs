//! Limits of rates, quotas, and of what goes on at the same time.
//!
//! In Tidegate all workers count together, exactly, and a reload of the configuration keeps the counts. What a request
//! holds of [`Limit::at_once`] is given back when it is over, whatever became of it.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::limit::{self, Ask, Limit};
//! use tidegate_sdk::{Flow, Reply, Request, Result};
//!
//! async fn check(request: &Request) -> Result<Flow> {
//!     let limit = Limit::sliding(100, Duration::from_secs(1));
//!     let client = request.properties().source().ip().unwrap_or_default();
//!     let taken = limit::take(&[Ask::new(&limit, client.as_bytes())])?;
//!     if !taken.allowed() {
//!         return Ok(Reply::text(429, "too many requests").into());
//!     }
//!     Ok(Flow::Continue)
//! }
//! ```
//!
//! Other hosts have no such function. There the counts are [`shared`](crate::shared) data, changed by
//! compare-and-swap: still common to all workers, but slower; of two workers that are the first ever to take from a key at
//! the same moment one is not counted; several limits are asked one after the other; and what is held at the same time is
//! given back when the [`Permit`] is dropped, so keep it in the request's [`State`](crate::Filter::State).

mod asks;
mod fallback;

use std::cell::Cell;

use tidegate_abi::Status;
use tidegate_limiter::wire::{self, Act};
pub use tidegate_limiter::{Algorithm, Limit, NEVER, Verdict, wire::Entry};

pub use asks::Asks;

use crate::{Error, Outcome, host};

/// A limit that is asked, for whom, and for how much.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate_sdk::limit::{self, Ask, Limit};
///
/// fn upload(tenant: &[u8], bytes: u64) -> tidegate_sdk::Outcome<bool> {
///     let (each, watched) = (Limit::sliding(1 << 20, Duration::from_secs(1)), Limit::at_once(10));
///     let asks = [Ask::new(&each, tenant).cost(bytes), Ask::new(&watched, tenant).advisory()];
///     Ok(limit::take(&asks)?.allowed())
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Ask<'a> {
    limit: &'a Limit,
    key: &'a [u8],
    cost: u64,
    advisory: bool,
}

impl<'a> Ask<'a> {
    /// One unit of a limit. Each key has a count of its own; it belongs to the plugin, so filters with several limits begin
    /// it with a name.
    pub const fn new(limit: &'a Limit, key: &'a [u8]) -> Self {
        Ask { limit, key, cost: 1, advisory: false }
    }

    /// More units than one, or none.
    pub const fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// Its refusal does not keep the others from being taken: for limits that are only watched.
    pub const fn advisory(mut self) -> Self {
        self.advisory = true;
        self
    }
}

/// What became of [`take`].
#[derive(Debug, Default)]
pub struct Taken {
    /// For each limit, in order, what is left of it.
    pub verdicts: Vec<Verdict>,
    /// Whether each that is not advisory has allowed it, so that something was taken.
    allowed: bool,
    /// What is held until the request is over.
    pub permit: Permit,
}

impl Taken {
    /// Whether it may go on.
    pub fn allowed(&self) -> bool {
        self.allowed
    }
}

/// What a request holds of limits for what goes on at the same time. Keep it as long as the request lasts; Tidegate itself
/// does, so that there it has nothing to do.
///
/// ```no_run
/// use std::cell::Cell;
/// use tidegate_sdk::limit::{self, Ask, Limit, Permit};
/// use tidegate_sdk::{Filter, Flow, NoConfig, Reply, Request, Result, filter};
///
/// struct Few;
///
/// #[filter]
/// impl Filter for Few {
///     type State = Cell<Permit>;
///
///     fn new(_: NoConfig) -> Self {
///         Few
///     }
///
///     async fn on_request(&self, request: &mut Request<Cell<Permit>>) -> Result<Flow> {
///         let taken = limit::take(&[Ask::new(&Limit::at_once(10), b"all")])?;
///         if !taken.allowed() {
///             return Ok(Reply::text(503, "too many at once").into());
///         }
///         request.state().set(taken.permit);
///         Ok(Flow::Continue)
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct Permit(Option<Box<fallback::Held>>);

impl Permit {
    /// Whether dropping it gives something back.
    pub fn is_needed(&self) -> bool {
        self.0.is_some()
    }
}

/// Takes from all these limits, or from none if one of them refuses.
///
/// # Errors
/// When the host refuses: a limit of zero units or without a period, a key over 16 KiB, more than 32 limits, a limit of
/// what goes on at the same time outside of a request.
pub fn take(asks: &[Ask<'_>]) -> Outcome<Taken> {
    if !is_exact() {
        return fallback::take(asks);
    }
    let verdicts = ask(Act::Take, asks)?;
    let allowed = asks.iter().zip(&verdicts).all(|(ask, verdict)| verdict.allowed || ask.advisory);
    Ok(Taken { verdicts, allowed, permit: Permit::default() })
}

/// What is left of these limits; nothing is taken.
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::limit::{self, Ask, Limit};
/// # fn left(client: &[u8]) -> tidegate_sdk::Outcome<u64> {
/// let limit = Limit::sliding(100, Duration::from_secs(60));
/// let verdicts = limit::look(&[Ask::new(&limit, client)])?;
/// let left = verdicts.first().map_or(0, |verdict| verdict.remaining);
/// # Ok(left)
/// # }
/// ```
///
/// # Errors
/// As for [`take`].
pub fn look(asks: &[Ask<'_>]) -> Outcome<Vec<Verdict>> {
    if is_exact() { ask(Act::Look, asks) } else { fallback::look(asks) }
}

/// Takes units afterwards, whether they are there or not, or gives some back: for costs that are known late. Not for
/// limits of what goes on at the same time.
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::limit::{self, Limit};
/// # fn settle(client: &[u8], cost: i64) -> tidegate_sdk::Outcome<()> {
/// // One was taken when the request came; its answer says what it did cost.
/// limit::charge(&Limit::sliding(1000, Duration::from_secs(60)), client, cost - 1)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As for [`take`].
pub fn charge(limit: &Limit, key: &[u8], cost: i64) -> Outcome<Verdict> {
    if !is_exact() {
        return fallback::charge(limit, key, cost);
    }
    let mut question = Vec::with_capacity(64 + key.len());
    wire::begin(Act::Charge, &mut question);
    if !wire::add(limit, cost, false, &mut question, |out| out.extend_from_slice(key)) {
        return Err(refused(Status::BadArgument.into()));
    }
    let answer = host::foreign(wire::FUNCTION, &question).map_err(refused)?;
    wire::verdicts(&answer).next().ok_or_else(|| refused(Status::ParseFailure.into()))
}

/// Gives back what this request holds of a limit for what goes on at the same time, before it is over. In hosts other than
/// Tidegate drop the [`Permit`].
///
/// # Errors
/// As for [`take`].
pub fn leave(limit: &Limit, key: &[u8]) -> Outcome<()> {
    if is_exact() { ask(Act::Leave, &[Ask::new(limit, key)]).map(drop) } else { Ok(()) }
}

/// Whether the host itself counts, for all workers together.
pub fn is_exact() -> bool {
    thread_local! {
        static EXACT: Cell<Option<bool>> = const { Cell::new(None) };
    }
    EXACT.get().unwrap_or_else(|| {
        let exact = ask(Act::Look, &[Ask::new(&Limit::at_once(1), b"")]).is_ok();
        EXACT.set(Some(exact));
        exact
    })
}

fn ask(act: Act, asks: &[Ask<'_>]) -> Outcome<Vec<Verdict>> {
    let mut question = Vec::with_capacity(1 + asks.iter().map(|ask| 36 + ask.key.len()).sum::<usize>());
    wire::begin(act, &mut question);
    for ask in asks {
        let cost = i64::try_from(ask.cost).unwrap_or(i64::MAX);
        if !wire::add(ask.limit, cost, ask.advisory, &mut question, |out| out.extend_from_slice(ask.key)) {
            return Err(refused(Status::BadArgument.into()));
        }
    }
    let answer = host::foreign(wire::FUNCTION, &question).map_err(refused)?;
    Ok(wire::verdicts(&answer).collect())
}

#[cold]
fn refused(refusal: host::Refusal) -> Error {
    Error::refused("ask a limit", refusal)
}
