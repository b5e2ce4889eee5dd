//! The connections to one server: those that are open and have room, and how one comes to be.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::plan::UpstreamProtocol;

use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::connect;
use crate::upstream::course::{Course, noted};
use crate::upstream::failure::Failure;
use crate::upstream::http1::{Home, Http1};
use crate::upstream::member::Member;
use crate::upstream::peer::Peer;
use crate::upstream::pool::http2::{Http2, Opening, Stream, Underway};
use crate::upstream::pool::lifetime::Lifetime;
use crate::upstream::pool::refusals::Use;
use crate::upstream::pool::waiting::Room;
use crate::upstream::pool::{Place, Pool};

/// Idle HTTP/1.1 connections that are kept for one server by one worker.
const IDLE: usize = 1024;

/// A worker's open connections to one server that may take requests.
#[derive(Default)]
pub(crate) struct Connections {
    #[expect(clippy::vec_box, reason = "connections are lent and given back: only their addresses move")]
    idle: RefCell<Vec<Box<Http1>>>,
    http2: RefCell<Vec<Rc<Http2>>>,
    underway: Rc<Underway>,
    /// The server has agreed to HTTP/2 before.
    speaks_http2: Cell<bool>,
    /// Connections that are opened ahead of requests.
    warming: Cell<usize>,
}

impl Connections {
    /// An HTTP/1.1 connection that idles, or a stream of an HTTP/2 connection.
    pub(super) fn idle(&self, now: Duration) -> Option<Lease> {
        loop {
            let Some(mut connection) = self.idle.borrow_mut().pop() else { break };
            if connection.is_usable() && !connection.life.is_over(now) {
                return Some(Lease::Http1(connection));
            }
        }
        self.idle_http2(now)
    }

    /// A stream on an HTTP/2 connection that is open already.
    fn idle_http2(&self, now: Duration) -> Option<Lease> {
        let mut open = self.http2.borrow_mut();
        if open.is_empty() {
            return None;
        }
        open.retain(|connection| !connection.is_closed());
        open.iter().find(|connection| connection.has_room(now)).map(|connection| connection.lease(now))
    }

    /// Closes one that idles: whether there was one.
    pub(super) fn close_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let is_there = !idle.is_empty();
        if is_there {
            drop(idle.remove(0));
        }
        is_there
    }

    /// Closes all that idle, and others when their requests are over.
    pub(crate) fn close(&self) {
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().clear();
    }

    /// Closes those that the server closed, that are too old, or that were idle for too long; of the last, `kept` stay.
    pub(super) fn tidy(&self, now: Duration, limit: Duration, kept: usize) {
        let mut idle = self.idle.borrow_mut();
        let mut spare = idle.len().saturating_sub(kept);
        idle.retain_mut(|connection| {
            if !connection.is_usable() || connection.life.is_over(now) {
                return false;
            }
            let rests = now.saturating_sub(connection.idle_since) >= limit && spare > 0;
            spare -= usize::from(rests);
            !rests
        });
        let mut http2 = self.http2.borrow_mut();
        let limit = if http2.len() > kept { limit } else { Duration::MAX };
        http2.retain(|connection| !connection.is_over(now, limit));
    }

    /// How many more are wanted where this many are to be open; `used` are with requests.
    pub(super) fn missing(&self, wanted: usize, used: usize) -> usize {
        let shared = self.http2.borrow().len();
        let there = if shared > 0 { shared } else { self.idle.borrow().len() + used };
        wanted.saturating_sub(there + self.warming.get())
    }
}

/// Counts a connection that is opened ahead.
struct Warming<'a>(&'a Cell<usize>);

impl Drop for Warming<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection for one request.
pub(crate) enum Lease {
    /// HTTP/1.1, lent until the answer is over.
    Http1(Box<Http1>),
    /// One stream of an HTTP/2 connection.
    Http2(Stream),
}

impl Lease {
    /// What is known of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        match self {
            Self::Http1(connection) => connection.peer(),
            Self::Http2(stream) => &stream.connection.peer,
        }
    }

    /// Whether the connection had a request before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            Self::Http2(stream) => stream.reused,
        }
    }
}

impl Place {
    /// A connection to the place's server that has room.
    pub(crate) fn idle(&self) -> Option<Lease> {
        self.member.connections.idle(self.pool.deadlines.recent())
    }

    /// A stream on an HTTP/2 connection that is open already.
    pub(crate) fn idle_http2(&self) -> Option<Lease> {
        self.member.connections.idle_http2(self.pool.deadlines.recent())
    }

