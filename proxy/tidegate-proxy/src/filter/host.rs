//! Instances of plugins: calls into them, and what they ask for.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tidegate_wasm::{Effect, Facts, Instance, StreamId, StreamInfo, Trap};
use tokio::task::{AbortHandle, spawn_local};

use crate::filter::failure::reason_of;
use crate::filter::held::{Held, Holds};
use crate::filter::isolated::{Lent, Seat};
use crate::filter::leaving::Leaving;
use crate::filter::log;
use crate::filter::open::OpenCalls;
use crate::filter::rebuild::Life;
use crate::filter::slot::Slot;
use crate::filter::taping::Taping;
use crate::filter::traced::Follow;
use crate::filter::version::Version;
use crate::http::fail::Reason;
use crate::http::reply::Reply;
use crate::shared::Signal;
use crate::time::Deadlines;

/// An instance and those who wait for it.
pub(crate) struct Host {
    instance: RefCell<Lent>,
    plugin: Arc<tidegate_wasm::Plugin>,
    deadlines: Rc<Deadlines>,
    pub(crate) leaving: Rc<Leaving>,
    streams: RefCell<Holds>,
    slot: Weak<Slot>,
    tick: RefCell<Option<AbortHandle>>,
    /// Those who wait for entries of queues.
    queues: RefCell<Vec<AbortHandle>>,
    performing: Cell<bool>,
    pub(crate) grpc: OpenCalls,
    pub(crate) foreign: OpenCalls,
    /// Of an instance for a connection or a request; none: the worker's own.
    pub(crate) seat: Option<Seat>,
    /// Refused functions that the log has.
    told: RefCell<Vec<String>>,
    /// Held as long as the instance is there.
    _version: Option<Arc<Version>>,
    worker: usize,
    pub(crate) life: Cell<Life>,
}

impl Host {
    pub(crate) fn new(mut instance: Instance, slot: &Rc<Slot>, seat: Option<Seat>) -> Rc<Self> {
        if let Some(meter) = &slot.meter {
            instance.measure(meter.clone());
        }
        Rc::new(Self {
            _version: slot.entry.version.clone(),
            plugin: instance.plugin().clone(),
            instance: RefCell::new(Lent::of(instance, slot, seat.is_some())),
            deadlines: slot.deadlines.clone(),
            leaving: slot.leaving.clone(),
            streams: RefCell::default(),
            slot: Rc::downgrade(slot),
            tick: RefCell::new(None),
            queues: RefCell::default(),
            performing: Cell::new(false),
            grpc: OpenCalls::default(),
            foreign: OpenCalls::default(),
            told: RefCell::default(),
            worker: slot.worker,
            seat,
            life: Cell::default(),
        })
    }

    /// Whether this is an instance of that plugin as it is configured there.
    pub(crate) fn is_of(&self, slot: &Rc<Slot>) -> bool {
        std::ptr::eq(self.slot.as_ptr(), Rc::as_ptr(slot))
    }

    /// Whether a snapshot still has the plugin.
    pub(crate) fn is_in_use(&self) -> bool {
        self.slot.strong_count() > 0
    }

    /// Calls into the guest at this moment and performs what it asked for.
    pub(crate) fn call<T>(
        self: &Rc<Self>,
        call: impl FnOnce(&mut Instance, tidegate_wasm::Now) -> Result<T, Trap>,
    ) -> Result<T, Reason> {
        self.look_at_the_clock();
        let result = self.pass(call);
        self.look_at_size();
        result
    }

    /// As [`Host::call`] at the time that was read last: for a request on its way, which has just come or waited.
    #[inline]
    pub(crate) fn pass<T>(
        self: &Rc<Self>,
        call: impl FnOnce(&mut Instance, tidegate_wasm::Now) -> Result<T, Trap>,
    ) -> Result<T, Reason> {
        let (result, effects) = {
            let mut instance = self.instance.borrow_mut();
            let result = call(&mut instance, self.deadlines.guest());
            (result, instance.has_effects())
        };
        if effects {
            self.perform();
        }
        result.map_err(|trap| {
            self.fail(&trap);
            if let Some(slot) = self.slot.upgrade() {
                slot.revive();
            }
            reason_of(&trap)
        })
    }

