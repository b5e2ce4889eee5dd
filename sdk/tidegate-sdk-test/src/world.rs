//! One gateway with one filter in which requests come in one way. Time is the test's own: it goes on only when nothing
//! else can happen.

mod calls;
mod exchange;
mod redis;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Answer, Ended, Line};
use crate::machine::{CONFIGURED, Effect, FIRST_TICK, Machine};
use crate::message::{Connect, Reply, Request, Seen};
use crate::variant::Variant;
use calls::Pending;

/// What a scripted server does with a request.
pub(crate) type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// What a scripted Redis replies to a command, given by its words; none: it does not.
pub(crate) type RedisScript = Arc<dyn Fn(&[Vec<u8>]) -> Option<tidegate_sdk::redis::Reply> + Send + Sync>;

/// A gateway, its filter, its servers.
pub(crate) struct World {
    machine: Box<dyn Machine>,
    variant: Variant,
    now: Duration,
    /// How often the filter is told the time, and when next.
    tick: Option<(Duration, Duration)>,
    pending: Vec<Pending>,
    /// Sleepers by the time that they are due, and their tokens.
    sleeping: BTreeSet<(Duration, u32)>,
    /// gRPC streams: where they go.
    streams: BTreeMap<u32, Seen>,
    scripts: Vec<(String, Script)>,
    redis: Vec<(String, RedisScript)>,
    upstream: Option<Script>,
    /// Effects about streams that nobody has looked at yet.
    later: Vec<Effect>,
    calls: Vec<Seen>,
    lines: Vec<Line>,
}

impl World {
    pub(crate) fn new(machine: Box<dyn Machine>, variant: Variant) -> Result<Self, String> {
        let mut world = World {
            machine,
            variant,
            now: CONFIGURED,
            tick: None,
            pending: Vec::new(),
            sleeping: BTreeSet::new(),
            streams: BTreeMap::new(),
            scripts: Vec::new(),
            redis: Vec::new(),
            upstream: None,
            later: Vec::new(),
            calls: Vec::new(),
            lines: Vec::new(),
        };
        world.drain()?;
        // What runs in the background begins before the first request. Its calls are answered later, by what the test
        // says after this.
        world.now = CONFIGURED + FIRST_TICK;
        world.machine.set_time(world.now);
        world.tick()?;
        Ok(world)
    }

    /// What a server answers to calls from now on.
    pub(crate) fn on_call(&mut self, upstream: &str, script: Script) {
        self.scripts.retain(|(known, _)| known != upstream);
        self.scripts.push((upstream.to_owned(), script));
    }

    /// What a Redis replies from now on.
    pub(crate) fn on_redis(&mut self, upstream: &str, script: RedisScript) {
        self.redis.retain(|(known, _)| known != upstream);
        self.redis.push((upstream.to_owned(), script));
    }

    /// What the upstream answers to requests from now on.
    pub(crate) fn on_upstream(&mut self, script: Script) {
        self.upstream = Some(script);
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<Answer, String> {
        let (began, before) = (self.now, self.machine.metrics());
        self.answer_calls()?;
        self.calls.clear();
        self.lines.clear();
        let mut answer = exchange::run(self, request)?;
        self.answer_calls()?;
        answer.calls = std::mem::take(&mut self.calls);
        answer.lines = std::mem::take(&mut self.lines);
        answer.metrics = self.machine.metrics();
        for (name, value) in &mut answer.metrics {
            *value -= before.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value);
        }
        answer.elapsed = self.now - began;
        Ok(answer)
    }

    pub(crate) fn connect(&mut self, connect: &Connect) -> Result<Ended, String> {
        self.lines.clear();
        let mut ended = exchange::run_connection(self, connect)?;
        ended.lines = std::mem::take(&mut self.lines);
        Ok(ended)
    }

    /// Lets time go by.
    pub(crate) fn advance(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now + time;
        self.answer_calls()?;
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.pass(due)?;
        }
        self.now = end;
        self.machine.set_time(end);
        Ok(())
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        self.machine.metrics().iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// When something will happen by itself.
    fn next_due(&mut self) -> Option<Duration> {
        self.schedule();
        let call = self.pending.iter().filter_map(Pending::due).min();
        let tick = self.tick.map(|(_, due)| due);
        let sleeper = self.sleeping.first().map(|(due, _)| *due);
        call.into_iter().chain(tick).chain(sleeper).min()
    }

    /// Lets time go on to a point, and happen what is due then.
    fn pass(&mut self, to: Duration) -> Result<(), String> {
        self.now = self.now.max(to);
        self.machine.set_time(self.now);
        if self.answer_one()? {
            return Ok(());
        }
        if let Some((_, token)) = self.sleeping.first().copied().filter(|(due, _)| *due <= self.now) {
            self.sleeping.pop_first();
            self.machine.foreign_result(token, Ok(Vec::new()))?;
            let effects = self.drain()?;
            self.later.extend(effects);
            return Ok(());
        }
        self.tick()
    }

    /// Tells the filter the time, if it is due.
    fn tick(&mut self) -> Result<(), String> {
        if let Some((period, _)) = self.tick.filter(|(_, due)| *due <= self.now) {
            self.tick = Some((period, self.now + period));
            self.machine.tick()?;
            let effects = self.drain()?;
            self.later.extend(effects);
        }
        Ok(())
    }

    /// Carries out what the filter wants, but for what is about streams, which is returned.
    fn drain(&mut self) -> Result<Vec<Effect>, String> {
        let mut of_streams = Vec::new();
        loop {
            let effects = self.machine.effects();
            if effects.is_empty() {
                return Ok(of_streams);
            }
            for effect in effects {
                match effect {
                    Effect::Log { level, message } => self.lines.push(Line { level, text: message }),
                    Effect::TickPeriod(period) => {
                        self.tick = period.map(|period| (period, self.now + period))
                    }
                    Effect::Sleep { token, time } => {
                        self.sleeping.insert((self.now + time, token));
                    }
                    Effect::ForeignCancel { token } => {
                        self.sleeping.retain(|(_, known)| *known != token);
                        self.forget(token);
                    }
                    Effect::QueueReady(queue) => self.machine.queue_ready(queue)?,
                    Effect::HttpCall { .. }
                    | Effect::GrpcCall { .. }
                    | Effect::GrpcSend { .. }
                    | Effect::GrpcCancel { .. }
                    | Effect::Redis { .. } => self.call(effect),
                    effect => of_streams.push(effect),
                }
            }
        }
    }
}
