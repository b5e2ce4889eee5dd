//! One CPU's worker: a thread with its own runtime, listeners, connections, pools and plugin instances.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

use crate::drain::Drain;
use crate::http::headers;
use crate::listen::bind::Listening;
use crate::listen::descriptors;
use crate::listen::tcp::{self, Door};
use crate::local::clients::{Clients, ConnectionUse, ConnectionsWanted};
use crate::local::tap::{Tap, Taps};
use crate::local::{Local, Site, View};
use crate::shared::{Generation, Shard};
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::batch::Gathering;
use crate::telemetry::access_log::noted::Spare;
use crate::time::{Clock, Deadlines};
use crate::upstream::balance::Random;
use crate::upstream::pool;

/// What the control thread tells a worker.
pub(crate) enum Order {
    /// Serve this from now on.
    Serve(Serve),
    /// Close the listeners and let what is in flight end; answered when it has.
    Drain(oneshot::Sender<()>),
    /// Requests are to be shown there; none: those that are closed are to be forgotten. Answered when it is so.
    Tap(Option<Arc<Tap>>, Option<oneshot::Sender<()>>),
    /// Somebody wants to know something.
    Look(Look),
    /// Whether memory is used up, so that what is new is refused.
    Full(bool),
    /// End at once.
    Stop,
}

/// What a worker is asked, and to whom it tells it.
pub(crate) enum Look {
    /// Clients' connections.
    Connections(ConnectionsWanted, oneshot::Sender<Vec<ConnectionUse>>),
    /// Servers with requests in flight: the number of their upstream's counters, their own, and how many.
    Loads(oneshot::Sender<Vec<(u64, usize, u32)>>),
}

/// A new snapshot with this worker's sockets for the addresses that are new.
pub(crate) struct Serve {
    pub(crate) generation: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) sockets: Vec<(Spot, Listening)>,
    /// Every address of the snapshot with the listener's number.
    pub(crate) spots: Vec<(Spot, usize)>,
    /// Lives as long as anything of the generation does.
    pub(crate) held: Arc<Generation>,
}

/// An address as it was written. Port 0 is a different port for each listener that asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) address: SocketAddr,
    pub(crate) any_port_of: Option<String>,
}

/// What a worker needs to start.
pub(crate) struct Start {
    pub(crate) shard: Arc<Shard>,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) give_back: fn(),
    pub(crate) grace: Duration,
    pub(crate) live: watch::Sender<u64>,
    /// How many changes of servers there were.
    pub(crate) changes: watch::Receiver<u64>,
}

/// An address that this worker accepts at.
struct Bound {
    site: Rc<Site>,
    door: Rc<Door>,
    accepting: AbortHandle,
}

impl Bound {
    /// Accepts nothing more, and tells its connections to end.
    fn close(self, local: &Rc<Local>) -> Weak<Site> {
        self.accepting.abort();
        self.door.close(local, &self.site);
        self.site.drain.pull();
        Rc::downgrade(&self.site)
    }
}

/// For connections that clients have begun to make when the end comes: a round trip to most of them. Where the socket is
/// closed before their last segment is there, they are reset.
const HANDSHAKE: Duration = Duration::from_millis(200);

struct Worker {
    local: Rc<Local>,
    bound: HashMap<Spot, Bound>,
    /// Sites that are gone and whose connections are not.
    leaving: Vec<Weak<Site>>,
    view: Rc<RefCell<Option<Rc<View>>>>,
}

/// Runs a worker on this thread until it is told to stop.
pub(crate) fn run(start: Start, mut orders: mpsc::Receiver<Order>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "worker has no runtime");
            return;
        }
    };
    let tasks = LocalSet::new();
    let gathering = tasks.block_on(&runtime, serve(start, &mut orders));
    // What is in flight ends with its task, and has its lines then.
    drop(tasks);
    // Who waits for that sees this close.
    drop(orders);
    gathering.end();
}

/// Does as it is ordered until it is to end; the lines that gather outlive it.
async fn serve(start: Start, orders: &mut mpsc::Receiver<Order>) -> Rc<Gathering> {
    let clock = Clock::new();
    let deadlines = Deadlines::new(clock);
    spawn_local(deadlines.clone().drive());
    let random = Random::new(start.seed);
    let request_ids = headers::RequestIds::new(u128::from(random.next()) << 64 | u128::from(random.next()));
    let local = Rc::new(Local {
        clock,
        deadlines,
        shard: start.shard,
        random,
        request_ids,
        workers: start.workers,
        grace: start.grace,
        connections: Cell::new(0),
        clients: Clients::default(),
        date: Default::default(),
        leaving: Rc::default(),
        taps: Taps::default(),
        gathering: Rc::default(),
        spare: Spare::default(),
        full: Cell::new(false),
        ceiling: Cell::new(RawFd::MAX),
    });
    let view = Rc::new(RefCell::new(None));
    spawn_local(tidy(Rc::downgrade(&view), local.clone(), start.give_back));
    let lines = local.clone();
    spawn_local(async move { lines.gathering.drive().await });
    let mut worker = Worker { local, bound: HashMap::new(), leaving: Vec::new(), view };
    let mut changes = start.changes;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Ok(()) = changes.changed() => {
                let number = *changes.borrow_and_update();
                worker.catch_up();
                worker.local.shard.changes.store(number, Ordering::Release);
                start.live.send_modify(|_| {});
                continue;
            }
        };
        let Some(order) = order else { break };
        match order {
            Order::Serve(serve) => {
                let generation = serve.generation;
                worker.switch(serve);
                worker.local.shard.generation.store(generation, Ordering::Release);
                start.live.send_modify(|_| {});
            }
            Order::Drain(done) => worker.drain(done),
            Order::Tap(tap, heard) => {
                worker.local.taps.put(tap);
                // Whoever asked may have given up.
                heard.map(|heard| heard.send(()));
            }
            Order::Look(look) => worker.look(look),
            Order::Full(full) => worker.local.full.set(full),
            Order::Stop => break,
        }
    }
    worker.local.gathering.clone()
}

