//! The gateway as the control thread sees it: starts workers, publishes snapshots, drains, stops.

mod certificates;
mod checks;
mod comparisons;
mod guests;
mod ledger;
mod looks;
mod metrics;
mod picker;
mod rollouts;
mod servers;
mod stats;
mod taps;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use certificates::CertificateUse;
pub use checks::CheckState;
pub use guests::GuestCode;
use ledger::Ledger;
pub use ledger::{GenerationUse, ModuleUse};
pub use looks::Loads;
pub use picker::ServerPicker;
use rollouts::Rollouts;
pub use rollouts::{ArmUse, ReleaseOrder, ReleaseState, ReleaseUse, SteerError};
pub use servers::{ServerState, ServersError};
pub use stats::Stats;
pub use taps::{
    BodyPassed, TapDropped, TapError, TapHandle, TapStream, TappedAttempt, TappedCall, TappedChange,
    TappedFilter, TappedLog, TappedRequest,
};
pub use tls::{ServerSide, client_side};

use crate::listen::bind::{self, Listening};
use crate::shared::{Generation, PerWorker, Shard};
use crate::snapshot::Snapshot;
use crate::telemetry::page::Page;
use crate::time::Clock;
use crate::worker::{self, Order, Serve, Spot, Start};

/// Orders that may wait for a busy worker.
const ORDERS: usize = 64;
/// Stack of a worker: guests recurse on it.
const STACK: usize = 8 * 1024 * 1024;

/// How a gateway is started.
#[derive(Clone)]
pub struct GatewayOptions {
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// The engine whose guests the workers run; the gateway ticks its epoch.
    pub engine: tidegate_wasm::Engine,
    /// How often the epoch is ticked: the precision of guests' time limits.
    pub epoch_tick: Duration,
    /// Gives memory that its thread has freed back to the system: called by workers while memory is used up.
    pub give_back: fn(),
    /// How long an HTTP/1 client has that may be gone or not: for a request on its way into a connection without one whose
    /// listener is closed, and while no byte moves of the answer to one that has closed its side.
    pub grace: Duration,
}

/// Why a snapshot is not served.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// An address cannot be listened at. Nothing was changed.
    #[error("listener \"{listener}\": cannot listen at {address}: {source}{}", remedy(source))]
    Bind {
        /// Which listener.
        listener: String,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A worker takes no orders: the gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What helps where an address cannot be listened at.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (end what listens there, or take another port)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 want the capability CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has the address)",
        _ => "",
    }
}

/// A running gateway; clones are the same one.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    orders: Vec<mpsc::Sender<Order>>,
    shards: Vec<Arc<Shard>>,
    live: watch::Receiver<u64>,
    /// Counts changes of servers.
    changes: watch::Sender<u64>,
    /// How servers' checks went.
    checked: checks::Checked,
    /// What comparisons of servers came to.
    compared: comparisons::Compared,
    taps: taps::OpenTaps,
    state: Mutex<Published>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ticking: Arc<AtomicBool>,
    ticker: Thread,
}

#[derive(Default)]
struct Published {
    generation: u64,
    snapshot: Option<Arc<Snapshot>>,
    bound: HashMap<Spot, SocketAddr>,
    ledger: Ledger,
    rollouts: Rollouts,
}

impl Gateway {
    /// Starts the workers; they serve nothing until a snapshot is published.
    ///
    /// # Errors
    /// When the system has no thread for a worker.
    pub fn start(options: GatewayOptions) -> io::Result<Self> {
        let workers = options.workers.get();
        let (live_sender, live) = watch::channel(0);
        let (changes, changed) = watch::channel(0);
        let mut orders = Vec::with_capacity(workers);
        let mut shards = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers + 1);
        for number in 0..workers {
            let (sender, receiver) = mpsc::channel(ORDERS);
            let shard = Shard::new(number);
            let start = Start {
                shard: shard.clone(),
                workers,
                seed: seed(number),
                give_back: options.give_back,
                grace: options.grace,
                live: live_sender.clone(),
                changes: changed.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(STACK)
                .spawn(move || worker::run(start, receiver))?;
            orders.push(sender);
            shards.push(shard);
            threads.push(thread);
        }
        let ticking = Arc::new(AtomicBool::new(true));
        let tick = tick(options, ticking.clone())?;
        let ticker = tick.thread().clone();
        threads.push(tick);
        Ok(Self(Arc::new(Inner {
            orders,
            shards,
            live,
            changes,
            checked: checks::Checked::default(),
            compared: comparisons::Compared::default(),
            taps: taps::OpenTaps::default(),
            state: Mutex::default(),
            threads: Mutex::new(threads),
            ticking,
            ticker,
        })))
    }

