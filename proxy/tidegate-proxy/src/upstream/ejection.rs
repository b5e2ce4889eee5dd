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
    /// How many servers there are.
    servers: Cell<usize>,
    /// How many are left out.
    out: Cell<usize>,
}

/// How a server fares with one worker.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Failures in a row.
    failures: Cell<u32>,
    /// It is left out, until this time at least.
    until: Cell<Option<Duration>>,
    /// A request is trying it.
    trial: Cell<bool>,
    /// It refused a connection: the gateway tries it by itself, and no request does.
    refuses: Cell<bool>,
    /// How often it was left out for that: the gateway's tries belong to one of them.
    refusals: Cell<u32>,
    /// How often in a row it was left out.
    times: Cell<u32>,
    /// When it was taken back.
    back: Cell<Duration>,
}

impl State {
    /// Whether no request may be sent to it now.
    pub(crate) fn leaves_out(&self, now: Duration) -> bool {
        self.until.get().is_some_and(|until| now < until || self.trial.get() || self.refuses.get())
    }

    /// Whether it failed and did not answer since.
    pub(crate) fn is_out(&self) -> bool {
        self.until.get().is_some()
    }

    /// A request goes there; whether it is the one that tries a server which was left out.
    pub(crate) fn begins(&self) -> bool {
        let tries = self.until.get().is_some() && !self.trial.get() && !self.refuses.get();
        if tries {
            self.trial.set(true);
        }
        tries
    }

    /// Whether it is left out because it refused a connection.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.get()
    }

    /// It is not known to refuse connections any more, but did not answer either: a request may try it.
    pub(crate) fn lets_try(&self) {
        self.refuses.set(false);
    }

    /// The request that tried the server is over, whatever came of it.
    pub(crate) fn tried(&self) {
        self.trial.set(false);
    }
}

impl Ejection {
    /// Nobody is left out yet.
    pub(crate) fn new(rule: Option<plan::Ejection>) -> Self {
        Self { rule, servers: Cell::new(0), out: Cell::new(0) }
    }

    /// How many are left out.
    pub(crate) fn out(&self) -> usize {
        self.out.get()
    }

    /// A server has come.
    pub(crate) fn joins(&self) {
        self.servers.set(self.servers.get() + 1);
    }

    /// A server has gone. Whether it was left out.
    pub(crate) fn leaves(&self, server: &State) -> bool {
        self.servers.set(self.servers.get().saturating_sub(1));
        let was_out = server.is_out();
        if was_out {
            self.out.set(self.out.get().saturating_sub(1));
        }
        was_out
    }

    /// It answered. True: it was left out and is taken back.
    pub(crate) fn succeeded(&self, server: &State, now: impl FnOnce() -> Duration) -> bool {
        // The usual case is a load and a comparison. What comes on a connection from before says nothing of new ones.
        if server.failures.get() == 0 || server.refuses.get() {
            return false;
        }
        server.failures.set(0);
        let was_out = server.until.take().is_some();
        if was_out {
            self.out.set(self.out.get().saturating_sub(1));
            server.back.set(now());
        }
        was_out
    }

    /// Whether one more may be left out.
    fn has_room(&self, rule: &plan::Ejection) -> bool {
        let most = self.servers.get().saturating_mul(rule.percent) / 100;
        self.out.get() < most.min(self.servers.get().saturating_sub(1))
    }

    /// It refused a connection, so there is nobody: the next one would be refused too. If it is left out from now on, the
    /// waits before the gateway tries it by itself.
    pub(crate) fn refused(&self, server: &State, now: Duration) -> Option<Asks> {
        let rule = self.rule.as_ref().filter(|rule| !rule.refused.is_zero())?;
        if server.until.get().is_some() || !self.has_room(rule) {
            return None;
        }
        self.out.set(self.out.get() + 1);
        server.failures.set(server.failures.get().saturating_add(1));
        server.refuses.set(true);
        let refusal = server.refusals.get().wrapping_add(1);
        server.refusals.set(refusal);
        server.until.set(Some(now));
        Some(Asks { refusal, next: rule.refused, most: rule.time.max(rule.refused) })
    }

