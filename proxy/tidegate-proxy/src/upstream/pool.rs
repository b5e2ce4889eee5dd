//! This worker's connections to the servers of one cluster.

mod bytes;
mod waiting;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::http::body::Body;
use crate::http::fail::{Fail, Reason, Retry};
use crate::shared::Shard;
use crate::time::Deadlines;
use crate::upstream::balance::Balancer;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::{self, Opened};
use crate::upstream::ejection::Ejection;
use crate::upstream::http1::{Home, Http1};
use crate::upstream::peer::Peer;
use crate::upstream::redis::Link;
use waiting::Room;

/// Requests on one HTTP/2 connection before another one is opened.
const STREAMS: u32 = 100;
/// Idle HTTP/1.1 connections that are kept for one server by one worker.
const IDLE: usize = 1024;

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
    #[expect(clippy::vec_box, reason = "connections are lent and given back: only their addresses move")]
    idle: RefCell<Vec<Box<Http1>>>,
    http2: RefCell<Vec<Rc<Http2>>>,
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Body>,
    peer: Peer,
    streams: Cell<u32>,
    /// When `tidy` first saw it without a stream.
    idle_since: Cell<Option<Duration>>,
}

impl Http2 {
    fn is_over(&self, now: Duration, limit: Duration) -> bool {
        if self.streams.get() > 0 {
            self.idle_since.set(None);
            return self.sender.is_closed();
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        self.sender.is_closed() || now.saturating_sub(since) >= limit
    }
}

/// A connection for one request.
pub(crate) enum Lease {
    /// HTTP/1.1, lent until the answer is over.
    Http1(Box<Http1>),
    /// One stream of an HTTP/2 connection.
    Http2(http2::SendRequest<Body>, Stream),
}

impl Lease {
    /// What is known of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        match self {
            Self::Http1(connection) => connection.peer(),
            Self::Http2(_, stream) => &stream.0.peer,
        }
    }

    /// Whether it is an HTTP/1.1 connection that had a request before.
    pub(crate) fn is_reused(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.reused)
    }
}

/// Counts a stream on its connection while it lives.
pub(crate) struct Stream(Rc<Http2>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
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
        let limit = self.cluster.spec.idle_timeout;
        for member in &self.members {
            member.idle.borrow_mut().retain_mut(|connection| {
                now.saturating_sub(connection.idle_since) < limit && connection.is_usable()
            });
            member.http2.borrow_mut().retain(|connection| !connection.is_over(now, limit));
        }
    }
}

impl Place {
    fn member(&self) -> Option<&Member> {
        self.pool.members.get(self.server)
    }

    /// A connection to the place's server: an idle one, or a new one.
    pub(crate) fn idle(&self) -> Option<Lease> {
        let member = self.member()?;
        loop {
            let Some(mut connection) = member.idle.borrow_mut().pop() else { break };
            if connection.is_usable() {
                return Some(Lease::Http1(connection));
            }
        }
        self.idle_http2()
    }

    /// A stream on an HTTP/2 connection that is open already.
    pub(crate) fn idle_http2(&self) -> Option<Lease> {
        let mut open = self.member()?.http2.borrow_mut();
        open.retain(|connection| !connection.sender.is_closed());
        let connection = open.iter().find(|connection| connection.streams.get() < STREAMS)?;
        Some(stream_on(connection))
    }

    /// Opens a connection, or waits for one where the upstream may not have more.
    pub(crate) async fn open(&self) -> Result<Lease, Fail> {
        let pool = &self.pool;
        if (pool.room.for_connection.len() > 0 || !pool.makes_room())
            && let Some(lease) = self.wait_for_connection().await?
        {
            return Ok(lease);
        }
        let server = pool.cluster.servers.get(self.server).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        let open = Open::new(&pool.room);
        let opening = connect::open(&pool.cluster, server);
        let opened = match tokio::time::timeout(pool.cluster.spec.connect_timeout, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(self.no_connection().because(error)),
            Err(elapsed) => return Err(self.no_connection().because(elapsed)),
        };
        pool.cluster.counters.of(pool.shard).connections.add(1);
        self.speak(opened, open).await
    }

    fn no_connection(&self) -> Fail {
        self.pool.cluster.counters.of(self.pool.shard).connect_failures.add(1);
        self.pool.failed(self.server);
        Fail::upstream(Reason::Connect, Retry::Safe)
    }

    async fn speak(&self, opened: Opened, open: Open) -> Result<Lease, Fail> {
        if !opened.http2 {
            return Ok(Lease::Http1(Http1::new(opened.stream, open)));
        }
        let peer = Peer::of(&opened.stream);
        let (sender, driver) = http2::Builder::new(Local)
            .handshake(TokioIo::new(opened.stream))
            .await
            .map_err(|error| self.no_connection().because(error))?;
        spawn_local(async move {
            let _open = open;
            drop(driver.await);
        });
        let connection = Rc::new(Http2 { sender, peer, streams: Cell::new(0), idle_since: Cell::new(None) });
        let lease = stream_on(&connection);
        if let Some(member) = self.member() {
            member.http2.borrow_mut().push(connection);
        }
        Ok(lease)
    }
}

fn stream_on(connection: &Rc<Http2>) -> Lease {
    connection.streams.set(connection.streams.get() + 1);
    connection.idle_since.set(None);
    Lease::Http2(connection.sender.clone(), Stream(connection.clone()))
}

impl Home for Place {
    fn put(&self, mut connection: Box<Http1>) {
        if connection.is_free()
            && let Some(member) = self.member()
            && member.idle.borrow().len() < IDLE
        {
            connection.idle_since = self.pool.deadlines.recent();
            connection.reused = true;
            connection.rest();
            member.idle.borrow_mut().push(connection);
            self.pool.room.for_connection.wake();
        }
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

/// Counts an open connection while it lives.
pub(crate) struct Open(Rc<Room>);

impl Open {
    fn new(room: &Rc<Room>) -> Self {
        room.connections.set(room.connections.get() + 1);
        Self(room.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.for_connection.wake();
    }
}

/// Runs hyper's futures on this worker.
#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

/// How often pools are tidied.
pub(crate) const TIDY: Duration = Duration::from_secs(1);
