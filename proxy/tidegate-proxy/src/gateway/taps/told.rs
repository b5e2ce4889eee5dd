//! A request as a tap shows it: what the worker saw, in words, with the rules that it was not for, without secrets.

mod filters;
mod redacted;

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, header};
use serde::Serialize;

pub use filters::{BodyPassed, TappedCall, TappedFilter, TappedLog};
use redacted::{Redaction, fields};

use crate::http::headers;
use crate::local::tap::{Attempted, Line, Outcome, Seen};
use crate::route::{self, Loser};
use crate::telemetry::access_log::Timestamp;

/// Rules that are told to have lost; there may be thousands.
const LOSERS: usize = 20;

/// A live request with the path that it took.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TappedRequest {
    /// When it ended, in UTC.
    pub time: String,
    /// The configuration that it ran with.
    pub generation: u64,
    /// The listener that it came by.
    pub listener: String,
    /// Who sent it; behind a trusted proxy whom that names.
    pub client: String,
    /// The other end of the connection, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// As in `HTTP/1.1`.
    pub protocol: String,
    /// Whether it came by TLS.
    pub tls: bool,
    /// The method.
    pub method: String,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path and query as rules see them.
    pub path: String,
    /// As the client sent it, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of the answer; 0: there was none.
    pub status: u16,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why a plugin answered or broke off, in its own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// The plugin that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// The plugin that it failed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_by: Option<String>,
    /// The route's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The rule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What of the rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<String>,
    /// The plugin that chose the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_by: Option<String>,
    /// Rules that it was not for, those that came closest first.
    pub others: Vec<Loser>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_others: usize,
    /// Listener's and rules' filters, in the order in which the request met them.
    pub filters: Vec<TappedFilter>,
    /// The plugin that chose the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_by: Option<String>,
    /// How the request went upstream otherwise than it came.
    pub sent: Vec<TappedChange>,
    /// Attempts at servers.
    pub attempts: Vec<TappedAttempt>,
    /// Why there was no further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_stopped_by: Option<&'static str>,
    /// Fields of the request as it came.
    pub request_headers: Vec<(String, String)>,
    /// Fields of the answer as the client got it.
    pub response_headers: Vec<(String, String)>,
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the answer's body.
    pub bytes_sent: u64,
    /// How long the last attempt waited for a connection, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// To the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_us: Option<u64>,
    /// To the last byte of the answer.
    pub duration_us: u64,
    /// `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// First bytes of the request's body as it came, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<String>,
    /// First bytes of the answer's body as the client got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
}

/// A part of a head that was changed; `:method`, `:path` and `:status` are those of the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TappedChange {
    /// The field.
    pub name: String,
    /// What it was; none: it was not there.
    pub before: Option<String>,
    /// What it is; none: it was removed.
    pub after: Option<String>,
}

/// An attempt at a server.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TappedAttempt {
    /// The upstream.
    pub upstream: String,
    /// The server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// Why that server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub picked: String,
    /// When it began, in microseconds since the request came.
    pub began_us: u64,
    /// `reused` or `opened`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<&'static str>,
    /// How long it waited for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// Of the server's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none; `given_up` where another one was faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What was underneath.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// To the head of the answer, or to the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a tap with bodies of this length shows of a request.
