//! The data plane's counters in Prometheus' text format.

mod versions;

use std::fmt::Write;
use std::sync::Arc;

use tidegate_config::plan;

use tidegate_config::plan::Isolation;

use super::ledger::{GenerationUse, ModuleUse};
use crate::filter::entry::Plugin;
use crate::http::fail::Reason;
use crate::shared::{BUCKETS, Counter, PluginCells, Shard, TCP_ENDS, UpstreamCells};
use crate::snapshot::Snapshot;

/// Writes everything.
pub(crate) fn write(out: &mut String, shards: &[Arc<Shard>], snapshot: Option<&Snapshot>, generation: u64) {
    let mut page = Page(out);
    page.workers(shards);
    page.tcp(shards);
    page.head("tidegate_generation", "gauge", "Generation of the configuration that was published last.");
    page.line("tidegate_generation", &[], generation);
    if let Some(snapshot) = snapshot {
        page.routes(snapshot);
        page.upstreams(snapshot);
        page.plugins(snapshot);
        page.isolated(snapshot);
    }
}

/// Writes what is still held, and what was counted of it.
pub(super) fn write_ledger(out: &mut String, generations: &[GenerationUse], modules: &[ModuleUse]) {
    let mut page = Page(out);
    page.versions(modules);
    page.generations(generations);
}

