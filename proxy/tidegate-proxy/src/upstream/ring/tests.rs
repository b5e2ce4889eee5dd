//! Rings against a sorted list of all their points.

use std::collections::BTreeMap;

use super::tier::MOST_BITS;
use super::*;

/// The ring of these servers, by slots.
pub(crate) fn ring_of(entries: impl IntoIterator<Item = (usize, Entry)>) -> Arc<Ring> {
    let mut ring = Ring::default();
    let changes: Vec<Change> = entries.into_iter().map(|(slot, entry)| (slot, Owner::new(&entry))).collect();
    ring.change(&changes);
    Arc::new(ring)
}

fn owner(n: u64, weight: u32) -> Option<Owner> {
    // Not a hash that a number of a point has too.
    Some(Owner { hash: mixed(n + (1 << 40)), weight, points: 0 })
}

/// The servers of all tiers, by slots.
fn owners(ring: &Ring) -> Vec<Option<Owner>> {
    let of = |slot: usize| ring.tiers.iter().find_map(|tier| tier.owner(slot));
    (0..ring.slots()).map(of).collect()
}

/// All points by their tier, in one order.
type Points = BTreeMap<u32, BTreeMap<u64, usize>>;

fn all_points(ring: &Ring) -> Points {
    let mut all = Points::new();
    for (slot, owner) in owners(ring).into_iter().enumerate() {
        for n in 0..owner.map_or(0, Owner::due) {
            let owner = owner.expect("it has points");
            all.entry(owner.level()).or_default().insert(place(owner.hash, n), slot);
        }
    }
    all
}

/// What a ring is to say first for a key: whose the points are by how far they are from its nearest place, those of a tier
/// being as much nearer as its weights are larger.
fn expected(all: &Points, key: u64, count: usize) -> Vec<usize> {
    let from = |(level, place): (u32, u64)| {
        let around = all[&level].range(place..).chain(all[&level].range(..place)).take(count);
        around.map(move |(point, slot)| {
            (u128::from(point.wrapping_sub(place)) << (TIER_BITS * (15 - level)), level, *slot)
        })
    };
    let from_all = |level: &u32| places(key).map(|place| (*level, place));
    let mut points: Vec<_> = all.keys().flat_map(from_all).flat_map(from).collect();
    points.sort_unstable();
    points.into_iter().map(|(_, _, slot)| slot).take(count).collect()
}

fn is_right(ring: &Ring, what: &str) {
    let all = all_points(ring);
    let points: usize = all.values().map(BTreeMap::len).sum();
    assert_eq!(ring.tiers.iter().map(Tier::points).sum::<usize>(), points, "{what}");
    // Keys anywhere, at points, and around them, where a bucket does not know enough.
    let near = all.values().flat_map(BTreeMap::keys).step_by(points / 40 + 1);
    let near = near.flat_map(|p| [*p, p.wrapping_sub(1), p.wrapping_add(1)]);
    for key in (0..60).map(mixed).chain(near).chain([0, 1, u64::MAX]) {
        let wanted = expected(&all, key, 30);
        assert_eq!(ring.from(key).take(30).collect::<Vec<_>>(), wanted, "{what}: {key:x}");
        assert_eq!(ring.nearest(key), wanted.first().copied(), "{what}: {key:x}");
    }
    assert_eq!(ring.from(7).count(), points * PLACES, "{what}: once around from each place");
}

#[test]
fn it_says_what_a_sorted_list_of_all_points_says_through_all_changes() {
    let mut ring = Ring::default();
    is_right(&ring, "nobody");
    for n in 0..60 {
        ring.change(&[(n, owner(n as u64, 1 + n as u32 % 5))]);
        is_right(&ring, &format!("{n} has come"));
    }
    for n in (0..60).step_by(3) {
        ring.change(&[(n, owner(n as u64, 9)), (n + 1, None), (n + 2, owner(n as u64 + 900, 2))]);
        is_right(&ring, &format!("{n} and two more have changed"));
    }
    for n in 0..60 {
        ring.change(&[(n, None)]);
        is_right(&ring, &format!("{n} has gone"));
    }
}

