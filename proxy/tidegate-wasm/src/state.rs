//! What the host functions of one instance see and change.

use crate::{
    CallResponse, Effect, Now, Plugin, Side, StreamId, Tape, Usage,
    abi::{chain::Marks, exports::Callback, memory::Fault},
    budget::{Budget, Used},
    foreign::Definitions,
    grpc::{self, Kind},
    instance::Measured,
    limits::{EFFECTS, Limiter},
    log::{LINE_BYTES, LineLimit, Unfinished, printable},
    meter::Soft,
    shared::Cell,
    stream::{
        Hold, Stream,
        table::{ROOT, Streams},
    },
    time::nanoseconds,
};
use bytes::Bytes;
use http::{HeaderMap, response};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tidegate_abi::LogLevel;
use wasmtime::{Instance, Memory, UpdateDeadline};

/// Which host functions may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// While the module sets itself up: logs and WASI.
    Start,
    /// In callbacks: all.
    Running,
    /// In callbacks as well, and each call is looked at.
    Watched,
    /// In callbacks of a chain for a response, and none was called yet.
    Chained,
    /// While the host asks for memory: logs, clock and yielding, which Go's collector needs.
    Allocating,
}

/// The answer to a call while the guest is told of it.
#[derive(Debug)]
pub(crate) enum Answer {
    None,
    Failed,
    Response(Box<CallResponse>),
    Foreign(Bytes),
    GrpcHead(Box<response::Parts>),
    GrpcMessage(Bytes),
    GrpcTrailers(Box<HeaderMap>),
}

/// Metrics by kind, in the order of their definition.
pub(crate) type Metrics = [Vec<Arc<Cell>>; 3];

pub(crate) struct State {
    pub(crate) plugin: Arc<Plugin>,
    /// None until the module is instantiated, as are its memory and its allocator.
    pub(crate) vm: Option<Instance>,
    pub(crate) memory: Option<Memory>,
    pub(crate) malloc: Option<Callback<u32, u32>>,
    /// Of the chains before the guest, if there are any.
    pub(crate) marks: Option<Marks>,
    /// Callbacks are called by a chain.
    pub(crate) chained: bool,
    pub(crate) limiter: Limiter,
    pub(crate) phase: Phase,
    /// The stream, or the plugin itself, in whose name host functions act.
    pub(crate) effective: u32,
    pub(crate) streams: Streams,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) answer: Answer,
    /// Tokens of the HTTP and foreign calls that are not answered yet.
    pub(crate) calls: Vec<u32>,
    /// Those of them whose answers are told by `proxy_on_redis_call_response`.
    pub(crate) redis_calls: Vec<u32>,
    /// Tokens of calls of every kind, with the streams in whose names they were made.
    pub(crate) callers: Vec<(u32, u32)>,
    pub(crate) grpc: grpc::Calls,
    /// How the last call that failed did; the text is there only while the guest is told.
    pub(crate) last_status: u32,
    pub(crate) status_message: String,
    pub(crate) tick_period: Option<Duration>,
    /// The guest has registered queues.
    pub(crate) listens: bool,
    /// The guest was told that this is the end, and is not done.
    pub(crate) parting: bool,
    /// The guest is in its configure callback.
    pub(crate) configuring: bool,
    /// Those that the guest has defined; instances of one image share what was defined before.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) definitions: Arc<Definitions>,
    /// Bytes on their way into the guest; kept to be used again.
    pub(crate) scratch: Vec<u8>,
    pub(crate) lines: LineLimit,
    unfinished: Option<Box<Unfinished>>,
    pub(crate) budget: Budget,
    /// Counted for engines that measure.
    pub(crate) usage: Usage,
    /// Streams that have a tape.
    pub(crate) tapes: usize,
    /// That of the stream that was closed last, if it had one.
    pub(crate) closed_tape: Option<(u32, Box<Tape>)>,
    pub(crate) measured: Measured,
    now: Now,
    /// Number of the call into the guest.
    pub(crate) call: u64,
    /// The engine's ticks when the call began.
    began: u64,
    /// Ticks that were left of the request when the call began, and when the callback began that is known to go on.
    left: u64,
    remains: u64,
    /// How far the chain that goes on was known to have come.
    known: u32,
    /// How often the guest has read the clock in this call.
    readings: u64,
    grace: Grace,
}

/// How often a call that is kept from the CPU gets half its time more.
const GRACES: u32 = 8;

/// What a call has got beyond its time.
#[derive(Debug, Default)]
struct Grace {
    /// How long the thread had been on a CPU when the time was over first.
    since: Option<Duration>,
    times: u32,
    ticks: u64,
}

