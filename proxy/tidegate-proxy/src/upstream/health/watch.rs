//! What the results of checks mean for one server. Pure: results and random numbers come in.

use std::time::Duration;

use tidegate_config::plan::Health;

/// How a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    healthy: bool,
    checked: bool,
    /// Results in a row that contradict the state.
    against: u32,
}

impl Watch {
    /// Not checked yet.
    pub(crate) fn new(rule: &Health) -> Self {
        Self { healthy: rule.initially_healthy, checked: false, against: 0 }
    }

    /// Whether requests may go there.
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// A check came to this. Whether the state is another one now.
    pub(crate) fn on_result(&mut self, rule: &Health, good: bool) -> bool {
        let first = !std::mem::replace(&mut self.checked, true);
        if good == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if good { rule.healthy_after } else { rule.unhealthy_after };
        // Nothing is known of a new server but this one result.
        if !first && self.against < enough {
            return false;
        }
        self.healthy = good;
        self.against = 0;
        true
    }

    /// How long to the next check. `chance` is any number.
    pub(crate) fn wait(&self, rule: &Health, chance: u64) -> Duration {
        let settled = self.checked && self.against == 0;
        let interval = if settled { rule.interval } else { rule.unsettled_interval };
        // From -jitter to +jitter, so that the mean is the interval.
        let share = (chance >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
        interval.mul_f64(1.0 + share * f64::from(rule.jitter.min(50)) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::plan::Probe;

    fn rule() -> Health {
        Health {
            probe: Probe::Tcp { send: Vec::new(), expect: Vec::new() },
            interval: Duration::from_secs(10),
            unsettled_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            jitter: 10,
            healthy_after: 2,
            unhealthy_after: 3,
            initially_healthy: true,
            port: None,
        }
    }

    /// The results that changed the state.
    fn changes(watch: &mut Watch, rule: &Health, results: &str) -> Vec<usize> {
        let results = results.chars().enumerate();
        results.filter(|(_, result)| watch.on_result(rule, *result == '+')).map(|(index, _)| index).collect()
    }

    #[test]
    fn so_many_results_in_a_row_change_the_state() {
        let mut watch = Watch::new(&rule());
        assert_eq!(changes(&mut watch, &rule(), "+--+---"), [6]);
        assert!(!watch.is_healthy());
        assert_eq!(changes(&mut watch, &rule(), "-+-++"), [4]);
        assert!(watch.is_healthy());
    }

    #[test]
    fn the_first_result_decides() {
        let (mut good, mut bad) = (Watch::new(&rule()), Watch::new(&rule()));
        assert!(changes(&mut good, &rule(), "+").is_empty());
        assert_eq!(changes(&mut bad, &rule(), "-"), [0]);
        let careful = Health { initially_healthy: false, ..rule() };
        let (mut good, mut bad) = (Watch::new(&careful), Watch::new(&careful));
        assert!(!good.is_healthy());
        assert_eq!(changes(&mut good, &careful, "+"), [0]);
        assert_eq!(changes(&mut bad, &careful, "-++"), [2]);
    }

    #[test]
    fn a_server_that_is_not_settled_is_checked_more_often() {
        let mut watch = Watch::new(&rule());
        let middle = 1 << 63;
        assert_eq!(watch.wait(&rule(), middle), Duration::from_secs(1), "new");
        watch.on_result(&rule(), true);
        assert_eq!(watch.wait(&rule(), middle), Duration::from_secs(10));
        watch.on_result(&rule(), false);
        assert_eq!(watch.wait(&rule(), middle), Duration::from_secs(1), "it contradicts");
        changes(&mut watch, &rule(), "--");
        assert_eq!(watch.wait(&rule(), middle), Duration::from_secs(10), "unhealthy, and settled");
    }

    #[test]
    fn intervals_differ_by_chance_within_the_jitter() {
        let mut watch = Watch::new(&rule());
        watch.on_result(&rule(), true);
        let least = watch.wait(&rule(), 0).as_secs_f64();
        let most = watch.wait(&rule(), u64::MAX).as_secs_f64();
        assert!((least - 9.0).abs() < 1e-6 && (most - 11.0).abs() < 1e-3, "{least} {most}");
    }
}
