//! Servers that fail several times in a row are left out for a while. Pure: the time comes in.
//!
//! Each worker judges by what it sees itself, so that nothing is shared. When a server's time is over, one request tries
//! it: an answer takes it back, another failure leaves it out for twice as long.

use std::cell::Cell;
use std::time::Duration;

use tidegate_config::plan;

/// Which servers of a cluster one worker leaves out.
#[derive(Debug)]
pub(crate) struct Ejection {
    rule: Option<plan::Ejection>,
    servers: Vec<Health>,
    /// How many are left out.
    out: Cell<usize>,
}

#[derive(Debug, Default)]
struct Health {
    /// Failures in a row.
    failures: Cell<u32>,
    /// It is left out, until this time at least.
    until: Cell<Option<Duration>>,
    /// A request is trying it.
    trial: Cell<bool>,
    /// How often in a row it was left out.
    times: Cell<u32>,
    /// When it was taken back.
    back: Cell<Duration>,
}

impl Ejection {
    /// Nobody is left out yet.
    pub(crate) fn new(rule: Option<plan::Ejection>, servers: usize) -> Self {
        Self { rule, servers: (0..servers).map(|_| Health::default()).collect(), out: Cell::new(0) }
    }

    /// How many are left out.
    pub(crate) fn out(&self) -> usize {
        self.out.get()
    }

    /// Whether no request may be sent to it now.
    pub(crate) fn leaves_out(&self, server: usize, now: Duration) -> bool {
        let Some(health) = self.servers.get(server) else { return false };
        health.until.get().is_some_and(|until| now < until || health.trial.get())
    }

    /// A request goes there; whether it is the one that tries a server which was left out.
    pub(crate) fn begins(&self, server: usize) -> bool {
        let tries = |health: &&Health| health.until.get().is_some() && !health.trial.get();
        let Some(health) = self.servers.get(server).filter(tries) else { return false };
        health.trial.set(true);
        true
    }

    /// The request that tried the server is over, whatever came of it.
    pub(crate) fn tried(&self, server: usize) {
        if let Some(health) = self.servers.get(server) {
            health.trial.set(false);
        }
    }

    /// It answered. True: it was left out and is taken back.
    pub(crate) fn succeeded(&self, server: usize, now: impl FnOnce() -> Duration) -> bool {
        let Some(health) = self.servers.get(server) else { return false };
        // The usual case is a load and a comparison.
        if health.failures.get() == 0 {
            return false;
        }
        health.failures.set(0);
        let was_out = health.until.take().is_some();
        if was_out {
            self.out.set(self.out.get().saturating_sub(1));
            health.back.set(now());
        }
        was_out
    }

    /// It failed. For how long it is left out, if it is from now on.
    pub(crate) fn failed(&self, server: usize, now: Duration) -> Option<Duration> {
        let rule = self.rule.as_ref()?;
        let health = self.servers.get(server)?;
        let failures = health.failures.get().saturating_add(1);
        health.failures.set(failures);
        match health.until.get() {
            // Requests that were there before it was left out tell nothing new.
            Some(until) if now < until => return None,
            Some(_) => {}
            None if failures < rule.failures => return None,
            None => {
                let most = self.servers.len().saturating_mul(rule.percent) / 100;
                if self.out.get() >= most.min(self.servers.len().saturating_sub(1)) {
                    return None;
                }
                self.out.set(self.out.get() + 1);
                // One that was well for longer than the longest time begins anew.
                if now.saturating_sub(health.back.get()) > rule.max_time {
                    health.times.set(0);
                }
            }
        }
        let time = rule.time.saturating_mul(1 << health.times.get().min(16)).min(rule.max_time);
        health.times.set(health.times.get().saturating_add(1));
        health.until.set(Some(now + time));
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: plan::Ejection = plan::Ejection {
        failures: 3,
        statuses: Vec::new(),
        time: Duration::from_secs(10),
        max_time: Duration::from_secs(60),
        percent: 50,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn fails(ejection: &Ejection, server: usize, times: usize, now: Duration) -> Option<Duration> {
        (0..times).filter_map(|_| ejection.failed(server, now)).last()
    }

    #[test]
    fn failures_in_a_row_leave_a_server_out_and_an_answer_between_does_not() {
        let ejection = Ejection::new(Some(RULE), 4);
        assert_eq!(fails(&ejection, 1, 2, at(0)), None);
        assert!(!ejection.succeeded(1, || at(0)));
        assert_eq!(fails(&ejection, 1, 2, at(0)), None);
        assert_eq!(fails(&ejection, 1, 1, at(0)), Some(Duration::from_secs(10)));
        assert!(ejection.leaves_out(1, at(9)) && !ejection.leaves_out(0, at(9)));
        assert_eq!(ejection.out(), 1);
    }

    #[test]
    fn one_request_tries_it_when_its_time_is_over() {
        let ejection = Ejection::new(Some(RULE), 4);
        fails(&ejection, 2, 3, at(0));
        assert!(!ejection.leaves_out(2, at(10)));
        assert!(ejection.begins(2));
        assert!(ejection.leaves_out(2, at(10)), "somebody is trying it");
        ejection.tried(2);
        assert!(!ejection.leaves_out(2, at(10)), "the trial broke off");
        assert!(ejection.begins(2));
        assert!(ejection.succeeded(2, || at(10)));
        ejection.tried(2);
        assert!(!ejection.leaves_out(2, at(10)));
        assert_eq!(ejection.out(), 0);
    }

    #[test]
    fn each_time_in_a_row_is_twice_as_long_up_to_the_longest() {
        let ejection = Ejection::new(Some(RULE), 4);
        assert_eq!(fails(&ejection, 0, 3, at(0)), Some(Duration::from_secs(10)));
        let mut now = at(10);
        for seconds in [20, 40, 60, 60] {
            assert!(ejection.begins(0));
            let time = ejection.failed(0, now);
            ejection.tried(0);
            assert_eq!(time, Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert!(ejection.begins(0) && ejection.succeeded(0, || now));
        ejection.tried(0);
        // It fails again soon, so it is left out for as long as before; after a long good time it begins anew.
        assert_eq!(fails(&ejection, 0, 3, now + Duration::from_secs(1)), Some(Duration::from_secs(60)));
        now += Duration::from_secs(61);
        assert!(ejection.begins(0) && ejection.succeeded(0, || now));
        ejection.tried(0);
        assert_eq!(fails(&ejection, 0, 3, now + Duration::from_secs(61)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_share_of_the_servers_always_stays() {
        let ejection = Ejection::new(Some(RULE), 4);
        for server in 0..4 {
            fails(&ejection, server, 9, at(0));
        }
        assert_eq!(ejection.out(), 2);
        let only = Ejection::new(Some(plan::Ejection { percent: 100, ..RULE }), 1);
        assert_eq!(fails(&only, 0, 9, at(0)), None);
    }

    #[test]
    fn failures_of_requests_that_were_there_before_count_for_nothing() {
        let ejection = Ejection::new(Some(RULE), 4);
        assert_eq!(fails(&ejection, 0, 3, at(0)), Some(Duration::from_secs(10)));
        assert_eq!(fails(&ejection, 0, 50, at(5)), None);
        assert!(!ejection.leaves_out(0, at(10)));
    }
}
