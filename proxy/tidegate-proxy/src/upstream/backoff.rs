//! How long to wait before another attempt.

use std::time::Duration;

use tidegate_config::plan::Retries;

use crate::upstream::balance::Random;

/// The wait after that many failures: exponential, with jitter. None for the first retry, which goes at once: most
/// failures are one closed connection.
pub(crate) fn before_retry(retries: &Retries, failures: usize, random: &Random) -> Option<Duration> {
    let doubled = retries.backoff_base.saturating_mul(1 << failures.saturating_sub(2).min(16));
    let most = doubled.min(retries.backoff_max);
    if failures < 2 || most.is_zero() {
        return None;
    }
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Some(Duration::from_millis(random.below(millis) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_after_a_first_retry_at_once() {
        let (base, max) = (Duration::from_millis(20), Duration::from_millis(100));
        let retries = Retries { backoff_base: base, backoff_max: max, ..Retries::default() };
        let random = Random::new(7);
        assert_eq!(before_retry(&retries, 1, &random), None);
        for (failures, most) in [(2, 20), (3, 40), (4, 80), (5, 100), (60, 100)] {
            for _ in 0..50 {
                let wait = before_retry(&retries, failures, &random).expect("it waits");
                assert!(!wait.is_zero() && wait <= Duration::from_millis(most), "{failures}: {wait:?}");
            }
        }
    }
}