/// Closes connections to upstreams that are no longer of use, ends plugins that take too long to end.
async fn tidy(view: Weak<RefCell<Option<Rc<View>>>>, local: Rc<Local>, give_back: fn()) {
    let mut known = 0;
    loop {
        let asked = local.clock.now() + pool::TIDY;
        tokio::time::sleep(pool::TIDY).await;
        local.shard.lag.add(local.clock.now().saturating_sub(asked));
        let Some(view) = view.upgrade() else { return };
        let current = view.borrow().clone();
        for pool in current.iter().flat_map(|view| &view.pools) {
            pool.tidy();
        }
        local.leaving.sweep(local.clock.now());
        let generation = current.as_ref().map_or(0, |view| view.generation.number);
        let replaced = std::mem::replace(&mut known, generation) != generation;
        drop(current);
        // What was freed stays with its thread otherwise: everything new would be refused for it, and what one generation
        // after the other leaves adds up.
        if replaced || local.full.get() {
            give_back();
        }
    }
}

impl Worker {
    /// From here on new requests see the new snapshot; those in flight finish on theirs.
    fn switch(&mut self, serve: Serve) {
        self.local.ceiling.set(descriptors::ceiling(self.local.workers, serve.spots.len()));
        let before = self.view.borrow().clone();
        let view = View::new(serve.snapshot, &self.local, before.as_deref(), serve.held);
        if let Some(before) = &before {
            before.retire(&view);
        }
        view.pools.iter().for_each(|pool| pool.catch_up());
        let mut sockets: HashMap<_, _> = serve.sockets.into_iter().collect();
        let mut bound = HashMap::with_capacity(serve.spots.len());
        for (spot, listener) in serve.spots {
            if let Some(known) = self.bound.remove(&spot) {
                *known.site.view.borrow_mut() = view.clone();
                known.site.listener.set(listener);
                bound.insert(spot, known);
            } else if let Some(socket) = sockets.remove(&spot) {
                match self.open(&view, listener, socket) {
                    Ok(new) => drop(bound.insert(spot, new)),
                    Err(error) => tracing::error!(address = %spot.address, %error, "worker cannot accept"),
                }
            }
        }
        for (_, gone) in std::mem::replace(&mut self.bound, bound) {
            self.close(gone);
        }
        self.leaving.retain(|site| site.strong_count() > 0);
        *self.view.borrow_mut() = Some(view);
    }

    /// Servers have changed.
    fn catch_up(&self) {
        for pool in self.view.borrow().iter().flat_map(|view| &view.pools) {
            pool.catch_up();
        }
    }

    /// Tells what somebody wants to know, who may have given up.
    fn look(&self, look: Look) {
        let local = &self.local;
        match look {
            Look::Connections(wanted, told) => {
                let list = local.clients.list(&wanted, local.shard.worker, local.clock.now());
                drop(told.send(list));
            }
            Look::Loads(told) => {
                let view = self.view.borrow();
                let loads = view.iter().flat_map(|view| &view.pools).flat_map(|pool| pool.loads());
                drop(told.send(loads.collect()));
            }
        }
    }

    fn open(&self, view: &Rc<View>, listener: usize, socket: Listening) -> std::io::Result<Bound> {
        let door = Rc::new(Door::new(socket)?);
        let site = Rc::new(Site {
            view: RefCell::new(view.clone()),
            listener: Cell::new(listener),
            open: Cell::new(0),
            emptied: Notify::new(),
            drain: Drain::default(),
        });
        let accepting =
            spawn_local(tcp::accept(self.local.clone(), site.clone(), door.clone())).abort_handle();
        Ok(Bound { site, door, accepting })
    }

    fn close(&mut self, bound: Bound) {
        self.leaving.push(bound.close(&self.local));
    }

    fn drain(&mut self, done: oneshot::Sender<()>) {
        let bound: Vec<Bound> = std::mem::take(&mut self.bound).into_values().collect();
        bound.iter().for_each(|bound| bound.door.hand_over());
        let mut sites = std::mem::take(&mut self.leaving);
        let (view, local) = (self.view.borrow().clone(), self.local.clone());
        spawn_local(async move {
            if !bound.is_empty() {
                tokio::time::sleep(HANDSHAKE).await;
            }
            sites.extend(bound.into_iter().map(|bound| bound.close(&local)));
            for site in sites.iter().filter_map(Weak::upgrade) {
                while site.open.get() > 0 {
                    site.emptied.notified().await;
                }
            }
            view.iter().flat_map(|view| &view.plugins).for_each(|slot| slot.retire());
            local.leaving.emptied().await;
            // Whoever asked may have given up.
            _ = done.send(());
        });
    }
}
