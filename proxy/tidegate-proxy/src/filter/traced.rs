//! What is noted of one traced request inside one plugin: its callbacks, how long it was held, what the guest says of it,
//! and the calls that the guest makes, which carry the trace.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tidegate_config::plan::TraceFormat;
use tidegate_wasm::{Instance, Now, StreamId, Trap};

use crate::filter::held::Held;
use crate::filter::host::Host;
use crate::http::fail::Reason;
use crate::telemetry::trace::context::{self, Decision};
use crate::telemetry::trace::{Kind, Span};
use crate::time::monotonic;
use crate::upstream::balance::Random;
use crate::upstream::course::{Course, Sent};

/// Callbacks and calls that are noted at most, each; a body may come in thousands of pieces.
const MOST: usize = 64;

/// A callback. Times are the worker's.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) name: &'static str,
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    /// How much of it was in host functions.
    pub(crate) host: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) calls: Vec<Called>,
    /// How long the guest held the request.
    pub(crate) waited: Duration,
    held_since: Option<Duration>,
    /// What the guest says of its span.
    pub(crate) attributes: Vec<(String, String)>,
    /// Requests of its own.
    pub(crate) sent: Vec<Sent>,
}

impl Told {
    /// A callback begins, and with it a wait ends.
    pub(crate) fn begins(&mut self, now: Duration) {
        if let Some(since) = self.held_since.take() {
            self.waited += now.saturating_sub(since);
        }
    }

    /// A callback is over; `holds`: the guest wants the request to wait.
    pub(crate) fn ends(&mut self, call: Called, holds: bool) {
        self.held_since = holds.then(|| call.began + call.took);
        if self.calls.len() < MOST {
            self.calls.push(call);
        }
    }
}

/// The trace of a request inside one plugin.
#[derive(Debug)]
pub(crate) struct Follow {
    /// 0: it is only tapped.
    pub(crate) trace: u128,
    /// The plugin's own span.
    pub(crate) span: u64,
    pub(crate) decided: Decision,
    /// What its calls say it in.
    pub(crate) formats: Vec<TraceFormat>,
    pub(crate) random: Random,
    pub(crate) told: RefCell<Told>,
}

/// A request of a guest that carries the trace.
pub(crate) struct Calling {
    follow: Rc<Follow>,
    /// Of the request that it is for.
    pub(crate) stream: StreamId,
    place: Option<usize>,
    pub(crate) course: Rc<Course>,
}

impl Calling {
    /// The request is over.
    pub(crate) fn over(&self, says: impl FnOnce(&mut Span)) {
        let mut told = self.follow.told.borrow_mut();
        if let Some(sent) = self.place.and_then(|place| told.sent.get_mut(place)) {
            sent.span.ended = monotonic();
            says(&mut sent.span);
        }
    }
}

impl Follow {
    /// A request of the guest begins: its server is told its span.
    fn begins(self: &Rc<Self>, stream: StreamId, headers: &mut HeaderMap, span: Span) -> Calling {
        context::write(headers, &self.formats, (self.trace, span.id), self.decided);
        let course = Rc::<Course>::default();
        let sent = &mut self.told.borrow_mut().sent;
        let place = (sent.len() < MOST).then_some(sent.len());
        if place.is_some() {
            sent.push(Sent { span, course: course.clone() });
        }
        Calling { follow: self.clone(), stream, place, course }
    }
}

impl Host {
    /// The trace of a request's own call; none where the request is not traced, or where there is none.
    pub(crate) fn trace_call(
        &self,
        stream: Option<StreamId>,
        head: &mut Parts,
        says: impl FnOnce(&mut Span, &Parts),
    ) -> Option<Calling> {
        let stream = stream?;
        let follow = self.follow(stream)?;
        let mut span = Span::begin(follow.random.next() | 1, follow.span, Kind::Client, monotonic());
        span.asks(head.method.as_str());
        says(&mut span, head);
        Some(follow.begins(stream, &mut head.headers, span))
    }

    /// As [`Host::call`], for an answer to a call: noted where that was of a request that is traced.
    pub(crate) fn call_back<T>(
        self: &Rc<Self>,
        calling: Option<&Calling>,
        name: &'static str,
        call: impl FnOnce(&mut Instance, Now) -> Result<T, Trap>,
    ) -> Result<T, Reason> {
        let held = calling.and_then(|calling| self.held(calling.stream));
        let Some((calling, held)) = calling.zip(held) else { return self.call(call) };
        let told = &calling.follow.told;
        let was_held = told.borrow().held_since.is_some();
        let began = monotonic();
        told.borrow_mut().begins(began);
        self.with(Instance::time_call);
        let result = self.call(call);
        let took = monotonic().saturating_sub(began);
        let host = self.with(Instance::take_timed).unwrap_or_default();
        let holds = was_held && !held.goes_on();
        told.borrow_mut().ends(Called { name, began, took, host }, holds);
        result
    }
}

impl Held {
    /// The guest has said what becomes of the request.
    fn goes_on(&self) -> bool {
        self.resume_request.get()
            || self.resume_response.get()
            || self.reset.get()
            || self.reply.borrow().is_some()
    }
}
