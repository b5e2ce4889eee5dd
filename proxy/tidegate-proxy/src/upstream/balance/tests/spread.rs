//! Keys, zones, priorities and what becomes of them when servers cannot be used.

use super::*;

const KEYS: usize = 20_000;

fn by_key(balancer: &All) -> Vec<usize> {
    let wish = |key: usize| Wish { key: Some(mixed(key as u64)), ..Wish::default() };
    (0..KEYS).map(|key| pick_for(balancer, &wish(key), at(0)).member.id()).collect()
}

#[test]
fn a_server_that_goes_from_the_ring_moves_its_own_keys_only() {
    let servers = members(&[1; 20]);
    let all = balancer(Balance::RingHash, &servers);
    let before = by_key(&all);
    let mut moved = 0;
    for (slot, gone) in servers.iter().enumerate() {
        all.remove(gone);
        let mut left = all.slots.clone();
        left[slot] = None;
        all.settle(&left);
        let without = by_key(&all);
        for (before, without) in before.iter().zip(&without) {
            assert!(before == without || *before == gone.id());
            moved += usize::from(before != without);
        }
        all.add(gone, None);
        all.settle(&all.slots);
        assert!(by_key(&all) == before, "it has its keys again");
    }
    assert_eq!(moved, KEYS, "1/20 of the keys on average");
}

#[test]
fn a_server_that_cannot_be_used_moves_its_own_keys_only() {
    let servers = members(&[1; 20]);
    let all = balancer(Balance::RingHash, &servers);
    let before = by_key(&all);
    set(&all, &servers[3], false, at(0));
    for (before, now) in before.iter().zip(by_key(&all)) {
        assert!(*before == now || *before == 4 && now != 4);
    }
}

#[test]
fn keys_of_a_server_that_is_passed_over_are_where_they_are_without_it() {
    let servers = members(&[1; 20]);
    let all = balancer(Balance::RingHash, &servers);
    for (slot, gone) in servers.iter().enumerate() {
        set(&all, gone, false, at(0));
        let passed = by_key(&all);
        set(&all, gone, true, at(0));
        let id = [gone.id()];
        let tried: Vec<usize> = (0..200)
            .map(|key| Wish { key: Some(mixed(key)), ..Wish::other_than(&id) })
            .map(|wish| pick_for(&all, &wish, at(0)).member.id())
            .collect();
        all.remove(gone);
        let mut left = all.slots.clone();
        left[slot] = None;
        all.settle(&left);
        let without = by_key(&all);
        assert!(passed == without && tried == without[..200], "server {}", gone.id());
        all.add(gone, None);
        all.settle(&all.slots);
    }
}

#[test]
fn the_ring_follows_weights() {
    let servers = members_of((0..10).map(|n| Server { weight: 1 + n % 2 * 3, ..template() }));
    let picked = by_key(&balancer(Balance::RingHash, &servers));
    let heavy = picked.iter().filter(|id| *id % 2 == 0).count();
    assert!((14_800..17_200).contains(&heavy), "{heavy} of {KEYS}, where 16000 are due");
    for id in 1..=10 {
        let due = if id % 2 == 0 { 3200 } else { 800 };
        let count = picked.iter().filter(|picked| **picked == id).count();
        assert!((due * 7 / 10..due * 13 / 10).contains(&count), "{id}: {count}");
    }
}

#[test]
fn no_server_gets_more_than_its_bound() {
    for method in [Balance::RingHash, Balance::Maglev] {
        let servers = members(&[1; 10]);
        let rules = Balancing { bounded_load: Some(125), ..Balancing::default() };
        let all = balancer_with(method, &rules, &servers);
        let wish = Wish { key: Some(4711), ..Wish::default() };
        let mut order = Vec::new();
        for requests in 0..100 {
            let moment = Moment { now: at(0), requests, slots: &all.slots };
            let member = all.pick(&wish, &moment, |_| true).expect("has servers").member;
            member.in_flight.set(member.in_flight.get() + 1);
            order.push(member.id());
        }
        let most = servers.iter().map(|server| server.in_flight.get()).max();
        assert_eq!(most, Some(13), "{method:?}: 1.25 times a tenth of 100, rounded up");
        assert!(order.iter().filter(|id| **id == order[0]).count() == 13);
    }
}

fn zoned(zones: &[(&str, usize)]) -> Vec<Rc<Member>> {
    let template = |zone: &str| Server { zone: Some(zone.into()), ..template() };
    members_of(zones.iter().flat_map(|(zone, n)| (0..*n).map(|_| template(zone))))
}

fn in_zone(zone: &str) -> Balancing {
    Balancing { zone: Some(zone.to_owned()), ..Balancing::default() }
}

#[test]
fn the_own_zone_is_preferred_and_what_it_cannot_bear_goes_elsewhere() {
    let servers = zoned(&[("a", 4), ("b", 4), ("c", 4)]);
    for method in [Balance::RoundRobin, Balance::LeastRequest, Balance::PeakEwma, Balance::Random] {
        let all = balancer_with(method, &in_zone("a"), &servers);
        let home = |all: &All| counts(all, 12_000, 12)[..4].iter().sum::<usize>();
        assert_eq!(home(&all), 12_000, "{method:?}");
        // Two of four are left, which is a fifth of the servers where a third is due: 3/5 stay.
        set(&all, &servers[0], false, at(0));
        set(&all, &servers[1], false, at(0));
        let counted = counts(&all, 12_000, 12);
        let stay: usize = counted[..4].iter().sum();
        assert!((7000..7400).contains(&stay), "{method:?}: {stay}");
        let b: usize = counted[4..8].iter().sum();
        assert!((2200..2600).contains(&b), "the rest evenly, {method:?}: {b}");
        set(&all, &servers[2], false, at(0));
        set(&all, &servers[3], false, at(0));
        assert_eq!(home(&all), 0, "{method:?}");
        servers[..4].iter().for_each(|server| set(&all, server, true, at(0)));
        assert_eq!(home(&all), 12_000, "{method:?}");
    }
}

