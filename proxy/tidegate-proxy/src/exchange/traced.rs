//! The trace of an exchange: its context, its attempts, what its filters did, and the spans that come of it at the end.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Uri, header};

use crate::exchange::finish::Record;
use crate::filter::traced::{Called, Follow};
use crate::http::fail::Fail;
use crate::shared::traffic::TraceId;
use crate::snapshot::logs::MILLION;
use crate::snapshot::traces::Tracing;
use crate::telemetry::trace::context::{self, Context, Decision};
use crate::telemetry::trace::{Finished, Kind, Span};
use crate::upstream::balance::Random;
use crate::upstream::course::{self, Course, Sent};
use crate::upstream::pool::Pool;
use crate::upstream::send::Answer;

/// What is kept of an exchange that may be traced. Times are the worker's.
pub(crate) struct Trace {
    pub(crate) trace: u128,
    /// The span of the exchange.
    pub(crate) span: u64,
    /// Whether it was chosen when it began; else it is kept only if it turns out to be worth it.
    pub(crate) decided: Decision,
    parent: Option<Context>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    attempts: Vec<Sent>,
    /// The one that is spoken of.
    current: usize,
}

impl Record {
    /// Reads what a request says of its trace, if it may say anything, and decides. Nothing is kept of one that is not traced.
    pub(crate) fn begin_trace(&mut self, tracing: &Tracing, head: &mut Parts, says: bool) {
        let spec = &tracing.spec;
        let parent = if says { context::read(&head.headers, &spec.accept) } else { None };
        let random = &self.client.local.random;
        let told = match &parent {
            Some(parent) => parent.decided,
            None if says => context::decided(&head.headers, &spec.accept),
            None => None,
        };
        let drawn = || Decision::plain(random.below(u64::from(MILLION)) < u64::from(spec.share));
        let decided = told.filter(|_| spec.follow_parent).unwrap_or_else(drawn);
        if !decided.is_sampled() && !spec.keep_errors && spec.keep_slower.is_none() {
            return;
        }
        let fresh = || u128::from(random.next()) << 64 | u128::from(random.next() | 1);
        let trace = parent.as_ref().map_or_else(fresh, |parent| parent.trace);
        let span = random.next() | 1;
        context::remove(&mut head.headers, &spec.accept);
        if parent.as_ref().is_none_or(|parent| parent.state.is_none()) {
            context::forget(&mut head.headers);
        }
        // Filters see the exchange's own span; each attempt puts its own in its place.
        context::write(&mut head.headers, &spec.send, (trace, span), decided);
        self.watched = true;
        self.trace = Some(Box::new(Trace {
            trace,
            span,
            decided,
            parent,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            agent: head.headers.get(header::USER_AGENT).cloned(),
            attempts: Vec::new(),
            current: 0,
        }));
    }

    /// What is noted of the exchange inside one of its plugins; one that is only tapped has no trace.
    #[cold]
    pub(crate) fn follow(&self) -> Follow {
        let random = &self.client.local.random;
        let (trace, tracing) = (self.trace.as_ref(), self.view.snapshot.tracing.as_ref());
        Follow {
            trace: trace.map_or(0, |trace| trace.trace),
            span: random.next() | 1,
            decided: trace.map_or(Decision::No, |trace| trace.decided),
            formats: tracing.map_or_else(Vec::new, |tracing| tracing.spec.send.clone()),
            random: Random::new(random.next()),
            told: RefCell::default(),
        }
    }

    /// An attempt of a traced exchange begins: the server is told the attempt's span. What becomes of it on its way is
    /// noted in its course.
    pub(crate) fn trace_attempt(&mut self, pool: &Pool, head: &mut Rc<Parts>) -> Option<Rc<Course>> {
        let (trace, tracing) = (self.trace.as_mut()?, self.view.snapshot.tracing.as_ref()?);
        let id = self.client.local.random.next() | 1;
        let began = self.sent_at.unwrap_or(self.start);
        let mut span = Span::begin(id, trace.span, Kind::Client, began);
        span.asks(trace.method.as_str());
        span.says("tidegate.upstream", pool.name.to_string());
        let scheme = if pool.cluster.tls.is_some() { "https" } else { "http" };
        let host = head.headers.get(header::HOST).map_or(&b"-"[..], HeaderValue::as_bytes);
        span.says("url.full", format!("{scheme}://{}{}", String::from_utf8_lossy(host), head.uri.path()));
        if self.attempts > 1 {
            span.says("http.request.resend_count", u64::from(self.attempts - 1));
        }
        let course = Rc::<Course>::default();
        trace.current = trace.attempts.len();
        trace.attempts.push(Sent { span, course: course.clone() });
        let headers = &mut Rc::make_mut(head).headers;
        context::write(headers, &tracing.spec.send, (trace.trace, id), trace.decided);
        Some(course)
    }

    /// What follows is of this attempt.
    pub(crate) fn trace_of_attempt(&mut self, course: Option<&Rc<Course>>) {
        if let (Some(trace), Some(course)) = (&mut self.trace, course)
            && let Some(place) = trace.attempts.iter().position(|sent| Rc::ptr_eq(&sent.course, course))
        {
            trace.current = place;
        }
    }

