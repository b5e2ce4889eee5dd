//! What listeners of bytes (`tcp`, `tls`) and their routes cannot have, and what they need.

use super::Check;
use super::filter::{Place, rule_filters};
use super::listener::Listeners;
use super::matching::everything;
use super::policy::retries;
use super::route::{Parts, forward};
use crate::document::{ListenerDocument, ListenerFilter, RetriesDocument, RouteDocument, RuleDocument};
use crate::node::Path;
use crate::plan::{
    Action, Filter, HostPattern, Listener, ListenerIndex, Protocol, Retries, RetryOn, Route, Rule,
    RuleTimeouts, Split,
};
use crate::problem::Fault;
use std::collections::HashMap;
use std::time::Duration;

/// How long a connection may be without a byte: clients of databases keep theirs for long.
const IDLE: Duration = Duration::from_secs(3600);

/// Reports keys of a listener that are about requests.
pub(super) fn listener_keys(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &ListenerDocument,
    protocol: Protocol,
) {
    let word = protocol.word();
    let fault = || Fault::new(format!("it has no meaning with the protocol {word:?}"));
    if protocol == Protocol::Tcp && written.hostnames.is_some() {
        let fault = Fault::new("bytes in clear text name no host");
        check.fault(&path.key("hostnames"), fault.hint("leave it out, or protocol: tls"));
    }
    if written.trusted_proxies.is_some() {
        check.fault(&path.key("trustedProxies"), fault().hint("leave it out: bytes have no header fields"));
    }
    if let Some(written) = &written.timeouts {
        let path = path.key("timeouts");
        let keys = [("headers", written.headers), ("body", written.body), ("idle", written.idle)];
        for (key, _) in keys.into_iter().filter(|(_, time)| time.is_some()) {
            check.fault(
                &path.key(key),
                fault().hint("timeouts.idle of the route's rule ends idle connections"),
            );
        }
        if protocol == Protocol::Tcp && written.handshake.is_some() {
            check.fault(&path.key("handshake"), fault().hint("leave it out, or protocol: tls"));
        }
    }
    if let Some(written) = &written.limits {
        let path = path.key("limits");
        let keys = [
            ("headerBytes", written.header_bytes.is_some()),
            ("headers", written.headers.is_some()),
            ("streams", written.streams.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, there)| *there) {
            check.fault(&path.key(key), fault().hint("connections is the limit that is left"));
        }
    }
    let section = path.key("filters");
    for (index, filter) in written.filters.iter().enumerate() {
        if let ListenerFilter::Filter(filter) = filter
            && filter.plugin.is_none()
        {
            check.fault(&section.index(index), of_requests());
        }
    }
}

fn of_requests() -> Fault {
    Fault::new("the filter is for requests, and this listener serves bytes").hint("only plugins can be here")
}

/// Whether a route with these listeners is for connections.
pub(super) fn is_for_bytes(own: &[ListenerIndex], listeners: &Listeners) -> bool {
    own.iter().filter_map(|index| listeners.list.get(*index)).any(|listener| !listener.protocol.is_http())
}

/// Reports what a route for connections cannot have.
pub(super) fn route_keys(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &RouteDocument,
    (own, listeners): (&[ListenerIndex], &Listeners),
) {
    let own: Vec<&Listener> = own.iter().filter_map(|index| listeners.list.get(*index)).collect();
    let bytes = own.iter().find(|listener| !listener.protocol.is_http());
    let http = own.iter().find(|listener| listener.protocol.is_http());
    if let (Some(bytes), Some(http)) = (bytes, http) {
        let fault = Fault::new(format!(
            "the listener {:?} serves requests and {:?} connections: one route cannot be for both",
            http.name, bytes.name
        ));
        check.fault(&path.key("listeners"), fault.hint("write a route for each"));
    }
    let clear = own.iter().find(|listener| listener.protocol == Protocol::Tcp);
    if let (Some(clear), true) = (clear, written.hostnames.is_some()) {
        let fault = Fault::new(format!(
            "connections of the listener {:?} name no host: it speaks \"tcp\"",
            clear.name
        ));
        check.fault(&path.key("hostnames"), fault.hint("leave it out, or make the listener's protocol tls"));
    }
    for index in 1..written.rules.len() {
        let fault = Fault::new("nothing tells the connections of one rule from those of another");
        let hint = "one rule for each route; forward shares connections out by weight";
        check.fault(&path.key("rules").index(index), fault.hint(hint));
    }
}