struct Page<'a>(&'a mut String);

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.labelled(name, labels);
        _ = writeln!(self.0, " {value}");
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.0.push_str(name);
        for (i, (key, text)) in labels.iter().enumerate() {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            _ = write!(self.0, "{}{key}=\"{escaped}\"", if i == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    fn workers(&mut self, shards: &[Arc<Shard>]) {
        let sum = |of: fn(&Shard) -> &Counter| {
            shards.iter().map(|shard| of(shard).value()).fold(0, u64::wrapping_add)
        };
        type Row = (&'static str, &'static str, &'static str, fn(&Shard) -> &Counter);
        let rows: [Row; 7] = [
            ("tidegate_connections_total", "counter", "Connections accepted.", |s| &s.accepted),
            ("tidegate_connections_open", "gauge", "Connections open now.", |s| &s.open),
            ("tidegate_connections_refused_total", "counter", "Connections over a limit.", |s| &s.refused),
            ("tidegate_handshake_failures_total", "counter", "TLS handshakes that failed.", |s| {
                &s.handshake_failures
            }),
            ("tidegate_requests_total", "counter", "Requests begun.", |s| &s.started),
            ("tidegate_requests_active", "gauge", "Requests in flight now.", |s| &s.active),
            ("tidegate_access_log_dropped_total", "counter", "Lines dropped: the writer was behind.", |s| {
                &s.log_dropped
            }),
        ];
        for (name, kind, help, of) in rows {
            self.head(name, kind, help);
            self.line(name, &[], sum(of));
        }
        self.fails(shards);
        self.durations(shards);
    }

    /// Of connections that are forwarded as bytes.
    fn tcp(&mut self, shards: &[Arc<Shard>]) {
        type Row = (&'static str, &'static str, &'static str, fn(&Shard) -> &Counter);
        let rows: [Row; 4] = [
            ("tidegate_tcp_connections_total", "counter", "Connections taken to be forwarded.", |s| {
                &s.tcp.connections
            }),
            ("tidegate_tcp_connections_active", "gauge", "Forwarded connections now.", |s| &s.tcp.active),
            ("tidegate_tcp_received_bytes_total", "counter", "Bytes from clients.", |s| &s.tcp.received),
            ("tidegate_tcp_sent_bytes_total", "counter", "Bytes from servers to clients.", |s| &s.tcp.sent),
        ];
        for (name, kind, help, of) in rows {
            self.head(name, kind, help);
            self.line(name, &[], shards.iter().map(|shard| of(shard).value()).fold(0, u64::wrapping_add));
        }
        let name = "tidegate_tcp_failures_total";
        self.head(name, "counter", "Forwarded connections that were cut or came to nothing, by reason.");
        for (index, reason) in TCP_ENDS.into_iter().enumerate() {
            let count = |shard: &Arc<Shard>| shard.tcp.ends.get(index).map_or(0, Counter::value);
            self.line(name, &[("reason", reason)], shards.iter().map(count).sum());
        }
    }

    fn fails(&mut self, shards: &[Arc<Shard>]) {
        self.head("tidegate_request_failures_total", "counter", "Requests that failed, by reason.");
        for reason in Reason::ALL {
            let count = |shard: &Arc<Shard>| shard.fails.get(reason as usize).map_or(0, Counter::value);
            let value = shards.iter().map(count).sum();
            self.line("tidegate_request_failures_total", &[("reason", reason.word())], value);
        }
    }

    fn durations(&mut self, shards: &[Arc<Shard>]) {
        let name = "tidegate_request_duration_seconds";
        self.head(name, "histogram", "Time from a request's head to the end of its answer.");
        let mut count = 0;
        for i in 0..=BUCKETS.len() {
            count +=
                shards.iter().filter_map(|shard| shard.durations.get(i)).map(Counter::value).sum::<u64>();
            let bound = BUCKETS.get(i).map_or("+Inf".into(), |&micros| seconds(micros));
            self.line("tidegate_request_duration_seconds_bucket", &[("le", &bound)], count);
        }
        let sum: u64 = shards.iter().map(|shard| shard.duration_sum.value()).sum();
        _ = writeln!(self.0, "{name}_sum {}", seconds(sum));
        self.line("tidegate_request_duration_seconds_count", &[], count);
    }

    fn routes(&mut self, snapshot: &Snapshot) {
        let is_http = |route: &plan::Route| {
            let first = route.listeners.first().and_then(|index| snapshot.plan.listeners.get(*index));
            first.is_none_or(|listener| listener.protocol.is_http())
        };
        let mut first = 0;
        let rules = snapshot.plan.routes.iter().filter_map(|route| {
            let rule = snapshot.rules.get(first);
            first += route.rules.len();
            rule.filter(|_| !route.rules.is_empty()).map(|rule| (route, rule))
        });
        let (http, bytes): (Vec<_>, Vec<_>) = rules.partition(|(route, _)| is_http(route));
        let name = "tidegate_route_connections_total";
        self.head(name, "counter", "Forwarded connections by route.");
        for (_, rule) in bytes {
            self.line(name, &[("route", &rule.route)], rule.counters.sum(|cells| &cells.connections));
        }
        let name = "tidegate_route_responses_total";
        self.head(name, "counter", "Answers by route and status class.");
        for (_, rule) in http {
            for (i, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
                let value = rule.counters.sum(|cells| cells.classes.get(i).unwrap_or(&cells.classes[0]));
                self.line(name, &[("route", &rule.route), ("class", class)], value);
            }
        }
    }

    fn upstreams(&mut self, snapshot: &Snapshot) {
        type Row = (&'static str, &'static str, fn(&UpstreamCells) -> &Counter);
        let rows: [Row; 7] = [
            ("tidegate_upstream_requests_total", "Attempts.", |c| &c.requests),
            ("tidegate_upstream_retries_total", "Attempts after the first.", |c| &c.retries),
            ("tidegate_upstream_connections_total", "Connections opened.", |c| &c.connections),
            ("tidegate_upstream_connect_failures_total", "Connections that failed.", |c| &c.connect_failures),
            ("tidegate_upstream_overflow_total", "Requests over a limit.", |c| &c.overflow),
            ("tidegate_upstream_ejections_total", "Times that a server which failed was left out.", |c| {
                &c.ejections
            }),
            ("tidegate_upstream_waits_total", "Requests that waited because of a limit.", |c| &c.waits),
        ];
        for (name, help, of) in rows {
            self.head(name, "counter", help);
            for cluster in &snapshot.clusters {
                self.line(name, &[("upstream", &cluster.spec.name)], cluster.counters.sum(of));
            }
        }
        let name = "tidegate_upstream_servers_left_out";
        self.head(name, "gauge", "Servers that are left out because they failed, summed over workers.");
        for cluster in &snapshot.clusters {
            self.line(name, &[("upstream", &cluster.spec.name)], cluster.counters.sum(|c| &c.left_out));
        }
        let name = "tidegate_upstream_pending";
        self.head(name, "gauge", "Requests that wait because of a limit now.");
        for cluster in &snapshot.clusters {
            let waiting = cluster.counters.sum(|cells| &cells.pending);
            self.line(name, &[("upstream", &cluster.spec.name)], waiting);
        }
    }

    fn plugins(&mut self, snapshot: &Snapshot) {
        type Row = (&'static str, &'static str, fn(&PluginCells) -> &Counter);
        let rows: [Row; 9] = [
            ("tidegate_plugin_requests_total", "Requests that passed the plugin.", |c| &c.streams),
            ("tidegate_plugin_replies_total", "Answers that the plugin gave.", |c| &c.replies),
            ("tidegate_plugin_traps_total", "Traps of the guest.", |c| &c.traps),
            ("tidegate_plugin_timeouts_total", "Calls that used up their time.", |c| &c.timeouts),
            ("tidegate_plugin_starts_total", "Instances started.", |c| &c.starts),
            ("tidegate_plugin_rebuilds_total", "Instances replaced: their memory had grown.", |c| {
                &c.rebuilds
            }),
            ("tidegate_plugin_recorded_total", "Requests that were recorded.", |c| &c.recorded),
            (
                "tidegate_plugin_unrecorded_total",
                "Requests whose record was lost: the writer was behind.",
                |c| &c.unrecorded,
            ),
            ("tidegate_plugin_refused_total", "Calls that the plugin's capabilities refused.", |c| {
                &c.refused
            }),
        ];
        for (name, help, of) in rows {
            self.head(name, "counter", help);
            let mut seen: Vec<&str> = Vec::new();
            for plugin in &snapshot.plugins {
                if !seen.contains(&&*plugin.name) {
                    seen.push(&plugin.name);
                    self.line(name, &[("plugin", &plugin.name)], plugin.counters.sum(of));
                }
            }
        }
    }
}

impl Page<'_> {
    /// Of plugins with instances for connections or requests.
    fn isolated(&mut self, snapshot: &Snapshot) {
        let mut plugins: Vec<&Plugin> = Vec::new();
        for plugin in snapshot.plugins.iter().filter(|plugin| plugin.isolation != Isolation::Worker) {
            if plugins.iter().all(|known| known.name != plugin.name) {
                plugins.push(plugin);
            }
        }
        if plugins.is_empty() {
            return;
        }
        let name = "tidegate_plugin_isolated_instances";
        self.head(name, "gauge", "Instances of connections or requests.");
        for plugin in &plugins {
            self.line(name, &[("plugin", &plugin.name)], plugin.counters.sum(|c| &c.isolated));
        }
        let name = "tidegate_plugin_isolated_start_seconds";
        self.head(name, "summary", "Time to start an instance of a connection or a request.");
        for plugin in &plugins {
            let nanos = plugin.counters.sum(|c| &c.isolated_start_time);
            _ = writeln!(self.0, "{name}_sum{{plugin=\"{}\"}} {}", plugin.name, nanos as f64 / 1e9);
            let name = format!("{name}_count");
            self.line(&name, &[("plugin", &plugin.name)], plugin.counters.sum(|c| &c.isolated_starts));
        }
        let name = "tidegate_plugin_image";
        self.head(name, "gauge", "Whether such instances begin as an image; if not, each is configured.");
        for plugin in &plugins {
            let image = plugin.plugin.as_ref().is_some_and(|plugin| plugin.image().is_some());
            self.line(name, &[("plugin", &plugin.name)], u64::from(image));
        }
    }
}

fn seconds(micros: u64) -> String {
    format!("{}", micros as f64 / 1e6)
}
