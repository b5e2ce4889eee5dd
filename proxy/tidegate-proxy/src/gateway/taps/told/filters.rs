//! What each filter did with a request, from what was noted of it.

use std::cmp::Ordering;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Serialize;
use tidegate_wasm::{Event, Field, Note, Side};

use super::redacted::{Redaction, Text, fields};
use super::{TappedChange, micros};
use crate::filter::chain::Step;
use crate::local::tap::{Changed, Guested, Line, Seen, Spot};

/// Lines of a plugin's log that are shown.
const LINES: usize = 16;

/// A filter that a request met.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TappedFilter {
    /// `plugin`, `requestHeaders`, `responseHeaders` or `rewrite`.
    pub kind: &'static str,
    /// The plugin's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// `listener`, or the rule as `route/rule`.
    pub at: String,
    /// `continued`, `answered`, `brokeOff`, `failed` (so that the request did), `passedOver` (it failed, which its policy
    /// allows) or `away`.
    pub decision: &'static str,
    /// Of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it changed in the request's head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request: Vec<TappedChange>,
    /// What it changed in the response's head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<TappedChange>,
    /// The request's body, where it saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<BodyPassed>,
    /// The response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<BodyPassed>,
    /// What else it wanted: `route`, `upstream`, `clearRoute`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chose: Vec<&'static str>,
    /// How often it held the message.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub pauses: usize,
    /// How long, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_us: Option<u64>,
    /// Callbacks, of a plugin.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub callbacks: usize,
    /// Their time in the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_us: Option<u64>,
    /// Their time in host functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_us: Option<u64>,
    /// Calls that it made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<TappedCall>,
    /// What it logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<TappedLog>,
    /// Functions that it may not call, and did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Why not everything is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// A body on its way through a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BodyPassed {
    /// Bytes that it was shown.
    pub before: u64,
    /// Bytes that it let go on.
    pub after: u64,
    /// Whether it wrote to it.
    pub changed: bool,
}

/// A call of a plugin's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TappedCall {
    /// The upstream; none: a foreign function.
    pub upstream: Option<String>,
    /// Method and path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Of the answer; none: there was none.
    pub status: Option<String>,
}

/// A line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TappedLog {
    /// How much it matters.
    pub level: String,
    /// The line.
    pub message: String,
}

/// All of them, in the order in which the request met them.
pub(super) fn filters(seen: &Seen, redaction: &Redaction) -> Vec<TappedFilter> {
    let own = seen.steps.iter().map(|step| (step.spot, changed(seen, step.spot, &step.change, redaction)));
    let guests = seen.guests.iter().map(|guest| (guest.spot, plugin(seen, guest, redaction)));
    let mut all: Vec<(Spot, TappedFilter)> = own.chain(guests).collect();
    all.sort_by(|(one, _), (other, _)| order(seen, *one, *other));
    all.into_iter().map(|(_, filter)| filter).collect()
}

/// The listener's come first, then those of the rules in the order in which the request had them.
fn order(seen: &Seen, one: Spot, other: Spot) -> Ordering {
    let rank = |(rule, step): Spot| {
        let turn =
            rule.map(|rule| seen.left.iter().position(|left| *left == rule).unwrap_or(seen.left.len()));
        (turn, step)
    };
    rank(one).cmp(&rank(other))
}

fn place(seen: &Seen, (rule, _): Spot) -> String {
    match rule.and_then(|rule| seen.snapshot.rules.get(rule)) {
        Some(rule) => format!("{}/{}", rule.route, rule.name),
        None => "listener".to_owned(),
    }
}

fn step(seen: &Seen, (rule, step): Spot) -> Option<&Step> {
    let steps = match rule {
        Some(rule) => seen.snapshot.rules.get(rule).map(|rule| &rule.steps),
        None => seen.snapshot.listeners.get(seen.listener).map(|listener| &listener.steps),
    };
    steps?.get(step)
}

fn changed(seen: &Seen, spot: Spot, change: &Changed, redaction: &Redaction) -> TappedFilter {
    let kind = match step(seen, spot) {
        Some(Step::RequestHeaders(_)) => "requestHeaders",
        Some(Step::ResponseHeaders(_)) => "responseHeaders",
        Some(Step::Rewrite(_)) => "rewrite",
        Some(Step::Wasm(_)) | None => "plugin",
    };
    let filter =
        TappedFilter { kind, at: place(seen, spot), decision: "continued", ..TappedFilter::default() };
    match change {
        Changed::Request(both) => {
            let (before, after) = &**both;
            TappedFilter { request: redaction.changes(&before.fields(), &after.fields()), ..filter }
        }
        Changed::Response(both) => {
            TappedFilter { response: redaction.changes(&fields(&both.0), &fields(&both.1)), ..filter }
        }
        Changed::Away(plugin) => TappedFilter { plugin: Some(plugin.clone()), decision: "away", ..filter },
    }
}

fn texts(fields: &[Field]) -> Vec<Text> {
    fields.iter().map(|Field(name, value)| (name.clone(), value.to_string())).collect()
}

