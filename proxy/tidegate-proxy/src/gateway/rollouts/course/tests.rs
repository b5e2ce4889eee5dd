//! Releases in virtual time.

use super::*;
use crate::shared::durations::{Durations, Sum};
use tidegate_config::plan::Bounds;

const MINUTE: Duration = Duration::from_secs(60);

/// 1, 10, 50, 100 %, a minute each, at least 100 requests.
fn course() -> Course {
    Course {
        steps: vec![10_000, 100_000, 500_000, WHOLE],
        interval: MINUTE,
        min_requests: 100,
        bounds: Bounds {
            errors: 50_000,
            errors_over_old: 10_000,
            p99: None,
            p99_over_old: Some(200),
            failures: None,
        },
    }
}

/// A release and the world around it.
struct World {
    way: Way,
    now: Duration,
    counts: Both,
    /// How long the requests of both took.
    times: [Durations; 2],
}

impl World {
    fn new(course: Course) -> Self {
        let mut world = Self {
            way: Way::new(course),
            now: Duration::ZERO,
            counts: Both::default(),
            times: Default::default(),
        };
        assert_eq!(world.look(), None, "the first look begins the step");
        world
    }

    fn add((counts, times): (&mut Counts, &Durations), (requests, errors): (u64, u64), time: Duration) {
        counts.begun += requests;
        counts.requests += requests;
        counts.errors += errors;
        (0..requests).for_each(|_| times.add(time));
        counts.times = Sum::default();
        counts.times.add(times);
    }

    fn old(&mut self, requests: u64, errors: u64, time: Duration) -> &mut Self {
        Self::add((&mut self.counts.old, &self.times[0]), (requests, errors), time);
        self
    }

    fn new_one(&mut self, requests: u64, errors: u64, time: Duration) -> &mut Self {
        Self::add((&mut self.counts.new, &self.times[1]), (requests, errors), time);
        self
    }

    fn look(&mut self) -> Option<Event> {
        self.way.judge(self.now, &self.counts)
    }

    fn after(&mut self, time: Duration) -> Option<Event> {
        self.now += time;
        self.look()
    }
}

#[test]
fn a_good_version_takes_over_step_by_step() {
    let mut world = World::new(course());
    for (share, next) in
        [(10_000, Event::Next(100_000)), (100_000, Event::Next(500_000)), (500_000, Event::Next(WHOLE))]
    {
        assert_eq!(world.way.share(), share);
        world.old(1000, 5, QUICK).new_one(200, 1, QUICK);
        assert_eq!(world.after(MINUTE / 2), None, "too early at {share}");
        assert_eq!(world.after(MINUTE / 2), Some(next));
    }
    world.new_one(1000, 5, QUICK);
    assert_eq!(world.after(MINUTE), Some(Event::Promoted));
    assert_eq!(world.way.state, ReleaseState::Promoted);
    world.new_one(1000, 1000, QUICK);
    assert_eq!(world.after(MINUTE), None, "what was promoted is not judged any more");
    assert_eq!(world.way.share(), WHOLE);
}

#[test]
fn few_requests_are_waited_for() {
    let mut world = World::new(course());
    world.old(1000, 0, QUICK).new_one(99, 0, QUICK);
    assert_eq!(world.after(10 * MINUTE), None);
    world.new_one(1, 0, QUICK);
    assert_eq!(world.after(Duration::ZERO), Some(Event::Next(100_000)));
}

#[test]
fn a_failing_version_goes_back_at_once() {
    let mut world = World::new(course());
    world.new_one(5, 5, QUICK);
    assert_eq!(world.after(MINUTE / 60), None, "5 of 100 may fail");
    world.new_one(1, 1, QUICK);
    let Some(Event::Back(why)) = world.after(MINUTE / 60) else { panic!("it must go back") };
    assert_eq!(why, "100 % of its requests failed, 5 % are allowed");
    assert_eq!(world.way.share(), 0);
    assert_eq!(world.after(MINUTE), None);
}

