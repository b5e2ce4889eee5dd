//! Limits that several gateways have in common: counted in Redis, by one script in one round trip.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_sdk::limit::{Algorithm, Entry, NEVER, Verdict};
use tidegate_sdk::redis::{self, Reply};
use tidegate_sdk::{log, time};

use crate::config::Store;

const SCRIPT: &str = include_str!("limits.lua");

/// The SHA-1 of the script, by which Redis knows it (`sha1sum limits.lua`). Another one costs a second round trip.
const DIGEST: &str = "8dcf1029895148d55fcbe0764c2a906166fc6225";

/// Keys that are known to be exhausted.
const KNOWN: usize = 4096;

/// The store as one instance of the filter knows it.
#[derive(Default)]
pub(crate) struct Global {
    /// Until when a key has nothing left, in nanoseconds since 1970.
    exhausted: RefCell<BTreeMap<Vec<u8>, u64>>,
}

impl Global {
    /// Takes from all limits or from none; None: there is no answer. What is known to be exhausted is not asked about.
    pub(crate) async fn take(&self, store: &Store, asks: &[Entry<'_>]) -> Option<Vec<Verdict>> {
        if let Some(verdicts) = self.known(asks) {
            return Some(verdicts);
        }
        let verdicts = run(store, "take", asks).await?;
        let now = now();
        for (ask, verdict) in asks.iter().zip(&verdicts) {
            // With some left another, cheaper request might pass.
            if !verdict.allowed && !ask.advisory && verdict.remaining == 0 && verdict.retry_after != NEVER {
                self.note(ask.key, now.saturating_add(verdict.retry_after), now);
            }
        }
        Some(verdicts)
    }

    /// Takes or gives back afterwards.
    pub(crate) async fn charge(&self, store: &Store, ask: Entry<'_>) -> Option<Verdict> {
        run(store, "charge", &[ask]).await?.into_iter().next()
    }

    fn known(&self, asks: &[Entry<'_>]) -> Option<Vec<Verdict>> {
        let exhausted = self.exhausted.borrow();
        if exhausted.is_empty() {
            return None;
        }
        let now = now();
        let left = |ask: &Entry<'_>| {
            exhausted.get(ask.key).and_then(|until| until.checked_sub(now)).filter(|left| *left > 0)
        };
        asks.iter().any(|ask| !ask.advisory && left(ask).is_some()).then(|| {
            let verdict = |ask: &Entry<'_>| match left(ask) {
                Some(left) => Verdict { allowed: false, remaining: 0, reset: left, retry_after: left },
                None => Verdict { allowed: true, ..Verdict::default() },
            };
            asks.iter().map(verdict).collect()
        })
    }

    fn note(&self, key: &[u8], until: u64, now: u64) {
        let mut exhausted = self.exhausted.borrow_mut();
        if exhausted.len() >= KNOWN {
            exhausted.retain(|_, until| *until > now);
        }
        if exhausted.len() < KNOWN {
            exhausted.insert(key.to_vec(), until);
        }
    }
}

fn now() -> u64 {
    u64::try_from(time::now().as_nanos()).unwrap_or(u64::MAX)
}

async fn run(store: &Store, act: &str, asks: &[Entry<'_>]) -> Option<Vec<Verdict>> {
    let words = words(store, act, asks);
    let timeout = store.timeout.map_or(Duration::from_millis(100), |span| span.0);
    let send = |name: &str, script: &str| {
        let head = [name.as_bytes(), script.as_bytes()];
        let all: Vec<&[u8]> = head.into_iter().chain(words.iter().map(Vec::as_slice)).collect();
        redis::at(&store.upstream).command(&all).timeout(timeout).send()
    };
    let mut replies = send("EVALSHA", DIGEST).await;
    // A Redis that was started anew does not know the script.
    if matches!(replies.as_deref(), Ok([Reply::Error(why)]) if why.starts_with("NOSCRIPT")) {
        replies = send("EVAL", SCRIPT).await;
    }
    match replies.as_deref() {
        Ok([reply]) => {
            let verdicts = reply.list().and_then(|list| verdicts(list, asks.len()));
            if verdicts.is_none() {
                log::warn!("Redis at {} does not answer as it should: {:?}", store.upstream, reply);
            }
            verdicts
        }
        Ok(_) => None,
        Err(error) => {
            log::warn!("Redis at {} cannot be asked: {error}", store.upstream);
            None
        }
    }
}

fn words(store: &Store, act: &str, asks: &[Entry<'_>]) -> Vec<Vec<u8>> {
    let mut words = Vec::with_capacity(2 + asks.len() * 7);
    words.push(asks.len().to_string().into_bytes());
    let kind = |ask: &Entry<'_>| match ask.limit.algorithm {
        Algorithm::TokenBucket => "b",
        Algorithm::FixedWindow => "f",
        _ => "s",
    };
    for ask in asks {
        // Each kind keeps something else under a key.
        let prefix = store.prefix.as_deref().unwrap_or("tidegate:");
        words.push([prefix.as_bytes(), kind(ask).as_bytes(), b":", ask.key].concat());
    }
    words.push(act.into());
    for ask in asks {
        words.push(kind(ask).into());
        let micros = ask.limit.period / 1000;
        for number in [ask.limit.units, micros, ask.limit.burst] {
            words.push(number.to_string().into_bytes());
        }
        words.push(ask.cost.to_string().into_bytes());
        words.push(u8::from(ask.advisory).to_string().into_bytes());
    }
    words
}

fn verdicts(list: &[Reply], count: usize) -> Option<Vec<Verdict>> {
    let numbers: Vec<i64> = list.iter().map(Reply::integer).collect::<Option<_>>()?;
    let nanoseconds = |micros: i64| u64::try_from(micros).map_or(NEVER, |micros| micros.saturating_mul(1000));
    let verdict = |part: &[i64]| match part {
        [allowed, remaining, reset, wait] => Some(Verdict {
            allowed: *allowed == 1,
            remaining: u64::try_from(*remaining).unwrap_or(0),
            reset: nanoseconds(*reset),
            retry_after: nanoseconds(*wait),
        }),
        _ => None,
    };
    let verdicts: Vec<Verdict> = numbers.chunks(4).map(verdict).collect::<Option<_>>()?;
    (verdicts.len() == count).then_some(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_verdicts() {
        let list: Vec<_> = [1, 5, 2000, 0, 0, 0, 7, -1].map(Reply::Integer).into();
        let first = Verdict { allowed: true, remaining: 5, reset: 2_000_000, retry_after: 0 };
        let second = Verdict { allowed: false, remaining: 0, reset: 7000, retry_after: NEVER };
        assert_eq!(verdicts(&list, 2), Some(vec![first, second]));
        assert_eq!(verdicts(&list, 1), None);
        assert_eq!(verdicts(&[Reply::Nothing], 1), None);
    }
}
