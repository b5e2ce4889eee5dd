//! Bytes on their way in: how much of a connection is read at once.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes to read at once, when not more are known to come. An idle connection keeps no more.
pub(crate) const READ: usize = 8 * 1024;
/// Bytes to read at once at most, to begin with.
const BULK: usize = 64 * 1024;
/// The same, of a connection that fills what it is given: a body in few large pieces costs the system a third less than in
/// many, as each of them wakes the other side.
const MOST: usize = 256 * 1024;
/// Bytes beyond [`BULK`] that all connections of a worker may read at once together. What was read stays until the other
/// side has taken it, and there may be thousands who take their time.
const BEYOND: usize = 16 * 1024 * 1024;

thread_local! {
    /// What this worker has left of [`BEYOND`].
    static LEFT: Cell<usize> = const { Cell::new(BEYOND) };
}

/// See the module.
pub(crate) struct Inlet {
    bulk: usize,
}

impl Inlet {
    /// Of a connection of which nothing is known.
    pub(crate) const fn new() -> Self {
        Self { bulk: BULK }
    }

    /// Reads what has come behind what is in `buffer`. `run`: so much is known to come.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
        run: u64,
    ) -> Poll<io::Result<usize>> {
        let wanted = usize::try_from(run).map_or(self.bulk, |run| run.clamp(READ, self.bulk));
        if buffer.capacity() - buffer.len() < wanted / 2 {
            buffer.reserve(wanted);
        }
        let room = buffer.capacity() - buffer.len();
        let read = ready!(pin!(stream.read_buf(buffer)).poll(cx))?;
        if wanted == self.bulk {
            self.adapt(read, room);
        }
        Poll::Ready(Ok(read))
    }

    /// Nothing is known of what will come next.
    pub(crate) fn rest(&mut self) {
        if self.bulk > BULK {
            self.read_at_once(BULK);
        }
    }

    /// More is read at once where that much comes and the worker can bear it, and less again where it does not come.
    fn adapt(&mut self, read: usize, room: usize) {
        if read == room {
            self.read_at_once((self.bulk * 2).min(MOST));
        } else if read < self.bulk / 4 {
            self.read_at_once((self.bulk / 2).max(BULK));
        }
    }

    fn read_at_once(&mut self, bulk: usize) {
        LEFT.with(|left| {
            let free = left.get() + (self.bulk - BULK);
            if let Some(rest) = free.checked_sub(bulk - BULK) {
                left.set(rest);
                self.bulk = bulk;
            }
        });
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Waker;

    use tokio::io::ReadBuf;

    use super::*;

    /// Gives so many bytes at each read, and keeps how many there was room for.
    struct Sender {
        gives: usize,
        room: usize,
    }

    impl AsyncRead for Sender {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.room = buf.remaining();
            let gives = self.gives.min(self.room);
            buf.initialize_unfilled_to(gives).fill(b'x');
            buf.advance(gives);
            Poll::Ready(Ok(()))
        }
    }

    /// How much there was room for in reads of `gives` bytes each.
    fn rooms(inlet: &mut Inlet, gives: usize, run: u64, reads: usize) -> Vec<usize> {
        let mut sender = Sender { gives, room: 0 };
        let mut read = || {
            let (mut buffer, cx) = (BytesMut::new(), &mut Context::from_waker(Waker::noop()));
            assert!(inlet.poll_read(cx, &mut sender, &mut buffer, run).is_ready());
            sender.room / 1024
        };
        (0..reads).map(|_| read()).collect()
    }

    #[test]
    fn bodies_that_come_fast_are_read_in_large_pieces() {
        let inlet = &mut Inlet::new();
        assert_eq!(rooms(inlet, usize::MAX, u64::MAX, 4), [64, 128, 256, 256]);
        // Of a body that comes slowly no large piece is expected.
        assert_eq!(rooms(inlet, 1000, u64::MAX, 4), [256, 128, 64, 64]);
    }

    #[test]
    fn what_thousands_read_at_once_is_bounded_together() {
        let mut all: Vec<Inlet> = (0..1000).map(|_| Inlet::new()).collect();
        let largest = |inlet: &mut Inlet| rooms(inlet, usize::MAX, u64::MAX, 3).last().copied();
        let sum: usize = all.iter_mut().filter_map(largest).sum();
        assert_eq!(sum, 1000 * 64 + BEYOND / 1024, "in KiB");
        // Whoever does not fill it, rests or goes leaves it to others.
        let mut next = Inlet::new();
        assert_eq!(rooms(&mut next, usize::MAX, u64::MAX, 3), [64, 64, 64]);
        rooms(&mut all[0], 1000, u64::MAX, 2);
        assert_eq!(rooms(&mut next, usize::MAX, u64::MAX, 3), [64, 128, 256]);
        next.rest();
        assert_eq!(largest(&mut all[999]), Some(256));
        drop(all);
        let mut others: Vec<Inlet> = (0..80).map(|_| Inlet::new()).collect();
        assert!(others.iter_mut().all(|inlet| largest(inlet) == Some(256)));
    }

    #[test]
    fn no_more_is_read_than_is_known_to_come() {
        let inlet = &mut Inlet::new();
        assert_eq!(rooms(inlet, usize::MAX, 0, 2), [8, 8]);
        assert_eq!(rooms(inlet, usize::MAX, 20 * 1024, 2), [20, 20]);
        assert_eq!(rooms(inlet, usize::MAX, 100 * 1024, 3), [64, 100, 100]);
    }
}
