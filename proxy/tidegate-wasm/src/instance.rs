//! One VM on one worker: its start, its life, its end. What it does for each stream is in
//! `instance/streams.rs`.

mod connections;
mod ended;
mod foreign;
mod grpc;
mod isolated;
mod leaving;
mod left;
mod measured;
mod run;
mod streams;
mod taped;
mod whole;

#[cfg(test)]
mod tests;

pub use ended::Ended;
pub use isolated::Holdings;
pub use left::LeftHead;
pub(crate) use measured::Measured;
pub use whole::Whole;

use crate::{
    CallResponse, Effect, Module, Now, Plugin, StartError, StreamId, StreamInfo, Trap,
    abi::{
        chain::{self, Chain},
        exports::{Exports, function},
    },
    grpc::Kind,
    limits::START_TIME,
    meter::Soft,
    state::{Answer, Phase, State},
    stream::table::ROOT,
    usage::{self, Usage},
};
use http::request;
use std::{fmt, rc::Rc, sync::Arc, time::Duration};
use tidegate_abi::Status;
use wasmtime::Store;

/// A running plugin. It belongs to one thread; all its streams share it.
///
/// After a [`Trap`] the instance is poisoned: every later call gives the trap again, without a call
/// into the guest. What the streams hold can still be taken. The caller looks at
/// [`Instance::poisoned`] to fail the streams that wait, and starts another instance.
pub struct Instance {
    store: Store<State>,
    exports: Exports,
    /// Calls several of them at once.
    chain: Option<Chain>,
    plugin: Arc<Plugin>,
    poisoned: Option<Trap>,
    /// The guest was told to forget the plugin itself.
    over: bool,
    /// With more memory than this it is worn.
    rebuild_above: usize,
}

impl Instance {
    /// Starts an instance: the module's own start, then the plugin's context, VM start and
    /// configuration. May take up to a second (or `call_time`, if that is longer) for each call.
    ///
    /// # Errors
    /// When the guest breaks off or refuses its configuration.
    pub fn start(plugin: &Arc<Plugin>, now: Now) -> Result<Self, StartError> {
        let mut instance = Self::configured(plugin, now)?;
        instance.put_chain();
        Ok(instance)
    }

    /// One without a chain, which would cost more than it saves where few requests follow.
    fn configured(plugin: &Arc<Plugin>, now: Now) -> Result<Self, StartError> {
        let mut instance = Self::new(plugin, plugin.engine.wasm(), now);
        instance.store.data_mut().lines.keep_last();
        instance.boot(now)?;
        instance.configure(now)?;
        instance.store.data_mut().lines.take_last();
        instance.settle();
        Ok(instance)
    }

    /// Callbacks that follow each other are one call, unless each is counted.
    fn put_chain(&mut self) {
        let plugin = self.plugin.clone();
        if let (Some(vm), false) = (self.store.data().vm, plugin.engine.measures()) {
            self.chain = Chain::put(&mut self.store, &vm, &plugin.engine);
        }
    }

    /// The instance has started: from now on limits of requests hold.
    fn settle(&mut self) {
        let memory = self.memory_bytes();
        let state = self.store.data_mut();
        state.phase = state.running();
        state.limiter.size = memory;
        let above = state.plugin.spec.limits.rebuild_above;
        // One that begins with more would not be helped by beginning anew.
        self.rebuild_above = if state.limiter.size > above { usize::MAX } else { above };
    }

    fn new(plugin: &Arc<Plugin>, engine: &wasmtime::Engine, now: Now) -> Self {
        let mut store = Store::new(engine, State::new(plugin.clone(), now));
        store.limiter(|state| &mut state.limiter);
        if plugin.engine.measures() {
            // It only fails for engines that do not count.
            let _ = store.set_fuel(usage::FUEL);
        }
        store.epoch_deadline_callback(|mut store| {
            let passed = chain::passed(&mut store);
            Ok(store.data_mut().overdue(passed))
        });
        store.set_epoch_deadline(plugin.start_ticks);
        store.data_mut().begin(ROOT, now, plugin.engine.begin_call());
        Self {
            store,
            exports: Exports::default(),
            chain: None,
            plugin: plugin.clone(),
            poisoned: None,
            over: false,
            rebuild_above: usize::MAX,
        }
    }

