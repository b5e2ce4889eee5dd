//! Virtual time, fixed seeds.

use super::*;
use crate::upstream::ring::tests::ring_of;
use crate::upstream::roster::Entry;
use crate::upstream::server::{Cause, Identity};

mod spread;

const ALL: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::Random,
    Balance::RingHash,
    Balance::Maglev,
];

fn at(millis: u64) -> Duration {
    Duration::from_secs(1000) + Duration::from_millis(millis)
}

/// Servers, numbered from 1, each as its template says.
fn members_of(templates: impl IntoIterator<Item = Server>) -> Vec<Rc<Member>> {
    let member = |(index, template): (usize, Server)| {
        let address = ([10, 0, (index / 200) as u8, (index % 200) as u8], 80).into();
        let identity = Arc::new(Identity::new(index + 1, (address, None)));
        Member::new(Entry { identity, server: Arc::new(Server { address, ..template }) }, false)
    };
    templates.into_iter().enumerate().map(member).collect()
}

fn template() -> Server {
    Server::new(([10, 0, 0, 0], 80).into())
}

pub(super) fn members(weights: &[u32]) -> Vec<Rc<Member>> {
    members_of(weights.iter().map(|&weight| Server { weight, ..template() }))
}

/// A balancer with its servers by slots; the ring has them all.
struct All {
    balancer: Balancer,
    slots: Vec<Option<Rc<Member>>>,
}

impl std::ops::Deref for All {
    type Target = Balancer;

    fn deref(&self) -> &Balancer {
        &self.balancer
    }
}

impl All {
    /// These are the servers of the ring, by slots.
    fn settle(&self, slots: &[Option<Rc<Member>>]) {
        let entry = |m: &Rc<Member>| Entry { identity: m.identity.clone(), server: m.server() };
        let entries = slots.iter().enumerate().filter_map(|(slot, m)| Some((slot, entry(m.as_ref()?))));
        self.balancer.set_ring(ring_of(entries));
    }
}

fn balancer_with(method: Balance, rules: &Balancing, members: &[Rc<Member>]) -> All {
    let balancer = Balancer::new(method, rules, 7);
    members.iter().for_each(|member| balancer.add(member, None));
    let all = All { balancer, slots: members.iter().cloned().map(Some).collect() };
    if method == Balance::RingHash {
        all.settle(&all.slots);
    }
    all
}

fn balancer(method: Balance, members: &[Rc<Member>]) -> All {
    balancer_with(method, &Balancing::default(), members)
}

fn pick_for(balancer: &All, wish: &Wish<'_>, now: Duration) -> Picked {
    let moment = Moment { now, requests: 0, slots: &balancer.slots };
    let allowed = |m: &Member| m.identity.is_usable() && !m.ejection.leaves_out(now);
    balancer.pick(wish, &moment, allowed).expect("has servers")
}

fn pick(balancer: &All) -> usize {
    pick_for(balancer, &Wish::default(), at(0)).member.id()
}

fn counts(balancer: &All, picks: usize, n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for _ in 0..picks {
        counts[pick(balancer) - 1] += 1;
    }
    counts
}

fn set(balancer: &Balancer, member: &Rc<Member>, well: bool, now: Duration) {
    member.identity.mark(Cause::Check, !well);
    assert!(member.looks_well());
    balancer.turned(member, now);
}

