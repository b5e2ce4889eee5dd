//! How requests are shared out and copied, in words.

use tidegate_config::plan::{Bounds, Canary, Course, Plan, Rule, Sticky, WeightedUpstream};

use super::servers;
use super::text::join;

/// The upstreams of a rule, a line for each.
pub(super) fn forward(plan: &Plan, rule: &Rule, upstreams: &[WeightedUpstream]) -> Vec<String> {
    let release = rule.split.release.as_ref();
    let is_new = |own: &WeightedUpstream| release.is_some_and(|release| release.to == own.upstream);
    let total: u64 = upstreams.iter().filter(|own| !is_new(own)).map(|own| u64::from(own.weight)).sum();
    if total == 0 && release.is_none() {
        return vec!["answer 500: no upstream has any weight".to_owned()];
    }
    let line = |own: &WeightedUpstream| {
        let Some(upstream) = plan.upstreams.get(own.upstream) else { return String::new() };
        let servers = match &upstream.discover {
            Some(source) => format!("servers by {source}"),
            None => join(servers::of(plan, upstream)),
        };
        let checks = upstream.health.as_ref().map_or_else(String::new, |health| format!(", {health}"));
        let share = match release {
            Some(release) if is_new(own) => format!(", which takes over: {}", course(&release.course)),
            Some(_) => format!(" for {} of {total} of the rest", own.weight),
            None if upstreams.len() > 1 => format!(" for {} of {total}", own.weight),
            None => String::new(),
        };
        format!("forward to {}{share} ({servers}{checks})", upstream.name)
    };
    let sticky = rule.split.sticky.as_ref().map(sticky);
    let named = upstreams.iter().filter_map(|own| plan.upstreams.get(own.upstream));
    let chosen = servers::all_chosen(named, rule.split.session.as_ref());
    upstreams.iter().map(line).chain(sticky).chain(chosen).collect()
}

/// The copies of a rule's requests, a line for each.
pub(super) fn mirrors(plan: &Plan, rule: &Rule) -> Vec<String> {
    let line = |own: &tidegate_config::plan::Mirror| {
        let upstream = plan.upstreams.get(own.upstream)?;
        let host = match own.host_suffix.as_str() {
            "" => String::new(),
            suffix => format!(" as HOST{suffix}"),
        };
        let (share, name, limit, timeout) = (percent(own.share), &upstream.name, own.limit, own.timeout);
        Some(format!(
            "copy {share} to {name}{host}, whose answers nobody gets, at most {limit} at one time for {timeout:?}"
        ))
    };
    rule.split.mirrors.iter().filter_map(line).collect()
}

/// The other version of a plugin.
pub(super) fn canary(canary: &Canary) -> String {
    let sticky = canary.sticky.as_ref().map(sticky);
    join([format!("another version for {}", course(&canary.course))].into_iter().chain(sticky))
}

fn course(course: &Course) -> String {
    let steps: Vec<String> = course.steps.iter().map(|&step| percent(step)).collect();
    let every = match steps.len() {
        1 => String::new(),
        _ => format!(", at least {:?} and {} requests each", course.interval, course.min_requests),
    };
    format!("{} of the requests{every}, back on {}", steps.join(", then "), bounds(&course.bounds))
}

/// What sends a version back.
fn bounds(bounds: &Bounds) -> String {
    let errors = format!(
        "more than {} errors or {} more than the old version",
        percent(bounds.errors),
        percent(bounds.errors_over_old)
    );
    let p99 = bounds.p99.map(|p99| format!("a p99 above {p99:?}"));
    let times = |over| format!("a p99 above {} times the old version's and 10 ms", f64::from(over) / 100.0);
    let failures = bounds.failures.map(|most| format!("more than {most} requests in which it breaks off"));
    join([errors].into_iter().chain(p99).chain(bounds.p99_over_old.map(times)).chain(failures))
}

fn sticky(sticky: &Sticky) -> String {
    match sticky {
        Sticky::Cookie(name) => format!("the same for the same cookie {name}"),
        Sticky::Header(name) => format!("the same for the same header {name}"),
        Sticky::Address => "the same for the same client address".to_owned(),
    }
}

fn percent(share: u32) -> String {
    format!("{} %", f64::from(share) / 10_000.0)
}