    /// Opens a connection, or waits for one where the upstream may not have more, or another request opens one that
    /// has room for both.
    pub(crate) async fn open(&self, course: Option<&Course>) -> Result<Lease, Fail> {
        let pool = &self.pool;
        let connections = &self.member.connections;
        let each = pool.cluster.spec.pool.streams as usize;
        if self.is_shared_soon() {
            let shared = async {
                while connections.underway.len() > 0 && connections.underway.wait(each).await {
                    if let Some(lease) = self.idle_http2() {
                        return Ok::<_, Fail>(Some(lease));
                    }
                }
                Ok(None)
            };
            if let Some(lease) = noted(course, "wait", shared).await? {
                return Ok(lease);
            }
        }
        if (pool.room.for_connection.len() > 0 || !pool.makes_room())
            && let Some(lease) = noted(course, "wait", self.wait_for_connection()).await?
        {
            return Ok(lease);
        }
        let opened = match pool.dial(&self.member, course).await {
            Ok(fresh) => Ok(self.lease(fresh)),
            Err(error) if connect::no_descriptor_is_left(&error) => {
                Box::pin(noted(course, "wait", self.once_there_is_a_descriptor(error, course))).await
            }
            Err(error) => Err(error),
        };
        opened.map_err(|error| self.no_connection(error, Use::Requests))
    }

    /// Whether another request opens a connection that has room for both.
    pub(super) fn is_shared_soon(&self) -> bool {
        let connections = &self.member.connections;
        let protocol = self.pool.cluster.spec.protocol;
        let shares = protocol == UpstreamProtocol::Http2 || connections.speaks_http2.get();
        shares && connections.underway.len() > 0
    }

    /// The first use of a connection.
    pub(super) fn lease(&self, fresh: Fresh) -> Lease {
        match fresh {
            Fresh::Http1(connection) => Lease::Http1(connection),
            Fresh::Http2(connection) => {
                let lease = connection.lease(self.pool.deadlines.recent());
                if !self.member.is_gone() {
                    self.member.connections.http2.borrow_mut().push(connection);
                }
                lease
            }
        }
    }

    /// Opens a connection that waits for requests, if that can be.
    pub(super) async fn warm(self) {
        if let Err(error) = self.pool.dial_ahead(&self.member).await {
            tracing::debug!(upstream = %self.pool.name, %error, "no connection ahead of requests");
            self.no_connection(error, Use::Requests);
        }
    }

    /// The failure of a connection that did not come about.
    pub(super) fn no_connection(&self, error: io::Error, for_what: Use) -> Fail {
        self.pool.cluster.counters.of(self.pool.shard).connect_failures.add(1);
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.pool.refused(&self.member, for_what);
        } else if !connect::no_descriptor_is_left(&error) {
            self.pool.failed(&self.member, Failure::Reason(Reason::Connect));
        }
        Fail::upstream(Reason::Connect, Retry::Safe).because(error)
    }
}

impl Pool {
    pub(super) async fn dial(&self, member: &Rc<Member>, course: Option<&Course>) -> io::Result<Fresh> {
        let connections = &member.connections;
        let open = Open::new(&self.room);
        let underway = Opening::new(&connections.underway);
        let opening = connect::open(&self.cluster, member, course);
        let opened = tokio::time::timeout(self.cluster.spec.connect_timeout, opening).await??;
        self.cluster.counters.of(self.shard).connections.add(1);
        let settings = &self.cluster.spec.pool;
        let life = Lifetime::begin(settings, self.deadlines.recent(), &self.random);
        connections.speaks_http2.set(opened.http2);
        let fresh = if opened.http2 {
            let started = Http2::start(opened.stream, open, underway, (settings.streams, life)).await;
            Fresh::Http2(started.map_err(io::Error::other)?)
        } else {
            underway.settle();
            Fresh::Http1(Http1::new(opened.stream, open, life))
        };
        self.connected(member);
        Ok(fresh)
    }

    /// Opens a connection that waits for requests.
    pub(super) async fn dial_ahead(&self, member: &Rc<Member>) -> io::Result<()> {
        let connections = &member.connections;
        connections.warming.set(connections.warming.get() + 1);
        let _warming = Warming(&connections.warming);
        let opened = self.dial(member, None).await;
        let opened = opened.map(|fresh| match fresh {
            _ if member.is_gone() => {}
            Fresh::Http1(mut connection) => {
                connection.idle_since = self.deadlines.recent();
                connections.idle.borrow_mut().push(connection);
            }
            Fresh::Http2(connection) => connections.http2.borrow_mut().push(connection),
        });
        self.room.for_connection.wake();
        opened
    }
}

/// A connection that nobody uses yet.
pub(super) enum Fresh {
    Http1(Box<Http1>),
    Http2(Rc<Http2>),
}

impl Home for Place {
    fn put(&self, mut connection: Box<Http1>) {
        connection.life.used();
        let connections = &self.member.connections;
        if connection.is_free()
            && !self.member.is_gone()
            && !connection.life.is_over(self.pool.deadlines.recent())
            && connections.idle.borrow().len() < IDLE
        {
            connection.idle_since = self.pool.deadlines.recent();
            connection.reused = true;
            connection.rest();
            connections.idle.borrow_mut().push(connection);
            self.pool.room.for_connection.wake();
        }
    }
}

/// Counts an open connection while it lives.
pub(crate) struct Open(Rc<Room>);

impl Open {
    /// One more.
    pub(super) fn new(room: &Rc<Room>) -> Self {
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
