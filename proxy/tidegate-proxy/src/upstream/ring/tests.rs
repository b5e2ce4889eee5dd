//! Rings against a sorted list of all their points.

use std::collections::BTreeMap;

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

/// All points in one order.
fn all_points(owners: &[Option<Owner>], density: f64) -> BTreeMap<u64, usize> {
    let of =
        |(slot, owner): (usize, Owner)| (0..owner.due(density)).map(move |n| (place(owner.hash, n), slot));
    owners.iter().enumerate().filter_map(|(slot, owner)| Some((slot, (*owner)?))).flat_map(of).collect()
}

/// What a ring is to say first for a key: whose the points are by how far they are from its nearest place.
fn expected(all: &BTreeMap<u64, usize>, key: u64, count: usize) -> Vec<usize> {
    let from = |place: u64| {
        let around = all.range(place..).chain(all.range(..place)).take(count);
        around.map(move |(point, slot)| (point.wrapping_sub(place), *slot))
    };
    let mut points: Vec<(u64, usize)> = places(key).into_iter().flat_map(from).collect();
    points.sort_unstable();
    points.into_iter().map(|(_, slot)| slot).take(count).collect()
}

fn is_right(ring: &Ring, what: &str) {
    let owners = || ring.owners.iter().flatten();
    let total = owners().map(|owner| u64::from(owner.weight)).sum();
    let all = all_points(&ring.owners, density(owners().count() as u64, total));
    assert_eq!(ring.points, all.len(), "{what}");
    // Keys anywhere, at points, and around them, where a bucket does not know enough.
    let near =
        all.keys().step_by(all.len() / 40 + 1).flat_map(|p| [*p, p.wrapping_sub(1), p.wrapping_add(1)]);
    for key in (0..60).map(mixed).chain(near).chain([0, 1, u64::MAX]) {
        let wanted = expected(&all, key, 30);
        assert_eq!(ring.from(key).take(30).collect::<Vec<_>>(), wanted, "{what}: {key:x}");
        assert_eq!(ring.nearest(key), wanted.first().copied(), "{what}: {key:x}");
    }
    assert_eq!(ring.from(7).count(), all.len() * PLACES, "{what}: once around from each place");
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
    let bits = ring.bits;
    assert!(bits >= 22 && !ring.beyond.is_empty(), "{bits}");
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

/// A weight by a number, or by the weight before.
type Weigh = fn(u32) -> u32;

/// Two hundred servers, of which each has the weight that `weight` says.
fn many(weight: impl Fn(u32) -> u32) -> Ring {
    let mut ring = Ring::default();
    ring.change(&(0..200).map(|n| (n as usize, owner(n.into(), weight(n)))).collect::<Vec<_>>());
    ring
}

/// How many of twenty thousand keys go elsewhere when one of these ten servers has another weight, on average, and how
/// many of them neither come to it nor leave it.
fn moved(ring: &mut Ring, slots: impl Iterator<Item = usize>, after: impl Fn(u32) -> u32) -> (f64, f64) {
    let keys = |ring: &Ring| (0..20_000).map(|key| ring.nearest(mixed(key))).collect::<Vec<_>>();
    let before = keys(ring);
    let (mut moved, mut others, mut count) = (0, 0, 0.0);
    for slot in slots.take(10) {
        let weight = ring.owners[slot].expect("is there").weight;
        ring.change(&[(slot, owner(slot as u64, after(weight)))]);
        for (before, now) in before.iter().zip(keys(ring)).filter(|(before, now)| *before != now) {
            moved += 1;
            others += usize::from(*before != Some(slot) && now != Some(slot));
        }
        count += 1.0;
        ring.change(&[(slot, owner(slot as u64, weight))]);
    }
    assert!(keys(ring) == before, "it has its keys again");
    (moved as f64 / count, others as f64 / count)
}

#[test]
fn a_light_server_whose_weight_changes_moves_no_keys_of_others() {
    let mut ring = many(|n| 1 + n % 2);
    let (all, others) = moved(&mut ring, (0..200).step_by(20), |_| 2);
    assert!(others == 0.0 && all <= 20_000.0 / 300.0 * 1.1, "{all} and {others}, where 67 are due");
}

#[test]
fn wherever_the_average_is_a_weight_that_changes_moves_little_more_than_its_own_keys() {
    // The average goes from 2 to more, from just below 128 to more, and is anywhere.
    let cases: [(&str, Weigh, Weigh); 4] = [
        ("at the border of light ones", |n| 1 + n % 2 * 2, |weight| weight + 1),
        ("at a power of two", |n| if n == 1 { 127 } else { 128 }, |weight| weight + 50),
        ("down again", |_| 128, |weight| weight - 50),
        ("far from one", |n| 40 + n % 100, |weight| weight + weight / 2),
    ];
    for (name, weight, after) in cases {
        let mut ring = many(weight);
        let slots = || (0..200).step_by(19);
        let changes = slots().take(10).map(|slot| {
            let before = ring.owners[slot].expect("is there").weight;
            f64::from(before.abs_diff(after(before)))
        });
        // What is due to the change alone, of all keys.
        let due = changes.sum::<f64>() / 10.0 / ring.total as f64 * 20_000.0;
        let (all, others) = moved(&mut ring, slots(), after);
        // By one of two hundred servers. Of others' keys as many as are due, but those of a few dozen points.
        assert!(all <= if due < 50.0 { 110.0 } else { 2.5 * due }, "{name}: {all} of 20,000 keys, {due} due");
        assert!(others <= due * 1.5, "{name}: {others} of others' keys, {due} of its own");
    }
}
