//! Requests over the limits of their upstream: they wait for a place or a connection, a bounded number of them.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::balance::Wish;
use crate::upstream::pool::{Lease, Place, Pool};

/// Those who wait for one thing, in the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Cell<usize>,
    turn: Notify,
}

impl Queue {
    /// How many wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.waiting.get()
    }

    /// What they wait for may be there.
    #[inline]
    pub(super) fn wake(&self) {
        if self.waiting.get() > 0 {
            self.turn.notify_one();
        }
    }
}

/// What a worker's requests to one cluster share, and who waits for more of it.
#[derive(Default)]
pub(super) struct Room {
    /// Open connections.
    pub(super) connections: Cell<usize>,
    pub(super) for_connection: Queue,
    pub(super) for_place: Queue,
}

/// One that waits; it leaves its queue when dropped.
struct Waiter<'a> {
    pool: &'a Pool,
    queue: &'a Queue,
}

impl<'a> Waiter<'a> {
    /// Joins a queue, unless too many wait.
    fn join(pool: &'a Pool, queue: &'a Queue) -> Result<Self, Fail> {
        let cells = pool.cluster.counters.of(pool.shard);
        if pool.room.for_place.len() + pool.room.for_connection.len() >= pool.limits.pending {
            cells.overflow.add(1);
            return Err(Fail::upstream(Reason::Overflow, Retry::Never));
        }
        queue.waiting.set(queue.waiting.get() + 1);
        cells.waits.add(1);
        cells.pending.add(1);
        Ok(Self { pool, queue })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.waiting.set(self.queue.waiting.get() - 1);
        self.pool.cluster.counters.of(self.pool.shard).pending.subtract(1);
        // More may have come free than were woken, and one that was woken may have given up.
        self.queue.wake();
    }
}

impl Pool {
    /// Whether a further request need not wait for its place.
    #[inline]
    pub(crate) fn has_place(&self) -> bool {
        self.requests.get() < self.limits.requests && self.room.for_place.len() == 0
    }

    /// As [`Pool::place`] once there is one.
    ///
    /// # Errors
    /// When too many wait already.
    pub(crate) async fn wait_for_place(self: &Rc<Self>, wish: &Wish<'_>) -> Result<Place, Fail> {
        let waiter = Waiter::join(self, &self.room.for_place)?;
        while self.requests.get() >= self.limits.requests {
            waiter.queue.turn.notified().await;
        }
        self.place(wish)
    }

    /// A place at once, or after a wait.
    ///
    /// # Errors
    /// As for [`Pool::wait_for_place`].
    pub(crate) async fn enter(self: &Rc<Self>) -> Result<Place, Fail> {
        let wish = Wish::default();
        if self.has_place() { self.place(&wish) } else { self.wait_for_place(&wish).await }
    }

    /// Makes room for a connection: whether there is some. One that idles, of whichever server, is closed for it.
    pub(super) fn makes_room(&self) -> bool {
        if self.room.connections.get() < self.limits.connections {
            return true;
        }
        self.members().iter().flatten().any(|member| member.connections.close_one())
    }
}

impl Place {
    /// An idle connection, where nobody waits for one.
    #[inline]
    pub(crate) fn idle_at_once(&self) -> Option<Lease> {
        if self.pool.room.for_connection.len() > 0 { None } else { self.idle() }
    }

    /// Waits for a connection to the place's server, or (none) for the room to open one.
    pub(super) async fn wait_for_connection(&self) -> Result<Option<Lease>, Fail> {
        let waiter = Waiter::join(&self.pool, &self.pool.room.for_connection)?;
        loop {
            if let Some(lease) = self.idle() {
                return Ok(Some(lease));
            }
            if self.pool.makes_room() {
                return Ok(None);
            }
            waiter.queue.turn.notified().await;
        }
    }
}