    /// Reads the time for the calls that follow.
    pub(crate) fn look_at_the_clock(&self) {
        self.deadlines.now();
    }

    /// A request that was recorded is over.
    #[cold]
    pub(crate) fn keep_tape(&self, stream: StreamId, taping: &Taping) {
        let tape = self.with(|instance| instance.take_tape(stream));
        let slot = self.slot.upgrade();
        taping.keep(&self.plugin, tape, slot.as_ref().map(|slot| slot.entry.counters.of(slot.worker)));
    }

    /// The code that it runs.
    pub(crate) fn plugin(&self) -> &tidegate_wasm::Plugin {
        &self.plugin
    }

    /// Reads from the instance without calling the guest.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Instance) -> T) -> T {
        read(&mut self.instance.borrow_mut())
    }

    /// All requests inside a trapped instance learn of it.
    #[cold]
    fn fail(&self, trap: &Trap) {
        self.silence();
        self.grpc.cancel_all();
        self.foreign.cancel_all();
        if let Some(slot) = self.slot.upgrade() {
            let drained = matches!(self.life.get(), Life::Draining | Life::Parting);
            if slot.serves(self) {
                slot.trapped(trap);
            } else if drained || self.seat.as_ref().is_some_and(Seat::fails) {
                self.life.set(Life::Ended);
                slot.count(trap);
            }
        }
        for held in self.streams.borrow().iter() {
            held.failed.set(Some(reason_of(trap)));
            held.wake();
        }
    }

    /// A request comes to the instance; the guest is told with the first event.
    pub(crate) fn open(&self, info: Rc<StreamInfo>, facts: Option<Rc<Facts>>) -> StreamId {
        self.instance.borrow_mut().open_sharing(info, facts, self.deadlines.guest())
    }

    /// Registers a request.
    pub(crate) fn hold(&self, stream: StreamId) -> Rc<Held> {
        self.streams.borrow_mut().open(stream)
    }

    /// The trace of a request, where it is traced.
    pub(crate) fn follow(&self, stream: StreamId) -> Option<Rc<Follow>> {
        self.streams.borrow().get(stream)?.trace.get().cloned()
    }

    /// What is wanted of a request, while it is there.
    pub(crate) fn held(&self, stream: StreamId) -> Option<Rc<Held>> {
        self.streams.borrow().get(stream).cloned()
    }

    /// The request is over.
    pub(crate) fn release(self: &Rc<Self>, stream: StreamId) {
        self.streams.borrow_mut().remove(stream);
        let closed = self.pass(|instance, now| {
            instance.close_stream(stream, now);
            instance.poisoned().map_or(Ok(()), |trap| Err(trap.clone()))
        });
        // A trap on the way out hurts no request: it was counted and the instance is replaced.
        _ = closed;
        self.look_at_size();
    }

    /// The plugin on this worker; none once no snapshot has it.
    pub(crate) fn slot(&self) -> Option<Rc<Slot>> {
        self.slot.upgrade()
    }

    /// The time that was read last.
    pub(crate) fn now(&self) -> tidegate_wasm::Now {
        self.deadlines.guest()
    }

    /// Performs everything that the guest has asked for.
    pub(crate) fn perform(self: &Rc<Self>) {
        if self.performing.replace(true) {
            return;
        }
        loop {
            let effect = self.instance.borrow_mut().poll_effect();
            let Some(effect) = effect else { break };
            self.perform_one(effect);
        }
        self.performing.set(false);
    }

    fn perform_one(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::LocalReply { stream, status, headers, body, details, .. } => self.tell(stream, |held| {
                let headers: HeaderMap = headers.into_iter().collect();
                let reply = || Box::new(Reply { status, headers, body, details });
                held.reply.borrow_mut().get_or_insert_with(reply);
            }),
            Effect::Resume { stream, side } => self.tell(stream, |held| held.resume(side).set(true)),
            Effect::Feed { stream, side } => self.tell(stream, |held| held.feed(side).set(true)),
            Effect::Reset { stream, details } => self.tell(stream, |held| {
                held.details.replace(details);
                held.reset.set(true);
            }),
            Effect::BreakOff { stream, side } => self.tell(stream, |held| held.breaks(side).set(true)),
            Effect::SetUpstream { stream, upstream } => {
                self.tell(stream, |held| held.choose_upstream(upstream));
            }
            Effect::SetServer { stream, address } => {
                self.tell(stream, |held| held.choose_server(address));
            }
            Effect::Inject { stream } => self.tell(stream, |held| held.injects.set(true)),
            Effect::SetRoute { stream, rule } => self.tell(stream, |held| held.choose_rule(rule)),
            Effect::ClearRoute { stream } => self.tell(stream, |held| held.clear_route.set(true)),
            Effect::Log { level, message, request_id, .. } => {
                log::write(level, &message, (self.plugin.name(), self.worker), request_id.as_ref());
            }
            Effect::Refused { function, .. } => self.refused(&function),
            Effect::TickPeriod(period) if self.life.get().has_ticks() => self.tick_every(period),
            Effect::Done => {
                // What it wishes for at its very end is performed before what it calls is let go.
                self.performing.set(false);
                self.done(&self.leaving);
            }
            effect @ Effect::HttpCall { .. } => self.call_http(effect),
            Effect::GrpcCall(call) => {
                let pool = self.slot.upgrade().and_then(|slot| slot.pool(&call.upstream));
                self.call_grpc(pool, *call);
            }
            Effect::GrpcCancel { token } => self.grpc.cancel(token),
            Effect::Foreign { token, call, .. } => self.call_foreign(token, call),
            Effect::ForeignCancel { token } => self.foreign.cancel(token),
            Effect::QueueRegistered { queue } if self.life.get() == Life::Serving => self.listen(queue),
            // The entry waits for whoever registers the queue again. Ticks and queues are those of the instance that serves.
            Effect::QueueReady { .. } | Effect::QueueRegistered { .. } | Effect::TickPeriod(_) => {}
        }
    }

    fn tell(&self, stream: StreamId, what: impl FnOnce(&Held)) {
        if let Some(held) = self.streams.borrow().get(stream) {
            what(held);
            held.wake();
        }
    }

    /// From now on this instance is told of a queue's entries, whichever worker's plugin puts them.
    fn listen(self: &Rc<Self>, queue: u32) {
        // What a request's instance registers would be gone with it.
        if self.seat.is_some() {
            return;
        }
        let signal = Arc::new(Signal::default());
        let raised = signal.clone();
        self.with(|instance| instance.listen(queue, Arc::new(move || raised.raise())));
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            loop {
                for _ in 0..signal.taken().await {
                    let Some(host) = host.upgrade() else { return };
                    if host.call(|instance, now| instance.on_queue_ready(queue, now)).is_err() {
                        return;
                    }
                }
            }
        });
        self.queues.borrow_mut().push(task.abort_handle());
    }

    /// The first refusal says what it was about; a guest that asks at every request must not fill the log.
    fn refused(&self, function: &str) {
        let Some(slot) = self.slot.upgrade() else { return };
        slot.entry.counters.of(slot.worker).refused.add(1);
        let mut told = self.told.borrow_mut();
        if !told.iter().any(|known| known == function) {
            tracing::warn!(
                plugin = %slot.entry.name,
                function,
                "the plugin called what its capabilities do not allow; told once for each instance"
            );
            told.push(function.to_owned());
        }
    }

    /// Nothing wakes the instance by itself any more: no tick, no queue.
    pub(crate) fn silence(&self) {
        self.queues.borrow_mut().drain(..).for_each(|task| task.abort());
        if let Some(tick) = self.tick.borrow_mut().take() {
            tick.abort();
        }
    }

    /// Calls the guest this often from now on.
    pub(crate) fn tick_every(self: &Rc<Self>, period: Option<Duration>) {
        if let Some(tick) = self.tick.borrow_mut().take() {
            tick.abort();
        }
        let Some(period) = period.filter(|period| !period.is_zero()) else { return };
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            interval.tick().await;
            loop {
                interval.tick().await;
                let Some(host) = host.upgrade() else { break };
                if host.call(|instance, now| instance.on_tick(now)).is_err() {
                    break;
                }
            }
        });
        *self.tick.borrow_mut() = Some(task.abort_handle());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.silence();
    }
}
