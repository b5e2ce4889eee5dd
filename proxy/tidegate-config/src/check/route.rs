//! `routes`: hosts, rules, and what is done with requests.

use super::Check;
use super::filter::{Place, headers, path_rewrite, rule_filters};
use super::listener::{Listeners, Seen, hostnames, unique_name};
use super::matching::{Expressions, matches};
use super::names::Kind;
use super::plugin::Plugins;
use super::policy::{retries, timeouts};
use super::release;
use super::stream;
use super::upstream::Upstreams;
use crate::document::{
    Document, ForwardDocument, RedirectDocument, RedirectScheme, RespondDocument, RouteDocument, RuleDocument,
};
use crate::node::Path;
use crate::plan::{
    Action, Filter, ListenerIndex, PathPattern, PathRewrite, Redirect, Respond, Route, Rule, UpstreamIndex,
    WeightedUpstream,
};
use crate::problem::Fault;
use crate::types::parse_new_host;

/// What routes refer to.
pub(super) struct Parts<'a> {
    listeners: &'a Listeners,
    pub(super) upstreams: &'a Upstreams,
    pub(super) plugins: &'a mut Plugins,
    expressions: Expressions,
}

pub(super) fn routes(
    check: &mut Check<'_>,
    document: &Document,
    listeners: &Listeners,
    upstreams: &Upstreams,
    plugins: &mut Plugins,
) -> Vec<Route> {
    let mut parts = Parts { listeners, upstreams, plugins, expressions: Expressions::default() };
    let mut routes = Vec::with_capacity(document.routes.len());
    let mut seen = Seen::new();
    let root = Path::ROOT;
    let section = root.key("routes");
    for (index, written) in document.routes.iter().enumerate() {
        unique_name(check, (&section, index), "route", (&written.name, &mut seen));
        routes.push(route(check, &section.index(index), written, &mut parts));
    }
    routes
}

fn route(check: &mut Check<'_>, path: &Path<'_>, written: &RouteDocument, parts: &mut Parts<'_>) -> Route {
    let section = path.key("rules");
    let names: Vec<String> = written
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| rule.name.clone().unwrap_or_else(|| index.to_string()))
        .collect();
    let listeners = route_listeners(check, path, written, parts.listeners);
    let bytes = stream::is_for_bytes(&listeners, parts.listeners);
    if bytes {
        stream::route_keys(check, path, written, (&listeners, parts.listeners));
    }
    let mut seen = Seen::new();
    let mut rules = Vec::with_capacity(written.rules.len());
    for (index, (one, name)) in written.rules.iter().zip(&names).enumerate() {
        unique_name(check, (&section, index), "rule of this route", (name, &mut seen));
        let owner = format!("{}/{name}", written.name);
        let place = Place { owner: &owner, path: &section.index(index) };
        rules.push(match bytes {
            true => stream::rule(check, place, (one, name), parts),
            false => rule(check, place, (one, name), parts),
        });
    }
    Route {
        name: written.name.clone(),
        listeners,
        hostnames: hostnames(check, &path.key("hostnames"), written.hostnames.as_deref().unwrap_or_default()),
        rules,
    }
}

fn route_listeners(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &RouteDocument,
    listeners: &Listeners,
) -> Vec<ListenerIndex> {
    let Some(names) = &written.listeners else {
        if listeners.list.is_empty() && check.names.is_empty(Kind::Listener) {
            let fault = Fault::new("there is no listener that the route could be on");
            check.fault(path, fault.hint("listeners: [{ name: web, address: 0.0.0.0:8080 }]"));
        }
        let is_http = |index: &usize| listeners.list.get(*index).is_some_and(|own| own.protocol.is_http());
        let all: Vec<_> = (0..listeners.list.len()).filter(is_http).collect();
        if let (Some(first), true) = (listeners.list.first(), all.is_empty() && !check.report.has_errors()) {
            let fault = Fault::new("the route names no listener, and there is no HTTP listener");
            check.fault(path, fault.hint(format!("listeners: [{}]", first.name)));
        }
        return all;
    };
    let mut found: Vec<ListenerIndex> = Vec::with_capacity(names.len());
    let section = path.key("listeners");
    for (index, name) in names.iter().enumerate() {
        let place = section.index(index);
        match listeners.by_name.get(name) {
            None => check.dangling(&place, Kind::Listener, name),
            Some(listener) if found.contains(listener) => {
                check.warn(&place, Fault::new(format!("the listener {name:?} is there twice")));
            }
            Some(listener) => found.push(*listener),
        }
    }
    found
}

