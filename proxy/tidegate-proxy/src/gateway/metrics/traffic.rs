//! Connections, requests and bytes by listener, route and upstream.
//!
//! Labels are names of the configuration and words of the gateway, never what a client sends. A series by reason, or of a
//! histogram, is there from the first time on, so that a page grows with what happens and not with what could.

use std::collections::HashMap;

use tidegate_config::plan;

use crate::http::fail::Reason;
use crate::shared::durations::Steps;
use crate::shared::traffic::{CLASSES, Total};
use crate::shared::{
    Counter, ListenerCells, PROTOCOLS, PerWorker, RouteCells, SessionCells, TLS_FAILURES, TLS_VERSIONS,
    UpstreamCells,
};
use crate::snapshot::{Listener, Rule, Snapshot};
use crate::telemetry::page::{Kind, Page};

/// Name, kind, what it is, the counter.
type Row<T> = (&'static str, Kind, &'static str, fn(&T) -> &Counter);

const LISTENERS: [Row<ListenerCells>; 6] = [
    ("tidegate_connections_total", Kind::Counter, "Connections accepted.", |c| &c.accepted),
    ("tidegate_connections_open", Kind::Gauge, "Connections open now.", |c| &c.open),
    ("tidegate_connections_refused_total", Kind::Counter, "Connections over a limit.", |c| &c.refused),
    (
        "tidegate_accept_failures_total",
        Kind::Counter,
        "Connections that the system could not hand over.",
        |c| &c.unaccepted,
    ),
    ("tidegate_requests_total", Kind::Counter, "Requests begun.", |c| &c.started),
    ("tidegate_requests_active", Kind::Gauge, "Requests in flight now.", |c| &c.active),
];

/// Of listeners.
pub(super) fn listeners(page: &mut Page, snapshot: &Snapshot) {
    let all = &snapshot.listeners;
    for (name, kind, help, of) in LISTENERS {
        page.metric(name, kind, help);
        for listener in all {
            page.sample(&[("listener", &listener.spec.name)], listener.counters.sum(of));
        }
    }
    protocols(page, all);
    handshakes(page, all);
    let totals: Vec<_> =
        all.iter().map(|l| (&*l.spec.name, Total::of(&l.counters, |c| &c.traffic))).collect();
    let name = "tidegate_responses_total";
    page.metric(name, Kind::Counter, "Exchanges that are over, by the answer's status class.");
    for (listener, total) in &totals {
        for (class, count) in CLASSES.iter().zip(total.classes) {
            page.sample(&[("listener", listener), ("class", class)], count);
        }
    }
    page.metric("tidegate_request_failures_total", Kind::Counter, "Requests that failed, by reason.");
    for (listener, total) in &totals {
        for reason in Reason::ALL {
            let count = total.fails.get(reason as usize).copied().unwrap_or(0);
            page.sample(&[("listener", listener), ("reason", reason.word())], count);
        }
    }
    bytes(page, "", "listener", &totals);
    let help = "Time from a request's head to the end of its answer.";
    page.metric("tidegate_request_duration_seconds", Kind::Histogram, help);
    for (listener, total) in &totals {
        page.durations(&[("listener", listener)], total, Steps::Half);
    }
}

fn protocols(page: &mut Page, all: &[Listener]) {
    type Rows = (&'static str, Kind, &'static str, fn(&ListenerCells) -> &[Counter; 3]);
    let rows: [Rows; 2] = [
        (
            "tidegate_connections_by_protocol_total",
            Kind::Counter,
            "Connections by what they turned out to speak.",
            |c| &c.protocols,
        ),
        ("tidegate_connections_by_protocol_open", Kind::Gauge, "Those that are open.", |c| &c.speaking),
    ];
    for (name, kind, help, of) in rows {
        page.metric(name, kind, help);
        for listener in all {
            for (index, protocol) in PROTOCOLS.iter().enumerate() {
                let count = listener.counters.iter().filter_map(|cells| of(cells).get(index));
                let count = count.map(Counter::value).fold(0, u64::wrapping_add);
                page.sample(&[("listener", &listener.spec.name), ("protocol", protocol)], count);
            }
        }
    }
}