    /// It failed. For how long it is left out, if it is from now on.
    pub(crate) fn failed(&self, server: &State, now: Duration) -> Option<Duration> {
        let rule = self.rule.as_ref()?;
        let failures = server.failures.get().saturating_add(1);
        server.failures.set(failures);
        match server.until.get() {
            Some(_) if server.refuses.get() => return None,
            // Requests that were there before it was left out tell nothing new.
            Some(until) if now < until => return None,
            Some(_) => {}
            None if failures < rule.failures => return None,
            None => {
                if !self.has_room(rule) {
                    return None;
                }
                self.out.set(self.out.get() + 1);
                // One that was well for longer than the longest time begins anew.
                if now.saturating_sub(server.back.get()) > rule.max_time {
                    server.times.set(0);
                }
            }
        }
        let time = rule.time.saturating_mul(1 << server.times.get().min(16)).min(rule.max_time);
        server.times.set(server.times.get().saturating_add(1));
        server.until.set(Some(now + time));
        Some(time)
    }
}

/// The waits before the gateway tries to connect by itself, each twice as long as the one before.
#[derive(Debug)]
pub(crate) struct Asks {
    refusal: u32,
    next: Duration,
    most: Duration,
}

impl Asks {
    /// Whether the server still refuses connections, and was not taken back and left out again meanwhile.
    pub(crate) fn go_on(&self, server: &State) -> bool {
        server.refuses.get() && server.refusals.get() == self.refusal
    }

    /// The first one, before it was waited for.
    pub(crate) fn first(&self) -> Duration {
        self.next
    }

    /// The next one.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.most);
        wait
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
        refused: Duration::from_millis(100),
        percent: 50,
        outliers: None,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    /// An ejection with its servers.
    struct All(Ejection, Vec<State>);

    impl All {
        fn new(rule: plan::Ejection, servers: usize) -> Self {
            let all = Self(Ejection::new(Some(rule)), (0..servers).map(|_| State::default()).collect());
            all.1.iter().for_each(|_| all.0.joins());
            all
        }

        fn failed(&self, server: usize, now: Duration) -> Option<Duration> {
            self.0.failed(&self.1[server], now)
        }

        fn succeeded(&self, server: usize, now: Duration) -> bool {
            self.0.succeeded(&self.1[server], || now)
        }
    }

    fn fails(ejection: &All, server: usize, times: usize, now: Duration) -> Option<Duration> {
        (0..times).filter_map(|_| ejection.failed(server, now)).last()
    }

    #[test]
    fn failures_in_a_row_leave_a_server_out_and_an_answer_between_does_not() {
        let ejection = All::new(RULE, 4);
        assert_eq!(fails(&ejection, 1, 2, at(0)), None);
        assert!(!ejection.succeeded(1, at(0)));
        assert_eq!(fails(&ejection, 1, 2, at(0)), None);
        assert_eq!(fails(&ejection, 1, 1, at(0)), Some(Duration::from_secs(10)));
        assert!(ejection.1[1].leaves_out(at(9)) && !ejection.1[0].leaves_out(at(9)));
        assert_eq!(ejection.0.out(), 1);
    }

    #[test]
    fn one_request_tries_it_when_its_time_is_over() {
        let ejection = All::new(RULE, 4);
        fails(&ejection, 2, 3, at(0));
        assert!(!ejection.1[2].leaves_out(at(10)));
        assert!(ejection.1[2].begins());
        assert!(ejection.1[2].leaves_out(at(10)), "somebody is trying it");
        ejection.1[2].tried();
        assert!(!ejection.1[2].leaves_out(at(10)), "the trial broke off");
        assert!(ejection.1[2].begins());
        assert!(ejection.succeeded(2, at(10)));
        ejection.1[2].tried();
        assert!(!ejection.1[2].leaves_out(at(10)));
        assert_eq!(ejection.0.out(), 0);
    }

