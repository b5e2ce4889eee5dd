//! Injects faults, to see how clients and upstreams bear them: delays, aborts, slow, truncated and corrupted bodies.
//!
//! What a request meets is decided once, when its head comes; the response finds the decision in the request's state.

mod by_header;
mod config;
mod draw;
mod matching;
mod places;
mod plan;
mod shape;

use std::cell::{Cell, OnceCell, RefCell};

use tidegate_request_parts::header_name;
use tidegate_sdk::{
    Body, ConfigError, Counter, Failure, Filter, Flow, Interest, Plugin, Reply, Request, Response, Result,
    filter, log, random,
};

use by_header::ByHeader;
use draw::Draw;
use places::Place;
use plan::{Abort, Entry, Plan, Shape};

pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;

/// The faults, and who meets them.
pub struct FaultFilter {
    entries: Vec<Entry>,
    by_header: Option<ByHeader>,
    seed: Option<u64>,
    decide_by: Option<String>,
    max_active: u32,
    /// Requests for which something was drawn.
    drawn: Cell<u64>,
    injected: Injected,
}

/// Faults that were injected, by kind.
struct Injected {
    delay: Counter,
    abort: Counter,
    reset: Counter,
    bandwidth: Counter,
    truncate: Counter,
    corrupt: Counter,
}

/// Requests that would have met a fault, but for the maximum of active ones.
static SKIPPED: Counter = Counter::new("fault_skipped_total");

/// What a request leaves for its response.
#[derive(Default)]
pub struct Decided {
    plan: OnceCell<Box<Plan>>,
    place: RefCell<Option<Place>>,
}

#[filter]
impl Filter for FaultFilter {
    type Config = Config;
    type State = Decided;

    fn new(config: Config, plugin: &Plugin) -> std::result::Result<Self, ConfigError> {
        let filter = FaultFilter::build(config)?;
        places::prepare();
        if let Some(interest) = filter.interest() {
            plugin.interest(&interest);
        }
        Ok(filter)
    }

    async fn on_request(&self, request: &mut Request<Decided>, body: &mut Body) -> Result<Flow> {
        let plan = self.plan(request);
        if plan.is_nothing() {
            request.leave();
            return Ok(Flow::Continue);
        }
        let Some(place) = Place::take(self.max_active) else {
            SKIPPED.increment();
            request.leave();
            return Ok(Flow::Continue);
        };
        self.note(request, &plan);
        if let Some(delay) = plan.delay {
            place.wait(delay).await;
        }
        if let Some(abort) = &plan.abort {
            return Ok(answer(abort));
        }
        if !plan.shapes() {
            request.leave();
            return Ok(Flow::Continue);
        }
        let (state, plan) = (request.state(), Box::new(plan));
        let shape = plan.request.clone();
        // It is set here only. A place is kept until the exchange is over.
        let _ = state.plan.set(plan);
        if shape.is_nothing() {
            state.place.replace(Some(place));
            return Ok(Flow::Continue);
        }
        let passed = shape::pass(&shape, body, Some(&place)).await;
        state.place.replace(Some(place));
        passed?;
        Ok(Flow::Continue)
    }

    async fn on_response(&self, response: &mut Response<Decided>, body: &mut Body) -> Result<()> {
        let Some(plan) = response.state().plan.get() else { return Ok(()) };
        if plan.response.is_nothing() {
            return Ok(());
        }
        let place = response.state().place.take();
        let passed = shape::pass(&plan.response, body, place.as_ref()).await;
        response.state().place.replace(place);
        Ok(passed?)
    }

    /// A fault that cannot be injected must not become another one.
    fn on_error(&self, failure: &Failure) -> Flow {
        log::warn!("a fault was not injected as a whole: {failure}");
        Flow::Continue
    }
}

impl FaultFilter {
    /// Checks the configuration.
    fn build(config: Config) -> std::result::Result<Self, ConfigError> {
        if config.faults.is_empty() && config.by_header.is_none() {
            return Err(ConfigError::new("has neither faults nor byHeader, so nothing would ever happen"));
        }
        let entries = config.faults.iter().enumerate();
        let entries: std::result::Result<Vec<_>, _> =
            entries.map(|(at, fault)| Entry::new(fault, &format!("faults[{at}]"))).collect();
        let decide_by = config.decide_by.map(|name| header_name(&name, "decideBy")).transpose()?;
        Ok(FaultFilter {
            entries: entries?,
            by_header: config.by_header.as_ref().map(ByHeader::new).transpose()?,
            seed: config.seed,
            decide_by,
            max_active: config.max_active,
            drawn: Cell::new(0),
            injected: Injected::new(),
        })
    }

