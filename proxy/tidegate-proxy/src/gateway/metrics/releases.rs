//! What is counted of versions that are on their way to take over, and of copies of requests.

use std::sync::Arc;

use crate::gateway::rollouts::ReleaseState;
use crate::shared::durations::{Durations, Steps, Sum};
use crate::shared::traffic::Total;
use crate::shared::{Arm, Counter, Counts, MirrorCells, Rollout};
use crate::snapshot::{Mirror, Snapshot};
use crate::telemetry::page::{Kind, Labels, Page};

/// Of new versions; each with its state.
pub(super) fn releases(page: &mut Page, all: &[(Arc<Rollout>, ReleaseState)]) {
    if all.is_empty() {
        return;
    }
    let help = "Share of requests that the new version gets, of 1.";
    page.metric("tidegate_release_share", Kind::Gauge, help);
    for (rollout, _) in all {
        page.sample(&[("release", &rollout.id)], f64::from(rollout.actual_share()) / 1e6);
    }
    let help = "Where the new version is: 1 for the state that it is in.";
    page.metric("tidegate_release_state", Kind::Gauge, help);
    for (rollout, state) in all {
        for word in ReleaseState::WORDS {
            page.sample(&[("release", &rollout.id), ("state", word)], state.word() == word);
        }
    }
    let counts: Vec<_> =
        all.iter().flat_map(|(rollout, _)| Arm::ALL.map(|arm| (rollout, arm, rollout.counts(arm)))).collect();
    type Row = (&'static str, &'static str, fn(&Counts) -> u64);
    let rows: [Row; 3] = [
        ("tidegate_release_requests_total", "Requests by version.", |c| c.requests),
        ("tidegate_release_errors_total", "Those that failed.", |c| c.errors),
        ("tidegate_release_failures_total", "Guests that broke off.", |c| c.failures),
    ];
    for (name, help, of) in rows {
        page.metric(name, Kind::Counter, help);
        for (rollout, arm, counts) in &counts {
            page.sample(&[("release", &rollout.id), ("arm", arm.word())], of(counts));
        }
    }
    let help = "Time to the head of the answer, by version.";
    page.metric("tidegate_release_head_seconds", Kind::Histogram, help);
    for (rollout, arm, counts) in counts {
        durations(page, &[("release", &rollout.id), ("arm", arm.word())], counts.times);
    }
}

/// Of copies of requests.
pub(super) fn mirrors(page: &mut Page, snapshot: &Snapshot) {
    let all: Vec<&Arc<Mirror>> = snapshot.rules.iter().flat_map(|rule| &rule.mirrors).collect();
    if all.is_empty() {
        return;
    }
    type Row = (&'static str, Kind, &'static str, fn(&MirrorCells) -> &Counter);
    let rows: [Row; 8] = [
        ("tidegate_mirror_requests_total", Kind::Counter, "Copies of requests.", |c| &c.copies),
        ("tidegate_mirror_active", Kind::Gauge, "Copies on their way now.", |c| &c.active),
        (
            "tidegate_mirror_skipped_total",
            Kind::Counter,
            "Copies that were not made: too many were on their way.",
            |c| &c.skipped,
        ),
        ("tidegate_mirror_cut_total", Kind::Counter, "Copies whose body was too far behind.", |c| &c.cut),
        ("tidegate_mirror_failed_total", Kind::Counter, "Copies without an answer.", |c| &c.failed),
        ("tidegate_mirror_late_total", Kind::Counter, "Copies that took too long.", |c| &c.late),
        ("tidegate_mirror_same_total", Kind::Counter, "Answers with the client's status.", |c| &c.same),
        ("tidegate_mirror_different_total", Kind::Counter, "Answers with another one.", |c| &c.different),
    ];
    for (name, kind, help, of) in rows {
        page.metric(name, kind, help);
        for mirror in &all {
            page.sample(&labels(mirror), mirror.counters.sum(of));
        }
    }
    let help = "Time to the head of the answer, of requests that have one from both.";
    page.metric("tidegate_mirror_head_seconds", Kind::Histogram, help);
    type Side = (&'static str, fn(&MirrorCells) -> &Durations);
    let sides: [Side; 2] = [("main", |cells| &cells.main_times), ("mirror", |cells| &cells.times)];
    for mirror in &all {
        for (side, of) in sides {
            let mut times = Sum::default();
            mirror.counters.iter().for_each(|cells| times.add(of(cells)));
            durations(page, &[&labels(mirror)[..], &[("of", side)]].concat(), times);
        }
    }
}

fn durations(page: &mut Page, labels: &Labels<'_>, took: Sum) {
    page.durations(labels, &Total { took, ..Total::default() }, Steps::Doubling);
}

fn labels(mirror: &Mirror) -> [(&str, &str); 2] {
    [("rule", &mirror.rule), ("upstream", &mirror.upstream)]
}