    #[test]
    fn each_time_in_a_row_is_twice_as_long_up_to_the_longest() {
        let ejection = All::new(RULE, 4);
        assert_eq!(fails(&ejection, 0, 3, at(0)), Some(Duration::from_secs(10)));
        let mut now = at(10);
        for seconds in [20, 40, 60, 60] {
            assert!(ejection.1[0].begins());
            let time = ejection.failed(0, now);
            ejection.1[0].tried();
            assert_eq!(time, Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert!(ejection.1[0].begins() && ejection.succeeded(0, now));
        ejection.1[0].tried();
        // It fails again soon, so it is left out for as long as before; after a long good time it begins anew.
        assert_eq!(fails(&ejection, 0, 3, now + Duration::from_secs(1)), Some(Duration::from_secs(60)));
        now += Duration::from_secs(61);
        assert!(ejection.1[0].begins() && ejection.succeeded(0, now));
        ejection.1[0].tried();
        assert_eq!(fails(&ejection, 0, 3, now + Duration::from_secs(61)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_share_of_the_servers_always_stays() {
        let ejection = All::new(RULE, 4);
        for server in 0..4 {
            fails(&ejection, server, 9, at(0));
        }
        assert_eq!(ejection.0.out(), 2);
        let only = All::new(plan::Ejection { percent: 100, ..RULE }, 1);
        assert_eq!(fails(&only, 0, 9, at(0)), None);
    }

    #[test]
    fn failures_of_requests_that_were_there_before_count_for_nothing() {
        let ejection = All::new(RULE, 4);
        assert_eq!(fails(&ejection, 0, 3, at(0)), Some(Duration::from_secs(10)));
        assert_eq!(fails(&ejection, 0, 50, at(5)), None);
        assert!(!ejection.1[0].leaves_out(at(10)));
    }

    #[test]
    fn one_that_goes_is_no_longer_counted() {
        let ejection = All::new(RULE, 4);
        fails(&ejection, 0, 3, at(0));
        fails(&ejection, 1, 3, at(0));
        assert_eq!(fails(&ejection, 2, 3, at(0)), None);
        assert!(ejection.0.leaves(&ejection.1[0]) && !ejection.0.leaves(&ejection.1[3]));
        assert_eq!(ejection.0.out(), 1);
        assert_eq!(fails(&ejection, 2, 1, at(0)), None, "one of two is the most");
        ejection.0.joins();
        ejection.0.joins();
        assert!(fails(&ejection, 2, 1, at(0)).is_some());
    }

    #[test]
    fn one_that_refuses_is_left_out_at_once_until_it_takes_a_connection() {
        let ejection = All::new(RULE, 4);
        let mut asks = ejection.0.refused(&ejection.1[0], at(0)).expect("it is left out");
        let waits: Vec<u128> = (0..8).map(|_| asks.wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert!(ejection.1[0].leaves_out(at(99)) && !ejection.1[0].begins(), "no request tries it");
        assert!(ejection.0.refused(&ejection.1[0], at(1)).is_none(), "somebody tries it already");
        assert_eq!(fails(&ejection, 0, 9, at(1)), None, "requests that were there tell nothing new");
        assert_eq!(ejection.0.out(), 1);
        ejection.1[0].lets_try();
        assert!(ejection.succeeded(0, at(2)) && !ejection.1[0].leaves_out(at(2)));
        // Half of them at most, and never where that is switched off.
        assert!((1..3).all(|server| ejection.0.refused(&ejection.1[server], at(3)).is_some()));
        assert!(ejection.0.refused(&ejection.1[3], at(3)).is_none());
        let off = All::new(plan::Ejection { refused: Duration::ZERO, ..RULE }, 4);
        assert!(off.0.refused(&off.1[0], at(0)).is_none());
        assert!(Ejection::new(None).refused(&State::default(), at(0)).is_none());
    }

    #[test]
    fn answers_on_connections_from_before_do_not_take_back_one_that_refuses() {
        let ejection = All::new(RULE, 4);
        assert!(ejection.0.refused(&ejection.1[0], at(0)).is_some());
        assert!(!ejection.succeeded(0, at(1)), "it answers on an old connection");
        assert!(ejection.1[0].leaves_out(at(1)) && ejection.0.out() == 1);
        assert!(ejection.0.refused(&ejection.1[0], at(1)).is_none(), "there is one series of tries");
    }

    #[test]
    fn tries_end_with_the_refusal_that_they_belong_to() {
        let (ejection, server) = (All::new(RULE, 4), 0);
        let old = ejection.0.refused(&ejection.1[server], at(0)).expect("it is left out");
        assert!(old.go_on(&ejection.1[server]));
        ejection.1[server].lets_try();
        assert!(!old.go_on(&ejection.1[server]) && ejection.succeeded(server, at(1)));
        let new = ejection.0.refused(&ejection.1[server], at(2)).expect("it is left out again");
        assert!(!old.go_on(&ejection.1[server]) && new.go_on(&ejection.1[server]));
    }

    #[test]
    fn a_request_tries_one_that_the_gateway_cannot_ask() {
        let ejection = All::new(RULE, 4);
        assert!(ejection.0.refused(&ejection.1[0], at(0)).is_some());
        ejection.1[0].lets_try();
        assert!(!ejection.1[0].leaves_out(at(0)) && ejection.1[0].begins());
        assert!(ejection.0.refused(&ejection.1[0], at(0)).is_none(), "that is a failure as any other");
        assert_eq!(ejection.failed(0, at(0)), Some(Duration::from_secs(10)));
        ejection.1[0].tried();
        assert!(ejection.1[0].leaves_out(at(9)) && !ejection.1[0].leaves_out(at(10)));
    }
}