#[test]
fn heavy_servers_are_where_a_sorted_list_has_them_too() {
    let mut ring = Ring::default();
    for n in 0..40 {
        ring.change(&[(n, owner(n as u64, 90 + n as u32 * 3))]);
    }
    is_right(&ring, "all have come");
    for n in (0..40).step_by(5) {
        ring.change(&[(n, owner(n as u64, 1 + n as u32 * 9)), (n + 1, None)]);
        is_right(&ring, &format!("{n} has another weight"));
    }
    ring.change(&[(3, owner(3, 100_000))]);
    is_right(&ring, "one is heavier than all others");
    ring.change(&[(3, owner(3, 1))]);
    is_right(&ring, "and light again");
}

#[test]
fn points_that_a_bucket_cannot_tell_apart_are_in_their_order() {
    // Of the points of slots that large a bucket knows few bits: most of them look alike to it.
    let mut ring = Ring::default();
    let far = (1 << (MOST_BITS - 6)) - 20;
    for n in 0..20 {
        ring.change(&[(far + n, owner(n as u64, 1))]);
    }
    let [tier] = ring.tiers.as_slice() else { panic!("all have the same weight") };
    assert!(tier.bits() >= 22 && tier.is_crowded(), "{}", tier.bits());
    is_right(&ring, "many alike");
    for n in (0..20).step_by(2) {
        ring.change(&[(far + n, owner(n as u64 + 100, 1))]);
        is_right(&ring, &format!("{n} is another one"));
    }
}

#[test]
fn a_ring_that_a_worker_still_has_does_not_change() {
    let roster = Roster::default();
    let shared = Shared::default();
    let server = |n: u16| Server::new(([10, 2, 3, 4], n).into());
    let keys = |ring: &Ring| (0..200).map(|key| ring.from(mixed(key)).next()).collect::<Vec<_>>();
    roster.put(&(1..=200).map(server).collect::<Vec<_>>(), None).expect("no TLS");
    shared.catch_up(&roster, |_| true);
    let mut held = Vec::new();
    for n in 201..=230 {
        roster.amend(&[server(n)], &[server(n - 200)], None).expect("no TLS");
        shared.catch_up(&roster, |_| true);
        let ring = shared.ring();
        is_right(&ring, &format!("change {n}"));
        // Some workers are slow, others have let go before the next change.
        if n % 3 > 0 {
            held.push((keys(&ring), ring));
        }
        assert!(held.iter().all(|(keys_then, ring)| keys(ring) == *keys_then), "change {n}");
        if n % 5 == 0 {
            held.clear();
        }
    }
}

#[test]
fn a_thousand_servers_have_their_shares_and_one_that_goes_moves_no_others() {
    let all: Vec<Change> = (0..1000).map(|n| (n, owner(n as u64, 1))).collect();
    let mut ring = Ring::default();
    ring.change(&all);
    let keys =
        |ring: &Ring| (0..100_000).map(|key| ring.from(mixed(key + (1 << 50))).next()).collect::<Vec<_>>();
    let before = keys(&ring);
    let count = |slot| before.iter().filter(|known| **known == Some(slot)).count();
    let most = (0..1000).map(count).max();
    assert!(most < Some(160), "{most:?} of 100 on average");
    let mut moved = 0;
    for one in all.iter().take(10) {
        let gone = one.0;
        ring.change(&[(gone, None)]);
        let without = keys(&ring);
        let differ = |(one, other): &(&Option<usize>, &Option<usize>)| one != other;
        let moves: Vec<_> = before.iter().zip(&without).filter(differ).collect();
        assert!(moves.iter().all(|(before, _)| **before == Some(gone)), "only its own keys");
        moved += moves.len();
        ring.change(&[*one]);
    }
    assert!(moved * 10 <= 100_000 * 10 * 11 / 1000, "{moved} of 100,000 keys by ten of a thousand servers");
    assert!(keys(&ring) == before);
}

/// A weight by the number of a server and how many there are.
type Weigh = fn(u32, u32) -> u32;

/// A weight by the one before.
type After = fn(u32) -> u32;

