//! One instance of a module, told what the tests let happen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use tidegate_abi::LogLevel;
use tidegate_sdk::Fields;
use tidegate_sdk_test::machine::{
    CONFIGURED, CallAnswer, Effect, GrpcEvent, Level, Machine, Part, Passed, Properties, Side, Step,
};
use tidegate_wasm::{
    CallResponse, Capabilities, Destinations, ForeignCall, HeadersPause, Instance, Limits, MetricValue,
    Module, Now, Outbox, Peer, Plugin, PluginSpec, Shared, Status, StreamId, StreamInfo, Trap,
};

use crate::convert;

/// A module in the gateway's host.
pub struct Wasm {
    instance: Instance,
    shared: Arc<Shared>,
    now: Now,
    /// Streams by number; true for connections.
    streams: BTreeMap<u32, (StreamId, bool)>,
    next: u32,
    outboxes: BTreeMap<u32, Rc<Outbox>>,
    names: Rc<Names>,
}

impl std::fmt::Debug for Wasm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasm").finish_non_exhaustive()
    }
}

impl Wasm {
    /// Starts an instance.
    ///
    /// # Errors
    /// When the module breaks off or refuses its configuration.
    pub fn start(module: &Module, config: &str, upstreams: &[String]) -> Result<Self, String> {
        let shared = Arc::new(Shared::new());
        let spec = PluginSpec {
            name: "test".to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            module: module.clone(),
            config: Bytes::copy_from_slice(config.as_bytes()),
            vm_config: Bytes::new(),
            environment: Vec::new(),
            // A loaded machine must not fail a test.
            limits: Limits { call_time: PATIENCE, request_time: PATIENCE, ..Limits::default() },
            callable: upstreams.to_vec(),
            capabilities: Capabilities::default(),
            on_headers_pause: HeadersPause::default(),
        };
        let plugin =
            Plugin::build(crate::engine()?, spec, shared.clone()).map_err(|error| error.to_string())?;
        plugin.set_log_level(LogLevel::Trace);
        let now = Now::new(CONFIGURED, CONFIGURED);
        let instance = Instance::start(&Arc::new(plugin), now).map_err(|error| error.to_string())?;
        Ok(Wasm {
            instance,
            shared,
            now,
            streams: BTreeMap::new(),
            next: 1,
            outboxes: BTreeMap::new(),
            names: Rc::default(),
        })
    }

    fn add(&mut self, id: StreamId, of_bytes: bool) -> u32 {
        let number = self.next;
        self.next += 1;
        self.streams.insert(number, (id, of_bytes));
        number
    }

    fn number_of(&self, id: StreamId) -> u32 {
        self.streams.iter().find(|(_, (known, _))| *known == id).map_or(0, |(number, _)| *number)
    }

    fn effect(&mut self, effect: tidegate_wasm::Effect) -> Option<Effect> {
        use tidegate_wasm::Effect as Host;
        Some(match effect {
            Host::LocalReply { stream, status, headers, body, grpc_status, details } => Effect::Reply {
                stream: self.number_of(stream),
                status: status.as_u16(),
                headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
                body: body.to_vec(),
                details,
                grpc_status,
            },
            Host::Resume { stream, side } => {
                Effect::Resume { stream: self.number_of(stream), side: of_side(side) }
            }
            Host::Feed { stream, side } => {
                Effect::Feed { stream: self.number_of(stream), side: of_side(side) }
            }
            Host::Reset { stream, details } => Effect::Close { stream: self.number_of(stream), details },
            Host::SetUpstream { stream, upstream } => {
                Effect::SetUpstream { stream: self.number_of(stream), name: self.names.name(upstream)? }
            }
            Host::SetRoute { stream, rule } => {
                Effect::SetRoute { stream: self.number_of(stream), name: self.names.name(rule)? }
            }
            Host::Foreign { token, call: ForeignCall::Sleep(time), .. } => Effect::Sleep { token, time },
            Host::Foreign { token, call: ForeignCall::VerifyPassword(check), .. } => {
                let result = Bytes::copy_from_slice(&[u8::from(check.is_right())]);
                // What it breaks off shows at the next call.
                _ = self.instance.on_foreign_result(token, Ok(result), self.now);
                return None;
            }
            Host::Foreign { token, call: ForeignCall::Redis { upstream, timeout, commands, .. }, .. } => {
                Effect::Redis { token, upstream, commands: commands.to_vec(), timeout }
            }
            Host::ForeignCancel { token } => Effect::ForeignCancel { token },
            Host::HttpCall { token, upstream, head, body, trailers, timeout, .. } => Effect::HttpCall {
                token,
                upstream,
                headers: convert::of_request(&head),
                body: body.to_vec(),
                trailers: convert::of_map(&trailers),
                timeout: timeout.unwrap_or(PATIENCE),
            },
            Host::GrpcCall(call) => {
                let path = call.head.uri.path().trim_start_matches('/').to_owned();
                let (service, method) = path.split_once('/').unwrap_or((&path, ""));
                let message = (!call.outbox.is_done()).then(|| next(&call.outbox)).flatten();
                let one = message.filter(|_| call.outbox.is_done());
                if one.is_none() {
                    self.outboxes.insert(call.token, call.outbox.clone());
                }
                Effect::GrpcCall {
                    token: call.token,
                    upstream: call.upstream.clone(),
                    service: service.to_owned(),
                    method: method.to_owned(),
                    metadata: Fields::new(),
                    message: one,
                }
            }
            Host::GrpcCancel { token } => {
                self.outboxes.remove(&token);
                Effect::GrpcCancel { token }
            }
            Host::Log { level, message, .. } => Effect::Log { level: of_level(level), message },
            Host::TickPeriod(period) => Effect::TickPeriod(period),
            Host::QueueReady { queue, .. } => Effect::QueueReady(queue),
            Host::Refused { .. } | Host::ClearRoute { .. } | Host::QueueRegistered { .. } => return None,
            _ => return None,
        })
    }
}

