//! A plugin on this worker: its instance is started before it is used, and replaced with back-off when it traps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request;
use rustc_hash::FxHashMap;
use tidegate_config::plan::{Failure, Isolation};
use tidegate_wasm::{Instance, Meter, StartError, Trap};
use tokio::task::spawn_local;

use crate::filter::entry::Plugin;
use crate::filter::host::Host;
use crate::filter::isolated::Idle;
use crate::filter::leaving::Leaving;
use crate::http::added::is_added;
use crate::http::fail::Reason;
use crate::time::{Clock, Deadlines};
use crate::upstream::pool::Pool;

/// The first wait after a trap; doubled with each further one up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An instance that lived for this long is not in a crash loop.
const STEADY: Duration = Duration::from_secs(30);

/// One plugin on one worker, across its instances.
pub(crate) struct Slot {
    pub(crate) entry: Plugin,
    pub(crate) worker: usize,
    /// How many workers there are.
    pub(crate) workers: usize,
    pub(crate) clock: Clock,
    /// What its instances are counted with.
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) leaving: Rc<Leaving>,
    state: RefCell<State>,
    failures: Cell<u32>,
    /// How often it broke off without a request that has noticed: in a callback behind a request's end, in one of no
    /// request, or in one after which the request goes on.
    unnoticed: Cell<u64>,
    /// Instances of connections or requests now.
    pub(crate) taken: Rc<Cell<usize>>,
    /// Instances that await a request.
    pub(crate) idle: Idle,
    /// No further one is started before this time, since the last did not start.
    pub(crate) refused_until: Cell<Duration>,
    /// No instance is rebuilt before this time.
    pub(crate) rebuild_from: Cell<Duration>,
    pools: FxHashMap<String, Rc<Pool>>,
}

enum State {
    /// Serves.
    Running { host: Rc<Host>, since: Duration },
    /// Trapped; started again at the first request after this time.
    Down { until: Duration },
    /// Was never loaded.
    Missing,
}

/// Why there is no instance.
pub(crate) struct Unavailable {
    /// What a request is refused for.
    pub(crate) reason: Reason,
    /// What the policy says.
    pub(crate) policy: Failure,
    /// It was so before this request: what broke off earlier was counted then.
    pub(crate) before: bool,
}

impl Slot {
    /// Starts an instance. `pools` are those of the upstreams that the plugin may call.
    pub(crate) fn start(
        entry: Plugin,
        (worker, workers): (usize, usize),
        clock: Clock,
        (deadlines, leaving): (&Rc<Deadlines>, &Rc<Leaving>),
        pools: FxHashMap<String, Rc<Pool>>,
    ) -> Rc<Self> {
        let meter = entry.version.as_ref().and_then(|version| version.meter(worker));
        let slot = Rc::new(Self {
            entry,
            meter,
            worker,
            workers: workers.max(1),
            clock,
            deadlines: deadlines.clone(),
            leaving: leaving.clone(),
            state: RefCell::new(State::Missing),
            failures: Cell::new(0),
            unnoticed: Cell::new(0),
            taken: Rc::default(),
            idle: Idle::default(),
            refused_until: Cell::new(Duration::ZERO),
            rebuild_from: Cell::new(Duration::ZERO),
            pools,
        });
        if slot.entry.plugin.is_some() {
            slot.launch();
        }
        slot
    }

    /// Starts a further instance now.
    fn launch(self: &Rc<Self>) {
        let Some(plugin) = &self.entry.plugin else { return };
        self.entry.counters.of(self.worker).starts.add(1);
        if let (Some(meter), State::Down { .. }) = (&self.meter, &*self.state.borrow()) {
            meter.restarted();
        }
        let now = self.clock.now();
        let state = match Instance::start(plugin, self.clock.guest()) {
            Ok(instance) => {
                let host = Host::new(instance, self, None);
                host.perform();
                State::Running { host, since: now }
            }
            Err(error) => {
                tracing::error!(plugin = %self.entry.name, %error, "plugin instance did not start");
                self.count_failed_start(&error);
                self.revive();
                State::Down { until: now + self.backoff() }
            }
        };
        *self.state.borrow_mut() = state;
    }

    /// An instance broke off while it started, or refused its configuration.
    pub(crate) fn count_failed_start(&self, error: &StartError) {
        if let (Some(meter), StartError::Trap(trap)) = (&self.meter, error) {
            meter.failed(trap);
        }
    }

    /// One more stream comes to the plugin.
    pub(crate) fn count_stream(&self) {
        self.entry.counters.of(self.worker).streams.add(1);
    }

