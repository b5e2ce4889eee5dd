//! What is counted of each version of each plugin, and the ledger.

use tidegate_wasm::{Durations, Seen};

use crate::gateway::ledger::{GenerationUse, ModuleUse};
use crate::telemetry::page::{Buckets, Kind, Page};

/// Name, kind, what it is, its value.
type Row = (&'static str, Kind, &'static str, fn(&ModuleUse) -> u64);

const ROWS: [Row; 7] = [
    ("tidegate_plugin_calls_total", Kind::Counter, "Calls into the guest.", |m| m.seen.calls),
    ("tidegate_plugin_restarts_total", Kind::Counter, "Instances started after a failure.", |m| {
        m.seen.restarts
    }),
    ("tidegate_plugin_instances", Kind::Gauge, "Instances now.", |m| m.seen.instances),
    ("tidegate_plugin_memory_bytes", Kind::Gauge, "Memory of the instances.", |m| m.seen.memory),
    ("tidegate_plugin_open_calls", Kind::Gauge, "Their HTTP and gRPC calls that are not over.", |m| {
        m.seen.open_calls
    }),
    ("tidegate_ledger_module_requests", Kind::Gauge, "Requests and connections inside a version.", |m| {
        m.seen.streams
    }),
    ("tidegate_ledger_module_timestamp_seconds", Kind::Gauge, "When a version came.", |m| m.since.as_secs()),
];

/// Of versions that something holds.
pub(super) fn modules(page: &mut Page, modules: &[ModuleUse]) {
    for (name, kind, help, value) in ROWS {
        page.metric(name, kind, help);
        for module in modules {
            page.sample(&labels(module), value(module));
        }
    }
    page.metric("tidegate_plugin_failures_total", Kind::Counter, "Instances that broke off, by kind.");
    for module in modules {
        for (kind, count) in module.seen.failures() {
            page.sample(&[&labels(module)[..], &[("kind", kind)]].concat(), count);
        }
    }
    page.metric("tidegate_plugin_limits_total", Kind::Counter, "How often each limit was met.");
    for module in modules {
        for (limit, count) in module.seen.limits() {
            page.sample(&[&labels(module)[..], &[("limit", limit)]].concat(), count);
        }
    }
    page.metric("tidegate_plugin_call_seconds", Kind::Histogram, "Time of a call, of one in 61.");
    type Side = (&'static str, fn(&Seen) -> &Durations);
    let sides: [Side; 2] = [("guest", |seen| &seen.guest), ("host", |seen| &seen.host)];
    for module in modules {
        for (place, times) in sides {
            page.buckets(&[&labels(module)[..], &[("in", place)]].concat(), &buckets(times(&module.seen)));
        }
    }
}

fn buckets(times: &Durations) -> Buckets {
    let mut below: Vec<(f64, u64)> = times.buckets().collect();
    // The last one has all.
    let count = below.pop().map_or(0, |(_, count)| count);
    Buckets { below, count, sum: times.sum.as_secs_f64() }
}

/// Of generations that something holds.
pub(super) fn generations(page: &mut Page, generations: &[GenerationUse]) {
    type Row = (&'static str, &'static str, fn(&GenerationUse) -> u64);
    let rows: [Row; 3] = [
        ("tidegate_ledger_generation_workers", "Workers that hold a generation.", |g| g.workers as u64),
        ("tidegate_ledger_generation_requests", "Requests that began with it and are not over.", |g| {
            g.requests
        }),
        ("tidegate_ledger_generation_timestamp_seconds", "When it was published.", |g| g.since.as_secs()),
    ];
    for (name, help, value) in rows {
        page.metric(name, Kind::Gauge, help);
        for generation in generations {
            let number = generation.generation.to_string();
            page.sample(&[("generation", &number)], value(generation));
        }
    }
}

fn labels(module: &ModuleUse) -> [(&str, &str); 2] {
    [("plugin", &module.plugin), ("version", module.version())]
}
