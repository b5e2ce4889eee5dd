//! The plugins that a connection passes: the client's bytes in the order of the filters, the server's in reverse.
//!
//! A connection is shown to the plugins one after the other; the next one sees it when the one before has let it pass.
//! The server is connected to when all have.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidegate_config::plan::{Failure, PluginIndex};
use tidegate_wasm::{Peer, Side};
use tokio::io::{AsyncRead, ReadBuf};

use super::record::{End, Party, Record};
use super::splice::CHUNK;
use crate::filter::chain::Step;
use crate::filter::network::{NetworkGuest, Verdict, Woken};
use crate::http::fail::Reason;
use crate::time::Deadline;
use crate::transport::Stream;

/// The plugins of one connection.
pub(super) struct Chain {
    links: Vec<Link>,
    /// What has passed all of them, by side.
    passed: [Passed; 2],
    /// Sides whose sender has ended.
    ended: [bool; 2],
    /// A plugin has closed the connection.
    pub(super) closing: bool,
    connected: bool,
    finished: bool,
}

/// One plugin.
struct Link {
    guest: NetworkGuest,
    plugin: PluginIndex,
    /// It knows of the connection.
    told: bool,
    /// It has let it pass.
    open: bool,
    /// It knows that the server's side is closed.
    upstream_closed: bool,
    held: [Held; 2],
}

/// What a plugin holds of a side.
#[derive(Clone, Copy)]
struct Held {
    verdict: Verdict,
    /// The end of the side is among it.
    end: bool,
}

/// What is to be written.
#[derive(Default)]
struct Passed {
    bytes: VecDeque<Bytes>,
    end: bool,
}

fn at(side: Side) -> usize {
    match side {
        Side::Request => 0,
        Side::Response => 1,
    }
}

impl Chain {
    /// The plugins of `steps`; none where there are none, or none that takes part.
    pub(super) fn build<'a>(
        record: &mut Record,
        stream: &Stream,
        steps: impl Iterator<Item = &'a Step>,
    ) -> Result<Option<Box<Self>>, End> {
        let mut links = Vec::new();
        for step in steps {
            let Step::Wasm(plugin) = step else { continue };
            links.extend(link(record, stream, *plugin)?);
        }
        if links.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Self {
            links,
            passed: Default::default(),
            ended: [false; 2],
            closing: false,
            connected: false,
            finished: false,
        })))
    }

    /// Waits until all plugins have let the connection pass; the client's bytes may be what they wait for.
    pub(super) async fn opened(
        &mut self,
        client: &mut Stream,
        record: &mut Record,
        deadline: &Deadline,
    ) -> Result<(), End> {
        self.pass(Side::Request, 0, Bytes::new(), false)?;
        poll_fn(|cx| {
            loop {
                self.poll_woken(cx)?;
                if self.closing {
                    return Poll::Ready(Err(End::PluginClosed));
                }
                if self.links.iter().all(|link| link.open || link.guest.is_out()) {
                    return Poll::Ready(Ok(()));
                }
                if deadline.poll_passed(cx).is_ready() {
                    return Poll::Ready(Err(End::Idle));
                }
                if self.is_blocked(Side::Request) {
                    return Poll::Pending;
                }
                let mut raw = [std::mem::MaybeUninit::uninit(); CHUNK];
                let mut buffer = ReadBuf::uninit(&mut raw);
                match Pin::new(&mut *client).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => {
                        record.closed(Party::Client);
                        return Poll::Ready(Err(End::ClientReset));
                    }
                    Poll::Ready(Ok(())) => self.came(Side::Request, buffer.filled(), record)?,
                }
            }
        })
        .await
    }

    /// The server is known.
    pub(super) fn connected(&mut self, record: &Record) {
        self.connected = true;
        if let Some((name, address)) = record.server() {
            for link in &self.links {
                link.guest.goes_to(&name, address);
            }
        }
    }

    /// Bytes came from a side's sender; none: it has ended.
    pub(super) fn came(&mut self, side: Side, bytes: &[u8], record: &mut Record) -> Result<(), End> {
        let party = if side == Side::Request { Party::Client } else { Party::Server };
        if bytes.is_empty() {
            self.ended[at(side)] = true;
            record.closed(party);
        } else {
            record.came(party, bytes.len());
        }
        self.pass(side, 0, Bytes::copy_from_slice(bytes), bytes.is_empty())
    }

    /// Whether nothing may be read from a side's sender now.
    pub(super) fn is_blocked(&self, side: Side) -> bool {
        let waits = |link: &Link| link.held[at(side)].verdict == Verdict::Wait && !link.guest.is_out();
        self.closing || self.ended[at(side)] || self.links.iter().any(waits)
    }

    /// What is to be written next of a side.
    pub(super) fn next(&mut self, side: Side) -> Option<Bytes> {
        self.passed[at(side)].bytes.pop_front()
    }

    /// Whether a side ends after what [`Chain::next`] has given.
    pub(super) fn is_over(&self, side: Side) -> bool {
        self.passed[at(side)].end || self.closing
    }

    /// Takes what the plugins want by themselves.
    pub(super) fn poll_woken(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        for index in 0..self.links.len() {
            while let Some(link) = self.links.get_mut(index)
                && let Poll::Ready(woken) = link.guest.poll_woken(cx)
            {
                match woken.map_err(End::of)? {
                    Woken::Closed => self.closing = true,
                    Woken::Resumed => self.release(Side::Request, index)?,
                    Woken::Out => {
                        self.release(Side::Request, index)?;
                        self.release(Side::Response, self.links.len() - 1 - index)?;
                    }
                    Woken::Fed => self.feed(index)?,
                }
            }
        }
        Ok(())
    }

    /// What a plugin holds of a side goes on; `place` is counted from the side's sender.
    fn release(&mut self, side: Side, place: usize) -> Result<(), End> {
        let index = if side == Side::Request { place } else { self.links.len() - 1 - place };
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let held = &mut link.held[at(side)];
        let shut = side == Side::Request && !link.open;
        if !link.told || held.verdict == Verdict::Go && !shut {
            return Ok(());
        }
        held.verdict = Verdict::Go;
        let end = std::mem::take(&mut held.end);
        link.open |= side == Side::Request;
        let bytes = link.guest.take(side);
        self.pass(side, place + 1, bytes, end)
    }

    /// A plugin that waited is shown what has come meanwhile.
    fn feed(&mut self, place: usize) -> Result<(), End> {
        let Some(link) = self.links.get_mut(place) else { return Ok(()) };
        link.held[0].verdict = Verdict::Hold;
        let (mut bytes, mut end) = (Bytes::new(), link.held[0].end);
        let more = end || link.guest.buffered(Side::Request) > 0;
        if more && link.show(Side::Request, &mut bytes, &mut end).map_err(End::of)? {
            return self.pass(Side::Request, place + 1, bytes, end);
        }
        Ok(())
    }

    /// Bytes pass the plugins from `place` on, counted from the side's sender.
    fn pass(&mut self, side: Side, place: usize, bytes: Bytes, end: bool) -> Result<(), End> {
        let (mut bytes, mut end) = (bytes, end);
        for place in place..self.links.len() {
            let index = if side == Side::Request { place } else { self.links.len() - 1 - place };
            let Some(link) = self.links.get_mut(index) else { break };
            if link.guest.is_out() {
                continue;
            }
            if !link.let_pass(side, &mut bytes, &mut end).map_err(End::of)? {
                let too_many = link.guest.buffered(side) > link.guest.may_hold();
                return if too_many { Err(End::of(Reason::TooLarge)) } else { Ok(()) };
            }
        }
        let passed = &mut self.passed[at(side)];
        passed.end |= end;
        if !bytes.is_empty() {
            passed.bytes.push_back(bytes);
        }
        Ok(())
    }

    /// The plugin by which the connection failed.
    pub(super) fn failed_by(&self) -> Option<PluginIndex> {
        self.links.iter().find(|link| link.guest.has_failed()).map(|link| link.plugin)
    }

    /// The connection is over: all plugins are told that both sides are closed, and by whom.
    pub(super) fn finish(&mut self, closed_by: Option<Party>, end: End) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let by = if closed_by == Some(Party::Client) { Peer::Remote } else { Peer::Local };
        for link in self.links.iter_mut().filter(|link| link.told) {
            if let Some(why) = end.word() {
                link.guest.ends(why);
            }
            if end == End::ServerReset && !std::mem::replace(&mut link.upstream_closed, true) {
                link.guest.closed(Side::Response, Peer::Remote);
            }
            link.guest.closed(Side::Request, by);
            if self.connected && !std::mem::replace(&mut link.upstream_closed, true) {
                link.guest.closed(Side::Response, Peer::Local);
            }
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.finish(None, End::Stopped);
    }
}