    fn state(&self) -> MutexGuard<'_, Published> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all workers serve `snapshot` and returns its generation; [`Gateway::live`] tells when they do.
    ///
    /// # Errors
    /// When a new address cannot be listened at; then nothing has changed.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Result<u64, PublishError> {
        let mut state = self.state();
        let mut bound = HashMap::new();
        let mut spots = Vec::new();
        let mut sockets: Vec<Vec<(Spot, Listening)>> = self.0.orders.iter().map(|_| Vec::new()).collect();
        for (number, listener) in snapshot.plan.listeners.iter().enumerate() {
            for &address in &listener.addresses {
                let any_port_of = (address.port() == 0).then(|| listener.name.clone());
                let spot = Spot { address, any_port_of };
                let actual = match state.bound.get(&spot) {
                    Some(&actual) => actual,
                    None => open(&spot, &listener.name, &mut sockets)?,
                };
                bound.insert(spot.clone(), actual);
                spots.push((spot, number));
            }
        }
        let generation = state.generation + 1;
        let requests = PerWorker::new(self.0.shards.len());
        let held = Arc::new(Generation { number: generation, since: Clock::new().wall(), requests });
        servers::plan(&snapshot, state.snapshot.as_deref());
        for (orders, sockets) in self.0.orders.iter().zip(sockets) {
            let snapshot = snapshot.clone();
            let serve = Serve { generation, snapshot, sockets, spots: spots.clone(), held: held.clone() };
            orders.try_send(Order::Serve(serve)).map_err(|_| PublishError::Stopping)?;
        }
        state.ledger.publish(&held, &snapshot);
        state.rollouts.publish(&snapshot);
        state.generation = generation;
        state.bound = bound;
        state.snapshot = Some(snapshot);
        Ok(generation)
    }

    /// The snapshot that was published last.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.state().snapshot.clone()
    }

    /// Waits until every worker serves `generation` or a later one.
    pub async fn live(&self, generation: u64) {
        let mut live = self.0.live.clone();
        let there = |shard: &Arc<Shard>| shard.generation.load(Ordering::Acquire) >= generation;
        while !self.0.shards.iter().all(there) {
            if live.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether every worker serves what was published last, and something was.
    pub fn is_live(&self) -> bool {
        let generation = self.state().generation;
        generation > 0
            && self.0.shards.iter().all(|shard| shard.generation.load(Ordering::Acquire) >= generation)
    }

    /// Where a listener accepts connections, with the ports that the system chose.
    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let state = self.state();
        let Some(snapshot) = &state.snapshot else { return Vec::new() };
        let Some(spec) = snapshot.plan.listeners.iter().find(|spec| spec.name == listener) else {
            return Vec::new();
        };
        spec.addresses
            .iter()
            .filter_map(|&address| {
                let any_port_of = (address.port() == 0).then(|| spec.name.clone());
                state.bound.get(&Spot { address, any_port_of }).copied()
            })
            .collect()
    }

    /// Generations that are in use still, oldest first. A steady gateway has one.
    pub fn generations(&self) -> Vec<GenerationUse> {
        self.state().ledger.generations()
    }

    /// Versions of plugins that are in use still, oldest first.
    pub fn modules(&self) -> Vec<ModuleUse> {
        self.state().ledger.modules()
    }

    /// Looks at the releases: which go on, which go back. `now` is on any clock, always the same one.
    pub fn judge_releases(&self, now: Duration) {
        self.state().rollouts.judge(now);
    }

    /// Whether there is a release to be looked at.
    pub fn has_releases(&self) -> bool {
        !self.state().rollouts.is_empty()
    }

    /// Does with a release what someone wants; `now` as for [`Gateway::judge_releases`].
    ///
    /// # Errors
    /// When there is no such release, or the order makes no sense where it is.
    pub fn steer_release(&self, id: &str, order: ReleaseOrder, now: Duration) -> Result<(), SteerError> {
        self.state().rollouts.steer(id, order, now)
    }

    /// The releases as they are.
    pub fn releases(&self) -> Vec<ReleaseUse> {
        self.state().rollouts.all()
    }

    /// Writes the data plane's metrics.
    pub fn metrics(&self, page: &mut Page) {
        let (snapshot, generation, generations, modules) = {
            let state = self.state();
            (state.snapshot.clone(), state.generation, state.ledger.generations(), state.ledger.modules())
        };
        metrics::write(page, &self.0.shards, snapshot.as_deref(), generation);
        let releases: Vec<_> = self.state().rollouts.each().collect();
        metrics::write_releases(page, &releases);
        if let Some(snapshot) = &snapshot {
            metrics::servers::write(page, snapshot, &self.0.checked, &self.0.compared);
        }
        self.0.taps.write(page);
        metrics::write_ledger(page, &generations, &modules);
    }

    /// Waits until collectors have what was handed over for them before; false: that took longer than `deadline`.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let Some(snapshot) = self.snapshot() else { return true };
        let all = async {
            if let Some(tracing) = &snapshot.tracing {
                tracing.exporter.flush().await;
            }
            for exporter in snapshot.logs.all.iter().filter_map(|log| log.writer.exporter()) {
                exporter.flush().await;
            }
            if let Some(push) = &snapshot.push {
                push.flush().await;
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    /// Opens the files of access logs again: they may have been renamed.
    pub fn reopen_logs(&self) {
        if let Some(snapshot) = self.snapshot() {
            snapshot.logs.reopen();
        }
    }

    /// Leaves new connections to whoever else listens at the same addresses, closes the listeners 200 ms later, tells
    /// connections to go away and waits until all have, or `deadline` has passed: false.
    pub async fn drain(&self, deadline: Duration) -> bool {
        let mut waiting = Vec::with_capacity(self.0.orders.len());
        for orders in &self.0.orders {
            let (done, over) = oneshot::channel();
            if orders.send(Order::Drain(done)).await.is_ok() {
                waiting.push(over);
            }
        }
        let all = async {
            for over in waiting {
                // A worker that is gone has nothing in flight.
                drop(over.await);
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    /// Tells the workers whether memory is used up, so that they refuse new requests and connections of bytes. False: some
    /// worker is too busy to be told now.
    pub fn refuse_new(&self, full: bool) -> bool {
        let busy = self.0.orders.iter().filter(|orders| !ask(orders, Order::Full(full)));
        busy.count() == 0
    }

    /// Ends the workers at once, and waits until they have closed their sockets, or `deadline` has passed. What they wrote is
    /// not waited for.
    pub async fn cut_off(&self, deadline: Duration) {
        for orders in &self.0.orders {
            // A worker that takes no order has ended already.
            drop(orders.try_send(Order::Stop));
        }
        let all = async {
            for orders in &self.0.orders {
                orders.closed().await;
            }
        };
        drop(tokio::time::timeout(deadline, all).await);
    }

    /// Ends the workers at once, waits for their threads, and for what they wrote.
    pub fn stop(&self) {
        for orders in &self.0.orders {
            // A worker that takes no order has ended already.
            drop(orders.try_send(Order::Stop));
        }
        self.0.ticking.store(false, Ordering::Relaxed);
        self.0.ticker.unpark();
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
        if let Some(snapshot) = self.snapshot() {
            snapshot.logs.finish();
        }
    }
}

fn open(
    spot: &Spot,
    listener: &str,
    sockets: &mut [Vec<(Spot, Listening)>],
) -> Result<SocketAddr, PublishError> {
    let failed = |source| PublishError::Bind { listener: listener.to_owned(), address: spot.address, source };
    let opened = bind::bind(spot.address, sockets.len()).map_err(failed)?;
    let mut actual = spot.address;
    for (listening, of_worker) in opened.into_iter().zip(sockets) {
        actual = listening.socket.local_addr().map_err(failed)?;
        of_worker.push((spot.clone(), listening));
    }
    Ok(actual)
}

/// Gives a worker an order that may be left out; false: it is too busy. Half of the places are for orders that must arrive.
fn ask(orders: &mpsc::Sender<Order>, order: Order) -> bool {
    orders.capacity() > ORDERS / 2 && orders.try_send(order).is_ok()
}

/// Ticks the engine's epoch until told to end, and sleeps while no guest runs.
#[allow(clippy::disallowed_methods, reason = "a thread whose only work is to wait and tick")]
fn tick(options: GatewayOptions, ticking: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("epoch".into()).stack_size(64 * 1024).spawn(move || {
        let thread = std::thread::current();
        let rests = options.engine.wake_with(move || thread.unpark());
        while ticking.load(Ordering::Relaxed) {
            std::thread::sleep(options.epoch_tick);
            options.engine.tick();
            if rests && options.engine.may_rest() {
                std::thread::park();
            }
        }
    })
}

/// A number that differs between workers and starts.
fn seed(worker: usize) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_usize(worker);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_has_room_for_orders_that_must_arrive() {
        let (orders, _waiting) = mpsc::channel(ORDERS);
        let asked = (0..2 * ORDERS).filter(|_| ask(&orders, Order::Full(true))).count();
        assert_eq!(asked, ORDERS / 2);
        assert!((0..ORDERS / 2).all(|_| orders.try_send(Order::Stop).is_ok()));
    }
}
