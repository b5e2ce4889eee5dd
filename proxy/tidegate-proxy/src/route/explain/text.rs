//! Explanations in words.

use std::fmt::{self, Display};
use std::time::Duration;

use tidegate_config::plan::{
    Action, Filter, HeaderChanges, HeadersPause, HostPattern, Isolation, ListenerIndex, Match, PathPattern,
    PathRewrite, Plan, Redirect, Rule, ValuePattern,
};

use super::verdict::{Hurdle, Rank, Verdict};
use super::{Choice, Explanation, Loser, split};
use crate::route::matching::{PathRank, Unmet};

/// Losing rules that are written out; those that came closest are among them.
const SHOWN: usize = 30;

impl Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.request)?;
        if let Some(canonical) = &self.canonical {
            line(
                out,
                "target",
                &format!("{canonical} (in canonical form, as it is matched and sent upstream)"),
            )?;
        }
        match &self.listener {
            Some(name) => line(out, "listener", name)?,
            None => line(out, "listener", "none: the connection is refused")?,
        }
        losers(out, &self.other_listeners)?;
        if let Some(client) = &self.client {
            line(out, "client", client)?;
        }
        match (&self.refused, &self.chosen) {
            (Some(why), _) => line(out, "refused", why)?,
            (None, Some(choice)) => choice.fmt(out)?,
            (None, None) if self.listener.is_some() => line(out, "route", "none: the answer is 404")?,
            (None, None) => {}
        }
        if !self.others.is_empty() {
            line(out, "others", &format!("{} not taken", self.others.len()))?;
            losers(out, &self.others)?;
        }
        Ok(())
    }
}

impl Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(out, "route", &self.route)?;
        line(out, "rule", &format!("{} by {}", self.rule, self.matched))?;
        for (index, filter) in self.filters.iter().enumerate() {
            line(out, if index == 0 { "filters" } else { "" }, &format!("{}. {filter}", index + 1))?;
        }
        for (index, choice) in self.choices.iter().enumerate() {
            line(out, if index == 0 { "choices" } else { "" }, choice)?;
        }
        for (index, action) in self.action.iter().enumerate() {
            line(out, if index == 0 { "action" } else { "" }, action)?;
        }
        for (index, server) in self.left_out.iter().take(SHOWN).enumerate() {
            line(out, if index == 0 { "left out" } else { "" }, server)?;
        }
        if self.left_out.len() > SHOWN {
            line(out, "", &format!("and {} more", self.left_out.len() - SHOWN))?;
        }
        line(out, "timeouts", &self.timeouts)?;
        line(out, "retries", &self.retries)
    }
}

fn line(out: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(out, "{name:<10}{text}")
}

fn losers(out: &mut fmt::Formatter<'_>, losers: &[Loser]) -> fmt::Result {
    for loser in losers.iter().take(SHOWN) {
        writeln!(out, "          - {}: {}", loser.name, loser.why)?;
    }
    if losers.len() > SHOWN {
        writeln!(out, "          - and {} more", losers.len() - SHOWN)?;
    }
    Ok(())
}

/// Why a rule does not match.
pub(super) fn hurdle(plan: &Plan, own: &Verdict, hurdle: &Hurdle) -> String {
    let route = &plan.routes[own.route];
    let Some(best) = route.rules[own.rule].matches.get(own.best) else { return "matches nothing".to_owned() };
    match hurdle {
        Hurdle::Listener => "the route is not on this listener".to_owned(),
        Hurdle::Host if route.hostnames.is_empty() => "the listener does not serve the host".to_owned(),
        Hurdle::Host => {
            let names: Vec<String> = route.hostnames.iter().map(host).collect();
            format!("host: the route is for {}", names.join(", "))
        }
        Hurdle::Broken => "its match cannot be compiled".to_owned(),
        Hurdle::Path => format!("path: is not {}", paths(&route.rules[own.rule])),
        Hurdle::Unmet(Unmet::Method) => {
            format!("method: is not {}", best.method.as_deref().unwrap_or_default())
        }
        Hurdle::Unmet(Unmet::Header(index)) => format!("header: no {}", condition(best.headers.get(*index))),
        Hurdle::Unmet(Unmet::Query(index)) => format!("query: no {}", condition(best.query.get(*index))),
        Hurdle::None(_) => "matches".to_owned(),
    }
}

/// So many of what one is called.
fn many(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// Why a rule that matches loses against the best one.
pub(super) fn less_specific((own_host, own): &Rank, (best_host, best): &Rank) -> String {
    let why = if own_host != best_host {
        "its host is less specific".to_owned()
    } else if own.path != best.path {
        match (own.path, best.path) {
            (PathRank::Prefix(_), PathRank::Prefix(_)) => "its prefix is shorter".to_owned(),
            (PathRank::Regex(_), PathRank::Regex(_)) => "its regular expression is shorter".to_owned(),
            (own, best) => format!("{} goes before {}", kind(best), kind(own)),
        }
    } else if own.method != best.method {
        "it asks for no method".to_owned()
    } else if own.headers != best.headers {
        format!("it asks for {}, the chosen rule for {}", many(own.headers, "header"), best.headers)
    } else if own.query != best.query {
        format!("it asks for {}, the chosen rule for {}", many(own.query, "query parameter"), best.query)
    } else {
        "it is as specific, but comes later in the document".to_owned()
    };
    format!("matches too, but {why}")
}

fn kind(path: PathRank) -> &'static str {
    match path {
        PathRank::Exact(_) => "an exact path",
        PathRank::Regex(_) => "a regular expression",
        PathRank::Prefix(_) => "a prefix",
    }
}