fn rule(
    check: &mut Check<'_>,
    place: Place<'_>,
    (written, name): (&RuleDocument, &str),
    parts: &mut Parts<'_>,
) -> Rule {
    let path = place.path;
    let matches = matches(check, &path.key("matches"), written, &mut parts.expressions);
    let section = path.key("filters");
    let filters = Place { owner: place.owner, path: &section };
    let filters = rule_filters(check, filters, &written.filters, parts.plugins);
    let action = action(check, path, written, parts.upstreams);
    let by_prefix = matches.iter().all(|one| matches!(one.path, PathPattern::Prefix(_)));
    if !by_prefix {
        replaced_prefixes(check, path, &filters, &action);
    }
    let split = release::split(check, path, written, (&action, parts.upstreams));
    Rule {
        name: name.to_owned(),
        matches,
        filters,
        action,
        split,
        timeouts: timeouts(check, &path.key("timeouts"), written.timeouts.as_ref()),
        retries: retries(check, &path.key("retries"), written.retries.as_ref()),
    }
}

/// Reports rewrites and redirects that replace a prefix although the rule does not match one.
fn replaced_prefixes(check: &mut Check<'_>, path: &Path<'_>, filters: &[Filter], action: &Action) {
    let fault = || {
        Fault::new("there is no prefix to replace: a match of this rule has an exact path or an expression")
            .hint("full replaces the whole path")
    };
    let section = path.key("filters");
    for (index, filter) in filters.iter().enumerate() {
        if let Filter::Rewrite(rewrite) = filter
            && let Some(PathRewrite::Prefix(_)) = rewrite.path
        {
            check.fault(&section.index(index).key("rewrite").key("path").key("prefix"), fault());
        }
    }
    if let Action::Redirect(redirect) = action
        && let Some(PathRewrite::Prefix(_)) = redirect.path
    {
        check.fault(&path.key("redirect").key("path").key("prefix"), fault());
    }
}

/// That exactly one of the actions is there was checked with the shape.
fn action(check: &mut Check<'_>, path: &Path<'_>, written: &RuleDocument, upstreams: &Upstreams) -> Action {
    if let Some(written) = &written.redirect {
        return Action::Redirect(redirect(check, &path.key("redirect"), written));
    }
    if let Some(written) = &written.respond {
        return Action::Respond(respond(check, &path.key("respond"), written));
    }
    let written = written.forward.as_deref().unwrap_or_default();
    let without_weight = "every request is answered with 500";
    let find =
        |check: &mut Check<'_>, path: &Path<'_>, name: &str| upstreams.find_for_requests(check, path, name);
    Action::Forward(forward(check, &path.key("forward"), (written, upstreams, find), without_weight))
}

pub(super) fn forward(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (written, upstreams, find): (
        &[ForwardDocument],
        &Upstreams,
        impl Fn(&mut Check<'_>, &Path<'_>, &str) -> Option<UpstreamIndex>,
    ),
    without_weight: &str,
) -> Vec<WeightedUpstream> {
    let mut shares = Vec::with_capacity(written.len());
    for (index, share) in written.iter().enumerate() {
        let found = find(check, &path.index(index).key("upstream"), &share.upstream);
        let found = found.map(|upstream| match &share.subset {
            Some(labels) => upstreams.subset(check, &path.index(index).key("subset"), upstream, labels),
            None => upstream,
        });
        shares.extend(found.map(|upstream| WeightedUpstream { upstream, weight: share.weight.unwrap_or(1) }));
    }
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    if !shares.is_empty() && total == 0 {
        let fault = Fault::new(format!("all weights are 0, so {without_weight}"));
        check.warn(path, fault.hint("give one of them a weight"));
    }
    if u32::try_from(total).is_err() {
        let fault = Fault::new(format!("the weights add up to {total}"));
        check.fault(path, fault.hint(format!("at most {} together", u32::MAX)));
    }
    shares
}

fn redirect(check: &mut Check<'_>, path: &Path<'_>, written: &RedirectDocument) -> Redirect {
    let hostname = written.hostname.as_ref();
    let hostname = hostname.and_then(|hostname| check.take(&path.key("hostname"), parse_new_host(hostname)));
    let scheme = written.scheme.map(|scheme| match scheme {
        RedirectScheme::Http => "http".to_owned(),
        RedirectScheme::Https => "https".to_owned(),
    });
    Redirect {
        scheme,
        hostname,
        port: written.port,
        path: written.path.as_ref().and_then(|rewrite| path_rewrite(check, &path.key("path"), rewrite)),
        status: written.status.unwrap_or(302),
    }
}

fn respond(check: &mut Check<'_>, path: &Path<'_>, written: &RespondDocument) -> Respond {
    let status = written.status.unwrap_or(200);
    let body = written.body.clone().unwrap_or_default();
    if matches!(status, 204 | 304) && !body.is_empty() {
        let fault = Fault::new(format!("an answer with the status {status} has no body"));
        check.fault(&path.key("body"), fault.hint("leave it out, or take another status"));
    }
    Respond { status, headers: headers(check, &path.key("headers"), &written.headers), body }
}
