//! Which servers an upstream has, and how one is chosen.

use tidegate_config::plan::{Balance, Plan, Session, Upstream};

use super::text::join;

/// The servers of an upstream, with what tells them apart; those of a subset are another upstream's.
pub(super) fn of<'a>(plan: &'a Plan, upstream: &'a Upstream) -> impl Iterator<Item = String> + 'a {
    let whole = upstream.subset.as_ref().and_then(|subset| plan.upstreams.get(subset.of));
    let has = move |server: &&tidegate_config::plan::Server| {
        let Some(subset) = &upstream.subset else { return true };
        subset.labels.iter().all(|(label, value)| server.labels.get(label) == Some(value))
    };
    whole.unwrap_or(upstream).servers.iter().filter(has).map(move |server| {
        let mut text = server.address.clone();
        if server.priority > 0 {
            text.push_str(&format!(" priority {}", server.priority));
        }
        if let (Some(zone), Some(_)) = (&server.zone, &upstream.balancing.zone) {
            text.push_str(&format!(" zone {zone}"));
        }
        text
    })
}

/// How a server of each upstream is chosen, each once.
pub(super) fn all_chosen<'a>(
    upstreams: impl Iterator<Item = &'a Upstream>,
    of_rule: Option<&Session>,
) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for chosen in upstreams.map(|upstream| chosen(upstream, of_rule)) {
        if !chosen.is_empty() && !told.contains(&chosen) {
            told.push(chosen);
        }
    }
    told
}

/// How one of them is chosen, where that is not the usual way.
fn chosen(upstream: &Upstream, of_rule: Option<&Session>) -> String {
    let rules = &upstream.balancing;
    let mut parts = Vec::new();
    let session = of_rule.or(rules.session.as_ref());
    if let Some(session) = session {
        parts.push(format!("the one that {} names", session.carrier));
    }
    if session.is_some() || upstream.balance != Balance::LeastRequest || rules.choices != 2 {
        let mut method =
            format!("{}by {}", if session.is_some() { "else " } else { "" }, upstream.balance.word());
        if upstream.balance.is_by_key() {
            let hash: Vec<String> = rules.hash.iter().map(ToString::to_string).collect();
            method.push_str(&format!(" of {}", hash.join(", else ")));
        }
        if upstream.balance == Balance::LeastRequest && rules.choices != 2 {
            method.push_str(&format!(" of {}", rules.choices));
        }
        parts.push(method);
    }
    if let Some(percent) = rules.bounded_load {
        parts.push(format!("at most {percent} % of the mean load"));
    }
    if let Some(zone) = &rules.zone {
        parts.push(format!("in the zone {zone} first"));
    }
    if let Some(time) = rules.slow_start {
        parts.push(format!("new ones slowly for {time:?}"));
    }
    if parts.is_empty() { String::new() } else { format!("server of {}: {}", upstream.name, join(parts)) }
}