fn handshakes(page: &mut Page, all: &[Listener]) {
    let secure = || all.iter().filter(|listener| listener.tls.is_some());
    let sum = |listener: &Listener, index: usize, of: fn(&ListenerCells) -> &[Counter]| {
        let cells = listener.counters.iter().filter_map(|cells| of(cells).get(index));
        cells.map(Counter::value).fold(0, u64::wrapping_add)
    };
    page.metric("tidegate_handshakes_total", Kind::Counter, "TLS handshakes by version.");
    for listener in secure() {
        for (index, version) in TLS_VERSIONS.iter().enumerate() {
            let labels = [("listener", &*listener.spec.name), ("version", *version)];
            page.sample(&labels, sum(listener, index, |cells| &cells.handshakes));
        }
    }
    let help = "TLS handshakes that went on with an earlier session.";
    page.metric("tidegate_handshakes_resumed_total", Kind::Counter, help);
    for listener in secure() {
        page.sample(&[("listener", &listener.spec.name)], listener.counters.sum(|cells| &cells.resumed));
    }
    page.metric("tidegate_handshake_failures_total", Kind::Counter, "TLS handshakes that failed, by reason.");
    for listener in secure() {
        for (index, reason) in TLS_FAILURES.iter().enumerate() {
            let labels = [("listener", &*listener.spec.name), ("reason", *reason)];
            page.sample(&labels, sum(listener, index, |cells| &cells.handshake_failures));
        }
    }
}

/// `of`: `""`, `"route_"` or `"upstream_"`.
fn bytes(page: &mut Page, of: &str, label: &str, totals: &[(&str, Total)]) {
    type Row = (&'static str, &'static str, fn(&Total) -> u64);
    let kinds: [Row; 2] = [
        ("received", "Bytes of bodies from clients.", |total| total.received),
        ("sent", "Bytes of bodies to clients.", |total| total.sent),
    ];
    for (word, help, value) in kinds {
        page.metric(&format!("tidegate_{of}{word}_bytes_total"), Kind::Counter, help);
        for (name, total) in totals {
            page.sample(&[(label, name)], value(total));
        }
    }
}

/// Failures by reason, of those that there were.
fn failures(page: &mut Page, metric: (&str, &str), label: &str, totals: &[(&str, Total)]) {
    page.metric(metric.0, Kind::Counter, metric.1);
    for (name, total) in totals {
        for reason in Reason::ALL {
            let count = total.fails.get(reason as usize).copied().unwrap_or(0);
            if count > 0 {
                page.sample(&[(label, name), ("reason", reason.word())], count);
            }
        }
    }
}

/// Durations, of what there was anything of.
fn durations(page: &mut Page, metric: (&str, &str), label: &str, totals: &[(&str, Total)]) {
    page.metric(metric.0, Kind::Histogram, metric.1);
    for (name, total) in totals.iter().filter(|(_, total)| !total.is_empty()) {
        page.durations(&[(label, name)], total, Steps::Doubling);
    }
}

/// Of routes.
pub(super) fn routes(page: &mut Page, snapshot: &Snapshot) {
    let (http, of_bytes) = rules(snapshot);
    let name = "tidegate_route_connections_total";
    page.metric(name, Kind::Counter, "Forwarded connections by route.");
    for rule in of_bytes {
        page.sample(&[("route", &rule.route)], rule.counters.sum(|cells| &cells.connections));
    }
    let total = |rule: &&'_ Rule| Total::of(&rule.counters, |cells: &RouteCells| &cells.traffic);
    let totals: Vec<_> = http.iter().map(|rule| (&*rule.route, total(rule))).collect();
    page.metric("tidegate_route_responses_total", Kind::Counter, "Answers by route and status class.");
    for (route, total) in &totals {
        for (class, count) in CLASSES.iter().zip(total.classes) {
            page.sample(&[("route", route), ("class", class)], count);
        }
    }
    let metric = ("tidegate_route_failures_total", "Requests of a route that failed, by reason.");
    failures(page, metric, "route", &totals);
    bytes(page, "route_", "route", &totals);
    let help = "Time from a request's head to the end of its answer, by route.";
    durations(page, ("tidegate_route_request_duration_seconds", help), "route", &totals);
    drop(totals);
    targets(page, snapshot, &http);
}

