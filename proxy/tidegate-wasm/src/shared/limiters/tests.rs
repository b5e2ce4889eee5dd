//! Limiters as several threads and streams use them.

use super::*;
use crate::{Shared, shared::Space};
use std::thread;

const SECOND: u64 = 1_000_000_000;
const TEN: Limit = Limit { algorithm: Algorithm::SlidingWindow, units: 10, period: SECOND, burst: 0 };
const TWO_AT_ONCE: Limit = Limit { algorithm: Algorithm::Concurrency, units: 2, period: 0, burst: 0 };

fn at(nanoseconds: u64) -> Moment {
    Moment { monotonic: nanoseconds, wall: nanoseconds }
}

/// Limits with their keys, costs, and whether they only advise.
type Entries<'a> = &'a [(Limit, &'a str, i64, bool)];

fn ask(
    space: &Space,
    act: Act,
    entries: Entries<'_>,
    now: u64,
    leases: Option<&mut Vec<Lease>>,
) -> Result<Vec<Verdict>, Status> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    wire::begin(act, &mut bytes);
    for (limit, key, cost, advisory) in entries {
        assert!(wire::add(limit, *cost, *advisory, &mut bytes, |out| out.extend_from_slice(key.as_bytes())));
    }
    space.limit(&Question::read(&bytes).unwrap(), at(now), leases, &mut out)?;
    Ok(wire::verdicts(&out).collect())
}

fn take(space: &Space, key: &str, now: u64) -> bool {
    ask(space, Act::Take, &[(TEN, key, 1, false)], now, None).unwrap()[0].allowed
}

#[test]
fn all_threads_together_take_exactly_the_limit() {
    let shared = Arc::new(Shared::new());
    let limit = Limit { units: 5000, ..TEN };
    let worker = || {
        let space = Space::open(shared.clone(), "p", "");
        let entries = [(limit, "everyone", 1, false)];
        (0..10_000).filter(|n| ask(&space, Act::Take, &entries, *n, None).unwrap()[0].allowed).count()
    };
    let taken: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken, 5000);
}

#[test]
fn counts_belong_to_the_name_and_outlive_who_counted() {
    let shared = Arc::new(Shared::new());
    let space = Space::open(shared.clone(), "one", "");
    assert!((0..10).all(|_| take(&space, "k", 0)) && !take(&space, "k", 0));
    assert!(take(&Space::open(shared.clone(), "other", ""), "k", 0) && take(&space, "l", 0));
    drop(space);
    assert!(!take(&Space::open(shared.clone(), "one", ""), "k", SECOND - 1));
    assert!(take(&Space::open(shared.clone(), "one", ""), "k", SECOND));
    let counts = LimiterCounts { keys: 1, evicted: 0 };
    assert_eq!(shared.limiters()[1], ("other".to_owned(), counts));
}

#[test]
fn several_limits_are_taken_together_or_not_at_all() {
    let space = Space::open(Arc::new(Shared::new()), "p", "");
    let both = [(TEN, "wide", 1, false), (Limit { units: 2, ..TEN }, "narrow", 1, false)];
    for _ in 0..5 {
        ask(&space, Act::Take, &both, 0, None).unwrap();
    }
    let wide = ask(&space, Act::Look, &both[..1], 0, None).unwrap();
    assert_eq!(wide[0].remaining, 8, "what the narrow one refused was not taken of the wide one");
    let advised = [both[0], (both[1].0, "narrow", 1, true)];
    let verdicts = ask(&space, Act::Take, &advised, 0, None).unwrap();
    assert_eq!((verdicts[0].allowed, verdicts[0].remaining, verdicts[1].allowed), (true, 7, false));
}

#[test]
fn what_a_stream_holds_is_given_back_with_it() {
    let space = Space::open(Arc::new(Shared::new()), "p", "");
    let entry = [(TWO_AT_ONCE, "k", 1, false)];
    let enter = |leases: &mut Vec<Lease>| ask(&space, Act::Take, &entry, 0, Some(leases)).unwrap()[0].allowed;
    let (mut one, mut two, mut three) = (Vec::new(), Vec::new(), Vec::new());
    assert!(enter(&mut one) && enter(&mut two) && !enter(&mut three));
    assert!(three.is_empty());
    drop(one);
    assert!(enter(&mut three));
    ask(&space, Act::Leave, &entry, 0, Some(&mut two)).unwrap();
    assert!(enter(&mut two));
    drop((two, three));
    assert_eq!(space.shared().limiters()[0].1.keys, 0);
    assert_eq!(ask(&space, Act::Take, &entry, 0, None), Err(Status::NotFound));
    assert_eq!(ask(&space, Act::Charge, &entry, 0, None), Err(Status::BadArgument));
}

#[test]
fn what_is_over_is_forgotten_first() {
    let space = Space::open(Arc::new(Shared::new()), "p", "");
    for second in 0..4 {
        for n in 0..SHARDS * KEYS / 2 {
            take(&space, &format!("{second} {n}"), second * 2 * SECOND);
        }
    }
    let counts = space.shared().limiters()[0].1;
    assert!(counts.keys <= SHARDS * KEYS && counts.evicted == 0, "{counts:?}");
}

#[test]
fn there_is_a_bound_for_keys_and_for_bytes() {
    let space = Space::open(Arc::new(Shared::new()), "p", "");
    let long = Limit { period: 1000 * SECOND, ..TEN };
    let key = |n: usize| format!("{n}{}", "x".repeat(n % 100));
    let last = SHARDS * KEYS * 3 / 2;
    for n in 0..=last {
        ask(&space, Act::Take, &[(long, &key(n), 1, false)], n as u64, None).unwrap();
    }
    let counts = space.shared().limiters()[0].1;
    assert!(counts.keys <= SHARDS * KEYS && counts.evicted > 0, "{counts:?}");
    // The newest, which last longest, are still known.
    let verdicts = ask(&space, Act::Look, &[(long, &key(last), 1, false)], last as u64, None).unwrap();
    assert_eq!(verdicts[0].remaining, 9);
    assert!(space.state.limiters.shards.iter().all(|shard| lock(shard).bytes <= BYTES));
}
