//! How the servers of upstreams are: circuits, checks, comparisons.

use crate::gateway::checks::Checked;
use crate::gateway::comparisons::Compared;
use crate::snapshot::Snapshot;
use crate::telemetry::page::{Kind, Page};
use crate::upstream::cluster::Cluster;
use crate::upstream::roster::Entry;
use crate::upstream::server::{Cause, Circuit};

/// Writes them.
pub(in crate::gateway) fn write(
    page: &mut Page,
    snapshot: &Snapshot,
    checked: &Checked,
    compared: &Compared,
) {
    let clusters: Vec<(&Cluster, Vec<Entry>)> =
        snapshot.clusters.iter().map(|cluster| (&**cluster, cluster.roster.entries())).collect();
    page.metric("tidegate_upstream_servers", Kind::Gauge, "Servers by the state of their circuit.");
    for (cluster, entries) in &clusters {
        for circuit in Circuit::ALL {
            let count = entries.iter().filter(|entry| entry.identity.circuit() == circuit).count();
            page.sample(&[("upstream", &cluster.spec.name), ("circuit", circuit.word())], count);
        }
    }
    open(page, &clusters);
    let name = "tidegate_upstream_checks_total";
    page.metric(name, Kind::Counter, "Health checks of servers, by result.");
    for (cluster, _) in clusters.iter().filter(|(cluster, _)| cluster.spec.health.is_some()) {
        let (good, bad) = checked.sum(&cluster.spec.name);
        for (result, count) in [("good", good), ("bad", bad)] {
            page.sample(&[("upstream", &cluster.spec.name), ("result", result)], count);
        }
    }
    let name = "tidegate_upstream_outliers_total";
    page.metric(name, Kind::Counter, "Times that a server was left out because it is worse than the others.");
    let compares =
        |cluster: &Cluster| cluster.spec.ejection.as_ref().is_some_and(|rule| rule.outliers.is_some());
    for (cluster, _) in clusters.iter().filter(|(cluster, _)| compares(cluster)) {
        let (by_success_rate, by_latency) = compared.counts(&cluster.spec.name);
        for (by, count) in [("success_rate", by_success_rate), ("latency", by_latency)] {
            page.sample(&[("upstream", &cluster.spec.name), ("by", by)], count);
        }
    }
}

/// Servers that get no requests, each by what keeps requests away.
fn open(page: &mut Page, clusters: &[(&Cluster, Vec<Entry>)]) {
    let name = "tidegate_upstream_server_open";
    page.metric(
        name,
        Kind::Gauge,
        "Servers that get no requests, by cause; the value is the number of workers for failures.",
    );
    for (cluster, entries) in clusters {
        for entry in entries.iter().filter(|entry| entry.identity.circuit() != Circuit::Closed) {
            let server = entry.identity.address.to_string();
            let mut sample = |cause: &str, value: u64| {
                page.sample(
                    &[("upstream", &cluster.spec.name), ("server", &server), ("cause", cause)],
                    value,
                );
            };
            entry.identity.causes().into_iter().map(Cause::word).for_each(|cause| sample(cause, 1));
            match entry.identity.left_out_by() {
                0 => {}
                workers => sample("failures", workers.into()),
            }
        }
    }
}
