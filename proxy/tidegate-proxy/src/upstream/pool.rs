//! This worker's connections to the servers of one cluster.

mod bytes;
mod connections;
mod http2;
mod waiting;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::http::fail::{Fail, Reason, Retry};
use crate::shared::Shard;
use crate::time::Deadlines;
use crate::upstream::balance::Balancer;
use crate::upstream::cluster::Cluster;
use crate::upstream::ejection::Ejection;
use crate::upstream::redis::Link;
use connections::Connections;
pub(crate) use connections::{Lease, Open};
pub(crate) use http2::Stream;
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
    members: Vec<Member>,
    ejection: Ejection,
    deadlines: Rc<Deadlines>,
    /// Open connections, and who waits.
    room: Rc<Room>,
    /// Requests in flight.
    requests: Cell<usize>,
    limits: Share,
    shard: usize,
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
}

#[derive(Default)]
struct Member {
    in_flight: Cell<u32>,
    connections: Connections,
}

/// A request's place at a server: counted while it lives.
pub(crate) struct Place {
    pub(crate) pool: Rc<Pool>,
    pub(crate) server: usize,
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
        let weights = cluster.servers.iter().map(|server| server.weight).collect();
        let members = cluster.servers.iter().map(|_| Member::default()).collect();
        let share = |limit: usize| limit.div_ceil(workers.max(1));
        let limits = cluster.spec.limits;
        Rc::new(Self {
            ejection: Ejection::new(cluster.spec.ejection.clone(), cluster.servers.len()),
            balancer: Balancer::new(cluster.spec.balance, weights, seed),
            members,
            deadlines: deadlines.clone(),
            room: Rc::default(),
            requests: Cell::new(0),
            limits: Share {
                connections: share(limits.connections),
                requests: share(limits.requests),
                pending: share(limits.pending),
            },
            shard: shard.worker,
            fields: Cell::default(),
            redis: Rc::default(),
            name: cluster.spec.name.as_str().into(),
            cluster,
        })
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

    /// Chooses a server for a request that was at `tried` before.
    pub(crate) fn place(self: &Rc<Self>, tried: &[usize]) -> Result<Place, Fail> {
        if self.requests.get() >= self.limits.requests {
            self.cluster.counters.of(self.shard).overflow.add(1);
            return Err(Fail::upstream(Reason::Overflow, Retry::Never));
        }
        let load = |i: usize| self.members.get(i).map_or(0, |member| member.in_flight.get());
        let (server, trial) = match self.ejection.out() {
            0 => (self.balancer.pick(load, tried), false),
            _ => self.pick_well(load, tried),
        };
        let server = server.ok_or_else(|| Fail::upstream(Reason::NoServer, Retry::Never))?;
        let member = self.members.get(server).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        member.in_flight.set(member.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.cluster.counters.of(self.shard).requests.add(1);
        Ok(Place { pool: self.clone(), server, trial })
    }

    /// A server that is not left out; when none of these is left, any. And whether it is tried with this request.
    fn pick_well(&self, load: impl Fn(usize) -> u32, tried: &[usize]) -> (Option<usize>, bool) {
        let now = self.deadlines.recent();
        let well = |i: usize| !tried.contains(&i) && !self.ejection.leaves_out(i, now);
        match self.balancer.pick_among(&load, well) {
            Some(server) => (Some(server), self.ejection.begins(server)),
            None => (self.balancer.pick(load, tried), false),
        }
    }

    /// A server answered with this status.
    pub(crate) fn answered(&self, server: usize, status: StatusCode) {
        let bad =
            self.cluster.spec.ejection.as_ref().is_some_and(|rule| rule.statuses.contains(&status.as_u16()));
        if bad {
            self.failed(server);
        } else {
            self.took(server);
        }
    }

    /// A server took a request or a connection.
    pub(crate) fn took(&self, server: usize) {
        if self.ejection.succeeded(server, || self.deadlines.now()) {
            self.left_out();
            if let Some(server) = self.cluster.servers.get(server) {
                tracing::info!(upstream = %self.name, server = %server.address, "server is taken back");
            }
        }
    }

    /// A server did not do what it should.
    pub(crate) fn failed(&self, server: usize) {
        let Some(time) = self.ejection.failed(server, self.deadlines.now()) else { return };
        self.cluster.counters.of(self.shard).ejections.add(1);
        self.left_out();
        if let Some(server) = self.cluster.servers.get(server) {
            let seconds = time.as_secs_f64();
            tracing::warn!(upstream = %self.name, server = %server.address, seconds, "server fails and is left out");
        }
    }

    fn left_out(&self) {
        self.cluster.counters.of(self.shard).left_out.set(self.ejection.out() as u64);
    }

    /// Closes connections that servers closed or that were idle for too long.
    pub(crate) fn tidy(&self) {
        let now = self.deadlines.now();
        let cells = self.cluster.counters.of(self.shard);
        cells.open.set(self.room.connections.get() as u64);
        cells.active.set(self.requests.get() as u64);
        let limit = self.cluster.spec.idle_timeout;
        for member in &self.members {
            member.connections.tidy(now, limit);
        }
    }
}

impl Place {
    fn member(&self) -> Option<&Member> {
        self.pool.members.get(self.server)
    }

    fn connections(&self) -> Option<&Connections> {
        self.member().map(|member| &member.connections)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(member) = self.member() {
            member.in_flight.set(member.in_flight.get() - 1);
        }
        if self.trial {
            self.pool.ejection.tried(self.server);
        }
        self.pool.requests.set(self.pool.requests.get() - 1);
        self.pool.room.for_place.wake();
        // A stream of a shared connection has ended.
        self.pool.room.for_connection.wake();
    }
}

/// How often pools are tidied.
pub(crate) const TIDY: Duration = Duration::from_secs(1);
