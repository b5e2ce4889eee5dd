//! Properties of the algorithms, in times that are made up: a generator of numbers with a fixed seed.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(nanoseconds: u64) -> Moment {
    Moment { monotonic: nanoseconds, wall: nanoseconds + 86_400 * SECOND * 20_000 }
}

fn limit(algorithm: Algorithm, units: u64, period: u64, burst: u64) -> Limit {
    Limit { algorithm, units, period, burst }
}

/// Numbers that look random (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Asks at many moments, and gives back when how much was allowed.
fn run(limit: &Limit, gap: u64, costs: u64, seed: u64) -> Vec<(u64, u64)> {
    let (mut numbers, mut state, mut now) = (Numbers(seed), State::new(limit), 0);
    let mut taken = Vec::new();
    for _ in 0..20_000 {
        now += numbers.below(gap);
        let cost = 1 + numbers.below(costs);
        if state.take(limit, cost, at(now)).allowed {
            taken.push((now, cost));
        }
    }
    taken
}

/// The most that was taken within any window of this length.
fn most_within(taken: &[(u64, u64)], window: u64) -> u64 {
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for (now, cost) in taken {
        sum += cost;
        while taken[first].0 + window <= *now {
            sum -= taken[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

#[test]
fn a_sliding_window_never_holds_more_than_the_limit() {
    for seed in 1..20 {
        for (units, gap, costs) in [(10, SECOND / 20, 1), (100, SECOND / 5000, 5), (1000, SECOND / 20_000, 1)]
        {
            let limit = limit(Algorithm::SlidingWindow, units, SECOND, 0);
            let taken = run(&limit, gap, costs, seed);
            assert!(most_within(&taken, SECOND) <= units, "{units} seed {seed}");
        }
    }
}

#[test]
fn a_sliding_window_gives_all_of_the_limit() {
    for units in [1, 7, 256, 257, 1000, 5000] {
        let limit = limit(Algorithm::SlidingWindow, units, SECOND, 0);
        let mut state = State::new(&limit);
        // 20,000 a second for ten windows; beyond 256 units each window may begin late by a 256th.
        let allowed = |second: u64, state: &mut State| {
            (0..20_000).filter(|n| state.take(&limit, 1, at(second * SECOND + n * 50_000)).allowed).count()
        };
        let counts: Vec<_> = (0..10).map(|second| allowed(second, &mut state)).collect();
        assert_eq!(counts.iter().sum::<usize>() as u64, units * 10, "{counts:?}");
        assert!(counts.iter().all(|count| *count as u64 == units), "{counts:?}");
    }
}

#[test]
fn a_token_bucket_gives_its_burst_and_what_flows_in() {
    for seed in 1..20 {
        for (units, burst) in [(100, 1), (3, 10), (1000, 50)] {
            let limit = limit(Algorithm::TokenBucket, units, SECOND, burst);
            let taken = run(&limit, SECOND / 3000, 1, seed);
            for window in [SECOND / 10, SECOND, 5 * SECOND] {
                let flows = units * window / SECOND;
                assert!(most_within(&taken, window) <= burst + flows, "{units} burst {burst}, {window}");
            }
        }
    }
    let limit = limit(Algorithm::TokenBucket, 3, SECOND, 3);
    let mut state = State::new(&limit);
    let allowed = (0..3_000_000u64).filter(|n| state.take(&limit, 1, at(n * 10_000)).allowed).count();
    assert_eq!(allowed, 3 + 3 * 30 - 1, "thirds of a second are not rounded");
}

#[test]
fn fixed_windows_begin_with_the_clock() {
    let day = 86_400 * SECOND;
    let limit = limit(Algorithm::FixedWindow, 2, day, 0);
    let mut state = State::new(&limit);
    let evening = Moment { monotonic: 5, wall: day * 20_000 - SECOND };
    let morning = Moment { monotonic: 6, wall: day * 20_000 };
    assert!(state.take(&limit, 2, evening).allowed);
    let refused = state.take(&limit, 1, evening);
    assert_eq!((refused.allowed, refused.remaining, refused.retry_after), (false, 0, SECOND));
    assert!(state.take(&limit, 1, morning).allowed);
    // A thread whose clock is a little behind does not bring the old day back.
    assert_eq!(state.take(&limit, 1, evening).remaining, 0);
    assert!(!state.take(&limit, 1, morning).allowed);
    assert_eq!(state.take(&limit, 3, morning).retry_after, NEVER);
}

#[test]
fn what_is_held_is_given_back() {
    let limit = limit(Algorithm::Concurrency, 2, 0, 0);
    let mut state = State::new(&limit);
    assert!(state.take(&limit, 1, at(0)).allowed && state.take(&limit, 1, at(0)).allowed);
    assert_eq!(state.take(&limit, 1, at(0)), Verdict { retry_after: NEVER, ..Verdict::default() });
    assert_eq!(state.rest(at(SECOND)), None);
    state.charge(&limit, -1, at(0));
    assert!(state.take(&limit, 1, at(0)).allowed);
    state.charge(&limit, -5, at(0));
    assert!(state.is_over(at(0)));
}

#[test]
fn the_wait_that_is_told_is_enough_and_not_too_long() {
    for limit in [
        limit(Algorithm::SlidingWindow, 20, SECOND, 0),
        limit(Algorithm::TokenBucket, 7, SECOND, 5),
        limit(Algorithm::FixedWindow, 20, SECOND, 0),
    ] {
        let (mut state, mut now) = (State::new(&limit), 1);
        let mut numbers = Numbers(7);
        for _ in 0..2000 {
            now += numbers.below(SECOND / 50);
            let cost = 1 + numbers.below(4);
            let verdict = state.take(&limit, cost, at(now));
            if !verdict.allowed {
                let early = state.clone().look(&limit, cost, at(now + verdict.retry_after - 1));
                assert!(!early.allowed, "{limit:?}");
                assert!(state.clone().look(&limit, cost, at(now + verdict.retry_after)).allowed, "{limit:?}");
            }
            let all = state.clone().look(&limit, limit.capacity(), at(now + verdict.reset));
            assert!(all.allowed && state.clone().rest(at(now)).is_some_and(|rest| rest <= verdict.reset));
        }
    }
}

#[test]
fn what_is_charged_afterwards_counts() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::TokenBucket, Algorithm::FixedWindow] {
        let limit = limit(algorithm, 10, SECOND, 10);
        let mut state = State::new(&limit);
        assert!(state.take(&limit, 1, at(0)).allowed);
        state.charge(&limit, 14, at(0));
        let refused = state.take(&limit, 1, at(0));
        assert_eq!((refused.allowed, refused.remaining), (false, 0), "{algorithm:?}");
        state.charge(&limit, -12, at(0));
        assert_eq!(state.look(&limit, 7, at(0)).remaining, 7, "{algorithm:?}");
        state.charge(&limit, -100, at(0));
        assert_eq!(state.look(&limit, 10, at(0)).remaining, 10, "{algorithm:?}");
    }
}

#[test]
fn a_changed_limit_keeps_what_was_taken() {
    let small = limit(Algorithm::TokenBucket, 10, SECOND, 10);
    let mut state = State::new(&small);
    state.charge(&small, 5, at(0));
    let verdict = state.look(&limit(Algorithm::TokenBucket, 20, SECOND, 20), 1, at(0));
    assert_eq!((verdict.remaining, verdict.reset), (10, SECOND / 2));
    let mut state = State::new(&limit(Algorithm::SlidingWindow, 10, SECOND, 0));
    state.charge(&limit(Algorithm::SlidingWindow, 10, SECOND, 0), 5, at(0));
    assert_eq!(state.look(&limit(Algorithm::SlidingWindow, 20, SECOND, 0), 1, at(0)).remaining, 15);
    assert_eq!(state.look(&limit(Algorithm::FixedWindow, 20, SECOND, 0), 1, at(0)).remaining, 20);
}

#[test]
fn bytes_come_back_as_they_were() {
    for algorithm in [1, 2, 3, 4].map(|number| Algorithm::from_number(number).unwrap()) {
        let limit = limit(algorithm, 1000, SECOND, 10);
        let mut state = State::new(&limit);
        (0..5).for_each(|n| state.charge(&limit, 1 + n, at(1_000_000 + n.unsigned_abs() * SECOND / 10)));
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        assert_eq!(State::decode(&bytes), Some(state), "{algorithm:?}");
        assert_eq!(State::decode(&bytes[..bytes.len() - 1]), None, "{algorithm:?}");
    }
    assert_eq!(State::decode(b""), None);
    assert_eq!(State::decode(b"\x09"), None);
}

#[test]
fn a_log_stays_small() {
    let limit = limit(Algorithm::SlidingWindow, 100, 86_400 * SECOND, 0);
    let mut state = State::new(&limit);
    (0..100_000).for_each(|n| state.charge(&limit, 1, at(n * 1000)));
    assert!(state.heap_bytes() <= 16 * 1024, "{}", state.heap_bytes());
    assert!(limit.is_sound() && !Limit { units: 0, ..limit }.is_sound());
}