/// Where the requests of routes went.
fn targets(page: &mut Page, snapshot: &Snapshot, http: &[&Rule]) {
    let names: HashMap<u64, &str> =
        snapshot.clusters.iter().map(|cluster| (cluster.counters.id(), cluster.spec.name.as_str())).collect();
    let mut rows: Vec<(&str, &str, u64, u64)> = Vec::new();
    for rule in http {
        let first = rows.len();
        for went in rule.counters.iter().flat_map(|cells| cells.targets.read()) {
            let Some(name) = names.get(&went.upstream) else { continue };
            match rows.iter_mut().skip(first).find(|row| row.1 == *name) {
                Some(row) => {
                    row.2 += went.requests;
                    row.3 += went.failures;
                }
                None => rows.push((&rule.route, name, went.requests, went.failures)),
            }
        }
    }
    let help = "Requests of a route by the upstream of their last attempt.";
    page.metric("tidegate_route_upstream_requests_total", Kind::Counter, help);
    for (route, upstream, requests, _) in &rows {
        page.sample(&[("route", route), ("upstream", upstream)], *requests);
    }
    let help = "Those that failed or were answered with 5xx.";
    page.metric("tidegate_route_upstream_failures_total", Kind::Counter, help);
    for (route, upstream, _, failures) in &rows {
        page.sample(&[("route", route), ("upstream", upstream)], *failures);
    }
}

/// One rule of each route: those of HTTP, those of listeners of bytes.
fn rules(snapshot: &Snapshot) -> (Vec<&Rule>, Vec<&Rule>) {
    let is_http = |route: &plan::Route| {
        let first = route.listeners.first().and_then(|index| snapshot.plan.listeners.get(*index));
        first.is_none_or(|listener| listener.protocol.is_http())
    };
    let mut first = 0;
    let (mut http, mut bytes) = (Vec::new(), Vec::new());
    for route in &snapshot.plan.routes {
        let rule = snapshot.rules.get(first);
        first += route.rules.len();
        if let Some(rule) = rule.filter(|_| !route.rules.is_empty()) {
            if is_http(route) { http.push(rule) } else { bytes.push(rule) }
        }
    }
    (http, bytes)
}

const UPSTREAMS: [Row<UpstreamCells>; 13] = [
    ("tidegate_upstream_requests_total", Kind::Counter, "Attempts.", |c| &c.requests),
    ("tidegate_upstream_retries_total", Kind::Counter, "Attempts after the first.", |c| &c.retries),
    ("tidegate_upstream_connections_total", Kind::Counter, "Connections opened.", |c| &c.connections),
    ("tidegate_upstream_connect_failures_total", Kind::Counter, "Connections that failed.", |c| {
        &c.connect_failures
    }),
    ("tidegate_upstream_overflow_total", Kind::Counter, "Requests over a limit.", |c| &c.overflow),
    (
        "tidegate_upstream_ejections_total",
        Kind::Counter,
        "Times that a server which failed was left out.",
        |c| &c.ejections,
    ),
    ("tidegate_upstream_hedges_total", Kind::Counter, "Attempts beside one that took long.", |c| &c.hedges),
    ("tidegate_upstream_hedges_won_total", Kind::Counter, "Of these, those that brought the answer.", |c| {
        &c.hedges_won
    }),
    ("tidegate_upstream_waits_total", Kind::Counter, "Requests that waited because of a limit.", |c| {
        &c.waits
    }),
    (
        "tidegate_upstream_servers_left_out",
        Kind::Gauge,
        "Servers that are left out because they failed, summed over workers.",
        |c| &c.left_out,
    ),
    ("tidegate_upstream_pending", Kind::Gauge, "Requests that wait because of a limit now.", |c| &c.pending),
    ("tidegate_upstream_connections_open", Kind::Gauge, "Connections open in the last second.", |c| &c.open),
    ("tidegate_upstream_requests_active", Kind::Gauge, "Requests at servers in the last second.", |c| {
        &c.active
    }),
];

