//! Questions about requests: what the running configuration does with one, and what a candidate would do otherwise.

use std::net::IpAddr;
use std::path::Path;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_config::plan::{Action, HostPattern, Match, PathPattern, Plan, Protocol, Route, ValuePattern};
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
    let request = request(&asked)?;
    let snapshot = shown.gateway.snapshot().ok_or_else(nothing_runs)?;
    let plan = snapshot.plan();
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
    let asked = candidate.requests.iter().map(request).collect::<Result<Vec<_>, _>>()?;
    let snapshot = shown.gateway.snapshot().ok_or_else(nothing_runs)?;
    let source = SourceText { name: "candidate".to_owned(), text: candidate.document.clone() };
    let base = if shown.main.is_dir() { Some(shown.main.as_path()) } else { shown.main.parent() };
    let loaded = match tidegate_config::load(&[source], base.unwrap_or(Path::new(".")), &Unread) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let problems = problems.into_iter().map(|found| problem(&found)).collect();
            return Ok(Differences { problems, warnings: Vec::new(), compared: 0, changes: Vec::new() });
        }
    };
    let requests = if asked.is_empty() { of_both(snapshot.plan(), &loaded.plan) } else { asked };
    Ok(Differences {
        problems: Vec::new(),
        warnings: loaded.warnings.iter().map(problem).collect(),
        compared: requests.len(),
        changes: requests
            .iter()
            .filter_map(|request| change(snapshot.plan(), &loaded.plan, request))
            .collect(),
    })
}

fn request(asked: &Asked) -> Result<ExplainRequest, AdminError> {
    inspect::request(&asked.method, &asked.url, asked.client_address, &asked.headers)
        .map_err(|error| AdminError::new(StatusCode::BAD_REQUEST, format!("{error:#}")))
}

fn nothing_runs() -> AdminError {
    AdminError::new(StatusCode::SERVICE_UNAVAILABLE, "no configuration runs yet")
}

fn change(before: &Plan, after: &Plan, request: &ExplainRequest) -> Option<Change> {
    let (old, new) = (tidegate_proxy::explain(before, request), tidegate_proxy::explain(after, request));
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
        port: listener
            .and_then(|listener| listener.addresses.first())
            .map(|address| address.port())
            .filter(|port| *port != 0),
        path_and_query: if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) },
        headers: own.headers.iter().map(|(name, pattern)| (name.clone(), value(pattern))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        let source = SourceText { name: "t".to_owned(), text: text.to_owned() };
        tidegate_config::load(&[source], Path::new("/"), &Unread).expect("it is right").plan
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
            (plan(BEFORE), plan(&BEFORE.replace("{ prefix: /orders }", "{ exact: /orders }")));
        let requests = of_both(&before, &after);
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(requests.iter().all(|request| change(&before, &after, request).is_none()));
        let inside = ExplainRequest { path_and_query: "/orders/7".to_owned(), ..requests[0].clone() };
        let change = change(&before, &after, &inside).expect("another rule takes it");
        assert_eq!(
            change.differs[0],
            Differs { what: "rule", before: "shop/orders".to_owned(), after: "shop/rest".to_owned() }
        );
    }

    #[test]
    fn secrets_of_a_candidate_are_not_read() {
        let text = BEFORE.replace("name: rest", "name: '${file:/etc/hostname}'");
        let names: Vec<_> = plan(&text).routes[0].rules.iter().map(|rule| rule.name.clone()).collect();
        assert_eq!(names, ["orders", PLACEHOLDER]);
    }
}
