//! A limit of requests in flight that follows latency: a gradient controller. Pure: times come in.
//!
//! Latency that stays near the best one lets more requests through; latency beyond the tolerance fewer, in proportion.
//! The best one is measured anew from time to time, with half of the requests, so that it is not that of a queue.

use std::cell::Cell;
use std::time::Duration;

use tidegate_config::plan;

/// Answers that a window must have before it tells anything.
const SAMPLES: u32 = 10;
/// Windows before the best latency is measured for the first time.
const FIRST: u32 = 10;
/// The most that one window takes away.
const STEEPEST: f64 = 0.5;

/// One worker's limit.
#[derive(Debug)]
pub(crate) struct Adaptive {
    rule: plan::Adaptive,
    limit: Cell<f64>,
    /// What holds now.
    bound: Cell<usize>,
    /// The best latency, in seconds.
    best: Cell<Option<f64>>,
    window: Cell<Window>,
    probe: Cell<Probe>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    ends: Duration,
    answers: u32,
    /// Seconds.
    sum: f64,
    /// Most requests in flight.
    most: usize,
}

/// How the best latency comes to be measured anew.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Probe {
    /// At this time.
    At(Duration),
    /// Fewer requests are let through; those from before are still coming back.
    Draining,
    /// What comes back now is the best.
    Measuring,
}

impl Adaptive {
    /// Begins where the rule says.
    pub(crate) fn new(rule: plan::Adaptive) -> Self {
        let start = rule.start.max(rule.min);
        Self {
            rule,
            limit: Cell::new(start as f64),
            bound: Cell::new(start),
            best: Cell::new(None),
            window: Cell::default(),
            probe: Cell::new(Probe::At(Duration::ZERO)),
        }
    }

    /// Requests that may be in flight.
    #[inline]
    pub(crate) fn bound(&self) -> usize {
        self.bound.get()
    }

    /// A request took so long; `in_flight` were there with it.
    pub(crate) fn took(&self, latency: Duration, in_flight: usize, now: Duration) {
        let mut window = self.window.get();
        if window.ends.is_zero() {
            window.ends = now + self.rule.window;
            if let Probe::At(at) = self.probe.get()
                && at.is_zero()
            {
                // Where it begins may be beyond what the servers can do.
                self.probe.set(Probe::At(now + self.rule.window * FIRST));
            }
        }
        window.answers += 1;
        window.sum += latency.as_secs_f64();
        window.most = window.most.max(in_flight);
        if now >= window.ends && window.answers >= SAMPLES {
            self.close(window, now);
            window = Window { ends: now + self.rule.window, ..Window::default() };
        }
        self.window.set(window);
    }

    fn close(&self, window: Window, now: Duration) {
        let mean = window.sum / f64::from(window.answers);
        match self.probe.get() {
            Probe::Draining => self.probe.set(Probe::Measuring),
            Probe::Measuring => {
                self.best.set(Some(mean));
                self.probe.set(Probe::At(now + self.rule.probe));
                self.set(self.limit.get());
            }
            Probe::At(at) => {
                let best = self.best.get().map_or(mean, |best| best.min(mean));
                self.best.set(Some(best));
                self.follow(best * (1.0 + self.rule.tolerance / 100.0) / mean, window.most);
                if now >= at {
                    self.probe.set(Probe::Draining);
                    self.bound.set(whole(self.limit.get() / 2.0).max(self.rule.min));
                }
            }
        }
    }

    /// `gradient`: how the latency that is borne compares with the one that is there.
    fn follow(&self, gradient: f64, most: usize) {
        let limit = self.limit.get();
        if gradient < 1.0 {
            self.set(limit * gradient.max(STEEPEST));
        } else if most as f64 >= limit / 2.0 {
            // Who does not come near the limit says nothing about what lies above it.
            self.set(limit + (limit.sqrt() / 4.0).max(1.0));
        }
    }

    fn set(&self, limit: f64) {
        let limit = limit.clamp(self.rule.min as f64, MOST);
        self.limit.set(limit);
        self.bound.set(whole(limit));
    }
}