impl Link {
    /// Shows the guest what has come; true: it goes on, as `bytes` and `end` say now.
    fn let_pass(&mut self, side: Side, bytes: &mut Bytes, end: &mut bool) -> Result<bool, Reason> {
        if side == Side::Request && !std::mem::replace(&mut self.told, true) {
            let verdict = self.guest.opened()?;
            self.held[0].verdict = verdict;
            self.open = verdict == Verdict::Go;
        }
        if bytes.is_empty() && !*end {
            return Ok(self.held[at(side)].verdict == Verdict::Go);
        }
        self.show(side, bytes, end)
    }

    /// Shows the guest bytes of a side.
    fn show(&mut self, side: Side, bytes: &mut Bytes, end: &mut bool) -> Result<bool, Reason> {
        let held = &mut self.held[at(side)];
        held.end |= *end;
        held.verdict = self.guest.data(side, std::mem::take(bytes), held.end)?;
        if side == Side::Response && *end && !std::mem::replace(&mut self.upstream_closed, true) {
            // Hosts in the field do not say by whom.
            self.guest.closed(Side::Response, Peer::Unknown);
        }
        if held.verdict != Verdict::Go {
            return Ok(false);
        }
        self.open |= side == Side::Request;
        *bytes = self.guest.take(side);
        *end = std::mem::take(&mut held.end);
        Ok(true)
    }
}

/// A plugin's part in a connection; none where it is away and its policy is open.
fn link(record: &mut Record, stream: &Stream, plugin: PluginIndex) -> Result<Option<Link>, End> {
    let slot = record.view.plugins.get(plugin).ok_or(End::of(Reason::Internal))?;
    slot.entry.counters.of(record.client.local.shard.worker).streams.add(1);
    let guest = match slot.host_for(&record.client.kept) {
        Ok(host) => NetworkGuest::open(host, record.stream_info(stream), &slot.entry),
        Err(away) if away.policy == Failure::Open => return Ok(None),
        Err(away) => Err(away.reason),
    };
    let held = Held { verdict: Verdict::Go, end: false };
    let guest = guest.map_err(|reason| {
        record.failed_by = Some(plugin);
        End::of(reason)
    })?;
    Ok(Some(Link { guest, plugin, told: false, open: false, upstream_closed: false, held: [held; 2] }))
}