#[test]
fn a_version_that_fails_more_than_the_old_one_goes_back() {
    let mut world = World::new(course());
    world.old(10_000, 10, QUICK).new_one(2000, 40, QUICK);
    let Some(Event::Back(why)) = world.after(MINUTE / 2) else { panic!("2 % against 0.1 % must go back") };
    assert_eq!(why, "2 % of its requests failed, 0.1 % of the old version's");
    // The same share of few requests may be chance.
    let mut world = World::new(course());
    world.old(10_000, 10, QUICK).new_one(100, 2, QUICK);
    assert_eq!(world.after(MINUTE), Some(Event::Next(100_000)));
    // When the old version fails as well, it is not the new one's doing.
    let mut world = World::new(course());
    world.old(1000, 30, QUICK).new_one(1000, 35, QUICK);
    assert_eq!(world.after(MINUTE), Some(Event::Next(100_000)));
}

#[test]
fn a_slow_version_goes_back() {
    let mut world = World::new(course());
    world.old(1000, 0, QUICK).new_one(99, 0, QUICK * 10);
    assert_eq!(world.after(MINUTE / 2), None, "too few to tell");
    world.new_one(1, 0, QUICK * 10);
    assert!(matches!(world.after(Duration::ZERO), Some(Event::Back(_))));
    let mut world = World::new(course());
    world.old(1000, 0, QUICK).new_one(100, 0, QUICK * 3 / 2);
    assert_eq!(world.after(MINUTE), Some(Event::Next(100_000)), "less than twice as slow is allowed");

    let mut world = World::new(course());
    world.old(1000, 0, QUICK).new_one(97, 0, QUICK).new_one(3, 0, QUICK * 100);
    assert_eq!(world.after(MINUTE), Some(Event::Next(100_000)), "a few of few may be slow by chance");
    let mut world = World::new(course());
    world.old(1000, 0, QUICK).new_one(970, 0, QUICK).new_one(30, 0, QUICK * 100);
    assert!(matches!(world.after(MINUTE), Some(Event::Back(_))), "the same share of many is none");

    let mut world = World::new(course());
    world.old(1000, 0, QUICK / 20).new_one(1000, 0, QUICK / 2);
    assert_eq!(world.after(MINUTE), Some(Event::Next(100_000)), "ten times of next to nothing is not slow");

    let absolute = Course { bounds: Bounds { p99: Some(QUICK * 4), ..course().bounds }, ..course() };
    let mut world = World::new(absolute);
    world.old(1000, 0, QUICK * 10).new_one(100, 0, QUICK * 10);
    let Some(Event::Back(why)) = world.after(MINUTE / 2) else { panic!("the bound counts by itself") };
    assert!(why.ends_with("40ms is allowed"), "{why}");
}

/// At 100 % nobody has the old version: what it was like before counts.
#[test]
fn the_last_step_is_compared_with_what_was_before() {
    let mut world = World::new(Course { steps: vec![500_000, WHOLE], ..course() });
    world.old(1000, 0, QUICK).new_one(1000, 0, QUICK);
    assert_eq!(world.after(MINUTE), Some(Event::Next(WHOLE)));
    world.new_one(1000, 30, QUICK);
    assert!(matches!(world.after(MINUTE / 2), Some(Event::Back(_))));
}

#[test]
fn a_module_that_breaks_off_goes_back() {
    let bounds = Bounds { failures: Some(1), ..course().bounds };
    let mut world = World::new(Course { steps: vec![100_000], bounds, ..course() });
    world.counts.new.failures = 1;
    assert_eq!(world.after(MINUTE / 2), None);
    world.counts.new.failures = 2;
    let back = Event::Back("the module broke off 2 times, 1 is allowed".to_owned());
    assert_eq!(world.after(MINUTE / 2), Some(back));
}