/// Beyond this nothing is limited.
const MOST: f64 = 1_000_000.0;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are between one and MOST"
)]
fn whole(limit: f64) -> usize {
    limit as usize
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const RULE: plan::Adaptive = plan::Adaptive {
        min: 4,
        start: 20,
        tolerance: 25.0,
        window: Duration::from_millis(100),
        probe: Duration::from_secs(30),
    };

    /// A server that works on `places` requests at a time, each for `service` milliseconds, first come first served, and
    /// clients who always want more.
    struct World {
        adaptive: Adaptive,
        now: u64,
        places: usize,
        service: u64,
        waiting: VecDeque<u64>,
        /// When each is done, and when it came.
        working: Vec<(u64, u64)>,
        answered: u64,
        /// Sums for the mean of the latency.
        latency: u64,
        clients: usize,
    }

    impl World {
        fn new(places: usize, service: u64, clients: usize) -> Self {
            Self {
                adaptive: Adaptive::new(RULE),
                now: 1000,
                places,
                service,
                waiting: VecDeque::new(),
                working: Vec::new(),
                answered: 0,
                latency: 0,
                clients,
            }
        }

        fn in_flight(&self) -> usize {
            self.waiting.len() + self.working.len()
        }

        fn run(&mut self, seconds: u64) {
            (self.answered, self.latency) = (0, 0);
            for _ in 0..seconds * 1000 {
                self.now += 1;
                let now = self.now;
                let in_flight = self.in_flight();
                let done: Vec<_> = self.working.extract_if(.., |(done, _)| *done <= now).collect();
                for (_, came) in done {
                    self.answered += 1;
                    self.latency += now - came;
                    let latency = Duration::from_millis(now - came);
                    self.adaptive.took(latency, in_flight, Duration::from_millis(now));
                }
                while self.in_flight() < self.adaptive.bound().min(self.clients) {
                    self.waiting.push_back(now);
                }
                while self.working.len() < self.places
                    && let Some(came) = self.waiting.pop_front()
                {
                    self.working.push((now + self.service, came));
                }
            }
        }

        fn mean_latency(&self) -> u64 {
            self.latency / self.answered.max(1)
        }
    }

    #[test]
    fn it_finds_what_a_server_can_do() {
        for places in [8, 40, 200] {
            let mut world = World::new(places, 20, 10_000);
            world.run(20);
            world.run(60);
            let bound = world.adaptive.bound();
            assert!((places..places * 3 / 2).contains(&bound), "{places}: {bound}");
            // The server is busy all the time, but for the probes, and nobody waits for long.
            let full = places as u64 * 60_000 / 20;
            assert!(world.answered > full * 95 / 100, "{places}: {} of {full}", world.answered);
            assert!(world.mean_latency() <= 20 * 3 / 2, "{places}: {} ms", world.mean_latency());
        }
    }

    #[test]
    fn it_backs_off_when_latency_grows_and_comes_back() {
        let mut world = World::new(40, 20, 10_000);
        world.run(20);
        world.places = 10;
        world.run(5);
        let bound = world.adaptive.bound();
        assert!((8..=16).contains(&bound), "a quarter of the server is left: {bound}");
        world.places = 40;
        world.run(20);
        let bound = world.adaptive.bound();
        assert!((40..60).contains(&bound), "all of it is back: {bound}");
    }

    /// A server that is slower for good is not held for one with a queue for ever.
    #[test]
    fn a_new_latency_becomes_the_best_one() {
        let mut world = World::new(40, 20, 10_000);
        world.run(20);
        world.service = 60;
        world.run(10);
        assert_eq!(world.adaptive.bound(), RULE.min);
        world.run(90);
        let bound = world.adaptive.bound();
        assert!((40..60).contains(&bound), "{bound}");
    }

    /// Without load nothing is learned, and so the limit stays.
    #[test]
    fn few_requests_change_nothing() {
        let mut world = World::new(40, 20, 3);
        world.run(60);
        assert_eq!(world.adaptive.bound(), RULE.start);
    }
}
