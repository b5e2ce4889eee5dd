//! Servers that are worse than the others of their upstream are left out by all workers for a while. Pure: what was
//! counted and the time come in.
//!
//! A success rate is too low when it is so many standard deviations below the mean, as Envoy has it, or below the
//! median by the same measure: several servers that fail together pull the mean down and hide each other, the median
//! not. A latency is too high when it is so many times the median of the others.

pub(crate) mod tally;

use std::collections::HashMap;
use std::time::Duration;

use tidegate_config::plan::{Ejection, Latency, SuccessRate};

use tally::Counts;

/// Who is left out of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Outliers {
    servers: HashMap<usize, Outcast>,
}

#[derive(Debug, Default)]
struct Outcast {
    /// It is left out until then.
    until: Option<Duration>,
    /// How often in a row.
    times: u32,
    /// When it was taken back.
    back: Duration,
}

/// What makes a server worse than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Why {
    /// Its share of requests that succeed, and the least that would do.
    SuccessRate(f64, f64),
    /// How long its answers take, and the most that would do.
    Latency(Duration, Duration),
}

/// A server that is left out from now on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ejected {
    pub(crate) server: usize,
    pub(crate) time: Duration,
    pub(crate) why: Why,
}

impl Outliers {
    /// Servers whose time is over.
    pub(crate) fn back(&mut self, now: Duration) -> Vec<usize> {
        let mut back: Vec<usize> = Vec::new();
        for (&server, outcast) in &mut self.servers {
            if outcast.until.is_some_and(|until| until <= now) {
                (outcast.until, outcast.back) = (None, now);
                back.push(server);
            }
        }
        back.sort_unstable();
        back
    }

    /// Forgets servers that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(usize) -> bool) {
        self.servers.retain(|server, _| is_there(*server));
    }

    /// Compares what was counted of all servers since the last time. Those that are left out have no counts worth a look.
    pub(crate) fn judge(
        &mut self,
        rule: &Ejection,
        counted: &[(usize, Counts)],
        now: Duration,
    ) -> Vec<Ejected> {
        let Some(outliers) = &rule.outliers else { return Vec::new() };
        let is_out = |server: usize| self.servers.get(&server).is_some_and(|known| known.until.is_some());
        let looked: Vec<_> = counted.iter().filter(|(server, _)| !is_out(*server)).collect();
        let mut found = Vec::new();
        if let Some(rule) = &outliers.success_rate {
            found.extend(failing(&looked, rule));
        }
        if let Some(rule) = &outliers.latency {
            found.extend(slow(&looked, rule));
        }
        let mut out = self.servers.values().filter(|known| known.until.is_some()).count();
        let most = (counted.len() * rule.percent / 100).min(counted.len().saturating_sub(1));
        let mut ejected: Vec<Ejected> = Vec::new();
        for (server, why) in found {
            if out >= most || ejected.iter().any(|known| known.server == server) {
                continue;
            }
            out += 1;
            let outcast = self.servers.entry(server).or_default();
            // One that was well for longer than the longest time begins anew.
            if now.saturating_sub(outcast.back) > rule.max_time {
                outcast.times = 0;
            }
            let time = rule.time.saturating_mul(1 << outcast.times.min(16)).min(rule.max_time);
            outcast.times = outcast.times.saturating_add(1);
            outcast.until = Some(now + time);
            ejected.push(Ejected { server, time, why });
        }
        ejected
    }
}

/// The worst first.
fn failing(counted: &[&(usize, Counts)], rule: &SuccessRate) -> Vec<(usize, Why)> {
    let rate = |counts: &Counts| 1.0 - counts.failures as f64 / counts.requests.max(1) as f64;
    let mut rates: Vec<(usize, f64)> = counted
        .iter()
        .filter(|(_, counts)| counts.requests >= rule.requests)
        .map(|(server, counts)| (*server, rate(counts)))
        .collect();
    if rates.len() < rule.servers {
        return Vec::new();
    }
    rates.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let n = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / n;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / n;
    let deviations = f64::from(rule.deviations) / 1000.0;
    let sorted: Vec<f64> = rates.iter().map(|(_, rate)| *rate).collect();
    let median = middle(&sorted);
    let mut distances: Vec<f64> = sorted.iter().map(|rate| (rate - median).abs()).collect();
    distances.sort_by(f64::total_cmp);
    // For what is spread normally, 1.4826 times the median distance is the standard deviation.
    let spread = (1.4826 * middle(&distances)).max(LEAST_DEVIATION);
    let least = (mean - deviations * variance.sqrt()).max(median - deviations * spread);
    rates
        .into_iter()
        .filter(|(_, rate)| *rate < least && *rate < 1.0)
        .map(|(server, rate)| (server, Why::SuccessRate(rate, least)))
        .collect()
}

/// The slowest first.
fn slow(counted: &[&(usize, Counts)], rule: &Latency) -> Vec<(usize, Why)> {
    let mut times: Vec<(usize, f64)> = counted
        .iter()
        .filter(|(_, counts)| counts.requests >= rule.requests)
        .filter_map(|(server, counts)| Some((*server, counts.quantile(rule.quantile)?.as_secs_f64())))
        .collect();
    if times.len() < rule.servers.max(2) {
        return Vec::new();
    }
    times.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let factor = f64::from(rule.factor) / 1000.0;
    let mut found = Vec::new();
    for (at, (server, time)) in times.iter().enumerate() {
        let mut others: Vec<f64> =
            times.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, (_, time))| *time).collect();
        others.reverse();
        let most = (middle(&others) * factor).max(rule.least.as_secs_f64());
        if *time > most {
            let time = Duration::from_secs_f64(*time);
            found.push((*server, Why::Latency(time, Duration::from_secs_f64(most))));
        }
    }
    found
}

