//! Servers that refuse connections: left out at once, and asked again by the gateway itself.

use std::io;
use std::rc::{Rc, Weak};

use tokio::task::spawn_local;

use crate::http::fail::Reason;
use crate::upstream::ejection::Asks;
use crate::upstream::failure::Failure;
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Requests, one after the other or side by side.
    Requests,
    /// One client's bytes.
    Bytes,
}

impl Pool {
    /// A server refused a connection: there is nobody. It is left out at once, and asked again without a request.
    #[cold]
    pub(super) fn refused(self: &Rc<Self>, member: &Rc<Member>, for_what: Use) {
        if member.is_gone() {
            return;
        }
        let why = Failure::Reason(Reason::Connect);
        let Some(asks) = self.ejection.refused(&member.ejection, self.deadlines.now()) else {
            return self.failed(member, why);
        };
        member.identity.failure.set(why);
        member.identity.leave_out(true);
        self.cluster.counters.of(self.shard).ejections.add(1);
        self.left_out();
        self.looks_at(member);
        let (server, seconds) = (member.identity.address, asks.first().as_secs_f64());
        tracing::warn!(upstream = %self.name, %server, seconds, %why, "server fails and is left out");
        spawn_local(ask_again(Rc::downgrade(self), member.clone(), asks, for_what));
    }

    /// A server took a new connection.
    pub(super) fn connected(&self, member: &Rc<Member>) {
        if member.ejection.refuses() {
            member.ejection.lets_try();
            self.took(member);
        }
    }

    /// Connects to a server as a request would, but counts neither as one nor as a failure. A connection for requests
    /// is kept for them.
    async fn ask(&self, member: &Rc<Member>, for_what: Use) -> io::Result<()> {
        if !self.makes_room() {
            return Err(io::Error::other("no room for a connection (limits.connections)"));
        }
        match for_what {
            Use::Requests => self.dial_ahead(member).await,
            Use::Bytes => self.dial_for_bytes(member).await.map(drop),
        }
    }
}

/// Asks a server that refuses connections, until it takes one or is left out no longer. Where that cannot find out
/// whether it is back, requests have to.
async fn ask_again(pool: Weak<Pool>, member: Rc<Member>, mut asks: Asks, for_what: Use) {
    loop {
        tokio::time::sleep(asks.wait()).await;
        let Some(pool) = pool.upgrade() else { return };
        if member.is_gone() || !asks.go_on(&member.ejection) {
            return;
        }
        let Err(error) = pool.ask(&member, for_what).await else { return };
        let is_away = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut);
        if !is_away && asks.go_on(&member.ejection) {
            let server = member.identity.address;
            tracing::debug!(upstream = %pool.name, %server, %error, "server is left to requests");
            return member.ejection.lets_try();
        }
    }
}