impl State {
    pub(crate) fn new(plugin: Arc<Plugin>, now: Now) -> Self {
        let limits = &plugin.spec.limits;
        let limiter = Limiter { memory: limits.memory, refused: false, size: 0 };
        let lines = LineLimit::new(limits.log_lines);
        Self {
            plugin,
            vm: None,
            memory: None,
            malloc: None,
            marks: None,
            chained: false,
            limiter,
            phase: Phase::Start,
            effective: 0,
            streams: Streams::default(),
            effects: VecDeque::new(),
            answer: Answer::None,
            calls: Vec::new(),
            redis_calls: Vec::new(),
            callers: Vec::new(),
            grpc: grpc::Calls::default(),
            last_status: 0,
            status_message: String::new(),
            tick_period: None,
            listens: false,
            parting: false,
            configuring: false,
            metrics: Arc::default(),
            definitions: Arc::default(),
            scratch: Vec::new(),
            unfinished: None,
            lines,
            budget: Budget::default(),
            usage: Usage::default(),
            tapes: 0,
            closed_tape: None,
            measured: Measured::default(),
            now,
            call: 0,
            began: 0,
            left: u64::MAX,
            remains: u64::MAX,
            known: 0,
            readings: 0,
            grace: Grace::default(),
        }
    }

    /// Prepares for a call into the guest.
    #[inline]
    pub(crate) fn begin(&mut self, effective: u32, now: Now, ticks: u64) {
        self.begin_with(effective, now, ticks, (Used::default(), u64::MAX));
    }

    /// As [`State::begin`] for a stream whose earlier calls have used so much of its limits, and left so many ticks.
    #[inline]
    pub(crate) fn begin_with(&mut self, effective: u32, now: Now, ticks: u64, (used, left): (Used, u64)) {
        (self.left, self.remains, self.known) = (left, left, 0);
        self.effective = effective;
        self.now = now;
        self.call += 1;
        self.began = ticks;
        self.readings = 0;
        self.budget.begin(used);
        if std::mem::take(&mut self.limiter.refused) {
            self.met(Soft::Memory);
        }
        self.grace = Grace::default();
    }

    /// The next callback of one call into the guest begins, for the same stream: a line ends with what has written it, and
    /// nothing of the one before is held against this one. Gives the ticks that have passed since the call began, as far
    /// as they count.
    #[inline]
    pub(crate) fn go_on(&mut self, effective: u32) -> u64 {
        self.finish_line();
        self.effective = effective;
        if std::mem::take(&mut self.limiter.refused) {
            self.met(Soft::Memory);
        }
        // What was granted does not count for the stream either.
        (self.grace.since, self.grace.times) = (None, 0);
        self.counted()
    }

    /// Ticks since the call began, as far as they count.
    fn counted(&self) -> u64 {
        self.plugin.engine.ticks().saturating_sub(self.began).saturating_sub(self.grace.ticks)
    }

    /// Ticks that were left of the request when the callback began that went on last.
    pub(crate) fn remains(&self) -> u64 {
        self.remains
    }

    /// What the host functions of a callback are in.
    pub(crate) fn running(&self) -> Phase {
        if self.plugin.spec.limits.are_counted() { Phase::Watched } else { Phase::Running }
    }

    /// The call is over its time by the clock, in the callback of a chain behind so many others. It ends here if it had its
    /// time on a CPU as well; if it was kept from one, it gets more, but not without end.
    #[cold]
    pub(crate) fn overdue(&mut self, passed: u32) -> UpdateDeadline {
        let engine = &self.plugin.engine;
        engine.rouse();
        if passed > self.known {
            // Another callback of the chain goes on than was known of: it has a time of its own.
            self.known = passed;
            self.remains = self.left.saturating_sub(self.counted());
            (self.grace.since, self.grace.times) = (None, 0);
            if self.remains > 0 {
                return UpdateDeadline::Continue(self.remains.min(self.plugin.call_ticks));
            }
        }
        let Some(on_cpu) = engine.thread_time() else { return UpdateDeadline::Interrupt };
        let step = self.plugin.call_ticks.div_ceil(2);
        // Within a tick, and a little less for what the system takes.
        let ticks = u32::try_from(step - 1).unwrap_or(u32::MAX);
        let enough = engine.epoch_tick().saturating_mul(ticks).mul_f32(0.8);
        match self.grace.since {
            Some(since) if self.grace.times >= GRACES || on_cpu.saturating_sub(since) >= enough => {
                return UpdateDeadline::Interrupt;
            }
            Some(_) => {}
            None => self.grace.since = Some(on_cpu),
        }
        self.grace.times += 1;
        self.grace.ticks += step;
        UpdateDeadline::Continue(step)
    }

