//! Questions about requests: what the running configuration does with one, and what a candidate would do otherwise.

mod settings;

use std::net::IpAddr;
use std::path::Path;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_config::plan::{
    Action, HostPattern, Listener, Match, PathPattern, Plan, Protocol, Route, ValuePattern,
};
use tidegate_config::{Secrets, SourceText};
use tidegate_proxy::{Choice, ExplainRequest, Explanation};

use super::Shown;
use super::answer::{AdminError, problem};
use super::servers::why_not;
use crate::inspect;

/// A request as it is asked about.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Asked {
    /// None for a connection.
    #[serde(default)]
    pub(crate) method: String,
    /// The whole address.
    pub(crate) url: String,
    /// The listener that takes it, in place of the port of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
    /// The other end of the connection, which decides whether what it says of its client is believed.
    pub(crate) client_address: Option<IpAddr>,
    /// Names and values.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
}

/// A configuration that might come.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Candidate {
    /// YAML or JSON.
    document: String,
    /// Requests that matter; none: one for each match of both configurations.
    #[serde(default)]
    requests: Vec<Asked>,
}

/// What `/diff` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Differences {
    problems: Vec<Value>,
    warnings: Vec<Value>,
    compared: usize,
    changes: Vec<Change>,
}

/// A request that would be treated otherwise.
#[derive(Debug, Serialize)]
struct Change {
    request: String,
    differs: Vec<Differs>,
}

/// In what.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Differs {
    what: &'static str,
    before: String,
    after: String,
}

/// What the running configuration does with a request.
pub(super) fn explain(shown: &Shown, asked: Asked) -> Result<Explanation, AdminError> {
    let snapshot = shown.gateway.snapshot().ok_or_else(nothing_runs)?;
    let plan = snapshot.plan();
    let request = request(&asked, plan)?;
    let mut told = tidegate_proxy::explain(plan, &request);
    if let Some(choice) = &mut told.chosen {
        let left_out =
            |name: &str| shown.gateway.servers(name).unwrap_or_default().iter().filter_map(why_not).collect();
        choice.left_out = upstreams(plan, choice).flat_map::<Vec<String>, _>(left_out).collect();
    }
    Ok(told)
}

/// Where a rule forwards to, by name.
fn upstreams<'a>(plan: &'a Plan, choice: &Choice) -> impl Iterator<Item = &'a str> {
    let route = plan.routes.iter().find(|route| route.name == choice.route);
    let rule = route.and_then(|route| route.rules.iter().find(|rule| rule.name == choice.rule));
    let targets = match rule.map(|rule| &rule.action) {
        Some(Action::Forward(targets)) => targets.as_slice(),
        _ => &[],
    };
    targets.iter().filter_map(|target| Some(plan.upstreams.get(target.upstream)?.name.as_str()))
}

/// What a candidate does otherwise.
pub(super) fn diff(shown: &Shown, candidate: &Candidate) -> Result<Differences, AdminError> {
    let snapshot = shown.gateway.snapshot().ok_or_else(nothing_runs)?;
    let asked = candidate.requests.iter().map(|asked| request(asked, snapshot.plan()));
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    let source = SourceText { name: "candidate".to_owned(), text: candidate.document.clone() };
    let base = if shown.main.is_dir() { Some(shown.main.as_path()) } else { shown.main.parent() };
    let loaded = match tidegate_config::load(&[source], base.unwrap_or(Path::new(".")), &Unread) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let problems = problems.into_iter().map(|found| problem(&found)).collect();
            return Ok(Differences { problems, warnings: Vec::new(), compared: 0, changes: Vec::new() });
        }
    };
    let running = shown.status.current.borrow().as_ref().map_or(Value::Null, |live| live.document.clone());
    let before = Side { plan: snapshot.plan(), document: &running };
    let after = Side { plan: &loaded.plan, document: &loaded.redacted };
    let requests = if asked.is_empty() { of_both(snapshot.plan(), &loaded.plan) } else { asked };
    Ok(Differences {
        problems: Vec::new(),
        warnings: loaded.warnings.iter().map(problem).collect(),
        compared: requests.len(),
        changes: requests.iter().filter_map(|request| change(&before, &after, request)).collect(),
    })
}

fn request(asked: &Asked, plan: &Plan) -> Result<ExplainRequest, AdminError> {
    let wrong = |why: String| AdminError::new(StatusCode::BAD_REQUEST, why);
    let request = inspect::request(&asked.method, &asked.url, asked.client_address, &asked.headers);
    let mut request = request.map_err(|error| wrong(format!("{error:#}")))?;
    if let Some(name) = &asked.listener {
        let Some(listener) = plan.listeners.iter().find(|listener| listener.name == *name) else {
            return Err(wrong(format!("listener {name:?}: nothing of that name runs")));
        };
        request.port = own_port(listener);
    }
    Ok(request)
}

