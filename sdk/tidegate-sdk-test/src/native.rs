//! Runs a filter's own code: the SDK's runtime on a host in memory.

use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::native::{Host, Module, install};
use tidegate_sdk::{Callbacks, ConfigError, Fields, Filter};

use crate::host::streams::Stream;
use crate::host::{Memory, ROOT, Told};
use crate::machine::{
    CONFIGURED, CallAnswer, Effect, GrpcEvent, Machine, Part, Passed, Properties, Side, Step,
};

/// A filter, run natively. One at a time on a thread: what waits is known by thread.
pub struct Native<F: Filter> {
    module: Module<F>,
    memory: Rc<Memory>,
}

impl<F: Filter> std::fmt::Debug for Native<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

impl<F: Filter> Native<F> {
    /// Configures a filter. `feeds` says whether the host can show a body while it holds the head, as Tidegate can.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn start(config: &str, feeds: bool) -> Result<Self, ConfigError> {
        let mut native = Native { module: Module::new(), memory: Rc::new(Memory::new(config, feeds)) };
        native.set_time(CONFIGURED);
        native.run(|module| {
            native.memory.configuring.set(true);
            module.on_context_create(ROOT, 0);
            let configured = module.configure(ROOT);
            native.memory.configuring.set(false);
            configured
        })?;
        Ok(native)
    }

    /// Runs something with this host in place.
    fn run<T>(&self, act: impl FnOnce(&Module<F>) -> T) -> T {
        let before = install(Some(self.memory.clone() as Rc<dyn Host>));
        let result = act(&self.module);
        install(before);
        result
    }

    /// A callback about a context.
    fn about<T>(&self, context: u32, act: impl FnOnce(&Module<F>) -> T) -> T {
        self.memory.context.set(context);
        self.run(act)
    }

    fn told(&self, told: Told, act: impl FnOnce(&Module<F>)) {
        self.memory.told.replace(told);
        self.about(ROOT, act);
        self.memory.told.replace(Told::Nothing);
    }

    fn open_stream(&self, of_bytes: bool, properties: &Properties) -> u32 {
        let id = self.memory.next_id();
        self.memory.streams.borrow_mut().insert(id, Stream::new(of_bytes, properties));
        self.about(id, |module| module.on_context_create(id, ROOT));
        id
    }

    fn step(&self, action: u32, head: bool) -> Step {
        match action {
            0 => Step::Continue,
            1 if !head || self.memory.feeds => Step::Pause,
            _ => Step::Wait,
        }
    }
}