pub(super) fn told(seen: &Seen, body: usize) -> TappedRequest {
    let redaction = Redaction::of(&seen.snapshot.plan);
    let head = seen.canonical.as_ref().unwrap_or(&seen.came);
    let rule = seen.rule.and_then(|rule| seen.snapshot.rules.get(rule));
    let listener = seen.snapshot.listeners.get(seen.listener);
    let (path, target) = (path(head), path(&seen.came));
    let text = |value: Option<&HeaderValue>| {
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let first = |side: usize| {
        let bytes = seen.bodies.as_ref()?.get(side).filter(|_| body > 0)?;
        Some(shown(bytes.get(..body.min(bytes.len())).unwrap_or_default()))
    };
    let mut request = TappedRequest {
        time: Timestamp(seen.ended).to_string(),
        generation: seen.generation,
        listener: listener.map(|listener| listener.spec.name.clone()).unwrap_or_default(),
        client: seen.client.to_string(),
        peer: (seen.peer != seen.client).then_some(seen.peer),
        protocol: format!("{:?}", seen.version),
        tls: seen.secure,
        method: head.method.to_string(),
        host: text(head.headers.get(header::HOST))
            .or_else(|| head.uri.authority().map(|authority| authority.to_string())),
        target: (target != path).then(|| redaction.path(&target)),
        path: redaction.path(&path),
        status: seen.status.map_or(0, |status| status.as_u16()),
        reason: seen.reason,
        details: seen.details.clone(),
        answered_by: seen.answered_by.clone(),
        failed_by: seen.failed_by.clone(),
        route: rule.map(|rule| rule.route.to_string()),
        rule: rule.map(|rule| rule.name.to_string()),
        route_by: seen.route_by.clone(),
        filters: filters::filters(seen, &redaction),
        upstream_by: seen.upstream_by.clone(),
        sent: seen
            .sent
            .as_ref()
            .map(|sent| redaction.changes(&seen.came.fields(), &sent.fields()))
            .unwrap_or_default(),
        attempts: seen.attempts.iter().map(|one| attempt(one, seen)).collect(),
        retry_stopped_by: seen.stopped,
        request_headers: redaction.fields(fields(&seen.came.headers)),
        response_headers: seen
            .answer
            .as_ref()
            .map(|headers| redaction.fields(fields(headers)))
            .unwrap_or_default(),
        bytes_received: seen.bytes.0,
        bytes_sent: seen.bytes.1,
        wait_us: seen.waited.map(micros),
        head_us: seen.head_took.map(micros),
        duration_us: micros(seen.took),
        request_id: text(head.headers.get(headers::REQUEST_ID)),
        trace_id: seen.trace.map(|(trace, _)| format!("{trace:032x}")),
        span_id: seen.trace.map(|(_, span)| format!("{span:016x}")),
        request_body: first(0),
        response_body: first(1),
        ..TappedRequest::default()
    };
    add_candidates(&mut request, seen);
    request
}

/// Why the rule, and why no other one: by the request as it was when its rule was looked for.
fn add_candidates(request: &mut TappedRequest, seen: &Seen) {
    let (Some(canonical), Some(listener)) = (&seen.canonical, seen.snapshot.listeners.get(seen.listener))
    else {
        return;
    };
    let head = filters::before_rules(seen, canonical);
    let told = route::candidates(&seen.snapshot.plan, seen.listener, &listener.routes, &head);
    request.matched = told.chosen.map(|choice| choice.matched);
    request.more_others = told.others.len().saturating_sub(LOSERS);
    request.others = told.others;
    request.others.truncate(LOSERS);
}

fn attempt(one: &Attempted, seen: &Seen) -> TappedAttempt {
    let (status, reason, error) = match &one.outcome {
        Some((Outcome::Status(status), _)) => (Some(status.as_u16()), None, None),
        Some((Outcome::Failed(reason, error), _)) => (None, Some(*reason), error.clone()),
        // Nothing more is known of the last one where the client or a filter ended the request.
        None => (None, Some(seen.reason.filter(|_| seen.attempts.len() == 1).unwrap_or("given_up")), None),
    };
    TappedAttempt {
        upstream: one.upstream.clone(),
        server: one.server,
        picked: one.picked.clone(),
        began_us: micros(one.began),
        connection: one.connection.map(|(reused, _)| if reused { "reused" } else { "opened" }),
        wait_us: one.connection.map(|(_, waited)| micros(waited)),
        status,
        reason,
        error,
        took_us: one.outcome.as_ref().map(|(_, took)| micros(*took)),
    }
}

fn path(line: &Line) -> String {
    line.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()
}

/// Bytes as text; what is not UTF-8 is replaced.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
