//! Two byte streams joined: each direction on its own, with its own end, until both have ended or one has broken.
//!
//! Bytes are read onto the stack and written at once; only what the other side does not take yet is kept, and nothing
//! more is read before it is gone. Where there are plugins, the bytes go through the chain between reading and writing.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tidegate_wasm::Side;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chain::Chain;
use super::record::{End, Party, Record};
use crate::time::Deadline;
use crate::transport::Stream;

/// Bytes that are read at once, and the most that one direction keeps.
pub(super) const CHUNK: usize = 32 * 1024;

/// How long what was let through may take after a plugin has closed the connection.
const GOODBYE: Duration = Duration::from_secs(5);

/// Both directions of a connection.
pub(super) struct Splice<'a> {
    record: &'a mut Record,
    deadline: Deadline,
    idle: Duration,
    /// When a byte last went either way.
    moved_at: Duration,
    up: Way,
    down: Way,
    chain: Option<Box<Chain>>,
}

/// One direction.
struct Way {
    from: Party,
    /// Read, but not written yet.
    left: Bytes,
    /// Everything was read.
    ended: bool,
    /// Everything was written, the end too; or nothing more can be.
    done: bool,
}

/// Why a direction does not go on.
enum Cut {
    /// One of both broke: the one that is read or the one that is written.
    Broken(Party),
    /// A plugin did.
    Failed(End),
}

impl Party {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Way {
    fn new(from: Party) -> Self {
        Self { from, left: Bytes::new(), ended: false, done: false }
    }

    fn side(&self) -> Side {
        match self.from {
            Party::Client => Side::Request,
            Party::Server => Side::Response,
        }
    }

    /// Moves bytes until one of the sides has to be waited for. Ready: this direction is over.
    fn poll(
        &mut self,
        (from, to): (&mut Stream, &mut Stream),
        record: &mut Record,
        (mut chain, other_done): (Option<&mut Chain>, bool),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        let (reader, writer) = (self.from, self.from.other());
        while !self.done {
            while self.left.has_remaining() {
                let written = ready!(write(to, &self.left, cx)).map_err(|_| Cut::Broken(writer))?;
                self.left.advance(written);
            }
            if let Some(chain) = &mut chain {
                if let Some(next) = chain.next(self.side()) {
                    self.left = next;
                    continue;
                }
                self.ended |= chain.is_over(self.side());
            }
            if self.ended {
                self.left = Bytes::new();
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| Cut::Broken(writer))?;
                self.done = true;
                break;
            }
            if chain.as_ref().is_some_and(|chain| chain.is_blocked(self.side())) {
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Cut::Broken(writer))?;
                return Poll::Pending;
            }
            let mut raw = [MaybeUninit::uninit(); CHUNK];
            let mut buffer = ReadBuf::uninit(&mut raw);
            let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut buffer) else {
                // What TLS holds back to be sent goes out before anything is waited for.
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Cut::Broken(writer))?;
                return Poll::Pending;
            };
            match read {
                // Who has been told the end of TLS often only closes the connection below it.
                Err(error) if other_done && error.kind() == io::ErrorKind::UnexpectedEof => {}
                other => other.map_err(|_| Cut::Broken(reader))?,
            }
            let mut fresh = buffer.filled();
            if let Some(chain) = &mut chain {
                chain.came(self.side(), fresh, record).map_err(Cut::Failed)?;
                continue;
            }
            if fresh.is_empty() {
                self.ended = true;
                record.closed(self.from);
                continue;
            }
            record.came(self.from, fresh.len());
            while !fresh.is_empty() {
                match write(to, fresh, cx) {
                    Poll::Ready(written) => fresh.advance(written.map_err(|_| Cut::Broken(writer))?),
                    Poll::Pending => {
                        self.left = Bytes::copy_from_slice(fresh);
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn write(to: &mut Stream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match Pin::new(to).poll_write(cx, bytes) {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}

impl<'a> Splice<'a> {
    /// Ends after `idle` without a byte in either direction, of which `deadline` reminds.
    pub(super) fn new(
        record: &'a mut Record,
        chain: Option<Box<Chain>>,
        (deadline, idle): (Deadline, Duration),
    ) -> Self {
        deadline.set(Some(idle));
        let moved_at = record.client.local.deadlines.recent();
        let (up, down) = (Way::new(Party::Client), Way::new(Party::Server));
        Self { deadline, idle, moved_at, up, down, chain, record }
    }

    /// Runs both directions to their ends.
    pub(super) async fn run(mut self, client: &mut Stream, server: &mut Stream) -> End {
        let pulses = [client.pulse(), server.pulse()];
        let mut broken = None;
        let end = poll_fn(|cx| {
            loop {
                if let Err(end) = self.poll_both(client, server, &mut broken, cx) {
                    return Poll::Ready(end);
                }
                if self.up.done && self.down.done {
                    return Poll::Ready(broken.unwrap_or(self.at_last()));
                }
                let moved = pulses.iter().fold(false, |moved, pulse| pulse.take_moved() | moved);
                if moved {
                    self.moved_at = self.record.client.local.deadlines.now();
                }
                if self.deadline.poll_passed(cx).is_pending() {
                    return Poll::Pending;
                }
                let until = self.moved_at + self.idle;
                if until <= self.record.client.local.deadlines.recent() {
                    return Poll::Ready(match self.at_last() {
                        End::Closed => End::Idle,
                        end => end,
                    });
                }
                self.deadline.set_until(Some(until));
            }
        })
        .await;
        if end.is_abrupt() {
            client.reset_when_dropped();
            server.reset_when_dropped();
        }
        if let Some(chain) = &mut self.chain {
            self.record.failed_by = chain.failed_by();
            chain.finish(self.record.closed_by, end);
        }
        end
    }

    /// How a connection ends whose directions have ended in order.
    fn at_last(&self) -> End {
        match &self.chain {
            Some(chain) if chain.closing => End::PluginClosed,
            _ => End::Closed,
        }
    }

    fn poll_both(
        &mut self,
        client: &mut Stream,
        server: &mut Stream,
        broken: &mut Option<End>,
        cx: &mut Context<'_>,
    ) -> Result<(), End> {
        if let Some(chain) = &mut self.chain {
            let before = chain.closing;
            chain.poll_woken(cx)?;
            if chain.closing && !before {
                // What has passed the plugins is written still, but not for ever.
                self.idle = self.idle.min(GOODBYE);
                self.moved_at = self.record.client.local.deadlines.now();
                self.deadline.set(Some(self.idle));
            }
        }
        for party in [Party::Client, Party::Server] {
            let (way, other, between) = match party {
                Party::Client => (&mut self.up, &mut self.down, (&mut *client, &mut *server)),
                Party::Server => (&mut self.down, &mut self.up, (&mut *server, &mut *client)),
            };
            if way.done {
                continue;
            }
            let chain = self.chain.as_deref_mut();
            let by = match way.poll(between, self.record, (chain, other.done), cx) {
                Poll::Ready(Err(Cut::Broken(by))) => by,
                Poll::Ready(Err(Cut::Failed(end))) => return Err(end),
                Poll::Ready(Ok(())) | Poll::Pending => continue,
            };
            // What the other side has still sent is passed on: it may be why this one broke off.
            way.done = true;
            way.left = Bytes::new();
            broken.get_or_insert(match by {
                Party::Client => End::ClientReset,
                Party::Server => End::ServerReset,
            });
            self.record.closed(by);
            // Nothing can be written to a side that reading has found broken.
            other.done |= by == party;
        }
        Ok(())
    }
}