/// The rule of a route for connections.
pub(super) fn rule(
    check: &mut Check<'_>,
    place: Place<'_>,
    (written, name): (&RuleDocument, &str),
    parts: &mut Parts<'_>,
) -> Rule {
    let path = place.path;
    if written.matches.is_some() {
        let fault = Fault::new("a connection has neither path nor method nor headers to match");
        let hint = "leave it out; hostnames of the route tell connections of a tls listener apart";
        check.fault(&path.key("matches"), fault.hint(hint));
    }
    let answers = [("redirect", written.redirect.is_some()), ("respond", written.respond.is_some())];
    for (key, _) in answers.into_iter().filter(|(_, there)| *there) {
        let fault = Fault::new("a connection can only be forwarded");
        check.fault(&path.key(key), fault.hint("forward: [{ upstream: NAME }]"));
    }
    let keys = [
        ("mirror", "mirrored", written.mirror.is_some()),
        ("stickyBy", "kept with an upstream", written.sticky_by.is_some()),
        ("session", "kept at a server", written.session.is_some()),
        ("release", "counted as failed or not", written.release.is_some()),
    ];
    for (key, what, _) in keys.into_iter().filter(|(_, _, there)| *there) {
        let fault = Fault::new(format!("a connection cannot be {what}, only requests can"));
        check.fault(&path.key(key), fault.hint("leave it out"));
    }
    let section = path.key("filters");
    let place = Place { owner: place.owner, path: &section };
    let filters = rule_filters(check, place, &written.filters, parts.plugins);
    for (index, filter) in written.filters.iter().enumerate() {
        if filter.plugin.is_none() {
            check.fault(&section.index(index), of_requests());
        }
    }
    let targets = written.forward.as_deref().unwrap_or_default();
    let without_weight = "every connection is closed";
    let find = |check: &mut Check<'_>, path: &Path<'_>, name: &str| parts.upstreams.find(check, path, name);
    let targets = forward(check, &path.key("forward"), (targets, parts.upstreams, find), without_weight);
    Rule {
        name: name.to_owned(),
        matches: vec![everything()],
        filters: filters.into_iter().filter(|filter| matches!(filter, Filter::Plugin(_))).collect(),
        action: Action::Forward(targets),
        timeouts: timeouts(check, path, written),
        retries: connect_retries(check, &path.key("retries"), written.retries.as_ref()),
        split: Split::default(),
    }
}

fn timeouts(check: &mut Check<'_>, path: &Path<'_>, written: &RuleDocument) -> RuleTimeouts {
    let path = path.key("timeouts");
    let written = written.timeouts.as_ref();
    let keys = [
        ("request", written.and_then(|times| times.request), "idle ends connections"),
        ("attempt", written.and_then(|times| times.attempt), "timeouts.connect of the upstream"),
    ];
    for (key, _, hint) in keys.into_iter().filter(|(_, time, _)| time.is_some()) {
        check.fault(&path.key(key), Fault::new("a connection is not a request").hint(hint));
    }
    for (key, is_there) in [
        ("stream", written.is_some_and(|times| times.stream.is_some())),
        ("grpcDeadline", written.is_some_and(|times| times.grpc_deadline.is_some())),
        ("requestDeadline", written.is_some_and(|times| times.request_deadline.is_some())),
    ] {
        of_requests_only(check, &path.key(key), is_there);
    }
    let idle = check.positive(&path.key("idle"), written.and_then(|times| times.idle), IDLE);
    RuleTimeouts { idle, ..RuleTimeouts::default() }
}

fn of_requests_only(check: &mut Check<'_>, path: &Path<'_>, is_there: bool) {
    if is_there {
        check.fault(path, Fault::new("a connection is not a request").hint("leave it out"));
    }
}

/// Only connecting can be repeated: what a server was sent since cannot be taken back.
fn connect_retries(check: &mut Check<'_>, path: &Path<'_>, written: Option<&RetriesDocument>) -> Retries {
    let retries = retries(check, path, written);
    let others = retries.on.iter().any(|on| *on != RetryOn::Connect);
    if others && written.is_some_and(|written| written.on.is_some()) {
        let fault = Fault::new("only connecting can be repeated for a connection");
        check.fault(&path.key("on"), fault.hint("on: [connect], or leave it out"));
    }
    if let Some(written) = written {
        for (key, is_there) in [
            ("retryAfter", written.retry_after.is_some()),
            ("bodyLimit", written.body_limit.is_some()),
            ("nonIdempotent", written.non_idempotent.is_some()),
            ("byHeader", written.by_header.is_some()),
            ("hedge", written.hedge.is_some()),
        ] {
            of_requests_only(check, &path.key(key), is_there);
        }
    }
    Retries { on: vec![RetryOn::Connect], ..retries }
}

/// Reports listeners of bytes without a route, and hosts for which the connections of two routes are the same.
pub(super) fn reach(check: &mut Check<'_>, routes: &[Route], listeners: &Listeners) {
    let root = Path::ROOT;
    let (section, all) = (root.key("listeners"), root.key("routes"));
    for (index, listener) in listeners.list.iter().enumerate().filter(|(_, own)| !own.protocol.is_http()) {
        let own = routes.iter().enumerate().filter(|(_, route)| route.listeners.contains(&index));
        let mut taken: HashMap<Option<&HostPattern>, usize> = HashMap::new();
        for (number, route) in own {
            let hosts = route.hostnames.iter().map(Some);
            let any = route.hostnames.is_empty().then_some(None);
            let again =
                hosts.chain(any).find_map(|host| taken.insert(host, number).filter(|at| *at != number));
            if let Some(first) = again {
                let before = check.place(&all.index(first));
                let fault = Fault::new(format!(
                    "the route in {before} is for the same connections of the listener {:?}",
                    listener.name
                ));
                let hint = match listener.protocol {
                    Protocol::Tls => "routes of a tls listener are told apart by hostnames",
                    _ => "one route for each tcp listener; forward shares connections out by weight",
                };
                check.fault(&all.index(number), fault.hint(hint));
            }
        }
        if taken.is_empty() {
            let fault = Fault::new(format!(
                "no route names the listener {:?}, so its connections could only be closed",
                listener.name
            ));
            let hint = format!(
                "routes: [{{ name: {0}, listeners: [{0}], rules: [{{ forward: [{{ upstream: NAME }}] }}] }}]",
                listener.name
            );
            check.fault(&section.index(index), fault.hint(hint));
        }
    }
}