/// The port of a listener; none where the system chooses it.
fn own_port(listener: &Listener) -> Option<u16> {
    listener.addresses.first().map(|address| address.port()).filter(|port| *port != 0)
}

fn nothing_runs() -> AdminError {
    AdminError::new(StatusCode::SERVICE_UNAVAILABLE, "no configuration runs yet")
}

/// A configuration: what is in force, and the document without secrets, by which settings are compared.
struct Side<'a> {
    plan: &'a Plan,
    document: &'a Value,
}

fn change(before: &Side<'_>, after: &Side<'_>, request: &ExplainRequest) -> Option<Change> {
    let [old, new] = [before, after].map(|side| tidegate_proxy::explain(side.plan, request));
    let mut differs = Vec::new();
    let mut compare = |what, of: &dyn Fn(&Explanation) -> String| {
        let (before, after) = (of(&old), of(&new));
        if before != after {
            differs.push(Differs { what, before, after });
        }
    };
    compare("listener", &|told| told.listener.clone().unwrap_or_default());
    compare("refused", &|told| told.refused.clone().unwrap_or_default());
    let chosen = |of: fn(&tidegate_proxy::Choice) -> String| {
        move |told: &Explanation| told.chosen.as_ref().map(of).unwrap_or_default()
    };
    compare("rule", &chosen(|choice| format!("{}/{}", choice.route, choice.rule)));
    compare("filters", &chosen(|choice| choice.filters.join(", ")));
    compare("action", &chosen(|choice| choice.action.join("; ")));
    compare("timeouts", &chosen(|choice| choice.timeouts.clone()));
    compare("retries", &chosen(|choice| choice.retries.clone()));
    // Where another rule takes it, everything may differ.
    if let (Some(one), Some(other)) = (&old.chosen, &new.chosen)
        && (&one.route, &one.rule) == (&other.route, &other.rule)
    {
        let told: Vec<&str> = differs.iter().map(|differs| differs.what).collect();
        let found = settings::compare((before, &old), (after, &new), &told);
        differs.extend(found.into_iter().map(|(before, after)| Differs { what: "settings", before, after }));
    }
    (!differs.is_empty()).then(|| Change { request: old.request.clone(), differs })
}

/// A candidate may name any secret of the machine; who asks is not to learn them by way of what is answered.
struct Unread;

/// Long enough for what has a least length.
const PLACEHOLDER: &str = "a-value-that-is-not-read-here";