    pub(crate) fn backoff(&self) -> Duration {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        BACKOFF.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX)
    }

    /// Starts the worker's instance again if it broke off and its time has come.
    pub(crate) fn start_if_due(self: &Rc<Self>) {
        let due = matches!(&*self.state.borrow(), State::Down { until } if *until <= self.clock.now());
        if due {
            self.launch();
        }
    }

    /// Whether a request with this head passes without the plugin, as its guest has said while it was configured. `added`:
    /// there are fields of the gateway's own that are not in the head.
    #[inline]
    pub(crate) fn passes_over(&self, head: &request::Parts, added: bool) -> bool {
        let adds = |name: &[u8]| added && is_added(name);
        match self.entry.isolation {
            Isolation::Worker => match &*self.state.borrow() {
                State::Running { host, .. } => host.with(|instance| instance.passes_over(head, adds)),
                State::Down { .. } | State::Missing => false,
            },
            Isolation::Connection | Isolation::Request => {
                let image = self.entry.plugin.as_ref().and_then(|plugin| plugin.image());
                image.is_some_and(|image| image.passes_over(head, adds))
            }
        }
    }

    /// The worker's instance for a new request.
    pub(crate) fn host(self: &Rc<Self>) -> Result<Rc<Host>, Unavailable> {
        if let State::Running { host, .. } = &*self.state.borrow() {
            return Ok(host.clone());
        }
        let policy = self.entry.on_failure;
        let down = |before| Unavailable { reason: Reason::PluginTrap, policy: policy.trap, before };
        match &*self.state.borrow() {
            State::Missing => {
                let (reason, policy) = (Reason::PluginMissing, policy.load);
                return Err(Unavailable { reason, policy, before: true });
            }
            State::Down { until } if *until > self.clock.now() => return Err(down(true)),
            State::Down { .. } | State::Running { .. } => {}
        }
        self.launch();
        match &*self.state.borrow() {
            State::Running { host, .. } => Ok(host.clone()),
            State::Down { .. } | State::Missing => Err(down(false)),
        }
    }

    /// Whether this is the instance that new requests come to.
    pub(crate) fn serves(&self, host: &Host) -> bool {
        matches!(&*self.state.borrow(), State::Running { host: own, .. } if std::ptr::eq(&**own, host))
    }

    /// New requests come to this instance from now on.
    pub(crate) fn takes_over(&self, host: Rc<Host>, since: Duration) {
        *self.state.borrow_mut() = State::Running { host, since };
    }

    /// Counts a trap.
    pub(crate) fn count(&self, trap: &Trap) {
        let cells = self.entry.counters.of(self.worker);
        if trap.is_timeout() {
            cells.timeouts.add(1)
        } else {
            cells.traps.add(1)
        }
        self.unnoticed.set(self.unnoticed.get() + 1);
        let version = self.entry.version.as_ref().map_or("", |version| version.name());
        tracing::error!(plugin = %self.entry.name, version, %trap, "plugin failed");
    }

    /// A request failed because the guest broke off.
    pub(crate) fn notice(&self) {
        self.unnoticed.set(self.unnoticed.get().saturating_sub(1));
    }

    /// How often it broke off and no request failed for it, since this was last asked.
    pub(crate) fn take_unnoticed(&self) -> u64 {
        self.unnoticed.take()
    }

    /// Takes a trapped instance out of service.
    pub(crate) fn trapped(&self, trap: &Trap) {
        self.count(trap);
        let now = self.clock.now();
        let since = match &*self.state.borrow() {
            State::Running { since, .. } => *since,
            State::Down { .. } | State::Missing => return,
        };
        if now.saturating_sub(since) > STEADY {
            self.failures.set(0);
        }
        *self.state.borrow_mut() = State::Down { until: now + self.backoff() };
    }

    /// Starts an instance again after the wait that follows a failure: nothing else asks for one in the background.
    pub(crate) fn revive(self: &Rc<Self>) {
        if !self.entry.background {
            return;
        }
        let slot = Rc::downgrade(self);
        spawn_local(async move {
            while let Some(this) = slot.upgrade() {
                let until = match &*this.state.borrow() {
                    State::Down { until } => *until,
                    State::Running { .. } | State::Missing => return,
                };
                let wait = until.saturating_sub(this.clock.now());
                if wait.is_zero() {
                    // One that fails again revives itself.
                    drop(this.host());
                    return;
                }
                drop(this);
                tokio::time::sleep(wait).await;
            }
        });
    }

    /// No request comes to the plugin any more; its instance, if there is one.
    pub(crate) fn give_up(&self) -> Option<Rc<Host>> {
        match self.state.replace(State::Missing) {
            State::Running { host, .. } => Some(host),
            State::Down { .. } | State::Missing => None,
        }
    }

    /// Connections to an upstream that the guest may call.
    pub(crate) fn pool(&self, upstream: &str) -> Option<Rc<Pool>> {
        self.pools.get(upstream).cloned()
    }

    /// Whether the slot's guest calls exactly these pools.
    pub(crate) fn lends(&self, pools: &FxHashMap<String, Rc<Pool>>) -> bool {
        self.pools.len() == pools.len()
            && pools.iter().all(|(name, pool)| self.pools.get(name).is_some_and(|own| Rc::ptr_eq(own, pool)))
    }
}
