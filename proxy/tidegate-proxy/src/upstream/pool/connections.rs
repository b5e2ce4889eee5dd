//! The connections to one server: those that are open and have room, and how one comes to be.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;

use crate::http::body::Body;
use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::connect::{self, Opened};
use crate::upstream::http1::{Home, Http1};
use crate::upstream::peer::Peer;
use crate::upstream::pool::Place;
use crate::upstream::pool::http2::{Http2, Stream};
use crate::upstream::pool::waiting::Room;

/// Idle HTTP/1.1 connections that are kept for one server by one worker.
const IDLE: usize = 1024;

/// A worker's open connections to one server that may take requests.
#[derive(Default)]
pub(crate) struct Connections {
    #[expect(clippy::vec_box, reason = "connections are lent and given back: only their addresses move")]
    idle: RefCell<Vec<Box<Http1>>>,
    http2: RefCell<Vec<Rc<Http2>>>,
}

impl Connections {
    /// An HTTP/1.1 connection that idles, or a stream of an HTTP/2 connection.
    pub(super) fn idle(&self) -> Option<Lease> {
        loop {
            let Some(mut connection) = self.idle.borrow_mut().pop() else { break };
            if connection.is_usable() {
                return Some(Lease::Http1(connection));
            }
        }
        self.idle_http2()
    }

    /// A stream on an HTTP/2 connection that is open already.
    fn idle_http2(&self) -> Option<Lease> {
        let mut open = self.http2.borrow_mut();
        open.retain(|connection| !connection.is_closed());
        open.iter().find(|connection| connection.has_room()).map(Http2::lease)
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

    /// Closes those that the server closed or that were idle for too long.
    pub(super) fn tidy(&self, now: Duration, limit: Duration) {
        self.idle.borrow_mut().retain_mut(|connection| {
            now.saturating_sub(connection.idle_since) < limit && connection.is_usable()
        });
        self.http2.borrow_mut().retain(|connection| !connection.is_over(now, limit));
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

impl Place {
    /// A connection to the place's server that has room.
    pub(crate) fn idle(&self) -> Option<Lease> {
        self.member.connections.idle()
    }

    /// A stream on an HTTP/2 connection that is open already.
    pub(crate) fn idle_http2(&self) -> Option<Lease> {
        self.member.connections.idle_http2()
    }

    /// Opens a connection, or waits for one where the upstream may not have more.
    pub(crate) async fn open(&self) -> Result<Lease, Fail> {
        let pool = &self.pool;
        if (pool.room.for_connection.len() > 0 || !pool.makes_room())
            && let Some(lease) = self.wait_for_connection().await?
        {
            return Ok(lease);
        }
        let open = Open::new(&pool.room);
        let opening = connect::open(&pool.cluster, &self.member.identity);
        let opened = match tokio::time::timeout(pool.cluster.spec.connect_timeout, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(self.no_connection().because(error)),
            Err(elapsed) => return Err(self.no_connection().because(elapsed)),
        };
        pool.cluster.counters.of(pool.shard).connections.add(1);
        self.speak(opened, open).await
    }

    /// The failure of a connection that did not come about.
    pub(super) fn no_connection(&self) -> Fail {
        self.pool.cluster.counters.of(self.pool.shard).connect_failures.add(1);
        self.pool.failed(&self.member);
        Fail::upstream(Reason::Connect, Retry::Safe)
    }

    async fn speak(&self, opened: Opened, open: Open) -> Result<Lease, Fail> {
        if !opened.http2 {
            return Ok(Lease::Http1(Http1::new(opened.stream, open)));
        }
        let connection =
            Http2::start(opened.stream, open).await.map_err(|error| self.no_connection().because(error))?;
        let lease = connection.lease();
        if !self.member.is_gone() {
            self.member.connections.http2.borrow_mut().push(connection);
        }
        Ok(lease)
    }
}

impl Home for Place {
    fn put(&self, mut connection: Box<Http1>) {
        let connections = &self.member.connections;
        if connection.is_free() && !self.member.is_gone() && connections.idle.borrow().len() < IDLE {
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
