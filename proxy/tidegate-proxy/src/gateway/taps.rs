//! Taps: what a gateway shows of live requests to who asks, a few at once, as they end.

mod told;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub use told::{BodyPassed, TappedAttempt, TappedCall, TappedChange, TappedFilter, TappedLog, TappedRequest};

use super::{Gateway, ask};
use crate::http::fail::Reason;
use crate::local::tap::{Seen, Tap, TapDrops, TapFilter, TapLimits};
use crate::telemetry::page::{Kind, Page};
use crate::worker::Order;

/// Taps that may be open at once.
const MOST: usize = 4;
/// Requests that may wait for who reads; more are dropped and counted.
const WAITING: usize = 128;
/// How long workers may take to hear of a tap; one that is busy for longer follows later.
const HEARD: Duration = Duration::from_secs(1);

/// The taps of a gateway.
#[derive(Default)]
pub(super) struct OpenTaps {
    open: Mutex<Vec<Arc<Tap>>>,
    drops: Arc<TapDrops>,
}

/// Why there is no tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// As many are open as there may be.
    #[error("{MOST} taps are open already; end one of them")]
    TooMany,
}

/// Requests that a tap did not show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TapDropped {
    /// More matched in a second than wanted.
    pub rate: u64,
    /// They matched while who reads was behind.
    pub queue: u64,
    /// More came in a second than are looked at; whether they would have matched is not known.
    pub load: u64,
}

impl TapDropped {
    fn of(drops: &TapDrops) -> Self {
        let [rate, queue, load] =
            [&drops.rate, &drops.queue, &drops.load].map(|drops| drops.load(Ordering::Relaxed));
        Self { rate, queue, load }
    }
}

/// An open tap; it ends when it is dropped.
pub struct TapStream {
    handle: TapHandle,
    seen: mpsc::Receiver<Arc<Seen>>,
    body: usize,
}

/// Ends a tap whose reader does not.
#[derive(Clone)]
pub struct TapHandle {
    gateway: Gateway,
    tap: Arc<Tap>,
}

impl Gateway {
    /// Shows live requests from now on: when this is ready, all workers know.
    ///
    /// # Errors
    /// When too many are open.
    pub async fn tap(&self, filter: TapFilter, limits: TapLimits) -> Result<TapStream, TapError> {
        let (sender, seen) = mpsc::channel(WAITING);
        let taps = &self.0.taps;
        let tap = Arc::new(Tap::new(filter, limits, sender, taps.drops.clone()));
        {
            let mut open = taps.open();
            open.retain(|tap| !tap.is_closed());
            if open.len() >= MOST {
                return Err(TapError::TooMany);
            }
            open.push(tap.clone());
        }
        let stream = TapStream { handle: TapHandle { gateway: self.clone(), tap }, seen, body: limits.body };
        let mut waiting = Vec::with_capacity(self.0.orders.len());
        for orders in &self.0.orders {
            let (heard, hears) = oneshot::channel();
            if ask(orders, Order::Tap(Some(stream.handle.tap.clone()), Some(heard))) {
                waiting.push(hears);
            }
        }
        let all = async {
            for hears in waiting {
                // A worker that is gone has nothing to show.
                drop(hears.await);
            }
        };
        // One that did not hear of it in time will.
        drop(tokio::time::timeout(HEARD, all).await);
        Ok(stream)
    }

    /// The words by which failed requests can be asked for.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        Reason::ALL.into_iter().map(Reason::word)
    }
}

impl TapHandle {
    /// Ends the tap: nothing more is followed.
    pub fn close(&self) {
        self.tap.close();
        self.gateway.0.taps.open().retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        for orders in &self.gateway.0.orders {
            // A worker that takes no order now finds out with its next request.
            ask(orders, Order::Tap(None, None));
        }
    }
}

impl TapStream {
    /// What ends it without its reader.
    pub fn handle(&self) -> TapHandle {
        self.handle.clone()
    }

    /// The next request, without secrets.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<TappedRequest>> {
        let body = self.body;
        self.seen.poll_recv(cx).map(|seen| seen.map(|seen| told::told(&seen, body)))
    }

    /// What it did not show.
    pub fn dropped(&self) -> TapDropped {
        TapDropped::of(&self.handle.tap.drops)
    }
}

impl Drop for TapStream {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl std::fmt::Debug for TapStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapStream").field("filter", &self.handle.tap.filter).finish_non_exhaustive()
    }
}

impl OpenTaps {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Tap>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how many are open, and what they did not show.
    pub(super) fn write(&self, page: &mut Page) {
        let open = self.open().iter().filter(|tap| !tap.is_closed()).count();
        page.one("tidegate_tap_open", Kind::Gauge, "Open taps.", open);
        let help = "Requests that a tap did not show, or did not look at, by why.";
        page.metric("tidegate_tap_dropped_total", Kind::Counter, help);
        let dropped = TapDropped::of(&self.drops);
        for (why, count) in [("rate", dropped.rate), ("queue", dropped.queue), ("load", dropped.load)] {
            page.sample(&[("why", why)], count);
        }
    }
}