/// A share that is to stay is watched for ever, each interval by itself: a good year does not hide a bad day.
#[test]
fn a_share_that_stays_is_judged_by_what_is_new() {
    let mut world = World::new(Course { steps: vec![100_000], ..course() });
    for _ in 0..100 {
        world.old(10_000, 0, QUICK).new_one(1000, 0, QUICK);
        assert_eq!(world.after(MINUTE), None);
    }
    assert_eq!((world.way.state.clone(), world.way.share()), (ReleaseState::Running, 100_000));
    world.new_one(100, 20, QUICK);
    assert!(matches!(world.after(MINUTE / 2), Some(Event::Back(_))));
}

#[test]
fn orders() {
    let mut world = World::new(course());
    let steer = |world: &mut World, order| world.way.steer(order, world.now, &world.counts);
    assert_eq!(steer(&mut world, ReleaseOrder::Pause), Ok(()));
    world.old(1000, 0, QUICK).new_one(1000, 0, QUICK);
    assert_eq!(world.after(MINUTE), None, "it is held");
    assert_eq!(world.way.share(), 10_000);
    assert_eq!(steer(&mut world, ReleaseOrder::Resume), Ok(()));
    assert_eq!(world.after(Duration::ZERO), Some(Event::Next(100_000)));
    assert_eq!(steer(&mut world, ReleaseOrder::Pause), Ok(()));
    world.new_one(100, 100, QUICK);
    assert!(matches!(world.look(), Some(Event::Back(_))), "a pause does not keep a bad version");
    assert!(steer(&mut world, ReleaseOrder::Resume).is_err());
    assert_eq!(steer(&mut world, ReleaseOrder::Restart), Ok(()));
    assert_eq!((world.way.share(), world.look()), (10_000, None), "what was counted before is forgotten");
    assert_eq!(steer(&mut world, ReleaseOrder::Promote), Ok(()));
    assert_eq!(world.way.share(), WHOLE);
    assert_eq!(steer(&mut world, ReleaseOrder::Rollback), Ok(()));
    assert_eq!(world.way.share(), 0);
    assert_eq!(world.way.state, ReleaseState::RolledBack("by order".to_owned()));
}

/// Requests without an answer are in no histogram; they count by how long they have waited at least.
#[test]
fn a_version_that_hangs_goes_back() {
    let hanging = |bounds: Bounds| {
        let mut world = World::new(Course { min_requests: 10, bounds, ..course() });
        world.old(1000, 0, QUICK);
        world.counts.new.begun += 20;
        assert_eq!(world.after(MINUTE / 60), None, "nobody knows how long");
        assert_eq!(world.after(MINUTE / 120), None, "half a second is allowed");
        world.after(MINUTE / 60)
    };
    let absolute = Bounds { p99: Some(MINUTE / 60), p99_over_old: None, ..course().bounds };
    let Some(Event::Back(why)) = hanging(absolute) else { panic!("the bound counts by itself") };
    assert_eq!(why, "20 of its requests have no answer after 1s, 1s is allowed");
    let relative = Bounds { p99_over_old: Some(10_000), ..course().bounds };
    let Some(Event::Back(why)) = hanging(relative) else { panic!("so does the old version") };
    assert_eq!(why, "20 of its requests have no answer after 1.1s, the old version's p99 is 11ms");
    assert_eq!(hanging(Bounds { p99_over_old: None, ..course().bounds }), None, "if nobody asks for times");
}

/// Some requests are held for long by both, as those of long polls are.
#[test]
fn waiting_is_compared_with_the_old_version() {
    let mut world = World::new(course());
    for _ in 0..60 {
        world.counts.old.begun += 500;
        world.counts.new.begun += 50;
        world.old(500, 0, QUICK).new_one(50, 0, QUICK);
        let next = world.after(MINUTE / 60);
        assert!(!matches!(next, Some(Event::Back(_))), "{next:?}");
    }
    assert_eq!(world.way.share(), 100_000);
    // Each step begins anew: what has waited since before is not held against it.
    world.old(1000, 0, QUICK).new_one(200, 0, QUICK);
    assert_eq!(world.after(MINUTE), Some(Event::Next(500_000)));
}