    /// The module's own start, in which it may do next to nothing with the host.
    fn boot(&mut self, now: Now) -> Result<(), Trap> {
        let started = match self.plugin.engine.measures() {
            false => self.plugin.module().ready().instantiate(&mut self.store),
            true => self.instantiate_measured(),
        };
        let vm = started.map_err(|error| self.poison(&error, self.start_timeout()))?;
        let module = self.plugin.module().clone();
        self.look_up(vm, &module);
        let name = if self.plugin.module().has_export("_initialize") { "_initialize" } else { "_start" };
        if let Some(start) = function::<(), ()>(&vm, &mut self.store, name) {
            self.call_at_start(now, |_, store| start.call(store, ()))?;
            if name == "_initialize" {
                if let Some(main) = function::<(u32, u32), u32>(&vm, &mut self.store, "main") {
                    self.call_at_start(now, |_, store| main.call(store, (0, 0)))?;
                } else if let Some(main) = function::<(), u32>(&vm, &mut self.store, "__main_void") {
                    self.call_at_start(now, |_, store| main.call(store, ()))?;
                }
            }
        }
        self.store.data_mut().phase = Phase::Running;
        Ok(())
    }

    #[cold]
    fn instantiate_measured(&mut self) -> wasmtime::Result<wasmtime::Instance> {
        let plugin = self.plugin.clone();
        let imports = plugin.engine.imports(plugin.module().abi());
        usage::instantiate(&mut self.store, plugin.module().ready().module(), imports)
    }

    /// What the guest has done so far; all zero but for engines made by [`crate::Engine::measuring`].
    #[must_use]
    pub fn usage(&self) -> Usage {
        let left = self.store.get_fuel().unwrap_or(usage::FUEL);
        Usage { instructions: usage::FUEL - left, ..self.store.data().usage }
    }

    /// Finds what the guest exports.
    fn look_up(&mut self, vm: wasmtime::Instance, module: &Module) {
        let places = module.places();
        let memory = places.memory(&vm, &mut self.store);
        self.exports = Exports::new(places, module.abi());
        let state = self.store.data_mut();
        state.memory = memory;
        state.malloc = places.malloc();
        state.vm = Some(vm);
    }

    fn configure(&mut self, now: Now) -> Result<(), StartError> {
        self.call_at_start(now, |exports, store| match &exports.context_create {
            Some(create) => create.call(store, (ROOT, 0)),
            None => Ok(()),
        })?;
        let size = |bytes: &bytes::Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let vm_size = size(&self.plugin.spec.vm_config);
        let started = self.call_at_start(now, |exports, store| match &exports.vm_start {
            Some(start) => start.call(store, (ROOT, vm_size)),
            None => Ok(1),
        })?;
        if started == 0 {
            return Err(StartError::VmStart { log: self.store.data_mut().lines.take_last() });
        }
        let size = size(&self.plugin.spec.config);
        self.store.data_mut().configuring = true;
        let configured = self.call_at_start(now, |exports, store| match &exports.configure {
            Some(configure) => configure.call(store, (ROOT, size)),
            None => Ok(1),
        });
        self.store.data_mut().configuring = false;
        if configured? == 0 {
            return Err(StartError::Configure { log: self.store.data_mut().lines.take_last() });
        }
        Ok(())
    }

    fn call_at_start<R>(
        &mut self,
        now: Now,
        call: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Trap> {
        self.store.data_mut().begin(ROOT, now, self.plugin.engine.begin_call());
        self.store.set_epoch_deadline(self.plugin.start_ticks);
        let timeout = self.start_timeout();
        let result = call(&self.exports, &mut self.store);
        self.store.data_mut().finish_line();
        result.map_err(|error| self.poison(&error, timeout))
    }

    fn start_timeout(&self) -> Trap {
        Trap::CallTime { limit: self.plugin.spec.limits.call_time.max(START_TIME) }
    }

    /// Calls the guest for the plugin itself.
    fn call_root<R>(
        &mut self,
        now: Now,
        call: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        self.store.data_mut().begin(ROOT, now, self.plugin.engine.begin_call());
        self.store.set_epoch_deadline(self.plugin.call_ticks);
        self.store.data_mut().enter();
        let result = call(&self.exports, &mut self.store);
        self.store.data_mut().leave(ROOT);
        let limit = self.plugin.spec.limits.call_time;
        result.map_err(|error| self.poison(&error, Trap::CallTime { limit }))
    }

    /// Makes an error of the engine the trap that ends this instance. What the guest wished for
    /// is dropped, but not what it said.
    #[cold]
    fn poison(&mut self, error: &wasmtime::Error, timeout: Trap) -> Trap {
        let trap = match (error.downcast_ref(), Trap::from_engine(error)) {
            (Some(wasmtime::Trap::Interrupt), _) => timeout,
            (_, Trap::Trapped { message, .. }) if self.store.data().limiter.refused => {
                Trap::Memory { limit: self.plugin.spec.limits.memory, message }
            }
            (_, trap) => trap,
        };
        self.poisoned = Some(trap.clone());
        let state = self.store.data_mut();
        state.failed(&trap);
        if std::mem::take(&mut state.limiter.refused) {
            state.met(Soft::Memory);
        }
        state.effects.retain(|effect| matches!(effect, Effect::Log { .. }));
        let call = state.call;
        state.streams.iter_mut().for_each(|stream| stream.take_back(call));
        trap
    }

    /// Tells the guest about a new request; its first callback comes with the first event.
    pub fn open_stream(&mut self, info: impl Into<Rc<StreamInfo>>, now: Now) -> StreamId {
        let info = info.into();
        let facts = info.facts.clone();
        self.open_sharing(info, facts, now)
    }

    /// As [`Instance::open_stream`], with what the plugins of the request share; for modules that use properties.
    pub fn open_sharing(
        &mut self,
        info: Rc<StreamInfo>,
        facts: Option<Rc<crate::Facts>>,
        now: Now,
    ) -> StreamId {
        let state = self.store.data_mut();
        let id = state.streams.open(info, facts, now);
        StreamId(id)
    }

    /// Says that a stream goes on if the guest breaks off: then what the call that failed has written to it is taken back.
    pub fn outlive(&mut self, id: StreamId) {
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            stream.survives = true;
        }
    }