#[test]
fn round_robin_follows_weights_exactly_and_smoothly() {
    let all = balancer(Balance::RoundRobin, &members(&[5, 1, 1]));
    assert_eq!(counts(&all, 700, 3), [500, 100, 100]);
    // In any seven turns in a row each has its own.
    let order: Vec<_> = (0..70).map(|_| pick(&all)).collect();
    for seven in order.windows(7) {
        assert_eq!(seven.iter().filter(|id| **id == 1).count(), 5, "{order:?}");
    }
    let even = balancer(Balance::RoundRobin, &members(&[3; 4]));
    let order: Vec<_> = (0..8).map(|_| pick(&even)).collect();
    assert_eq!(order, [1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn round_robin_follows_weights_that_change() {
    let servers = members(&[1, 2, 3]);
    let all = balancer(Balance::RoundRobin, &servers);
    assert_eq!(counts(&all, 600, 3), [100, 200, 300]);
    let before = servers[0].becomes(Arc::new(Server { weight: 7, ..(*servers[0].server()).clone() }));
    all.update(&servers[0], &before);
    // The turn that it has already is still at the old distance.
    let counted = counts(&all, 1200, 3);
    assert!((690..=702).contains(&counted[0]), "{counted:?}");
    all.remove(&servers[1]);
    assert_eq!(counts(&all, 1000, 3)[1], 0);
    all.add(&servers[1], None);
    let counted = counts(&all, 1200, 3);
    assert!((195..=205).contains(&counted[1]), "{counted:?}");
}

/// The picks at which each of so many servers had its turn.
fn turns_of(all: &All, picks: usize, n: usize) -> Vec<Vec<usize>> {
    let mut turns = vec![Vec::new(); n];
    (0..picks).for_each(|at| turns[pick(all) - 1].push(at));
    turns
}

#[test]
fn each_of_many_servers_has_its_turns_at_even_distances() {
    // Five weights, and as many as there are servers.
    let many: [Vec<u32>; 2] = [(0..300).map(|n| n % 5 + 1).collect(), (0..60).map(|n| n * 7 + 3).collect()];
    for weights in many {
        let all = balancer(Balance::RoundRobin, &members(&weights));
        let round: u32 = weights.iter().sum();
        let kinds = weights.iter().collect::<std::collections::BTreeSet<_>>().len();
        for (turns, weight) in turns_of(&all, round as usize * 4, weights.len()).iter().zip(&weights) {
            let had = turns.len();
            assert!(
                had.abs_diff(*weight as usize * 4) <= 1,
                "{had} turns in four rounds for a weight of {weight}"
            );
            let due = f64::from(round) / f64::from(*weight);
            for pair in turns.windows(2) {
                let gap = (pair[1] - pair[0]) as f64;
                assert!((gap - due).abs() <= kinds as f64 + 1.0, "{gap} between turns, where {due} are due");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_rounds_are_as_exact_as_one() {
    // A third, a seventh and a thirteenth of a distance are no whole numbers.
    let all = balancer(Balance::RoundRobin, &members(&[3, 7, 13]));
    counts(&all, 23 * 100_000, 3);
    for _ in 0..10 {
        assert_eq!(counts(&all, 23, 3), [3, 7, 13]);
    }
}

#[test]
fn servers_whose_weights_change_all_the_time_have_their_turns() {
    let servers = members(&[2; 50]);
    let all = balancer(Balance::RoundRobin, &servers);
    let mut had = vec![0_usize; 50];
    for n in 0..100_000_usize {
        // The first ten change far more often than their turns come.
        let server = &servers[n % 10];
        let weight = 1 + (n / 10 % 3) as u32;
        let before = server.becomes(Arc::new(Server { weight, ..(*server.server()).clone() }));
        all.update(server, &before);
        had[pick(&all) - 1] += 1;
    }
    for (server, had) in had.iter().enumerate() {
        assert!((1700..2300).contains(had), "server {server} had {had} turns, where 2000 are due");
    }
}

#[test]
fn random_follows_weights_roughly() {
    let counts = counts(&balancer(Balance::Random, &members(&[3, 1, 0])), 40_000, 3);
    assert!((29_000..31_000).contains(&counts[0]), "{counts:?}");
    assert_eq!(counts[2], 0);
}

#[test]
fn least_request_prefers_the_idle_one() {
    let servers = members(&[1, 1]);
    let all = balancer(Balance::LeastRequest, &servers);
    servers[0].in_flight.set(9);
    assert_eq!(counts(&all, 1000, 2), [0, 1000]);
}

#[test]
fn more_choices_avoid_the_busy_ones_more_often() {
    let servers = members(&[1; 10]);
    servers[..5].iter().for_each(|server| server.in_flight.set(5));
    let busy = |choices| {
        let all =
            balancer_with(Balance::LeastRequest, &Balancing { choices, ..Balancing::default() }, &servers);
        counts(&all, 10_000, 10)[..5].iter().sum::<usize>()
    };
    let (one, two, five) = (busy(1), busy(2), busy(5));
    assert!((4800..5200).contains(&one), "{one}");
    assert!((2000..2500).contains(&two), "two of the five of ten, in 2 of 9 cases: {two}");
    assert!(five < 500, "{five}");
}

#[test]
fn peak_ewma_leaves_a_slow_server_at_once_and_comes_back_bit_by_bit() {
    let servers = members(&[1, 1, 1]);
    let decay = Duration::from_secs(10);
    let all = balancer_with(Balance::PeakEwma, &Balancing { decay, ..Balancing::default() }, &servers);
    let took = |server: usize, millis, now| {
        servers[server].latency.note(Some(Duration::from_millis(millis)), now, decay)
    };
    (0..3).for_each(|server| took(server, 10, at(0)));
    took(0, 500, at(0));
    assert_eq!(counts(&all, 1000, 3)[0], 0, "one answer is enough");
    // Of two that are as fast, the one with fewer requests.
    servers[1].in_flight.set(3);
    assert!(counts(&all, 900, 3)[2] > 540);
    servers[1].in_flight.set(0);
    let of_first = |now| (0..900).filter(|_| pick_for(&all, &Wish::default(), now).member.id() == 1).count();
    (1..=60).for_each(|second| (1..3).for_each(|server| took(server, 10, at(second * 1000))));
    assert!(of_first(at(60_000)) > 200, "what was long ago is forgotten");
    // No answer at all counts as a slow one, however fast it was.
    servers[1].latency.note(None, at(60_000), decay);
    let counted = (0..900).filter(|_| pick_for(&all, &Wish::default(), at(60_001)).member.id() == 2).count();
    assert_eq!(counted, 0);
}

#[test]
fn peak_ewma_sends_one_request_to_a_server_that_nobody_knows() {
    let servers = members(&[1, 1]);
    let all = balancer(Balance::PeakEwma, &servers);
    servers[0].latency.note(Some(Duration::from_millis(10)), at(0), Duration::from_secs(10));
    assert_eq!(pick(&all), 2);
    servers[1].in_flight.set(1);
    assert_eq!(counts(&all, 100, 2), [100, 0]);
}

#[test]
fn a_tried_server_is_left_out_while_there_is_another() {
    for method in ALL {
        let servers = members(&[1, 1, 1]);
        let all = balancer(method, &servers);
        for key in 0..100 {
            let wish = Wish { key: Some(mixed(key)), ..Wish::other_than(&[1, 3]) };
            let picked = pick_for(&all, &wish, at(0));
            assert_eq!((picked.member.id(), picked.well), (2, true), "{method:?}");
        }
        pick_for(&all, &Wish::other_than(&[1, 2, 3]), at(0));
        set(&all, &servers[1], false, at(0));
        set(&all, &servers[2], false, at(0));
        let picked = pick_for(&all, &Wish::other_than(&[1]), at(0));
        assert!(picked.member.id() != 1 && !picked.well, "{method:?}");
    }
}

#[test]
fn one_of_ten_thousand_that_can_be_used_is_found() {
    let servers = members(&[1; 10_000]);
    for method in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest, Balance::PeakEwma] {
        let all = balancer(method, &servers);
        let moment = Moment { now: at(0), requests: 0, slots: &[] };
        servers[0].identity.mark(Cause::Check, true);
        if servers[0].looks_well() {
            all.turned(&servers[0], at(0));
        }
        let picked = all.pick(&Wish::default(), &moment, |m| m.id() == 4711).expect("has servers");
        assert_eq!((picked.member.id(), picked.well), (4711, true), "{method:?}");
    }
}

#[test]
fn nothing_without_weight() {
    for weights in [&[0, 0][..], &[]] {
        for method in ALL {
            let moment = Moment { now: at(0), requests: 0, slots: &[] };
            let picked = balancer(method, &members(weights)).pick(&Wish::default(), &moment, |_| true);
            assert!(picked.is_none(), "{method:?}");
        }
    }
}

#[test]
fn a_new_server_comes_to_its_share_bit_by_bit() {
    let rules = Balancing { slow_start: Some(Duration::from_secs(10)), ..Balancing::default() };
    for method in [Balance::RoundRobin, Balance::LeastRequest, Balance::Random] {
        let servers = members(&[1; 10]);
        let all = balancer_with(method, &rules, &servers[..9]);
        all.add(&servers[9], Some(at(0)));
        let share =
            |now| (0..20_000).filter(|_| pick_for(&all, &Wish::default(), now).member.id() == 10).count();
        let shares = [share(at(0)), share(at(2_500)), share(at(5_000)), share(at(10_000)), share(at(20_000))];
        let whole = if method == Balance::LeastRequest { 2100 } else { 2000 };
        assert!(shares[0] < 330, "a tenth of its share: {method:?} {shares:?}");
        for (share, part) in shares.into_iter().zip([0.1, 0.25, 0.5, 1.0, 1.0]).skip(1) {
            let expected = f64::from(whole) * part;
            assert!((share as f64 - expected).abs() < 320.0, "{method:?} {shares:?}: {expected}");
        }
    }
}

#[test]
fn a_server_that_is_well_again_begins_slowly_too() {
    let rules = Balancing { slow_start: Some(Duration::from_secs(10)), ..Balancing::default() };
    let servers = members(&[1; 2]);
    let all = balancer_with(Balance::Random, &rules, &servers);
    set(&all, &servers[1], false, at(0));
    assert_eq!(counts(&all, 100, 2)[1], 0);
    set(&all, &servers[1], true, at(0));
    let early = counts(&all, 10_000, 2)[1];
    assert!(early < 1500, "{early}");
}