    /// The attempt is over.
    pub(crate) fn trace_outcome(&mut self, outcome: &Result<Answer, Fail>) {
        let Some(trace) = &mut self.trace else { return };
        let Some(Sent { span, .. }) = trace.attempts.get_mut(trace.current) else { return };
        span.ended = self.client.local.deadlines.recent();
        match outcome {
            Ok(answer) => {
                let status = answer.response.status();
                span.says("http.response.status_code", u64::from(status.as_u16()));
                span.says("network.protocol.version", version(answer.response.version()));
                if status.is_client_error() || status.is_server_error() {
                    span.says("error.type", status.as_str().to_owned());
                    span.error = Some("".into());
                }
            }
            Err(fail) => {
                span.says("error.type", fail.reason.word());
                span.error = Some(fail.reason.word().into());
            }
        }
    }

    /// The trace that an exemplar names.
    pub(crate) fn exemplar(&self) -> Option<TraceId> {
        let trace = self.trace.as_ref().filter(|trace| trace.decided.is_sampled())?;
        Some(TraceId { trace: trace.trace, noted: self.client.local.clock.wall() })
    }

    /// The exchange is over: its spans go out, if it was chosen or is worth it.
    pub(crate) fn end_trace(&mut self, took: Duration) {
        let Some(trace) = self.trace.take() else { return };
        let Some(tracing) = &self.view.snapshot.tracing else { return };
        let status = self.status.map_or(0, |status| status.as_u16());
        let failed = self.reason.is_some() || status >= 500;
        let spec = &tracing.spec;
        let slow = spec.keep_slower.is_some_and(|limit| took >= limit);
        let is_wanted = trace.decided.is_sampled() || slow || (failed && spec.keep_errors);
        if !is_wanted {
            return;
        }
        let clock = &self.client.local.clock;
        let ahead = clock.wall().saturating_sub(clock.now());
        let mut spans = vec![self.span(&trace, took)];
        let (over, random) = (self.start + took, &self.client.local.random);
        self.filters(&trace, over, &mut spans);
        let state = trace.parent.and_then(|parent| parent.state);
        // An attempt beside which another one brought the answer was given up.
        spans.extend(trace.attempts.into_iter().flat_map(|sent| sent.spans(over, || random.next())));
        for span in &mut spans {
            span.began += ahead;
            span.ended += ahead;
            span.events.iter_mut().for_each(|event| event.at += ahead);
        }
        tracing.exporter.send(Finished { trace: trace.trace, state, spans });
    }

    /// The exchange itself; names are those of the semantic conventions for HTTP servers.
    fn span(&self, trace: &Trace, took: Duration) -> Span {
        let parent = trace.parent.as_ref().map_or(0, |parent| parent.span);
        let mut span = Span::begin(trace.span, parent, Kind::Server, self.start);
        span.ended = self.start + took;
        span.asks(trace.method.as_str());
        span.says("url.scheme", if self.client.secure { "https" } else { "http" });
        span.says("url.path", trace.uri.path().to_owned());
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        if let Some(host) = text(&trace.host) {
            span.goes_to(&host);
        }
        if let Some(agent) = text(&trace.agent) {
            span.says("user_agent.original", agent);
        }
        span.says("client.address", self.source().ip().to_string());
        span.attributes.extend(course::peer(self.client.address));
        span.says("network.protocol.version", version(self.version));
        if let Some(rule) = self.rule.and_then(|rule| self.view.rule(rule)) {
            span.says("tidegate.route", rule.route.to_string());
            span.says("tidegate.rule", rule.name.to_string());
        }
        if let Some(listener) = self.view.listener(self.listener) {
            span.says("tidegate.listener", listener.spec.name.clone());
        }
        if let Some(slot) = self.replied.and_then(|plugin| self.view.plugins.get(plugin)) {
            span.says("tidegate.answered_by", slot.entry.name.to_string());
        }
        if let Some(status) = self.status {
            span.says("http.response.status_code", u64::from(status.as_u16()));
            if status.is_server_error() {
                span.error = Some("".into());
            }
        }
        if let Some(reason) = self.reason {
            span.says("error.type", reason.word());
            span.error = Some(reason.word().into());
        } else if span.error.is_some() {
            span.says(
                "error.type",
                self.status.map_or_else(String::new, |status| status.as_str().to_owned()),
            );
        }
        span
    }

    /// A span for each filter, below it one for each callback.
    fn filters(&self, trace: &Trace, over: Duration, spans: &mut Vec<Span>) {
        let random = &self.client.local.random;
        for passed in &self.guests {
            let Some((id, told)) = passed.guest.take_trace() else { continue };
            let (Some(first), Some(last)) = (told.calls.first(), told.calls.last()) else { continue };
            let name = self.view.plugins.get(passed.plugin).map_or("", |slot| &*slot.entry.name);
            let mut span = Span::begin(id, trace.span, Kind::Internal, first.began);
            span.name = format!("filter {name}").into();
            span.ended = last.began + last.took;
            span.says("tidegate.plugin", name.to_owned());
            let sum = |of: fn(&Called) -> Duration| told.calls.iter().map(of).sum::<Duration>();
            span.says("tidegate.guest_us", sum(|call| call.took.saturating_sub(call.host)));
            span.says("tidegate.host_us", sum(|call| call.host));
            span.says("tidegate.waiting_us", told.waited);
            for (name, value) in told.attributes {
                span.says(name, value);
            }
            if passed.guest.has_failed() {
                span.error = Some("".into());
            }
            spans.push(span);
            spans.extend(told.sent.into_iter().flat_map(|sent| sent.spans(over, || random.next())));
            for call in &told.calls {
                let mut below = Span::begin(random.next() | 1, id, Kind::Internal, call.began);
                below.name = Cow::Borrowed(call.name);
                below.ended = call.began + call.took;
                below.says("tidegate.guest_us", call.took.saturating_sub(call.host));
                below.says("tidegate.host_us", call.host);
                spans.push(below);
            }
        }
    }
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