const WEIGHTS: [(&str, Weigh); 10] = [
    ("all alike", |_, _| 1),
    ("all alike and heavy", |_, _| 1000),
    ("one and two", |n, _| 1 + n % 2),
    ("around four", |n, _| 3 + n % 2),
    ("one to five", |n, _| 1 + n % 5),
    ("one to a hundred", |n, _| 1 + n * 37 % 100),
    ("one and a hundred", |n, _| if n % 2 == 0 { 1 } else { 100 }),
    ("one is heavier than all others", |n, all| if n == 0 { 10 * all } else { 1 }),
    ("one is lighter than all others", |n, _| if n == 0 { 1 } else { 128 }),
    ("powers of two", |n, _| 1 << (n % 17)),
];

/// So many servers, of which each has the weight that `weight` says.
fn many(servers: u32, weight: Weigh) -> Ring {
    let mut ring = Ring::default();
    ring.change(&(0..servers).map(|n| (n as usize, owner(n.into(), weight(n, servers)))).collect::<Vec<_>>());
    ring
}

fn whose(ring: &Ring, keys: u64) -> Vec<Option<usize>> {
    (0..keys).map(|key| ring.nearest(mixed(key + (1 << 50)))).collect()
}

#[test]
fn whatever_the_weights_a_server_that_goes_moves_its_own_keys_only() {
    for (name, weight) in WEIGHTS {
        for servers in [3, 40, 1000] {
            let mut ring = many(servers, weight);
            let before = whose(&ring, 2_000);
            for n in (0..servers).step_by(servers.div_ceil(4) as usize) {
                let slot = n as usize;
                ring.change(&[(slot, None)]);
                for (before, now) in before.iter().zip(whose(&ring, 2_000)) {
                    let is_its_own = *before == Some(slot);
                    assert!((*before != now) == is_its_own, "{name}, {servers}: its own keys, and no other");
                }
                ring.change(&[(slot, owner(n.into(), weight(n, servers)))]);
            }
            assert!(whose(&ring, 2_000) == before, "{name}, {servers}: all have their keys again");
        }
    }
}

#[test]
fn a_thousand_servers_of_any_weights_lose_no_more_than_a_tenth_above_their_share() {
    for (name, weight) in WEIGHTS {
        let (mut ring, keys) = (many(1000, weight), 10_000);
        let before = whose(&ring, keys);
        let total: f64 = (0..1000).map(|n| f64::from(weight(n, 1000))).sum();
        let slots = || (0..1000).step_by(4);
        let due: f64 = slots().map(|n| f64::from(weight(n, 1000)) / total).sum();
        let lost = before.iter().filter(|slot| slot.is_some_and(|slot| slot % 4 == 0)).count();
        assert!(lost as f64 <= 1.1 * due * keys as f64, "{name}: {lost} of {keys} keys, {due} due");
        // All of them at once is the same as one after the other.
        ring.change(&slots().map(|n| (n as usize, None)).collect::<Vec<_>>());
        let moved = before.iter().zip(whose(&ring, keys)).filter(|(before, now)| *before != now).count();
        assert_eq!(moved, lost, "{name}");
    }
}

#[test]
fn a_weight_that_changes_moves_keys_to_its_server_or_from_it_and_no_others() {
    let after: [(&str, After); 4] = [
        ("a little more", |weight| weight + 1),
        ("half as much again", |weight| weight + weight.div_ceil(2)),
        ("half", |weight| weight.div_ceil(2)),
        ("a hundred times", |weight| weight * 100),
    ];
    for (name, weight) in WEIGHTS {
        let (mut ring, keys) = (many(200, weight), 1_000);
        let before = whose(&ring, keys);
        for (slot, (change, after)) in (0..200).step_by(19).zip(after.iter().cycle()) {
            let weight = weight(slot, 200);
            let slot = slot as usize;
            ring.change(&[(slot, owner(slot as u64, after(weight)))]);
            for (before, now) in before.iter().zip(whose(&ring, keys)).filter(|(before, now)| *before != now)
            {
                assert!(*before == Some(slot) || now == Some(slot), "{name}, {change}: another's key");
            }
            ring.change(&[(slot, owner(slot as u64, weight))]);
        }
        assert!(whose(&ring, keys) == before, "{name}: all have their keys again");
    }
}

#[test]
fn memory_is_bounded_by_the_number_of_servers_whatever_their_weights() {
    for (name, weight) in WEIGHTS {
        let points: usize = many(1000, weight).tiers.iter().map(Tier::points).sum();
        assert!((32_000..=128_000).contains(&points), "{name}: {points} points");
    }
}