fn plugin(seen: &Seen, guest: &Guested, redaction: &Redaction) -> TappedFilter {
    let [inside, host, waiting] = guest.times;
    let mut filter = TappedFilter {
        kind: "plugin",
        plugin: Some(guest.plugin.clone()),
        at: place(seen, guest.spot),
        decision: if guest.failed { "failed" } else { "continued" },
        callbacks: guest.callbacks,
        guest_us: Some(micros(inside)),
        host_us: Some(micros(host)),
        ..TappedFilter::default()
    };
    let Some(tape) = &guest.tape else { return filter };
    let (mut request, mut response) = (Vec::new(), Vec::new());
    for Note { event, .. } in &tape.notes {
        match event {
            Event::RequestHeaders { headers, .. } => request = texts(headers),
            Event::ResponseHeaders { headers, .. } => response = texts(headers),
            Event::RequestLeft { headers } => filter.request = redaction.changes(&request, &texts(headers)),
            Event::ResponseLeft { headers } => {
                filter.response = redaction.changes(&response, &texts(headers))
            }
            other => take(&mut filter, other, guest.failed, redaction),
        }
    }
    filter.waiting_us = (filter.pauses > 0).then(|| micros(waiting));
    let passed = |side: Side| {
        let body = tape.body(side);
        (body.told > 0 || body.left > 0).then_some(BodyPassed {
            before: body.told,
            after: body.left,
            changed: body.written,
        })
    };
    (filter.request_body, filter.response_body) = (passed(Side::Request), passed(Side::Response));
    filter.incomplete.clone_from(&tape.incomplete);
    filter
}

/// Takes what was noted besides heads.
fn take(filter: &mut TappedFilter, event: &Event, failed: bool, redaction: &Redaction) {
    match event {
        Event::Pause | Event::Wait => filter.pauses += 1,
        Event::Trap { message } => {
            filter.decision = if failed { "failed" } else { "passedOver" };
            filter.error = Some(message.clone());
        }
        Event::Reply { status, .. } => (filter.decision, filter.status) = ("answered", Some(*status)),
        Event::Reset => filter.decision = "brokeOff",
        Event::ClearRoute => filter.chose.push("clearRoute"),
        Event::SetUpstream => filter.chose.push("upstream"),
        Event::SetRoute => filter.chose.push("route"),
        Event::Foreign => {
            filter.calls.push(TappedCall { upstream: None, request: String::new(), status: None });
        }
        Event::Call { upstream, headers, .. } => {
            let headers = redaction.fields(texts(headers));
            let of = |name: &str| {
                headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
            };
            let request = format!("{} {}", of(":method"), of(":path"));
            filter.calls.push(TappedCall { upstream: Some(upstream.clone()), request, status: None });
        }
        Event::Answer { call, headers, .. } => {
            let status = headers.iter().flatten().find(|field| field.0 == ":status");
            if let Some(call) = filter.calls.get_mut(*call) {
                call.status = status.map(|field| field.1.to_string());
            }
        }
        Event::ForeignResult { call, status, .. } => {
            if let Some(call) = filter.calls.get_mut(*call) {
                call.status = Some(status.to_string());
            }
        }
        Event::Log { level, message } if filter.log.len() < LINES => {
            filter.log.push(TappedLog { level: level.clone(), message: message.clone() });
        }
        Event::Refused { function } => filter.refused.push(function.clone()),
        _ => {}
    }
}

/// The request as its rule was looked for: as it came, or as the listener's last filter left it.
pub(super) fn before_rules(seen: &Seen, canonical: &Line) -> Parts {
    let mut last: Option<(usize, Line)> = None;
    let mut take = |step: usize, line: Option<Line>| {
        if let Some(line) = line
            && last.as_ref().is_none_or(|(before, _)| *before <= step)
        {
            last = Some((step, line));
        }
    };
    for stepped in seen.steps.iter().filter(|stepped| stepped.spot.0.is_none()) {
        if let Changed::Request(both) = &stepped.change {
            take(stepped.spot.1, Some(both.1.clone()));
        }
    }
    for guest in seen.guests.iter().filter(|guest| guest.spot.0.is_none()) {
        let notes = guest.tape.iter().flat_map(|tape| &tape.notes);
        let mut left = notes.filter_map(|note| match &note.event {
            Event::RequestLeft { headers } => Some(line(headers)),
            _ => None,
        });
        take(guest.spot.1, left.next_back().flatten());
    }
    let Line { method, uri, headers } = last.map_or_else(|| canonical.clone(), |(_, line)| line);
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri, head.headers) = (method, uri, headers);
    head
}

/// A head as it is on a tape; none: what a plugin wrote is no head.
fn line(fields: &[Field]) -> Option<Line> {
    let of = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1.to_string());
    let plain = fields.iter().filter(|field| !field.0.starts_with(':'));
    let headers = plain.map(|Field(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&value.bytes()?).ok()?))
    });
    Some(Line {
        method: of(":method")?.parse::<Method>().ok()?,
        uri: of(":path")?.parse::<Uri>().ok()?,
        headers: headers.collect::<Option<_>>()?,
    })
}
