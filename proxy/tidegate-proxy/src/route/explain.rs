//! Says which listener, route and rule a request would be for, why all others lose, and what would be done with it.
//!
//! The winner comes from the same [`RouteTable`] that serves requests; the reasons come from looking at each match alone.

mod client;
mod listener;
mod servers;
mod split;
mod stream;
mod text;
mod verdict;

use std::cmp::Reverse;
use std::net::SocketAddr;

use http::request::Parts;
use http::{Request, header};
use serde::Serialize;
use tidegate_config::plan::{ListenerIndex, Plan};

use self::verdict::{Hurdle, Verdict};
use super::RouteTable;
use super::host::with_normal;
use super::table::path_of;
use crate::http::sanitize;

/// A request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExplainRequest {
    /// The method, upper case.
    pub method: String,
    /// `http` or `https`; for a connection `tcp` or `tls`, where method, path and headers do not count.
    pub scheme: String,
    /// The host, maybe with a port.
    pub host: String,
    /// The port that the client connects to; none: any port of the scheme's listeners.
    pub port: Option<u16>,
    /// The path as the client sends it, with its query.
    pub path_and_query: String,
    /// Where the connection comes from, where that is known.
    pub client: Option<SocketAddr>,
    /// Further header fields. A `host` among them takes the place of [`host`](Self::host).
    pub headers: Vec<(String, String)>,
}

/// What would be done with a request, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The request in one line.
    pub request: String,
    /// The name of the listener that takes it.
    pub listener: Option<String>,
    /// Listeners that do not take it, in the order of the document.
    pub other_listeners: Vec<Loser>,
    /// Who is taken for the client, and why, where that may be another one than the connection's.
    pub client: Option<String>,
    /// The target that rules are matched on and that is sent upstream, where it is not the one of the request.
    pub canonical: Option<String>,
    /// Why the request is refused before a rule is looked for, or the connection closed.
    pub refused: Option<String>,
    /// The rule for the request; none: the answer is 404.
    pub chosen: Option<Choice>,
    /// Rules that are not for the request, those that came closest first.
    pub others: Vec<Loser>,
}

/// The rule for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The route's name.
    pub route: String,
    /// The rule's name.
    pub rule: String,
    /// What of the rule matches.
    pub matched: String,
    /// Filters of listener and rule in request order.
    pub filters: Vec<String>,
    /// Of these the plugins that may choose another upstream or route, and which.
    pub choices: Vec<String>,
    /// Forward, redirect or answer, a line for each upstream.
    pub action: Vec<String>,
    /// Servers of these upstreams to which no requests go now, and why; of a gateway that runs, else there are none.
    pub left_out: Vec<String>,
    /// Time limits.
    pub timeouts: String,
    /// When attempts are repeated.
    pub retries: String,
}

/// What is not for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loser {
    /// A listener's name, or `route/rule`.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// Explains what a gateway with this plan would do with a request. Pure: nothing is connected or read.
#[must_use]
pub fn explain(plan: &Plan, request: &ExplainRequest) -> Explanation {
    if matches!(request.scheme.as_str(), "tcp" | "tls") {
        return stream::explain(plan, request);
    }
    let mut explanation = Explanation {
        request: format!(
            "{} {}://{}{}",
            request.method, request.scheme, request.host, request.path_and_query
        ),
        ..Explanation::default()
    };
    let (listener, others) = listener::choose(plan, request);
    explanation.other_listeners = others;
    explanation.listener =
        listener.and_then(|index| plan.listeners.get(index)).map(|listener| listener.name.clone());
    let head = match head(request).and_then(sanitized) {
        Ok(head) => head,
        Err(why) => return Explanation { refused: Some(why), ..explanation },
    };
    let target = head.uri.to_string();
    if target != request.path_and_query {
        explanation.canonical = Some(target);
    }
    explanation.client =
        listener.and_then(|index| plan.listeners.get(index)).and_then(|own| client::of(own, request, &head));
    if let Some(listener) = listener {
        match RouteTable::build(plan, listener) {
            Ok(table) => add_rules(&mut explanation, plan, listener, &table, &head),
            Err(error) => explanation.refused = Some(format!("the listener cannot start: {error}")),
        }
    }
    explanation
}

/// Why a request is for its rule and not for others, with the table that has served it.
pub(crate) fn candidates(
    plan: &Plan,
    listener: ListenerIndex,
    table: &RouteTable,
    head: &Parts,
) -> Explanation {
    let mut explanation = Explanation::default();
    add_rules(&mut explanation, plan, listener, table, head);
    explanation
}

/// The head as a parser would give it.
fn head(request: &ExplainRequest) -> Result<Parts, String> {
    let target = match request.path_and_query.as_str() {
        "" => "/",
        target => target,
    };
    // A client keeps the fragment to itself.
    let target = target.split('#').next().unwrap_or_default();
    let mut builder = Request::builder().method(request.method.as_str()).uri(target);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        builder = builder.header(header::HOST, &request.host);
    }
    let request = builder.body(()).map_err(|error| format!("not a request: {error}"))?;
    Ok(request.into_parts().0)
}

fn sanitized(mut head: Parts) -> Result<Parts, String> {
    match sanitize::request(&mut head) {
        Ok(_) => Ok(head),
        Err(fail) => Err(match fail.source {
            Some(source) => source.to_string(),
            None => format!("the method {} is not passed on", head.method),
        }),
    }
}

fn add_rules(
    explanation: &mut Explanation,
    plan: &Plan,
    listener: ListenerIndex,
    table: &RouteTable,
    head: &Parts,
) {
    let host = head.headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let winner = table.find(host, head).map(|found| (found.route, found.rule));
    let verdicts = with_normal(host, |host| verdict::all(plan, listener, host, path_of(head), head));
    let best = winner.and_then(|winner| verdicts.iter().find(|own| (own.route, own.rule) == winner));
    explanation.chosen = best.map(|best| text::choice(plan, listener, best));
    let mut others: Vec<&Verdict> =
        verdicts.iter().filter(|own| Some((own.route, own.rule)) != winner).collect();
    others.sort_by_key(|own| Reverse(own.hurdle.progress()));
    explanation.others = others.into_iter().map(|own| loser(plan, own, best)).collect();
}

fn loser(plan: &Plan, own: &Verdict, best: Option<&Verdict>) -> Loser {
    let route = &plan.routes[own.route];
    let rule = &route.rules[own.rule];
    let why = match (&own.hurdle, best.map(|best| &best.hurdle)) {
        (Hurdle::None(rank), Some(Hurdle::None(best))) => text::less_specific(rank, best),
        (hurdle, _) => text::hurdle(plan, own, hurdle),
    };
    Loser { name: format!("{}/{}", route.name, rule.name), why }
}

#[cfg(test)]
mod tests;