impl Secrets for Unread {
    fn env(&self, _: &str) -> Result<String, String> {
        Ok(PLACEHOLDER.to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Ok(PLACEHOLDER.to_owned())
    }
}

/// One request for each match of two configurations, each once.
fn of_both(before: &Plan, after: &Plan) -> Vec<ExplainRequest> {
    let mut requests: Vec<ExplainRequest> = Vec::new();
    for plan in [before, after] {
        for route in &plan.routes {
            for own in route.rules.iter().flat_map(|rule| &rule.matches) {
                let request = example(plan, route, own);
                if !requests.contains(&request) {
                    requests.push(request);
                }
            }
        }
    }
    requests
}

/// A request that a match is for, as far as one can be made: expressions are not solved.
fn example(plan: &Plan, route: &Route, own: &Match) -> ExplainRequest {
    let listener = route.listeners.first().and_then(|index| plan.listeners.get(*index));
    let host = route.hostnames.first().or_else(|| listener.and_then(|listener| listener.hostnames.first()));
    let value = |pattern: &ValuePattern| match pattern {
        ValuePattern::Exact(text) | ValuePattern::Regex(text) => text.clone(),
    };
    let path = match &own.path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) | PathPattern::Regex(path) => path.clone(),
    };
    let query: Vec<_> =
        own.query.iter().map(|(name, pattern)| format!("{name}={}", value(pattern))).collect();
    let scheme = match listener.map(|listener| listener.protocol) {
        Some(Protocol::Https) => "https",
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Tls) => "tls",
        Some(Protocol::Http) | None => "http",
    };
    ExplainRequest {
        method: own.method.clone().unwrap_or_else(|| "GET".to_owned()),
        scheme: scheme.to_owned(),
        client: None,
        host: match host {
            Some(HostPattern::Exact(name)) => name.clone(),
            Some(HostPattern::Wildcard(suffix)) => format!("any{suffix}"),
            None => "any.example".to_owned(),
        },
        port: listener.and_then(own_port),
        path_and_query: if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) },
        headers: own.headers.iter().map(|(name, pattern)| (name.clone(), value(pattern))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::Loaded;

    fn load(text: &str) -> Loaded {
        let source = SourceText { name: "t".to_owned(), text: text.to_owned() };
        tidegate_config::load(&[source], Path::new("/"), &Unread).expect("it is right")
    }

    fn plan(text: &str) -> Plan {
        load(text).plan
    }

    /// What differs for the first of the requests that are made up.
    fn differs(before: &str, after: &str) -> Vec<(&'static str, String, String)> {
        let (before, after) = (load(before), load(after));
        let [old, new] = [&before, &after].map(|one| Side { plan: &one.plan, document: &one.redacted });
        let requests = of_both(&before.plan, &after.plan);
        let change = change(&old, &new, &requests[0]).map(|change| change.differs).unwrap_or_default();
        change.into_iter().map(|differs| (differs.what, differs.before, differs.after)).collect()
    }

    const BEFORE: &str = "
listeners: [{ name: web, address: 127.0.0.1:8080 }]
routes:
  - name: shop
    hostnames: [shop.example]
    rules:
      - { name: orders, matches: [{ path: { prefix: /orders } }], forward: [{ upstream: a }] }
      - { name: rest, forward: [{ upstream: b }] }
upstreams: { a: { servers: [127.0.0.1:1] }, b: { servers: [127.0.0.1:2] } }
";

    #[test]
    fn only_what_differs_is_told() {
        let (before, after) =
            (load(BEFORE), load(&BEFORE.replace("{ prefix: /orders }", "{ exact: /orders }")));
        let requests = of_both(&before.plan, &after.plan);
        let [before, after] = [&before, &after].map(|one| Side { plan: &one.plan, document: &one.redacted });
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(requests.iter().all(|request| change(&before, &after, request).is_none()));
        let inside = ExplainRequest { path_and_query: "/orders/7".to_owned(), ..requests[0].clone() };
        let change = change(&before, &after, &inside).expect("another rule takes it");
        assert_eq!(
            change.differs[0],
            Differs { what: "rule", before: "shop/orders".to_owned(), after: "shop/rest".to_owned() }
        );
    }

    /// A plugin in a rule, with settings everywhere.
    const SET: &str = "
listeners: [{ name: web, address: 127.0.0.1:8080, filters: [{ plugin: first }] }]
plugins:
  first: { module: a.wasm, config: { mode: strict } }
  second: { module: b.wasm, config: { key: secret-1, mode: strict } }
routes:
  - name: shop
    rules:
      - name: all
        filters: [{ requestHeaders: { set: { x-a: b } } }, { plugin: second, config: { mode: own } }]
        forward: [{ upstream: a }]
        timeouts: { request: 5s }
upstreams: { a: { servers: [127.0.0.1:1] } }
";

    #[test]
    fn what_words_do_not_tell_is_told_by_its_settings() {
        assert_eq!(differs(SET, SET), []);
        for (old, new, path, before, after) in [
            ("x-a: b", "x-a: c", "filters.0.requestHeaders.set.x-a", "\"b\"", "\"c\""),
            ("mode: own", "mode: other", "filters.1.config.mode", "\"own\"", "\"other\""),
            ("first: { module: a", "first: { module: c", "plugins.first.module", "\"a.wasm\"", "\"c.wasm\""),
            (
                "config: { mode: strict } }",
                "config: { mode: lax } }",
                "plugins.first.config.mode",
                "\"strict\"",
                "\"lax\"",
            ),
            (
                "servers: [127.0.0.1:1] }",
                "servers: [127.0.0.1:1], ejection: false }",
                "upstreams.a.ejection",
                "",
                "false",
            ),
        ] {
            let found = differs(SET, &SET.replacen(old, new, 1));
            let told = |value: &str| match value {
                "" => String::new(),
                value => format!("{path}: {value}"),
            };
            assert_eq!(found, [("settings", told(before), told(after))], "{old} -> {new}");
        }
        // What words tell is told once.
        assert_eq!(differs(SET, &SET.replace("[127.0.0.1:1]", "[127.0.0.1:2], balance: random")).len(), 1);
        assert_eq!(differs(SET, &SET.replace("request: 5s", "request: 6s")).len(), 1);
    }

    #[test]
    fn settings_of_a_difference_hold_no_secret() {
        assert_eq!(differs(SET, &SET.replace("secret-1", "secret-2")), []);
        let found = differs(SET, &SET.replace("key: secret-1", "key: '${file:key}'"));
        let (_, before, after) = &found[0];
        assert_eq!(before, "plugins.second.config.key: \"(redacted)\"");
        assert_eq!(after, "plugins.second.config.key: \"${file:key}\"");
    }

    #[test]
    fn secrets_of_a_candidate_are_not_read() {
        let text = BEFORE.replace("name: rest", "name: '${file:/etc/hostname}'");
        let names: Vec<_> = plan(&text).routes[0].rules.iter().map(|rule| rule.name.clone()).collect();
        assert_eq!(names, ["orders", PLACEHOLDER]);
    }
}
