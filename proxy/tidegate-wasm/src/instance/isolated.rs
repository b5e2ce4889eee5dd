//! Instances of one connection or one request: their start from the image, or without one.

use super::Instance;
use crate::{
    Now, Plugin, StartError, Trap,
    engine::PLACES,
    foreign::Definitions,
    state::{Metrics, State},
    stream::table::ROOT,
};
use std::sync::Arc;
use wasmtime::{Extern, PoolConcurrencyLimitError, Store};

impl Instance {
    /// An instance that is as the plugin's first one was once it was configured. From the plugin's
    /// image it costs some microseconds; without one it is started and configured.
    ///
    /// What the guest wished for while it was configured (ticks, calls, log lines) is the matter of
    /// the instance that [`Instance::start`] gave, not of this one.
    ///
    /// # Errors
    /// When there is no place for it, or, without an image, as for [`Instance::start`].
    pub fn isolated(plugin: &Arc<Plugin>, now: Now) -> Result<Self, StartError> {
        let Some(image) = plugin.image() else {
            let mut instance = Self::configured(plugin, now)?;
            let state = instance.store.data_mut();
            state.effects.clear();
            state.calls.clear();
            state.callers.clear();
            state.grpc = crate::grpc::Calls::default();
            state.tick_period = None;
            state.listens = false;
            return Ok(instance);
        };
        let module = image.module();
        let ready = module.ready();
        let mut instance = Self::new(plugin, ready.module().engine(), now);
        instance.store.data_mut().metrics = image.metrics().clone();
        instance.store.data_mut().definitions = image.definitions().clone();
        let vm = ready.instantiate(&mut instance.store).map_err(|error| refused(&error))?;
        instance.look_up(vm, module);
        instance.settle();
        Ok(instance)
    }

    /// Makes an instance of an image, whose streams are over, what it was at its start: memory, globals, and what the host
    /// knows of it. It costs less than another one. `false`: it cannot be done, and the instance is of no more use; so it
    /// is when it broke off, its memory has grown, it has written much, places become scarce, or the kernel does not
    /// tell where it has written.
    #[must_use]
    pub fn begin_anew(&mut self) -> bool {
        let plugin = self.plugin.clone();
        let Some((image, beginning)) = plugin.image().and_then(|image| Some((image, image.beginning()?)))
        else {
            return false;
        };
        // One that was started before there was an image has tables and functions of another module.
        let of_image = wasmtime::Engine::same(self.store.engine(), image.module().ready().module().engine());
        let (Some(pages), true, None, false) = (plugin.engine.pages(), of_image, &self.poisoned, self.over)
        else {
            return false;
        };
        let state = self.store.data_mut();
        let (vm, memory, malloc, now) = (state.vm, state.memory, state.malloc.take(), state.now());
        let (Some(vm), Some(memory)) = (vm, memory) else { return false };
        let mut fresh = State::new(plugin.clone(), now);
        (fresh.vm, fresh.memory, fresh.malloc) = (Some(vm), Some(memory), malloc);
        (fresh.metrics, fresh.definitions) = (image.metrics().clone(), image.definitions().clone());
        fresh.begin(ROOT, now, plugin.engine.ticks());
        *state = fresh;
        if !beginning.restore(&mut self.store, vm, memory, pages) {
            return false;
        }
        self.settle();
        true
    }

    /// What the guest holds where it can be seen: for tests that compare an instance with what it was. Of an instance of
    /// an image that can begin anew it is all that can differ: memory, and globals that can change. Its tables cannot.
    pub fn holdings(&mut self) -> Holdings {
        let mut held = Holdings { memory: Vec::new(), globals: Vec::new() };
        let (store, Some(vm)) = self.parts() else { return held };
        let exports: Vec<_> =
            vm.exports(&mut *store).map(|one| (one.name().to_owned(), one.into_extern())).collect();
        for (name, export) in exports {
            match export {
                Extern::Memory(memory) => held.memory = memory.data(&*store).to_vec(),
                Extern::Global(global) => held.globals.push(format!("{name} {:?}", global.get(&mut *store))),
                _ => {}
            }
        }
        held
    }

    /// The metrics that the guest has defined.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.store.data().metrics.clone()
    }

    /// What the guest has defined by foreign functions.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        self.store.data().definitions.clone()
    }

    /// What the guest's state can be read from.
    pub(crate) fn parts(&mut self) -> (&mut Store<State>, Option<wasmtime::Instance>) {
        let vm = self.store.data().vm;
        (&mut self.store, vm)
    }
}

/// What a guest holds; see [`Instance::holdings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The bytes of its memory.
    pub memory: Vec<u8>,
    /// Its globals, a line each.
    pub globals: Vec<String>,
}

fn refused(error: &wasmtime::Error) -> StartError {
    if error.is::<PoolConcurrencyLimitError>() {
        return StartError::Full { limit: PLACES };
    }
    StartError::Trap(Trap::from_engine(error))
}