/// The rule in words.
pub(super) fn choice(plan: &Plan, listener: ListenerIndex, own: &Verdict) -> Choice {
    let route = &plan.routes[own.route];
    let rule = &route.rules[own.rule];
    let before = plan.listeners.get(listener).map_or(&[][..], |listener| &listener.filters);
    let filters = before.iter().map(|step| format!("{} (of the listener)", filter(plan, step)));
    let mut choices: Vec<String> = Vec::new();
    for choice in before.iter().chain(&rule.filters).filter_map(|step| choices_of(plan, step)) {
        // The same plugin may be there twice.
        if !choices.contains(&choice) {
            choices.push(choice);
        }
    }
    Choice {
        route: route.name.clone(),
        rule: rule.name.clone(),
        matched: rule.matches.get(own.best).map(matched).unwrap_or_default(),
        filters: filters.chain(rule.filters.iter().map(|step| filter(plan, step))).collect(),
        choices,
        action: [action(plan, rule), split::mirrors(plan, rule)].concat(),
        left_out: Vec::new(),
        timeouts: timeouts(rule),
        retries: retries(plan, rule),
    }
}

/// As [`choice`] for a connection.
pub(super) fn connection(plan: &Plan, listener: ListenerIndex, own: &Verdict, matched: String) -> Choice {
    let idle = plan.routes[own.route].rules[own.rule].timeouts.idle;
    let mut choice = choice(plan, listener, own);
    let Action::Forward(targets) = &plan.routes[own.route].rules[own.rule].action else { return choice };
    if targets.iter().all(|target| target.weight == 0) {
        choice.action = vec!["the connection is closed: no upstream has any weight".to_owned()];
    }
    let connect: Vec<Duration> = targets
        .iter()
        .filter_map(|target| plan.upstreams.get(target.upstream).map(|upstream| upstream.connect_timeout))
        .collect();
    let connect = connect.iter().max().map(|time| format!("connect {time:?}, ")).unwrap_or_default();
    Choice { matched, timeouts: format!("{connect}idle {idle:?}"), ..choice }
}

fn matched(own: &Match) -> String {
    let mut parts = vec![path(&own.path)];
    parts.extend(own.method.as_ref().map(|method| format!("method {method}")));
    parts.extend(own.headers.iter().map(|one| format!("header {}", condition(Some(one)))));
    parts.extend(own.query.iter().map(|one| format!("query {}", condition(Some(one)))));
    parts.join(", ")
}

fn paths(rule: &Rule) -> String {
    let mut patterns: Vec<String> = rule.matches.iter().map(|own| path(&own.path)).collect();
    patterns.dedup();
    patterns.join(" or ")
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => format!("exact path {path}"),
        PathPattern::Prefix(path) => format!("prefix {path}"),
        PathPattern::Regex(pattern) => format!("path like {pattern}"),
    }
}

fn condition(condition: Option<&(String, ValuePattern)>) -> String {
    match condition {
        Some((name, ValuePattern::Exact(value))) => format!("{name}: {value}"),
        Some((name, ValuePattern::Regex(pattern))) => format!("{name} like {pattern}"),
        None => String::new(),
    }
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    }
}

fn filter(plan: &Plan, filter: &Filter) -> String {
    match filter {
        Filter::Plugin(index) => {
            let Some(plugin) = plan.plugins.get(*index) else { return "plugin".to_owned() };
            let each = (plugin.isolation != Isolation::Worker)
                .then(|| format!("an instance for each {}", plugin.isolation.word()));
            let own = plan.plugins.iter().find(|own| own.key == plugin.name);
            let narrowed = own.map(|own| plugin.limits.differing(&own.limits)).unwrap_or_default();
            let narrowed = (!narrowed.is_empty()).then(|| format!("narrowed to {}", join(narrowed)));
            let stops = plugin.on_headers_pause == HeadersPause::StopAll;
            let stops = stops.then(|| "bodies wait while it pauses headers".to_owned());
            let canary = plugin.canary.as_deref().map(split::canary);
            match join(each.into_iter().chain(stops).chain(narrowed).chain(canary)) {
                notes if notes.is_empty() => format!("plugin {}", plugin.key),
                notes => format!("plugin {} ({notes})", plugin.key),
            }
        }
        Filter::RequestHeaders(changes) => format!("request headers: {}", header_changes(changes)),
        Filter::ResponseHeaders(changes) => format!("response headers: {}", header_changes(changes)),
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_ref().map(|name| format!("host to {name}"));
            let path = rewrite.path.as_ref().map(path_rewrite);
            format!("rewrite: {}", join(host.into_iter().chain(path)))
        }
    }
}