    /// Which requests there is anything for; nothing where that is all of them.
    fn interest(&self) -> Option<Vec<Interest<'_>>> {
        let mut all = Vec::new();
        for entry in &self.entries {
            all.extend(entry.interest()?);
        }
        if let Some(by_header) = &self.by_header {
            all.extend(by_header.interest());
        }
        Some(all)
    }

    /// What this request meets.
    fn plan(&self, request: &Request<Decided>) -> Plan {
        let wishes =
            self.by_header.as_ref().and_then(|by_header| Some((by_header, by_header.take(request)?)));
        let entry = self.entries.iter().find(|entry| entry.fits(request));
        let draws = entry.is_some_and(|entry| entry.draws)
            || wishes.as_ref().is_some_and(|(by_header, wishes)| by_header.draws(wishes));
        // Without anything left to chance the numbers make no difference.
        let mut draw = if draws { self.draw(request) } else { Draw::new(0, 0) };
        let mut plan = entry.map_or_else(Plan::default, |entry| entry.plan(&mut draw));
        if let Some((by_header, wishes)) = wishes {
            by_header.add(&mut plan, &wishes, &mut draw);
        }
        plan
    }

    /// The numbers that belong to this request.
    fn draw(&self, request: &Request<Decided>) -> Draw {
        let value = self.decide_by.as_ref().and_then(|header| request.headers().get(header));
        if let Some(value) = value {
            return Draw::new(self.seed.unwrap_or(0), draw::hash(&value));
        }
        let number = self.drawn.get();
        self.drawn.set(number.wrapping_add(1));
        match self.seed {
            Some(seed) => Draw::new(seed, number),
            None => match random::bytes() {
                Ok(bytes) => Draw::new(u64::from_le_bytes(bytes), number),
                Err(error) => {
                    log::debug!("drawn by the clock: {error}");
                    Draw::new(tidegate_sdk::time::now().as_nanos() as u64, number)
                }
            },
        }
    }

    /// Counts what will happen, and tells the log and other filters.
    fn note(&self, request: &Request<Decided>, plan: &Plan) {
        let has = |of: fn(&Shape) -> bool| of(&plan.request) || of(&plan.response);
        let reset = plan.abort == Some(Abort::Reset);
        let goes_on = plan.abort.is_none();
        let kinds = [
            ("delay", &self.injected.delay, plan.delay.is_some()),
            ("abort", &self.injected.abort, !goes_on && !reset),
            ("reset", &self.injected.reset, reset),
            ("bandwidth", &self.injected.bandwidth, goes_on && has(|shape| shape.rate.is_some())),
            ("truncate", &self.injected.truncate, goes_on && has(|shape| shape.cut.is_some())),
            ("corrupt", &self.injected.corrupt, goes_on && has(|shape| shape.corrupt.is_some())),
        ];
        let mut names = Vec::new();
        for (name, counter, happens) in kinds {
            if happens {
                counter.increment();
                names.push(name);
            }
        }
        if let Err(error) = request.properties().set("fault", names.join(",")) {
            log::debug!("the property fault cannot be set: {error}");
        }
    }
}

impl Injected {
    fn new() -> Self {
        let kind = |kind| Counter::labelled("fault_injected_total", &[("kind", kind)]);
        Injected {
            delay: kind("delay"),
            abort: kind("abort"),
            reset: kind("reset"),
            bandwidth: kind("bandwidth"),
            truncate: kind("truncate"),
            corrupt: kind("corrupt"),
        }
    }
}

fn answer(abort: &Abort) -> Flow {
    let reply = match abort {
        Abort::Status(status, message) => Reply::text(*status, message),
        // The host makes an answer of gRPC's own kind of it, if the client speaks gRPC.
        Abort::Grpc(status, message) => {
            Reply::new(http_status(*status)).grpc_status(*status).body(message.as_bytes())
        }
        Abort::Reset => return Flow::reset("fault_reset"),
    };
    reply.details("fault_abort").into()
}

/// The HTTP status that a status of gRPC corresponds to.
fn http_status(grpc: u32) -> u16 {
    match grpc {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests;
