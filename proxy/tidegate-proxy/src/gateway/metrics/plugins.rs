//! Of plugins by name, whatever version they run as.

use tidegate_config::plan::Isolation;

use crate::filter::entry::Plugin;
use crate::shared::{Counter, PluginCells};
use crate::snapshot::Snapshot;
use crate::telemetry::page::{Buckets, Kind, Page};

type Row = (&'static str, &'static str, fn(&PluginCells) -> &Counter);

const ROWS: [Row; 10] = [
    ("tidegate_plugin_requests_total", "Requests that passed the plugin.", |c| &c.streams),
    (
        "tidegate_plugin_passed_over_total",
        "Requests that the plugin has nothing to do with, as it said.",
        |c| &c.passed_over,
    ),
    ("tidegate_plugin_replies_total", "Answers that the plugin gave.", |c| &c.replies),
    ("tidegate_plugin_traps_total", "Traps of the guest.", |c| &c.traps),
    ("tidegate_plugin_timeouts_total", "Calls that used up their time.", |c| &c.timeouts),
    ("tidegate_plugin_starts_total", "Instances started.", |c| &c.starts),
    ("tidegate_plugin_rebuilds_total", "Instances replaced: their memory had grown.", |c| &c.rebuilds),
    ("tidegate_plugin_recorded_total", "Requests that were recorded.", |c| &c.recorded),
    ("tidegate_plugin_unrecorded_total", "Requests whose record was lost: the writer was behind.", |c| {
        &c.unrecorded
    }),
    ("tidegate_plugin_refused_total", "Calls that the plugin's capabilities refused.", |c| &c.refused),
];

/// One of each name.
fn by_name<'a>(plugins: impl Iterator<Item = &'a Plugin>) -> Vec<&'a Plugin> {
    let mut named: Vec<&Plugin> = Vec::new();
    for plugin in plugins {
        if named.iter().all(|known| known.name != plugin.name) {
            named.push(plugin);
        }
    }
    named
}

/// Of all plugins.
pub(super) fn write(page: &mut Page, snapshot: &Snapshot) {
    let plugins = by_name(snapshot.plugins.iter());
    for (name, help, of) in ROWS {
        page.metric(name, Kind::Counter, help);
        for plugin in &plugins {
            page.sample(&[("plugin", &plugin.name)], plugin.counters.sum(of));
        }
    }
}

/// Of plugins with instances for connections or requests.
pub(super) fn isolated(page: &mut Page, snapshot: &Snapshot) {
    let plugins = by_name(snapshot.plugins.iter().filter(|plugin| plugin.isolation != Isolation::Worker));
    if plugins.is_empty() {
        return;
    }
    let name = "tidegate_plugin_isolated_instances";
    page.metric(name, Kind::Gauge, "Instances of connections or requests.");
    for plugin in &plugins {
        page.sample(&[("plugin", &plugin.name)], plugin.counters.sum(|c| &c.isolated));
    }
    let name = "tidegate_plugin_isolated_start_seconds";
    page.metric(name, Kind::Summary, "Time to start an instance of a connection or a request.");
    for plugin in &plugins {
        let nanos = plugin.counters.sum(|c| &c.isolated_start_time);
        let count = plugin.counters.sum(|c| &c.isolated_starts);
        let buckets = Buckets { below: Vec::new(), count, sum: nanos as f64 / 1e9 };
        page.buckets(&[("plugin", &plugin.name)], &buckets);
    }
    let name = "tidegate_plugin_isolated_reused_total";
    page.metric(name, Kind::Counter, "Instances of requests that were made what they were and used again.");
    for plugin in &plugins {
        page.sample(&[("plugin", &plugin.name)], plugin.counters.sum(|c| &c.isolated_reused));
    }
    let name = "tidegate_plugin_image";
    page.metric(name, Kind::Gauge, "Whether such instances begin as an image; if not, each is configured.");
    for plugin in &plugins {
        let image = plugin.plugin.as_ref().is_some_and(|plugin| plugin.image().is_some());
        page.sample(&[("plugin", &plugin.name)], image);
    }
}