#[test]
fn a_zone_that_is_small_sends_what_is_beyond_it_where_there_is_room() {
    let all = balancer_with(Balance::Random, &in_zone("a"), &zoned(&[("a", 1), ("b", 1), ("c", 4)]));
    let counted = counts(&all, 12_000, 6);
    // A sixth of the servers where a third is due, and c alone has more than its third.
    assert!((5700..6300).contains(&counted[0]), "{counted:?}");
    assert_eq!(counted[1], 0, "{counted:?}");
    let elsewhere = balancer_with(Balance::Random, &in_zone("d"), &zoned(&[("a", 1), ("b", 1)]));
    assert!(counts(&elsewhere, 1000, 2).iter().all(|count| *count > 400), "no server is in the own zone");
}

fn levels(priorities: &[u32]) -> Vec<Rc<Member>> {
    members_of(priorities.iter().map(|&priority| Server { priority, ..template() }))
}

#[test]
fn the_next_priority_takes_what_the_first_one_cannot() {
    for method in ALL {
        let servers = levels(&[0, 0, 0, 0, 0, 5, 5, 9]);
        let all = balancer(method, &servers);
        let second = |all: &All| counts(all, 10_000, 8)[5..7].iter().sum::<usize>();
        assert_eq!(second(&all), 0, "{method:?}");
        // Four of five bear it all; three of five 84 %.
        set(&all, &servers[0], false, at(0));
        assert_eq!(second(&all), 0, "{method:?}");
        set(&all, &servers[1], false, at(0));
        let spilled = second(&all);
        assert!((1400..1800).contains(&spilled), "{method:?}: {spilled}");
        servers[2..5].iter().for_each(|server| set(&all, server, false, at(0)));
        assert_eq!(second(&all), 10_000, "{method:?}");
        servers[5..7].iter().for_each(|server| set(&all, server, false, at(0)));
        assert_eq!(counts(&all, 100, 8)[7], 100, "{method:?}");
        // Nobody is left: the first ones are asked.
        set(&all, &servers[7], false, at(0));
        let picked = pick_for(&all, &Wish::default(), at(0));
        assert!(picked.member.id() <= 5 && !picked.well, "{method:?}");
    }
}

#[test]
fn a_key_keeps_its_server_while_another_priority_takes_a_part() {
    let servers = levels(&[0, 0, 0, 0, 1, 1]);
    let all = balancer(Balance::RingHash, &servers);
    let before = by_key(&all);
    assert!(before.iter().all(|id| *id <= 4));
    set(&all, &servers[0], false, at(0));
    set(&all, &servers[1], false, at(0));
    let now = by_key(&all);
    assert!(now == by_key(&all), "the same key, the same part");
    let stayed = before.iter().zip(&now).filter(|(before, now)| before == now).count();
    assert!((6500..7500).contains(&stayed), "70 % of the half that is well: {stayed}");
}

#[test]
fn below_its_threshold_all_are_used() {
    let servers = members(&[1; 10]);
    let rules = Balancing { panic_threshold: 50, ..Balancing::default() };
    for method in [Balance::RoundRobin, Balance::LeastRequest, Balance::Random] {
        let all = balancer_with(method, &rules, &servers);
        servers[..5].iter().for_each(|server| set(&all, server, false, at(0)));
        assert_eq!(counts(&all, 1000, 10)[..5].iter().sum::<usize>(), 0, "half is enough, {method:?}");
        set(&all, &servers[5], false, at(0));
        let unwell = counts(&all, 1000, 10)[..6].iter().sum::<usize>();
        assert!(unwell > 500, "{method:?}: {unwell}");
        assert!(!pick_for(&all, &Wish::default(), at(0)).well);
        servers[..6].iter().for_each(|server| set(&all, server, true, at(0)));
    }
}

#[test]
fn one_that_is_left_out_is_tried_again_whatever_has_its_part() {
    use crate::upstream::ejection::Ejection;
    let servers = levels(&[0, 1]);
    let all = balancer(Balance::RoundRobin, &servers);
    let rule = tidegate_config::plan::Ejection {
        failures: 1,
        statuses: Vec::new(),
        time: Duration::from_secs(5),
        max_time: Duration::from_secs(60),
        refused: Duration::from_millis(100),
        percent: 100,
        outliers: None,
    };
    let ejection = Ejection::new(Some(rule));
    servers.iter().for_each(|_| ejection.joins());
    assert!(ejection.failed(&servers[0].ejection, at(0)).is_some() && servers[0].looks_well());
    all.turned(&servers[0], at(0));
    assert_eq!(counts(&all, 100, 2), [0, 100]);
    let picked = pick_for(&all, &Wish::default(), at(5000));
    assert!(picked.member.id() == 1 && picked.well && servers[0].ejection.begins());
    assert_eq!(pick_for(&all, &Wish::default(), at(5000)).member.id(), 2, "one request is enough");
}