impl<F: Filter> Machine for Native<F> {
    fn set_time(&mut self, now: Duration) {
        self.memory.now.set(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    }

    fn open(&mut self, properties: &Properties) -> u32 {
        self.open_stream(false, properties)
    }

    fn connect(&mut self, properties: &Properties) -> Result<(u32, Step), String> {
        let id = self.open_stream(true, properties);
        if !F::CALLBACKS.has(Callbacks::CONNECTION) {
            return Ok((id, Step::Continue));
        }
        let action = self.about(id, |module| module.on_new_connection(id));
        Ok((id, if action == 0 { Step::Continue } else { Step::Pause }))
    }

    fn part(&mut self, id: u32, side: Side, part: Part) -> Result<Step, String> {
        let (of_bytes, size) = {
            let mut streams = self.memory.streams.borrow_mut();
            let Some(stream) = streams.get_mut(&id) else { return Ok(Step::Continue) };
            (stream.of_bytes, stream.put(side, part.clone()))
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let head = matches!(part, Part::Head(..));
        let has = |callbacks| F::CALLBACKS.has(callbacks);
        let action = self.about(id, |module| match (part, side, of_bytes) {
            (Part::Head(_, end), Side::Request, false) if has(Callbacks::REQUEST) => {
                module.on_request_headers(id, end)
            }
            (Part::Head(_, end), Side::Response, false) if has(Callbacks::RESPONSE) => {
                module.on_response_headers(id, end)
            }
            (Part::Body(_, end), Side::Request, false) if has(Callbacks::REQUEST_BODY) => {
                module.on_request_body(id, size, end)
            }
            (Part::Body(_, end), Side::Response, false) if has(Callbacks::RESPONSE_BODY) => {
                module.on_response_body(id, size, end)
            }
            (Part::Trailers(_), Side::Request, false) if has(Callbacks::REQUEST_BODY) => {
                module.on_request_trailers(id)
            }
            (Part::Trailers(_), Side::Response, false) if has(Callbacks::RESPONSE_BODY) => {
                module.on_response_trailers(id)
            }
            (Part::Body(_, end), Side::Request, true) if has(Callbacks::CLIENT) => {
                module.on_downstream_data(id, size, end)
            }
            (Part::Body(_, end), Side::Response, true) if has(Callbacks::SERVER) => {
                module.on_upstream_data(id, size, end)
            }
            _ => 0,
        });
        Ok(self.step(action, head))
    }

    fn take(&mut self, id: u32, side: Side) -> Passed {
        let mut streams = self.memory.streams.borrow_mut();
        streams.get_mut(&id).map_or(Passed::default(), |stream| stream.take(side))
    }

    fn close(&mut self, id: u32) -> Result<(), String> {
        if let Some(stream) = self.memory.streams.borrow_mut().get_mut(&id) {
            stream.logging = true;
        }
        if F::CALLBACKS.has(Callbacks::LOG) {
            self.about(id, |module| module.on_log(id));
        }
        self.about(id, |module| module.on_delete(id));
        self.memory.give_up(id);
        self.memory.streams.borrow_mut().remove(&id);
        self.memory.leave(id);
        Ok(())
    }

    fn properties(&self, id: u32) -> Properties {
        let streams = self.memory.streams.borrow();
        streams.get(&id).map(|stream| stream.properties.clone()).unwrap_or_default()
    }

    fn http_answer(&mut self, token: u32, answer: Option<CallAnswer>) -> Result<(), String> {
        let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        // Other hosts make one of their own.
        let answer = answer.or_else(|| (!self.memory.feeds).then(made_up));
        let (headers, body, trailers) = answer.as_ref().map_or((0, 0, 0), |answer| {
            (count(answer.headers.len()), count(answer.body.len()), count(answer.trailers.len()))
        });
        self.told(Told::Call(answer), |module| {
            module.on_http_call_response(ROOT, token, headers, body, trailers);
        });
        Ok(())
    }

    fn grpc(&mut self, token: u32, event: GrpcEvent) -> Result<(), String> {
        if !self.memory.grpc.borrow().contains_key(&token) {
            return Ok(());
        }
        if matches!(event, GrpcEvent::Close(..)) {
            self.memory.grpc.borrow_mut().remove(&token);
        }
        self.told(Told::Grpc(event.clone()), |module| match event {
            GrpcEvent::InitialMetadata(_) => module.on_grpc_receive_initial_metadata(ROOT, token),
            GrpcEvent::Message(message) => {
                module.on_grpc_receive(ROOT, token, u32::try_from(message.len()).unwrap_or(u32::MAX));
            }
            GrpcEvent::TrailingMetadata(_) => module.on_grpc_receive_trailing_metadata(ROOT, token),
            GrpcEvent::Close(status, _) => module.on_grpc_close(ROOT, token, status),
        });
        Ok(())
    }

    fn foreign_result(&mut self, token: u32, result: Result<Vec<u8>, (u32, String)>) -> Result<(), String> {
        if self.memory.later.borrow_mut().remove(&token).is_none() {
            return Ok(());
        }
        let size = result.as_ref().map_or(0, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.told(Told::Foreign(result), |module| module.on_foreign_function(ROOT, token, size));
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        self.about(ROOT, |module| module.on_tick(ROOT));
        Ok(())
    }

    fn queue_ready(&mut self, queue: u32) -> Result<(), String> {
        self.about(ROOT, |module| module.on_queue_ready(ROOT, queue));
        Ok(())
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.memory.effects.borrow_mut().drain(..).collect()
    }

    fn metrics(&self) -> Vec<(String, i64)> {
        self.memory.metrics.borrow().iter().map(|metric| (metric.name.clone(), metric.value)).collect()
    }
}

/// The answer of a host for a server that has given none, as Envoy has it.
fn made_up() -> CallAnswer {
    let mut headers = Fields::new();
    headers.add(":status", "503");
    CallAnswer { headers, body: b"no connection".to_vec(), trailers: Fields::new() }
}