/// Where a plugin may send requests that it meets. None: only where the rule sends them.
fn choices_of(plan: &Plan, filter: &Filter) -> Option<String> {
    let Filter::Plugin(index) = filter else { return None };
    let plugin = plan.plugins.get(*index)?;
    let granted = &plugin.capabilities;
    let may = |kind: &str, function: &str, names: Option<&Vec<String>>| match names {
        _ if !granted.may_call_foreign(function) => None,
        None => Some(format!("any {kind}")),
        Some(names) if names.is_empty() => None,
        Some(names) => Some(format!("{kind} {}", names.join(" or "))),
    };
    let places = [
        may("upstream", "tidegate_set_upstream", granted.forward_to.as_ref()),
        may("route", "tidegate_set_route", granted.route_to.as_ref()),
    ];
    let places: Vec<String> = places.into_iter().flatten().collect();
    (!places.is_empty()).then(|| format!("plugin {} may choose {}", plugin.key, places.join(", ")))
}

/// Names only: values may be secrets.
fn header_changes(changes: &HeaderChanges) -> String {
    let names = |verb: &'static str, pairs: &[(String, String)]| {
        pairs.iter().map(|(name, _)| format!("{verb} {name}")).collect::<Vec<_>>()
    };
    let removed = changes.remove.iter().map(|name| format!("remove {name}"));
    join(names("set", &changes.set).into_iter().chain(names("add", &changes.add)).chain(removed))
}

fn path_rewrite(rewrite: &PathRewrite) -> String {
    match rewrite {
        PathRewrite::Full(path) => format!("path to {path}"),
        PathRewrite::Prefix(prefix) => format!("matched prefix to {prefix}"),
    }
}

fn action(plan: &Plan, rule: &Rule) -> Vec<String> {
    match &rule.action {
        Action::Forward(upstreams) => split::forward(plan, rule, upstreams),
        Action::Redirect(redirect) => vec![redirected(redirect)],
        Action::Respond(respond) => {
            vec![format!("answer {}, {}", respond.status, many(respond.body.len(), "byte"))]
        }
    }
}

fn redirected(redirect: &Redirect) -> String {
    let parts = [
        redirect.scheme.as_ref().map(|scheme| format!("scheme {scheme}")),
        redirect.hostname.as_ref().map(|host| format!("host {host}")),
        redirect.port.map(|port| format!("port {port}")),
        redirect.path.as_ref().map(path_rewrite),
    ];
    format!("redirect with {}: {}", redirect.status, join(parts.into_iter().flatten()))
}

fn timeouts(rule: &Rule) -> String {
    let limit = |name: &str, limit: Option<Duration>| limit.map(|limit| format!("{name} {limit:?}"));
    let timeouts = &rule.timeouts;
    let heeded = |name: &str, heeds: bool| heeds.then(|| format!("{name} of the request"));
    let parts = [
        limit("request", timeouts.request),
        limit("attempt", timeouts.attempt),
        limit("idle", Some(timeouts.idle)),
        limit("stream", timeouts.stream),
        heeded("grpc-timeout", timeouts.deadlines.grpc),
        heeded("x-request-deadline", timeouts.deadlines.header),
    ];
    join(parts.into_iter().flatten())
}

fn retries(plan: &Plan, rule: &Rule) -> String {
    let retries = &rule.retries;
    let hedge =
        retries.hedge.map(|hedge| format!("{} more beside one after {:?}", hedge.attempts, hedge.after));
    if retries.attempts == 0 || retries.on.is_empty() && !retries.by_header {
        return hedge.unwrap_or_else(|| "none".to_owned());
    }
    let named = retries.by_header.then(|| "or what x-tidegate-retry-on names".to_owned());
    let on = join(retries.on.iter().map(|on| on.word()).chain(named));
    let any = retries.non_idempotent.then(|| "any method".to_owned());
    let kept = retries.body_limit.filter(|&limit| limit > 0);
    let body = kept.map(|limit| format!("bodies up to {limit} bytes"));
    let targets = if let Action::Forward(targets) = &rule.action { targets.as_slice() } else { &[] };
    let upstreams = targets.iter().filter_map(|target| plan.upstreams.get(target.upstream));
    let bounds = upstreams.flat_map(|upstream| {
        let limit = upstream.limits.retries.map(|limit| format!("{limit} at one time at {}", upstream.name));
        let budget = upstream.retry_budget.map(|budget| {
            let (percent, name) = (budget.percent, &upstream.name);
            format!("{percent}% of the requests at {name}, {} a second in any case", budget.min)
        });
        limit.into_iter().chain(budget)
    });
    let rest = any.into_iter().chain(body).chain(hedge).chain(bounds);
    let rest: String = rest.map(|part| format!("; {part}")).collect();
    format!("up to {} on {on}{rest}", retries.attempts)
}

/// Parts of a line.
pub(super) fn join(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(", ")
}
