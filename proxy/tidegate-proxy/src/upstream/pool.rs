//! This worker's connections to the servers of one cluster.

mod bytes;
mod connections;
mod descriptors;
mod http2;
mod lifetime;
mod members;
mod refusals;
mod repeats;
mod sessions;
mod waiting;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use rustc_hash::FxHashMap;
use tokio::task::spawn_local;

use crate::shared::Shard;
use crate::time::Deadlines;
use crate::upstream::adaptive::Adaptive;
use crate::upstream::balance::{Balancer, Random, Why};
use crate::upstream::cluster::Cluster;
use crate::upstream::ejection::Ejection;
use crate::upstream::member::Member;
use crate::upstream::redis::Link;
pub(crate) use connections::{Connections, Lease, Open};
pub(crate) use http2::{Local, Stream};
pub(crate) use lifetime::Lifetime;
use repeats::Repeats;
pub(crate) use repeats::{Permit, Stop};
use waiting::Room;

/// A map with room for more fields is not kept.
const FIELDS: usize = 128;

/// The pool of one cluster.
pub(crate) struct Pool {
    /// Which cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// The cluster's name, as plugins are told it.
    pub(crate) name: Rc<str>,
    balancer: Balancer,
    /// By the slots of the cluster's roster.
    members: RefCell<Vec<Option<Rc<Member>>>>,
    servers: Cell<usize>,
    /// The version of the roster that they are of.
    version: Cell<u64>,
    /// The state of all servers' health that was looked at last.
    health: Cell<u64>,
    ejection: Ejection,
    deadlines: Rc<Deadlines>,
    /// Open connections, and who waits.
    room: Rc<Room>,
    /// Requests in flight.
    requests: Cell<usize>,
    limits: Share,
    repeats: Repeats,
    adaptive: Option<Box<Adaptive>>,
    random: Random,
    shard: usize,
    /// Whether it matters which request a server is for.
    asks: Cell<bool>,
    /// Whether there are sessions; then the servers by their keys.
    keeps: Cell<bool>,
    homes: RefCell<FxHashMap<u64, Rc<Member>>>,
    /// An empty map with room, for the head of the next answer.
    fields: Cell<HeaderMap>,
    /// The connection to Redis, where the servers speak that.
    pub(crate) redis: Rc<Link>,
}

/// This worker's share of the cluster's limits.
#[derive(Debug, Clone, Copy)]
struct Share {
    connections: usize,
    requests: usize,
    pending: usize,
    /// Connections to each server that are opened ahead.
    warm: usize,
}

/// A request's place at a server: counted while it lives.
pub(crate) struct Place {
    pub(crate) pool: Rc<Pool>,
    pub(crate) member: Rc<Member>,
    /// Why this one.
    pub(crate) why: Why,
    /// It tries a server that was left out.
    trial: bool,
}

impl Pool {
    /// No connection yet. `workers` share the cluster's limits, `shard` is this one's number.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        workers: usize,
        shard: &Shard,
        deadlines: &Rc<Deadlines>,
        seed: u64,
    ) -> Rc<Self> {
        let share = |limit: usize| limit.div_ceil(workers.max(1));
        let limits = cluster.spec.limits;
        let pool = Rc::new(Self {
            ejection: Ejection::new(cluster.spec.ejection.clone()),
            balancer: Balancer::new(cluster.spec.balance, &cluster.spec.balancing, seed),
            members: RefCell::default(),
            servers: Cell::default(),
            version: Cell::default(),
            health: Cell::default(),
            deadlines: deadlines.clone(),
            room: Rc::default(),
            requests: Cell::new(0),
            limits: Share {
                connections: share(limits.connections),
                requests: share(limits.requests),
                pending: share(limits.pending),
                warm: share(cluster.spec.pool.warm),
            },
            repeats: Repeats::new(&cluster.spec, shard.worker, workers),
            adaptive: limits.adaptive.map(|rule| Box::new(Adaptive::new(rule))),
            random: Random::new(seed.rotate_left(32)),
            shard: shard.worker,
            asks: Cell::new(cluster.spec.balance.is_by_key()),
            keeps: Cell::default(),
            homes: RefCell::default(),
            fields: Cell::default(),
            redis: Rc::default(),
            name: cluster.spec.name.as_str().into(),
            cluster,
        });
        pool.catch_up();
        pool
    }

    /// The worker's time, read now.
    pub(crate) fn now(&self) -> Duration {
        self.deadlines.now()
    }

    /// An empty map for the head of an answer.
    pub(crate) fn take_fields(&self) -> HeaderMap {
        self.fields.take()
    }

    /// Keeps the room of a map that is not needed any more.
    pub(crate) fn reuse_fields(&self, mut fields: HeaderMap) {
        if fields.capacity() <= FIELDS {
            fields.clear();
            self.fields.set(fields);
        }
    }

    /// Closes connections that servers closed or that were idle for too long, opens those that are wanted ahead.
    pub(crate) fn tidy(self: &Rc<Self>) {
        let now = self.deadlines.now();
        let cells = self.cluster.counters.of(self.shard);
        cells.open.set(self.room.connections.get() as u64);
        cells.active.set(self.requests.get() as u64);
        let limit = self.cluster.spec.idle_timeout;
        self.pass_time(now);
        for member in self.members().iter().flatten() {
            member.connections.tidy(now, limit, self.limits.warm);
            if self.limits.warm > 0 && member.weight() > 0 {
                self.warm_up(member);
            }
        }
    }

    /// Whether there may be another connection.
    fn room_for_one(&self) -> bool {
        self.room.connections.get() < self.limits.connections
    }

    fn warm_up(self: &Rc<Self>, member: &Rc<Member>) {
        let missing = member.connections.missing(self.limits.warm, member.in_flight.get() as usize);
        for _ in 0..missing {
            if !self.room_for_one() {
                return;
            }
            member.in_flight.set(member.in_flight.get() + 1);
            self.requests.set(self.requests.get() + 1);
            let place =
                Place { pool: self.clone(), member: member.clone(), why: Why::default(), trial: false };
            spawn_local(place.warm());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.member.in_flight.set(self.member.in_flight.get() - 1);
        if self.trial {
            self.member.ejection.tried();
            self.member.identity.attempt(false);
        }
        self.pool.requests.set(self.pool.requests.get() - 1);
        self.pool.room.for_place.wake();
        // A stream of a shared connection has ended.
        self.pool.room.for_connection.wake();
    }
}

/// How often pools are tidied.
pub(crate) const TIDY: Duration = Duration::from_secs(1);