impl Machine for Wasm {
    fn set_time(&mut self, now: Duration) {
        self.now = Now::new(now, now);
    }

    fn open(&mut self, properties: &Properties) -> u32 {
        let info = StreamInfo { destinations: Some(self.names.clone()), ..info(properties) };
        let id = self.instance.open_stream(info, self.now);
        self.add(id, false)
    }

    fn connect(&mut self, properties: &Properties) -> Result<(u32, Step), String> {
        let id = self.instance.open_connection(info(properties), self.now);
        let number = self.add(id, true);
        let step = self.instance.on_new_connection(id, self.now).map_err(ended)?;
        Ok((number, of_step(step)))
    }

    fn part(&mut self, stream: u32, side: Side, part: Part) -> Result<Step, String> {
        let Some((id, of_bytes)) = self.streams.get(&stream).copied() else { return Ok(Step::Continue) };
        let (instance, now) = (&mut self.instance, self.now);
        let step = match (part, side, of_bytes) {
            (Part::Head(head, end), Side::Request, _) => {
                instance.on_request_headers(id, convert::request_head(&head)?, end, now)
            }
            (Part::Head(head, end), Side::Response, _) => {
                instance.on_response_headers(id, convert::response_head(&head)?, end, now)
            }
            (Part::Body(bytes, end), Side::Request, false) => {
                instance.on_request_body(id, bytes.into(), end, now)
            }
            (Part::Body(bytes, end), Side::Response, false) => {
                instance.on_response_body(id, bytes.into(), end, now)
            }
            (Part::Body(bytes, end), Side::Request, true) => {
                instance.on_downstream_data(id, bytes.into(), end, now)
            }
            (Part::Body(bytes, end), Side::Response, true) => {
                instance.on_upstream_data(id, bytes.into(), end, now)
            }
            (Part::Trailers(trailers), Side::Request, _) => {
                instance.on_request_trailers(id, convert::map(&trailers)?, now)
            }
            (Part::Trailers(trailers), Side::Response, _) => {
                instance.on_response_trailers(id, convert::map(&trailers)?, now)
            }
        };
        step.map(of_step).map_err(ended)
    }

    fn take(&mut self, stream: u32, side: Side) -> Passed {
        let Some((id, of_bytes)) = self.streams.get(&stream).copied() else { return Passed::default() };
        let instance = &mut self.instance;
        if of_bytes {
            let side = if side == Side::Request {
                tidegate_wasm::Side::Request
            } else {
                tidegate_wasm::Side::Response
            };
            return Passed { body: instance.take_data(id, side).to_vec(), ..Passed::default() };
        }
        match side {
            Side::Request => Passed {
                head: instance.take_request_head(id).map(|head| convert::of_request(&head)),
                body: instance.take_request_body(id).to_vec(),
                trailers: instance.take_request_trailers(id).map(|map| convert::of_map(&map)),
            },
            Side::Response => Passed {
                head: instance.take_response_head(id).map(|head| convert::of_response(&head)),
                body: instance.take_response_body(id).to_vec(),
                trailers: instance.take_response_trailers(id).map(|map| convert::of_map(&map)),
            },
        }
    }

    fn close(&mut self, stream: u32) -> Result<(), String> {
        if let Some((id, of_bytes)) = self.streams.get(&stream).copied() {
            if of_bytes {
                self.instance.on_downstream_close(id, Peer::Remote, self.now).map_err(ended)?;
            }
            self.instance.close_stream(id, self.now);
            self.streams.remove(&stream);
        }
        self.instance.poisoned().map_or(Ok(()), |trap| Err(ended(trap.clone())))
    }

