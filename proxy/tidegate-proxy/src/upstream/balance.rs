//! The choice of a server. Pure: loads and random numbers come in.

use std::cell::{Cell, RefCell};

use tidegate_config::plan::Balance;

/// Chooses among the servers of a cluster for one worker.
#[derive(Debug)]
pub(crate) struct Balancer {
    method: Balance,
    weights: Vec<u32>,
    total: u64,
    /// Smooth weighted round robin: the current weight of each.
    turns: RefCell<Vec<i64>>,
    random: Random,
}

impl Balancer {
    /// `seed` makes workers differ from each other.
    pub(crate) fn new(method: Balance, weights: Vec<u32>, seed: u64) -> Self {
        let total = weights.iter().map(|&w| u64::from(w)).sum();
        let turns = RefCell::new(vec![0; weights.len()]);
        Self { method, weights, total, turns, random: Random::new(seed) }
    }

    /// A server that has a weight and that `tried` does not have, or, when it has all, any that has a weight.
    /// `load` is the number of requests in flight at a server.
    pub(crate) fn pick(&self, load: impl Fn(usize) -> u32, tried: &[usize]) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        if self.weights.len() == 1 {
            return Some(0);
        }
        if tried.is_empty() {
            return self.pick_among(load, |_| true);
        }
        self.pick_among(&load, |i| !tried.contains(&i)).or_else(|| self.pick_among(load, |_| true))
    }

    /// A server that has a weight and is `wanted`, if there is one.
    pub(crate) fn pick_among(
        &self,
        load: impl Fn(usize) -> u32,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let allowed = |i: usize| self.weights.get(i).is_some_and(|&w| w > 0) && wanted(i);
        match self.method {
            Balance::RoundRobin => self.next_turn(allowed),
            Balance::Random => self.by_weight(allowed),
            Balance::LeastRequest => {
                let a = self.by_weight(allowed)?;
                // A different one, so that a stuck server is never both.
                let Some(b) = self.by_weight(|i| i != a && allowed(i)) else { return Some(a) };
                // Loads are compared per unit of weight, without dividing.
                let cost = |i: usize, j: usize| {
                    u64::from(load(i)) * u64::from(self.weights.get(j).copied().unwrap_or(1))
                };
                Some(if cost(b, a) < cost(a, b) { b } else { a })
            }
        }
    }

    fn next_turn(&self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut turns = self.turns.borrow_mut();
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (i, (turn, &weight)) in turns.iter_mut().zip(&self.weights).enumerate() {
            if !allowed(i) {
                continue;
            }
            *turn += i64::from(weight);
            total += i64::from(weight);
            best = Some(i);
        }
        for i in 0..turns.len() {
            if allowed(i)
                && best.is_none_or(|b| turns.get(i) > turns.get(b) || (turns.get(i) == turns.get(b) && i < b))
            {
                best = Some(i);
            }
        }
        let chosen = best?;
        if let Some(turn) = turns.get_mut(chosen) {
            *turn -= total;
        }
        Some(chosen)
    }

    fn by_weight(&self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        // Almost always the first draw is allowed; the walk below is for the rest.
        let mut at = self.random.below(self.total);
        let mut drawn = 0;
        for (i, &weight) in self.weights.iter().enumerate() {
            if at < u64::from(weight) {
                drawn = i;
                break;
            }
            at -= u64::from(weight);
        }
        let n = self.weights.len();
        (drawn..n).chain(0..drawn).find(|&i| allowed(i))
    }
}

/// Random numbers that are good enough to spread load (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// The next one.
    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One below `limit`, which is not zero.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        // The upper half of a 128-bit product is even enough for limits far below 2^64.
        u64::try_from((u128::from(self.next()) * u128::from(limit)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(balancer: &Balancer, picks: usize, n: usize) -> Vec<usize> {
        let mut counts = vec![0; n];
        for _ in 0..picks {
            counts[balancer.pick(|_| 0, &[]).expect("has servers")] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_follows_weights_exactly_and_smoothly() {
        let balancer = Balancer::new(Balance::RoundRobin, vec![5, 1, 1], 1);
        let order: Vec<_> = (0..7).map(|_| balancer.pick(|_| 0, &[]).expect("has servers")).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(counts(&balancer, 700, 3), [500, 100, 100]);
    }

    #[test]
    fn random_follows_weights_roughly() {
        let counts = counts(&Balancer::new(Balance::Random, vec![3, 1, 0], 7), 40_000, 3);
        assert!((29_000..31_000).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn least_request_prefers_the_idle_one() {
        let balancer = Balancer::new(Balance::LeastRequest, vec![1, 1], 3);
        let to_idle =
            (0..1000).filter(|_| balancer.pick(|i| if i == 0 { 9 } else { 0 }, &[]) == Some(1)).count();
        assert_eq!(to_idle, 1000);
    }

    #[test]
    fn a_tried_server_is_left_out_while_there_is_another() {
        for method in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
            let balancer = Balancer::new(method, vec![1, 1, 1], 5);
            for _ in 0..100 {
                assert_eq!(balancer.pick(|_| 0, &[0, 2]), Some(1), "{method:?}");
            }
            assert!(balancer.pick(|_| 0, &[0, 1, 2]).is_some(), "{method:?}");
        }
    }

    #[test]
    fn nothing_without_weight() {
        assert_eq!(Balancer::new(Balance::Random, vec![0, 0], 5).pick(|_| 0, &[]), None);
        assert_eq!(Balancer::new(Balance::Random, vec![], 5).pick(|_| 0, &[]), None);
    }
}