    /// Hands the guest the answer to an HTTP call; none: there is no answer (refused, reset, timed
    /// out). An unknown token is ignored.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_http_call_response(
        &mut self,
        token: u32,
        response: Option<CallResponse>,
        now: Now,
    ) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        if self.over {
            return Ok(());
        }
        if self.store.data().tapes > 0 {
            self.note_answer(token, response.as_ref(), now);
        }
        let state = self.store.data_mut();
        if Kind::of(token) != Some(Kind::Http) {
            return Ok(());
        }
        let Some(at) = state.calls.iter().position(|open| *open == token) else { return Ok(()) };
        state.calls.swap_remove(at);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (headers, body, trailers) = match &response {
            Some(answer) => {
                (count(answer.head.headers.len() + 1), count(answer.body.len()), count(answer.trailers.len()))
            }
            None => (0, 0, 0),
        };
        if response.is_none() {
            state.last_status = Status::BrokenConnection.number();
            state.status_message = "reset".into();
        }
        state.answer = response.map_or(Answer::Failed, |response| Answer::Response(Box::new(response)));
        let done = self.call_root(now, |exports, store| match &exports.http_call_response {
            Some(function) => function.call(store, (ROOT, token, headers, body, trailers)),
            None => Ok(()),
        });
        let state = self.store.data_mut();
        state.answer = Answer::None;
        state.status_message.clear();
        state.answered(token);
        done?;
        self.store.data_mut().feed();
        Ok(())
    }

    /// Lets the guest do what it does from time to time.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_tick(&mut self, now: Now) -> Result<(), Trap> {
        if self.over {
            return Ok(());
        }
        self.call_root(now, |exports, store| match &exports.tick {
            Some(tick) => tick.call(store, ROOT),
            None => Ok(()),
        })?;
        self.store.data_mut().feed();
        Ok(())
    }

    /// How often the guest wants to be called by [`Instance::on_tick`].
    #[must_use]
    pub fn tick_period(&self) -> Option<Duration> {
        self.store.data().tick_period
    }

    /// Tells the guest that a queue has an entry.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_queue_ready(&mut self, queue: u32, now: Now) -> Result<(), Trap> {
        if self.over {
            return Ok(());
        }
        self.call_root(now, |exports, store| match &exports.queue_ready {
            Some(ready) => ready.call(store, (ROOT, queue)),
            None => Ok(()),
        })
    }

    /// Has `listener` called for each entry of a queue: at once for those that wait, later for those that any plugin puts
    /// there, on its thread. It replaces who listened before.
    pub fn listen(&self, queue: u32, listener: Arc<dyn Fn() + Send + Sync>) {
        self.plugin.space.listen(queue, listener);
    }

    /// Whether the guest wishes for anything.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.store.data().effects.is_empty()
    }

    /// Whether a request with this head passes without the guest, because it has said that it has nothing to do with
    /// such: then no stream is opened for it. `adds` tells of a field's name whether it will be put into the head for a
    /// guest that looks.
    #[must_use]
    #[inline]
    pub fn passes_over(&self, head: &request::Parts, adds: impl Fn(&[u8]) -> bool) -> bool {
        self.store.data().definitions.pass_over(head, adds)
    }

    /// The next thing that the guest wishes for, oldest first.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.store.data_mut().effects.pop_front()?;
        if self.store.data().tapes > 0 {
            self.note_effect(&effect);
        }
        Some(effect)
    }

    /// Why the instance is of no more use.
    #[must_use]
    pub fn poisoned(&self) -> Option<&Trap> {
        self.poisoned.as_ref()
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.store.data().streams.len()
    }

    /// How many HTTP, gRPC and foreign calls are not over.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.store.data().open_calls()
    }

    /// Bytes of the guest's memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Whether its memory has grown so much that another instance should take over. What is inside may go on.
    #[must_use]
    #[inline]
    pub fn is_worn(&self) -> bool {
        self.store.data().limiter.size > self.rebuild_above
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.plugin.name())
            .field("streams", &self.streams())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
