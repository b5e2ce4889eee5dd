//! Instances that live for a client's connection or for one request. Each begins as the plugin's image and is gone with
//! those that use it; the worker's own instance of the plugin keeps ticks and queues.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tidegate_config::plan::Isolation;
use tidegate_wasm::{Instance, StartError};

use crate::filter::host::Host;
use crate::filter::slot::{Slot, Unavailable};
use crate::http::fail::Reason;
use crate::shared::PluginCounters;

/// The instances of one connection.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<Rc<Host>>>);

/// Instances of one plugin that are as they were at their start, for the next requests.
#[derive(Default)]
pub(crate) struct Idle(RefCell<Vec<Instance>>);

impl Idle {
    fn take(&self) -> Option<Instance> {
        self.0.borrow_mut().pop()
    }

    /// Keeps a used instance, if there is room for it and it can be made what it was.
    fn put(&self, mut instance: Instance, most: usize) {
        if self.0.borrow().len() < most && instance.begin_anew() {
            self.0.borrow_mut().push(instance);
        }
    }
}

/// An instance in use. That of a request comes back to those that await one.
pub(crate) struct Lent {
    /// None only while it is dropped.
    instance: Option<Instance>,
    home: Option<Weak<Slot>>,
}

impl Lent {
    pub(crate) fn of(instance: Instance, slot: &Rc<Slot>, isolated: bool) -> Self {
        let comes_back = isolated && slot.entry.isolation == Isolation::Request;
        Self { instance: Some(instance), home: comes_back.then(|| Rc::downgrade(slot)) }
    }
}

impl Deref for Lent {
    type Target = Instance;

    #[inline]
    fn deref(&self) -> &Instance {
        self.instance.as_ref().expect("an instance is taken out only when what has lent it is dropped")
    }
}

impl DerefMut for Lent {
    #[inline]
    fn deref_mut(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("an instance is taken out only when what has lent it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(instance), Some(slot)) =
            (self.instance.take(), self.home.as_ref().and_then(Weak::upgrade))
        {
            slot.idle.put(instance, IDLE.div_ceil(slot.workers));
        }
    }
}

/// Instances of one plugin that await requests, on all workers together. Each has half a MiB of memory of its own at most.
const IDLE: usize = 128;

/// A place among the instances of a plugin, given back when dropped.
pub(crate) struct Seat {
    taken: Rc<Cell<usize>>,
    counters: Arc<PluginCounters>,
    worker: usize,
    /// The instance broke off, and it was counted.
    failed: Cell<bool>,
}

impl Seat {
    /// Takes a place, unless `most` are taken.
    fn take(
        taken: &Rc<Cell<usize>>,
        most: usize,
        counters: &Arc<PluginCounters>,
        worker: usize,
    ) -> Option<Self> {
        if taken.get() >= most {
            return None;
        }
        taken.set(taken.get() + 1);
        counters.of(worker).isolated.add(1);
        Some(Self { taken: taken.clone(), counters: counters.clone(), worker, failed: Cell::new(false) })
    }

    /// Whether this is the instance's first failure.
    pub(crate) fn fails(&self) -> bool {
        !self.failed.replace(true)
    }

    fn is_sound(&self) -> bool {
        !self.failed.get()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
        self.counters.of(self.worker).isolated.subtract(1);
    }
}

impl Slot {
    /// The instance for a new request on the connection that has `kept`.
    #[inline]
    pub(crate) fn host_for(self: &Rc<Self>, kept: &Kept) -> Result<Rc<Host>, Unavailable> {
        match self.entry.isolation {
            Isolation::Worker => self.host(),
            Isolation::Connection => self.of_connection(kept),
            Isolation::Request => self.alone(),
        }
    }

    fn of_connection(self: &Rc<Self>, kept: &Kept) -> Result<Rc<Host>, Unavailable> {
        let mut hosts = kept.0.borrow_mut();
        let sound = |host: &&Rc<Host>| {
            host.is_of(self) && host.seat.as_ref().is_some_and(Seat::is_sound) && !host.is_worn()
        };
        if let Some(host) = hosts.iter().find(sound) {
            return Ok(host.clone());
        }
        // What broke off, and what is of a configuration that is gone, ends with its last request.
        hosts.retain(|host| host.is_in_use() && !host.is_of(self));
        let host = self.alone()?;
        hosts.push(host.clone());
        Ok(host)
    }

    /// An instance of its own.
    fn alone(self: &Rc<Self>) -> Result<Rc<Host>, Unavailable> {
        let policy = self.entry.on_failure;
        let Some(plugin) = &self.entry.plugin else {
            let (reason, policy) = (Reason::PluginMissing, policy.load);
            return Err(Unavailable { reason, policy, before: true });
        };
        // Ticks and queues are the worker's instance's.
        self.start_if_due();
        let began = self.clock.now();
        let down = |reason| Unavailable { reason, policy: policy.trap, before: false };
        if plugin.image().is_none() && began < self.refused_until.get() {
            return Err(Unavailable { before: true, ..down(Reason::PluginTrap) });
        }
        let counters = &self.entry.counters;
        let most = self.entry.instances.div_ceil(self.workers);
        let seat = Seat::take(&self.taken, most, counters, self.worker);
        let seat = seat.ok_or_else(|| down(Reason::PluginBusy))?;
        if let Some(instance) = self.idle.take() {
            counters.of(self.worker).isolated_reused.add(1);
            return Ok(Host::new(instance, self, Some(seat)));
        }
        match Instance::isolated(plugin, self.clock.guest()) {
            Ok(instance) => {
                let cells = counters.of(self.worker);
                cells.isolated_starts.add(1);
                let took = self.clock.now().saturating_sub(began).as_nanos();
                cells.isolated_start_time.add(u64::try_from(took).unwrap_or(u64::MAX));
                Ok(Host::new(instance, self, Some(seat)))
            }
            Err(StartError::Full { .. }) => Err(down(Reason::PluginBusy)),
            Err(error) => {
                tracing::error!(plugin = %self.entry.name, %error, "plugin instance did not start");
                self.count_failed_start(&error);
                self.refused_until.set(began + self.backoff());
                Err(down(Reason::PluginTrap))
            }
        }
    }
}