    /// Ticks of this call that do not count, because the guest was kept from the CPU.
    pub(crate) fn granted(&self) -> u64 {
        self.grace.ticks
    }

    /// What the guest defines from now on is its own.
    pub(crate) fn definitions_mut(&mut self) -> &mut Definitions {
        Arc::make_mut(&mut self.definitions)
    }

    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.streams.get(self.effective)
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(self.effective)
    }

    /// The guest looks at fields: all those of the request are put into its head.
    #[inline]
    pub(crate) fn complete_head(&mut self) {
        if let Some(stream) = self.stream_mut() {
            stream.complete_head();
        }
    }

    /// The guest looks at one field: all of them are put into the head if it may be one of them.
    #[inline]
    pub(crate) fn complete_head_for(&mut self, name: &[u8]) {
        if let Some(stream) = self.stream_mut() {
            stream.complete_head_for(name);
        }
    }

    /// The stream that the guest acts for, as effects name it.
    pub(crate) fn stream_id(&self) -> Option<StreamId> {
        self.stream().map(|stream| StreamId(stream.id))
    }

    /// How far the clocks have gone on since the call began. A guest that waits by reading the
    /// clock must see it move, so every reading adds a nanosecond to what the ticks show. The first
    /// of them may have come just behind the beginning: the time between ticks is what is sure.
    fn passed(&mut self) -> Duration {
        self.readings += 1;
        let ticks = self.plugin.engine.ticks().saturating_sub(self.began).saturating_sub(1);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.plugin.engine.epoch_tick().saturating_mul(ticks) + Duration::from_nanos(self.readings)
    }

    /// Since when the call goes on.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn wall_clock(&mut self) -> u64 {
        let passed = self.passed();
        nanoseconds(self.now.wall().saturating_add(passed))
    }

    pub(crate) fn monotonic_clock(&mut self) -> u64 {
        let passed = self.passed();
        nanoseconds(self.now.monotonic.saturating_add(passed))
    }

    /// Notes a wish of the guest. Thousands of them in one call are no wishes but a runaway guest.
    pub(crate) fn push(&mut self, effect: Effect) -> Result<(), Fault> {
        if self.effects.len() >= EFFECTS {
            return Err(Fault::Trap(wasmtime::format_err!(
                "more than {EFFECTS} effects wait to be performed"
            )));
        }
        self.effects.push_back(effect);
        Ok(())
    }

    /// Bytes that the guest writes like a program. A line may come in many pieces: it ends with its line feed, or with
    /// what the guest does next.
    pub(crate) fn write_out(&mut self, level: LogLevel, bytes: &[u8]) {
        let mut line = match self.unfinished.take() {
            Some(line) if line.level == level => line,
            other => {
                self.unfinished = other;
                self.finish_line();
                Box::new(Unfinished { level, bytes: Vec::new() })
            }
        };
        line.bytes.extend_from_slice(bytes);
        let whole = line.bytes.ends_with(b"\n") || line.bytes.len() >= LINE_BYTES;
        self.unfinished = Some(line);
        if whole {
            self.finish_line();
        }
    }

    /// Whether a line is to be ended by what the guest does next.
    pub(crate) fn writes_line(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Logs what was written of a line so far.
    #[inline]
    pub(crate) fn finish_line(&mut self) {
        if self.unfinished.is_some() {
            self.log_unfinished();
        }
    }

    #[cold]
    fn log_unfinished(&mut self) {
        if let Some(line) = self.unfinished.take() {
            self.log(line.level, &line.bytes);
        }
    }

    /// A line of the guest.
    pub(crate) fn log(&mut self, level: LogLevel, bytes: &[u8]) {
        self.finish_line();
        // Those of `Info` and above are noted below: they tell why a guest broke off, whoever reads the log.
        let least = self.plugin.log_level().number().min(LogLevel::Info.number());
        if level.number() < least {
            return;
        }
        let (passes, dropped) = self.lines.admit(self.now.monotonic);
        if dropped > 0 {
            let message = format!("{dropped} log lines of the plugin were dropped: too many in a second");
            self.push_line(LogLevel::Warn, message);
        }
        if passes {
            let message = printable(bytes);
            self.lines.note(&message);
            self.push_line(level, message);
        } else {
            self.met(Soft::LogLines);
        }
    }

    /// The guest called something that it may not.
    #[cold]
    pub(crate) fn refuse(&mut self, function: &str) {
        let function = function.to_owned();
        let stream = self.stream_id();
        // A full queue has refusals enough.
        let _ = self.push(Effect::Refused { function, stream });
    }

    /// A line of the host about the guest.
    pub(crate) fn remark(&mut self, level: LogLevel, message: &str) {
        self.log(level, message.as_bytes());
    }

    fn push_line(&mut self, level: LogLevel, message: String) {
        let (stream, request_id) = (self.stream_id(), self.stream().and_then(Stream::request_id));
        // Lines alone cannot fill the queue, and in a full one the first ones matter most.
        let _ = self.push(Effect::Log { level, message, stream, request_id });
    }

    /// A number for a new HTTP or foreign call; none when too many are open.
    pub(crate) fn open_call(&mut self, kind: Kind) -> Option<u32> {
        let token = self.new_token(kind)?;
        self.calls.push(token);
        self.called(token);
        Some(token)
    }

    /// The stream that the guest acts for waits for the answer to this call.
    pub(crate) fn called(&mut self, token: u32) {
        if let Some(stream) = self.stream_mut() {
            stream.calls += 1;
            let caller = (token, stream.id);
            self.callers.push(caller);
        }
    }

    /// A stream is over; what it waited for by foreign functions is given up.
    #[inline]
    pub(crate) fn close(&mut self, id: u32) {
        if self.streams.get(id).is_some_and(|stream| stream.calls > 0) {
            self.give_up(id);
        }
        self.streams.close(id);
    }

    #[cold]
    fn give_up(&mut self, id: u32) {
        let redis = std::mem::take(&mut self.redis_calls);
        let foreign = |&(token, caller): &(u32, u32)| {
            caller == id && Kind::of(token) == Some(Kind::Foreign) && !redis.contains(&token)
        };
        let tokens: Vec<u32> =
            self.callers.extract_if(.., |call| foreign(call)).map(|(token, _)| token).collect();
        self.redis_calls = redis;
        self.calls.retain(|token| !tokens.contains(token));
        self.effects.extend(tokens.into_iter().map(|token| Effect::ForeignCancel { token }));
    }

    /// The call is over; once it was its last one, the rest of its stream is offered to the guest.
    pub(crate) fn answered(&mut self, token: u32) {
        let Some(at) = self.callers.iter().position(|(call, _)| *call == token) else { return };
        let (_, id) = self.callers.swap_remove(at);
        let hold = if self.may_be_woken() { Hold::Offered } else { Hold::Parts };
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.calls = stream.calls.saturating_sub(1);
        if stream.calls == 0 {
            offer(stream, hold, &mut self.effects);
        }
    }

    /// A number for a new call of this kind; none when too many are open.
    pub(crate) fn new_token(&mut self, kind: Kind) -> Option<u32> {
        if self.open_calls() >= self.plugin.spec.limits.open_calls {
            self.met(Soft::OpenCalls);
            return None;
        }
        Some(self.grpc.next_token(kind, &self.calls))
    }

    /// HTTP, gRPC and foreign calls that are not over.
    pub(crate) fn open_calls(&self) -> usize {
        self.calls.len() + self.grpc.len()
    }

    /// Whether anything but more of a stream may call the guest, so that it could resume one.
    pub(crate) fn may_be_woken(&self) -> bool {
        self.open_calls() > 0 || self.tick_period.is_some() || self.listens
    }

    /// Offers the rest of their streams to guests that wait for nothing else any more.
    pub(crate) fn feed(&mut self) {
        if self.may_be_woken() {
            return;
        }
        for stream in self.streams.iter_mut() {
            offer(stream, Hold::Parts, &mut self.effects);
        }
    }

    /// Whether a guest may act for this number.
    pub(crate) fn knows(&self, id: u32) -> bool {
        id == ROOT || self.streams.get(id).is_some()
    }
}

/// Has a stream that waits held in another way, in which the guest is shown the rest of it.
fn offer(stream: &mut Stream, hold: Hold, effects: &mut VecDeque<Effect>) {
    let request = (!stream.ended).then_some(Side::Request);
    for side in request.into_iter().chain([Side::Response]) {
        let flow = stream.flow_mut(side);
        if flow.hold == Hold::All && effects.len() < EFFECTS {
            flow.hold = hold;
            effects.push_back(Effect::Feed { stream: StreamId(stream.id), side });
        }
    }
}