/// What bounds repetitions and requests in flight.
fn repetitions(page: &mut Page, snapshot: &Snapshot) {
    let name = "tidegate_upstream_retries_stopped_total";
    page.metric(name, Kind::Counter, "Repetitions that there were not, by what stopped them.");
    for cluster in &snapshot.clusters {
        let upstream = ("upstream", &*cluster.spec.name);
        page.sample(&[upstream, ("by", "budget")], cluster.counters.sum(|c| &c.repeats_over_budget));
        page.sample(&[upstream, ("by", "limit")], cluster.counters.sum(|c| &c.repeats_over_limit));
    }
    let adaptive = || snapshot.clusters.iter().filter(|cluster| cluster.spec.limits.adaptive.is_some());
    if adaptive().next().is_some() {
        let name = "tidegate_upstream_concurrency_limit";
        page.metric(name, Kind::Gauge, "The limit that follows latency, summed over workers.");
    }
    for cluster in adaptive() {
        page.sample(&[("upstream", &cluster.spec.name)], cluster.counters.sum(|c| &c.concurrency));
    }
}

/// Of clients that stay at their servers.
fn sessions(page: &mut Page, snapshot: &Snapshot) {
    let counted: Vec<_> = snapshot
        .clusters
        .iter()
        .map(|cluster| {
            let sum = |of: fn(&SessionCells) -> &Counter| cluster.counters.sum(move |c| of(&c.sessions));
            let counts = [
                sum(|c| &c.began),
                sum(|c| &c.kept),
                sum(|c| &c.moved),
                sum(|c| &c.forged),
                sum(|c| &c.ended),
            ];
            (cluster, counts)
        })
        .filter(|(cluster, counts)| cluster.session.is_some() || counts.iter().any(|count| *count > 0))
        .collect();
    if counted.is_empty() {
        return;
    }
    let name = "tidegate_upstream_sessions_total";
    page.metric(name, Kind::Counter, "Requests of clients that stay at their servers, by how that went.");
    for (cluster, counts) in counted {
        for (outcome, count) in ["began", "kept", "moved", "forged", "ended"].into_iter().zip(counts) {
            page.sample(&[("upstream", &cluster.spec.name), ("outcome", outcome)], count);
        }
    }
}

/// Of upstreams.
pub(super) fn upstreams(page: &mut Page, snapshot: &Snapshot) {
    for (name, kind, help, of) in UPSTREAMS {
        page.metric(name, kind, help);
        for cluster in &snapshot.clusters {
            page.sample(&[("upstream", &cluster.spec.name)], cluster.counters.sum(of));
        }
    }
    repetitions(page, snapshot);
    sessions(page, snapshot);
    let total = |cells: &PerWorker<UpstreamCells>| Total::of(cells, |cells| &cells.attempts);
    let totals: Vec<_> =
        snapshot.clusters.iter().map(|c| (c.spec.name.as_str(), total(&c.counters))).collect();
    let name = "tidegate_upstream_responses_total";
    page.metric(name, Kind::Counter, "Answers of servers by status class.");
    for (upstream, total) in totals.iter().filter(|(_, total)| !total.is_empty()) {
        for (class, count) in CLASSES.iter().zip(total.classes) {
            page.sample(&[("upstream", upstream), ("class", class)], count);
        }
    }
    failures(
        page,
        ("tidegate_upstream_failures_total", "Attempts that failed, by reason."),
        "upstream",
        &totals,
    );
    bytes(page, "upstream_", "upstream", &totals);
    let help = "Time of an attempt, to the head of the server's answer.";
    durations(page, ("tidegate_upstream_request_duration_seconds", help), "upstream", &totals);
}
