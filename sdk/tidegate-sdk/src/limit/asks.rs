//! Limits that are asked together, written in the form in which the host takes them.

use tidegate_abi::Status;
use tidegate_limiter::wire::{self, Act, Entry, Question};

use super::{Ask, Limit, Permit, Verdict, fallback, is_exact, refused};
use crate::{Outcome, host};

/// What is asked of several limits, with its keys. One that is cleared and filled again for each request allocates
/// nothing, and copies no key.
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::limit::{Asks, Limit};
/// # fn check(asks: &mut Asks, tenant: &[u8]) -> tidegate_sdk::Outcome<bool> {
/// asks.clear();
/// asks.add(&Limit::sliding(100, Duration::from_secs(1)), 1, false, |key| {
///     key.extend_from_slice(tenant);
///     true
/// })?;
/// let mut allowed = true;
/// asks.take(|verdict| allowed &= verdict.allowed)?;
/// # Ok(allowed)
/// # }
/// ```
#[derive(Debug, Default, Clone)]
pub struct Asks(Vec<u8>);

impl Asks {
    /// None.
    pub const fn new() -> Self {
        Asks(Vec::new())
    }

    /// Takes all out, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks for so many units of a limit as well; `advisory` as in [`Ask::advisory`]. `key` appends the key; where it says
    /// false, nothing is asked, and so does this.
    ///
    /// # Errors
    /// When the key is over 16 KiB; nothing is added then.
    pub fn add(
        &mut self,
        limit: &Limit,
        cost: u64,
        advisory: bool,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Outcome<bool> {
        self.write((limit, cost, advisory), false, key)
    }

    /// As [`Asks::add`], with the client's address behind the key: the host puts it there as
    /// `ip` of the source has it, which saves asking for it. Only where [`is_exact`] says so; for what is
    /// taken only, and not charged afterwards by [`Asks::entries`], whose keys lack it.
    ///
    /// # Errors
    /// As for [`Asks::add`].
    pub fn add_by_address(
        &mut self,
        limit: &Limit,
        cost: u64,
        advisory: bool,
        key: impl FnOnce(&mut Vec<u8>),
    ) -> Outcome<()> {
        let key = |out: &mut Vec<u8>| {
            key(out);
            true
        };
        self.write((limit, cost, advisory), true, key).map(drop)
    }

    /// Has the filter leave a request that is allowed, as [`Request::leave`](crate::Request::leave) does, which saves that
    /// call. Only where [`is_exact`] says so, and where anything is asked.
    pub fn leave_after(&mut self) {
        wire::leave_after(&mut self.0);
    }

    fn write(
        &mut self,
        (limit, cost, advisory): (&Limit, u64, bool),
        by_address: bool,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Outcome<bool> {
        let mut wanted = true;
        if self.0.is_empty() {
            wire::begin(Act::Take, &mut self.0);
        }
        let before = self.0.len();
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let key = |out: &mut Vec<u8>| wanted = key(out);
        let fits = match by_address {
            true => wire::add_by_address(limit, cost, advisory, &mut self.0, key),
            false => wire::add(limit, cost, advisory, &mut self.0, key),
        };
        if !wanted || !fits {
            // Of a question nothing is left but its act.
            self.0.truncate(if before == 1 { 0 } else { before });
        }
        if wanted && !fits { Err(refused(Status::BadArgument.into())) } else { Ok(wanted) }
    }

    /// What is asked, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        Question::read(&self.0).into_iter().flat_map(|question| question.entries())
    }

    /// Takes from all these limits, or from none if one of them refuses, as [`take`](super::take) does; hands the verdict
    /// on each to `tell`, in order.
    ///
    /// # Errors
    /// As for [`take`](super::take).
    pub fn take(&self, mut tell: impl FnMut(Verdict)) -> Outcome<Permit> {
        if !is_exact() {
            return self.take_elsewhere(tell);
        }
        let answer = host::foreign(wire::FUNCTION, &self.0).map_err(refused)?;
        wire::verdicts(&answer).for_each(&mut tell);
        Ok(Permit::default())
    }

    #[cold]
    fn take_elsewhere(&self, tell: impl FnMut(Verdict)) -> Outcome<Permit> {
        let entries: Vec<Entry<'_>> = self.entries().collect();
        // What only an exact host understands is no question here; nothing asked would be everything allowed.
        if entries.is_empty() && !self.is_empty() {
            return Err(refused(Status::BadArgument.into()));
        }
        let asks: Vec<Ask<'_>> = entries
            .iter()
            .map(|entry| Ask {
                limit: &entry.limit,
                key: entry.key,
                cost: entry.cost.unsigned_abs(),
                advisory: entry.advisory,
            })
            .collect();
        let taken = fallback::take(&asks)?;
        taken.verdicts.into_iter().for_each(tell);
        Ok(taken.permit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_wanted_leaves_nothing() {
        let (limit, mut asks) = (Limit::sliding(1, Duration::from_secs(1)), Asks::new());
        let add = |asks: &mut Asks, key: &[u8], wanted: bool| {
            asks.add(&limit, 2, true, |out| {
                out.extend_from_slice(key);
                wanted
            })
        };
        assert!(!add(&mut asks, b"a", false).unwrap() && asks.is_empty());
        assert!(add(&mut asks, &[0; wire::KEY_BYTES + 1], true).is_err() && asks.is_empty());
        assert!(add(&mut asks, b"b", true).unwrap() && add(&mut asks, b"", true).unwrap());
        assert!(!add(&mut asks, b"c", false).unwrap());
        let keys: Vec<_> = asks.entries().map(|entry| (entry.key, entry.cost, entry.advisory)).collect();
        assert_eq!(keys, [(&b"b"[..], 2, true), (b"", 2, true)]);
        asks.clear();
        assert_eq!(asks.entries().count(), 0);
    }

    #[test]
    fn what_only_an_exact_host_understands_is_refused_elsewhere() {
        let limit = Limit::sliding(1, Duration::from_secs(1));
        let mut asks = Asks::new();
        asks.add_by_address(&limit, 1, false, |key| key.push(b'a')).unwrap();
        let taken = asks.take_elsewhere(|_| panic!("nobody was asked"));
        assert!(taken.is_err(), "it would pass every request");
    }
}
