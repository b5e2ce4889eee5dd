//! What is counted of each version of each plugin, and the ledger.

use std::fmt::Write;

use tidegate_wasm::{Durations, Seen};

use super::Page;
use crate::gateway::ledger::{GenerationUse, ModuleUse};

/// Name, kind, what it is, its value.
type Row = (&'static str, &'static str, &'static str, fn(&ModuleUse) -> u64);

const ROWS: [Row; 7] = [
    ("tidegate_plugin_calls_total", "counter", "Calls into the guest.", |m| m.seen.calls),
    ("tidegate_plugin_restarts_total", "counter", "Instances started after a failure.", |m| m.seen.restarts),
    ("tidegate_plugin_instances", "gauge", "Instances now.", |m| m.seen.instances),
    ("tidegate_plugin_memory_bytes", "gauge", "Memory of the instances.", |m| m.seen.memory),
    ("tidegate_plugin_open_calls", "gauge", "Their HTTP and gRPC calls that are not over.", |m| {
        m.seen.open_calls
    }),
    ("tidegate_ledger_module_requests", "gauge", "Requests and connections inside a version.", |m| {
        m.seen.streams
    }),
    ("tidegate_ledger_module_timestamp_seconds", "gauge", "When a version came.", |m| m.since.as_secs()),
];

impl Page<'_> {
    /// Of versions that something holds.
    pub(super) fn versions(&mut self, modules: &[ModuleUse]) {
        for (name, kind, help, value) in ROWS {
            self.head(name, kind, help);
            for module in modules {
                self.line(name, &labels(module), value(module));
            }
        }
        let name = "tidegate_plugin_failures_total";
        self.head(name, "counter", "Instances that broke off, by kind.");
        for module in modules {
            for (kind, count) in module.seen.failures() {
                self.line(name, &[&labels(module)[..], &[("kind", kind)]].concat(), count);
            }
        }
        let name = "tidegate_plugin_limits_total";
        self.head(name, "counter", "How often each limit was met.");
        for module in modules {
            for (limit, count) in module.seen.limits() {
                self.line(name, &[&labels(module)[..], &[("limit", limit)]].concat(), count);
            }
        }
        self.head("tidegate_plugin_call_seconds", "histogram", "Time of a call, of one in 61.");
        type Side = (&'static str, fn(&Seen) -> &Durations);
        let sides: [Side; 2] = [("guest", |seen| &seen.guest), ("host", |seen| &seen.host)];
        for module in modules {
            for (place, times) in sides {
                self.times(&[&labels(module)[..], &[("in", place)]].concat(), times(&module.seen));
            }
        }
    }

    fn times(&mut self, labels: &[(&str, &str)], times: &Durations) {
        let mut count = 0;
        for (bound, below) in times.buckets() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.line("tidegate_plugin_call_seconds_bucket", &[labels, &[("le", &bound)]].concat(), below);
            count = below;
        }
        self.labelled("tidegate_plugin_call_seconds_sum", labels);
        // Writing to a string cannot fail.
        _ = writeln!(self.0, " {}", times.sum.as_secs_f64());
        self.line("tidegate_plugin_call_seconds_count", labels, count);
    }

    /// Of generations that something holds.
    pub(super) fn generations(&mut self, generations: &[GenerationUse]) {
        type Row = (&'static str, &'static str, fn(&GenerationUse) -> u64);
        let rows: [Row; 3] = [
            ("tidegate_ledger_generation_workers", "Workers that hold a generation.", |g| g.workers as u64),
            ("tidegate_ledger_generation_requests", "Requests that began with it and are not over.", |g| {
                g.requests
            }),
            ("tidegate_ledger_generation_timestamp_seconds", "When it was published.", |g| g.since.as_secs()),
        ];
        for (name, help, value) in rows {
            self.head(name, "gauge", help);
            for generation in generations {
                let number = generation.generation.to_string();
                self.line(name, &[("generation", &number)], value(generation));
            }
        }
    }
}

fn labels(module: &ModuleUse) -> [(&str, &str); 2] {
    [("plugin", &module.plugin), ("version", module.version())]
}