/// The median of what is sorted.
fn middle(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => at(n / 2),
        n => (at(n / 2 - 1) + at(n / 2)) / 2.0,
    }
}

/// The standard deviation that is taken where servers hardly differ: a single failure makes none an outlier.
const LEAST_DEVIATION: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::plan;

    fn rule() -> Ejection {
        Ejection {
            failures: 5,
            statuses: Vec::new(),
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(60),
            refused: Duration::from_millis(100),
            percent: 50,
            outliers: Some(plan::Outliers {
                interval: Duration::from_secs(10),
                success_rate: Some(SuccessRate { requests: 100, servers: 5, deviations: 1900 }),
                latency: Some(Latency {
                    requests: 20,
                    servers: 3,
                    factor: 3000,
                    quantile: 900,
                    least: Duration::from_millis(10),
                }),
            }),
        }
    }

    fn counts(requests: u64, failures: u64, millis: u64) -> Counts {
        Counts::of(requests, failures, Duration::from_millis(millis))
    }

    /// Which of the servers, each with requests, failures and milliseconds, are left out.
    fn judged(outliers: &mut Outliers, servers: &[(u64, u64, u64)], seconds: u64) -> Vec<(usize, u64)> {
        let counted: Vec<_> = servers
            .iter()
            .map(|(requests, failures, millis)| counts(*requests, *failures, *millis))
            .enumerate()
            .collect();
        let ejected = outliers.judge(&rule(), &counted, Duration::from_secs(1000 + seconds));
        ejected.into_iter().map(|ejected| (ejected.server, ejected.time.as_secs())).collect()
    }

    const WELL: (u64, u64, u64) = (1000, 0, 5);

    #[test]
    fn servers_that_fail_more_than_others_are_left_out() {
        let bad = (1000, 400, 5);
        for (servers, expected) in [
            (vec![WELL, WELL, bad, WELL, WELL], vec![2]),
            // A third of nine: they pull the mean down, and are found by the median.
            (vec![bad, WELL, WELL, bad, WELL, WELL, bad, WELL, WELL], vec![0, 3, 6]),
            // All are as bad.
            (vec![bad; 9], vec![]),
            // A failure here and there.
            (vec![WELL, (1000, 3, 5), WELL, (1000, 1, 5), WELL], vec![]),
            // Too few servers, or too few requests.
            (vec![WELL, WELL, WELL, bad], vec![]),
            (vec![WELL, WELL, WELL, WELL, (99, 99, 5)], vec![]),
        ] {
            let found: Vec<_> =
                judged(&mut Outliers::default(), &servers, 0).into_iter().map(|(server, _)| server).collect();
            assert_eq!(found, expected, "{servers:?}");
        }
    }

    #[test]
    fn servers_that_are_slower_than_others_are_left_out() {
        for (servers, expected) in [
            (vec![WELL, WELL, (30, 0, 500), WELL], vec![2]),
            // Within what is never slow.
            (vec![(30, 0, 1), (30, 0, 1), (30, 0, 8)], vec![]),
            // Twice as slow is not three times.
            (vec![(30, 0, 50), (30, 0, 50), (30, 0, 100)], vec![]),
            (vec![WELL, WELL, (19, 0, 500)], vec![]),
            (vec![WELL, (30, 0, 500)], vec![]),
        ] {
            let found: Vec<_> =
                judged(&mut Outliers::default(), &servers, 0).into_iter().map(|(server, _)| server).collect();
            assert_eq!(found, expected, "{servers:?}");
        }
    }

    #[test]
    fn each_time_in_a_row_is_longer_and_a_share_always_stays() {
        let mut outliers = Outliers::default();
        let slow = (30, 0, 500);
        let servers = [WELL, WELL, WELL, slow];
        assert_eq!(judged(&mut outliers, &servers, 0), [(3, 10)]);
        assert!(judged(&mut outliers, &servers, 5).is_empty(), "it is left out already");
        assert!(outliers.back(Duration::from_secs(1009)).is_empty());
        assert_eq!(outliers.back(Duration::from_secs(1010)), [3]);
        assert_eq!(judged(&mut outliers, &servers, 12), [(3, 20)]);
        assert_eq!(outliers.back(Duration::from_secs(1032)), [3]);
        assert_eq!(judged(&mut outliers, &servers, 200), [(3, 10)], "it was well for long");
        // Half of six may be out.
        let servers = [WELL, WELL, WELL, WELL, slow, slow];
        let mut outliers = Outliers::default();
        assert_eq!(judged(&mut outliers, &servers, 0).len(), 2);
        let mut few = Outliers::default();
        let counted: Vec<_> =
            [counts(30, 0, 500), counts(30, 0, 5), counts(30, 0, 5)].into_iter().enumerate().collect();
        let strict = Ejection { percent: 10, ..rule() };
        assert!(few.judge(&strict, &counted, Duration::ZERO).is_empty());
        outliers.retain(|_| false);
        assert!(outliers.back(Duration::from_secs(9999)).is_empty());
    }
}
