//! The data plane's counters as a page of metrics.

mod plugins;
mod releases;
pub(super) mod servers;
#[cfg(test)]
mod tests;
mod traffic;
mod versions;

use std::sync::Arc;

use super::ledger::{GenerationUse, ModuleUse};
use super::rollouts::ReleaseState;
use crate::shared::durations::{Steps, Sum};
use crate::shared::traffic::Total;
use crate::shared::{Counter, Rollout, Shard, TCP_ENDS};
use crate::snapshot::Snapshot;
use crate::telemetry::otlp::Counts;
use crate::telemetry::page::{Kind, Page};

/// Writes everything.
pub(crate) fn write(page: &mut Page, shards: &[Arc<Shard>], snapshot: Option<&Snapshot>, generation: u64) {
    workers(page, shards, snapshot);
    tcp(page, shards);
    let name = "tidegate_generation";
    page.one(name, Kind::Gauge, "Generation of the configuration that was published last.", generation);
    if let Some(snapshot) = snapshot {
        traffic::listeners(page, snapshot);
        traffic::routes(page, snapshot);
        traffic::upstreams(page, snapshot);
        plugins::write(page, snapshot);
        plugins::isolated(page, snapshot);
        releases::mirrors(page, snapshot);
    }
}

/// Writes what is on its way to take over.
pub(super) fn write_releases(page: &mut Page, releases: &[(Arc<Rollout>, ReleaseState)]) {
    releases::releases(page, releases);
}

/// Writes what is still held, and what was counted of it.
pub(super) fn write_ledger(page: &mut Page, generations: &[GenerationUse], modules: &[ModuleUse]) {
    versions::modules(page, modules);
    versions::generations(page, generations);
}

fn total(shards: &[Arc<Shard>], of: fn(&Shard) -> &Counter) -> u64 {
    shards.iter().map(|shard| of(shard).value()).fold(0, u64::wrapping_add)
}

fn workers(page: &mut Page, shards: &[Arc<Shard>], snapshot: Option<&Snapshot>) {
    page.one("tidegate_workers", Kind::Gauge, "Worker threads.", shards.len());
    let name = "tidegate_access_log_dropped_total";
    let dropped = total(shards, |shard| &shard.log_dropped);
    page.one(name, Kind::Counter, "Lines dropped: the writer was behind.", dropped);
    if let Some(snapshot) = snapshot {
        let name = "tidegate_access_log_lost_total";
        page.metric(
            name,
            Kind::Counter,
            "Lines that could not be written, by the log's place in the document.",
        );
        for (index, log) in snapshot.logs.all.iter().enumerate() {
            page.sample(&[("log", &index.to_string())], log.writer.lost());
        }
    }
    if let Some(tracing) = snapshot.and_then(|snapshot| snapshot.tracing.as_ref()) {
        let Counts { sent, lost, .. } = tracing.exporter.counts();
        page.one("tidegate_spans_sent_total", Kind::Counter, "Spans that the collector took.", sent);
        let help = "Spans that were dropped, or that the collector did not take.";
        page.one("tidegate_spans_lost_total", Kind::Counter, help, lost);
    }
    snapshot.into_iter().for_each(|snapshot| collectors(page, snapshot));
    let mut lag = Sum::default();
    shards.iter().for_each(|shard| lag.add(&shard.lag));
    let name = "tidegate_worker_lag_seconds";
    page.metric(name, Kind::Histogram, "How late workers come back to what they do once a second.");
    page.durations(&[], &Total { took: lag, ..Total::default() }, Steps::Doubling);
}

/// Of what is sent by OTLP.
fn collectors(page: &mut Page, snapshot: &Snapshot) {
    let traces = snapshot.tracing.iter().map(|tracing| tracing.exporter.counts().retries);
    let logs = snapshot.logs.all.iter().filter_map(|log| log.writer.exporter());
    let mut all = traces.map(|retries| ("traces", retries)).collect::<Vec<_>>();
    if let Some(retries) = logs.map(|exporter| exporter.counts().retries).reduce(u64::wrapping_add) {
        all.push(("logs", retries));
    }
    if let Some(push) = &snapshot.push {
        let Counts { sent, lost, .. } = push.counts();
        let help = "Pushes of metrics that the collector took.";
        page.one("tidegate_metrics_pushes_total", Kind::Counter, help, sent);
        let help = "Pushes of metrics that it did not take, or that came while another one waited.";
        page.one("tidegate_metrics_pushes_lost_total", Kind::Counter, help, lost);
    }
    if all.is_empty() {
        return;
    }
    let help = "Requests to collectors that were sent again.";
    page.metric("tidegate_otlp_retries_total", Kind::Counter, help);
    for (signal, retries) in all {
        page.sample(&[("signal", signal)], retries);
    }
}

/// Of connections that are forwarded as bytes.
fn tcp(page: &mut Page, shards: &[Arc<Shard>]) {
    type Row = (&'static str, Kind, &'static str, fn(&Shard) -> &Counter);
    let rows: [Row; 4] = [
        ("tidegate_tcp_connections_total", Kind::Counter, "Connections taken to be forwarded.", |s| {
            &s.tcp.connections
        }),
        ("tidegate_tcp_connections_active", Kind::Gauge, "Forwarded connections now.", |s| &s.tcp.active),
        ("tidegate_tcp_received_bytes_total", Kind::Counter, "Bytes from clients.", |s| &s.tcp.received),
        ("tidegate_tcp_sent_bytes_total", Kind::Counter, "Bytes from servers to clients.", |s| &s.tcp.sent),
    ];
    for (name, kind, help, of) in rows {
        page.one(name, kind, help, total(shards, of));
    }
    let help = "Forwarded connections that were cut or came to nothing, by reason.";
    page.metric("tidegate_tcp_failures_total", Kind::Counter, help);
    for (index, reason) in TCP_ENDS.into_iter().enumerate() {
        let count = |shard: &Arc<Shard>| shard.tcp.ends.get(index).map_or(0, Counter::value);
        page.sample(&[("reason", reason)], shards.iter().map(count).sum::<u64>());
    }
}
