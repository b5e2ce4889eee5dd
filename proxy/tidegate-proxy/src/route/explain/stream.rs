//! What would become of a connection.

use tidegate_config::plan::{ListenerIndex, Plan, Protocol};

use super::verdict::{Hurdle, Verdict};
use super::{ExplainRequest, Explanation, Loser, listener, text};
use crate::route::StreamTable;
use crate::route::host::with_normal;

/// Explains what a gateway with this plan would do with a connection.
pub(super) fn explain(plan: &Plan, request: &ExplainRequest) -> Explanation {
    let port = request.port.map(|port| format!(":{port}")).unwrap_or_default();
    let (taken, other_listeners) = listener::choose(plan, request);
    let mut explanation = Explanation {
        request: format!("{}://{}{port}", request.scheme, request.host),
        other_listeners,
        ..Explanation::default()
    };
    let Some(own) = taken.and_then(|index| plan.listeners.get(index)) else { return explanation };
    explanation.listener = Some(own.name.clone());
    // In clear text nobody says which host is meant.
    let name = if own.protocol == Protocol::Tls { request.host.as_str() } else { "" };
    let winner = taken.and_then(|index| StreamTable::build(plan, index).find(name.as_bytes()));
    let Some(winner) = winner else {
        let why = match own.protocol {
            Protocol::Tls => format!("no route is for the host {name}: the connection is closed"),
            _ => "the listener has no route: the connection is closed".to_owned(),
        };
        return Explanation { refused: Some(why), ..explanation };
    };
    add_rules(&mut explanation, plan, taken.unwrap_or_default(), (name, winner));
    explanation
}

fn add_rules(
    explanation: &mut Explanation,
    plan: &Plan,
    listener: ListenerIndex,
    (name, winner): (&str, usize),
) {
    let mut first_id = 0;
    for (index, route) in plan.routes.iter().enumerate() {
        let of_listener = route.listeners.contains(&listener);
        for rule in 0..route.rules.len() {
            let hurdle = if of_listener { Hurdle::Host } else { Hurdle::Listener };
            let own = Verdict { route: index, rule, best: 0, hurdle };
            if first_id + rule == winner {
                let matched = match route.hostnames.as_slice() {
                    [] => "all connections".to_owned(),
                    _ => format!("host {name}"),
                };
                explanation.chosen = Some(text::connection(plan, listener, &own, matched));
                continue;
            }
            let why = match (of_listener, route.hostnames.is_empty() || has(route, name)) {
                (true, true) => "its host is less specific".to_owned(),
                _ => text::hurdle(plan, &own, &own.hurdle),
            };
            explanation
                .others
                .push(Loser { name: format!("{}/{}", route.name, route.rules[rule].name), why });
        }
        first_id += route.rules.len();
    }
}

fn has(route: &tidegate_config::plan::Route, name: &str) -> bool {
    with_normal(name.as_bytes(), |host| {
        crate::route::host::intersect(&route.hostnames, &[]).iter().any(|key| key.has(host))
    })
}