    fn http_answer(&mut self, token: u32, answer: Option<CallAnswer>) -> Result<(), String> {
        let answer = match answer {
            Some(answer) => Some(CallResponse {
                head: convert::response_head(&answer.headers)?,
                body: answer.body.into(),
                trailers: convert::map(&answer.trailers)?,
            }),
            None => None,
        };
        self.instance.on_http_call_response(token, answer, self.now).map_err(ended)
    }

    fn grpc(&mut self, token: u32, event: GrpcEvent) -> Result<(), String> {
        let (instance, now) = (&mut self.instance, self.now);
        let told = match event {
            GrpcEvent::InitialMetadata(mut fields) => {
                fields.set(":status", "200");
                instance.on_grpc_initial_metadata(token, convert::response_head(&fields)?, now)
            }
            GrpcEvent::Message(message) => instance.on_grpc_message(token, message.into(), now),
            GrpcEvent::TrailingMetadata(fields) => {
                instance.on_grpc_trailing_metadata(token, convert::map(&fields)?, now)
            }
            GrpcEvent::Close(status, message) => {
                self.outboxes.remove(&token);
                instance.on_grpc_close(token, status, &message, now)
            }
        };
        told.map_err(ended)
    }

    fn foreign_result(&mut self, token: u32, result: Result<Vec<u8>, (u32, String)>) -> Result<(), String> {
        let result = match result {
            Ok(bytes) => Ok(bytes.into()),
            Err((status, message)) => {
                Err((Status::from_number(status).unwrap_or(Status::InternalFailure), message))
            }
        };
        self.instance.on_foreign_result(token, result, self.now).map_err(ended)
    }

    fn tick(&mut self) -> Result<(), String> {
        self.instance.on_tick(self.now).map_err(ended)
    }

    fn queue_ready(&mut self, queue: u32) -> Result<(), String> {
        self.instance.on_queue_ready(queue, self.now).map_err(ended)
    }

    fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.instance.poll_effect() {
            effects.extend(self.effect(effect));
        }
        for (token, outbox) in &self.outboxes {
            while let Some(message) = next(outbox) {
                effects.push(Effect::GrpcSend { token: *token, message: Some(message) });
            }
        }
        let ended = |(token, outbox): (&u32, &Rc<Outbox>)| outbox.is_done().then_some(*token);
        for token in self.outboxes.iter().filter_map(ended).collect::<Vec<_>>() {
            self.outboxes.remove(&token);
            effects.push(Effect::GrpcSend { token, message: None });
        }
        effects
    }

    fn metrics(&self) -> Vec<(String, i64)> {
        let value = |value: &MetricValue| match value {
            MetricValue::Counter(count) => i64::try_from(*count).unwrap_or(i64::MAX),
            MetricValue::Gauge(value) => *value,
            MetricValue::Histogram { sum, .. } => i64::try_from(*sum).unwrap_or(i64::MAX),
        };
        self.shared.metrics().iter().map(|metric| (metric.name.clone(), value(&metric.value))).collect()
    }
}

/// Every name is one of an upstream and of a rule.
#[derive(Debug, Default)]
struct Names(RefCell<Vec<String>>);

impl Names {
    fn name(&self, number: usize) -> Option<String> {
        self.0.borrow().get(number).cloned()
    }
}

impl Destinations for Names {
    fn upstream(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            return None;
        }
        let mut names = self.0.borrow_mut();
        names.push(name.to_owned());
        Some(names.len() - 1)
    }

    fn rule(&self, name: &str) -> Option<usize> {
        self.upstream(name)
    }

    fn servers(&self, _upstream: &str) -> Option<Vec<(SocketAddr, bool)>> {
        None
    }
}

/// The next message that waits, without its prefix.
fn next(outbox: &Outbox) -> Option<Vec<u8>> {
    match outbox.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(framed)) => Some(framed.get(5..).unwrap_or_default().to_vec()),
        _ => None,
    }
}

fn info(properties: &Properties) -> StreamInfo {
    let address = |name: &str| -> SocketAddr {
        let found = properties.iter().rev().find(|(known, _)| known == name);
        let text = found.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        text.and_then(|text| text.parse().ok()).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 40_000)))
    };
    StreamInfo::new(address("source.address"), address("destination.address"), Version::HTTP_11)
}

fn of_step(step: tidegate_wasm::Step) -> Step {
    match step {
        tidegate_wasm::Step::Continue => Step::Continue,
        tidegate_wasm::Step::Pause => Step::Pause,
        tidegate_wasm::Step::Wait => Step::Wait,
    }
}

fn of_side(side: tidegate_wasm::Side) -> Side {
    match side {
        tidegate_wasm::Side::Request => Side::Request,
        tidegate_wasm::Side::Response => Side::Response,
    }
}

fn of_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error | LogLevel::Critical => Level::Error,
    }
}

fn ended(trap: Trap) -> String {
    trap.to_string()
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
