//! Virtual time, fixed seeds.

use std::sync::Arc;

use super::*;
use crate::upstream::roster::Entry;
use crate::upstream::server::{Identity, Server};

/// Servers of these weights, numbered from 1.
fn members(weights: &[u32]) -> Vec<Rc<Member>> {
    let member = |(index, &weight): (usize, &u32)| {
        let address = ([10, 0, (index / 200) as u8, (index % 200) as u8], 80).into();
        let identity = Arc::new(Identity::new(index + 1, (address, None)));
        Member::new(Entry { identity, server: Arc::new(Server { weight, ..Server::new(address) }) }, false)
    };
    weights.iter().enumerate().map(member).collect()
}

fn balancer(method: Balance, seed: u64, members: &[Rc<Member>]) -> Balancer {
    let balancer = Balancer::new(method, seed);
    members.iter().for_each(|member| balancer.add(member));
    balancer
}

fn pick(balancer: &Balancer) -> usize {
    balancer.pick_any(&Wish::default()).expect("has servers").id()
}

fn counts(balancer: &Balancer, picks: usize, n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for _ in 0..picks {
        counts[pick(balancer) - 1] += 1;
    }
    counts
}

#[test]
fn round_robin_follows_weights_exactly_and_smoothly() {
    let all = balancer(Balance::RoundRobin, 1, &members(&[5, 1, 1]));
    assert_eq!(counts(&all, 700, 3), [500, 100, 100]);
    // In any seven turns in a row each has its own.
    let order: Vec<_> = (0..70).map(|_| pick(&all)).collect();
    for seven in order.windows(7) {
        assert_eq!(seven.iter().filter(|id| **id == 1).count(), 5, "{order:?}");
    }
    let even = balancer(Balance::RoundRobin, 1, &members(&[3; 4]));
    let order: Vec<_> = (0..8).map(|_| pick(&even)).collect();
    assert_eq!(order, [1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn round_robin_follows_weights_that_change() {
    let servers = members(&[1, 2, 3]);
    let all = balancer(Balance::RoundRobin, 1, &servers);
    assert_eq!(counts(&all, 600, 3), [100, 200, 300]);
    servers[0].becomes(Arc::new(Server { weight: 7, ..Server::new(servers[0].identity.address) }));
    all.update(&servers[0]);
    // The turn that it has already is still at the old distance.
    let counted = counts(&all, 1200, 3);
    assert!((690..=702).contains(&counted[0]), "{counted:?}");
    all.remove(&servers[1]);
    assert_eq!(counts(&all, 1000, 3)[1], 0);
    all.add(&servers[1]);
    let counted = counts(&all, 1200, 3);
    assert!((195..=205).contains(&counted[1]), "{counted:?}");
}

#[test]
fn random_follows_weights_roughly() {
    let counts = counts(&balancer(Balance::Random, 7, &members(&[3, 1, 0])), 40_000, 3);
    assert!((29_000..31_000).contains(&counts[0]), "{counts:?}");
    assert_eq!(counts[2], 0);
}

#[test]
fn least_request_prefers_the_idle_one() {
    let servers = members(&[1, 1]);
    let all = balancer(Balance::LeastRequest, 3, &servers);
    servers[0].in_flight.set(9);
    assert_eq!(counts(&all, 1000, 2), [0, 1000]);
}

#[test]
fn a_tried_server_is_left_out_while_there_is_another() {
    for method in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
        let all = balancer(method, 5, &members(&[1, 1, 1]));
        for _ in 0..100 {
            let (picked, well) = all.pick(&Wish::other_than(&[1, 3]), |_| true).expect("has servers");
            assert_eq!((picked.id(), well), (2, true), "{method:?}");
        }
        assert!(all.pick(&Wish::other_than(&[1, 2, 3]), |_| true).is_some(), "{method:?}");
        let (picked, well) = all.pick(&Wish::other_than(&[1]), |m| m.id() == 1).expect("has servers");
        assert!(picked.id() != 1 && !well, "{method:?}");
    }
}

#[test]
fn one_of_ten_thousand_that_is_wanted_is_found() {
    let servers = members(&[1; 10_000]);
    for method in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
        let all = balancer(method, 5, &servers);
        let picked = all.pick(&Wish::default(), |m| m.id() == 4711).expect("has servers");
        assert_eq!((picked.0.id(), picked.1), (4711, true), "{method:?}");
    }
}

#[test]
fn nothing_without_weight() {
    for weights in [&[0, 0][..], &[]] {
        for method in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
            assert!(balancer(method, 5, &members(weights)).pick_any(&Wish::default()).is_none());
        }
    }
}
