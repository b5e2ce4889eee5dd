//! The metrics of the process, the configuration and the plugins. Those of the data plane come from the gateway.

mod guests;
mod sources;

use std::fs;

use super::Shown;
use super::answer::seconds;
use crate::descriptors;
use crate::fetch::Library;
use crate::memory;
use crate::status::{PluginState, Status};
use tidegate_proxy::{CertificateUse, Form, Kind, Page};
use tidegate_wasm::LimiterCounts;

/// Content types of the forms.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The form that a client wants, by its `accept`, with its content type.
pub(crate) fn form(accept: Option<&str>) -> (Form, &'static str) {
    let mut best = (0.0, Form::Prometheus, PROMETHEUS);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let found = match parts.next().unwrap_or_default() {
            "application/openmetrics-text" => (Form::OpenMetrics, OPEN_METRICS),
            "text/plain" | "text/*" | "*/*" => (Form::Prometheus, PROMETHEUS),
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
        if weight > best.0 {
            best = (weight, found.0, found.1);
        }
    }
    (best.1, best.2)
}

/// All metrics.
pub(crate) fn page(shown: &Shown, form: Form) -> Page {
    let mut page = Page::new(form);
    page.metric("tidegate_build_info", Kind::Gauge, "The running version.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1u64);
    configuration(&mut page, &shown.status);
    modules(&mut page, &shown.workshop.library);
    sources::write(&mut page, &shown.sources);
    certificates(&mut page, &shown.certificates());
    process(&mut page, &shown.status);
    shown.gateway.metrics(&mut page);
    limiters(&mut page, &shown.workshop.shared.limiters());
    guests::write(&mut page, &shown.workshop.shared.metrics());
    page
}

fn limiters(page: &mut Page, all: &[(String, LimiterCounts)]) {
    let name = "tidegate_plugin_limiter_keys";
    page.metric(name, Kind::Gauge, "Keys of a plugin's limits that something was taken by.");
    for (plugin, counts) in all {
        page.sample(&[("plugin", plugin)], counts.keys);
    }
    let name = "tidegate_plugin_limiter_evicted_total";
    page.metric(name, Kind::Counter, "Keys forgotten before their time, because there were too many.");
    for (plugin, counts) in all {
        page.sample(&[("plugin", plugin)], counts.evicted);
    }
}

fn configuration(page: &mut Page, status: &Status) {
    page.one(
        "tidegate_admin_shared_data_sets_total",
        Kind::Counter,
        "Values of plugins' shared data set by the admin API.",
        status.shared_data_sets.get(),
    );
    let current = status.current.borrow();
    let good = status.rejected.borrow().is_none();
    page.one("tidegate_config_generation", Kind::Gauge, "The configuration that runs.", status.generation());
    page.one(
        "tidegate_config_served_generation",
        Kind::Gauge,
        "The newest one on all workers.",
        status.served.get(),
    );
    page.one(
        "tidegate_config_published_total",
        Kind::Counter,
        "Configurations that were published.",
        status.published.get(),
    );
    page.one(
        "tidegate_config_rejected_total",
        Kind::Counter,
        "Configurations that were refused.",
        status.rejections.get(),
    );
    page.one("tidegate_config_last_reload_successful", Kind::Gauge, "Whether the last one read runs.", good);
    page.one("tidegate_ready", Kind::Gauge, "Whether clients should be sent here.", status.is_ready());
    let rejected = status.rejected.borrow().as_ref().map(|rejected| rejected.since);
    if let Some(last) = rejected.into_iter().chain(current.as_ref().map(|current| current.since)).max() {
        let name = "tidegate_config_last_reload_timestamp_seconds";
        page.one(name, Kind::Gauge, "When a configuration was last published or refused.", seconds(last));
    }
    let Some(current) = current.as_ref() else { return };
    let name = "tidegate_config_last_success_timestamp_seconds";
    page.one(name, Kind::Gauge, "When the running configuration was published.", seconds(current.since));
    page.metric("tidegate_plugin_loaded", Kind::Gauge, "Whether a plugin could be loaded.");
    for (plugin, state) in &current.plugins {
        let loaded = matches!(state, PluginState::Running { .. });
        page.sample(&[("plugin", plugin)], loaded);
    }
    page.metric(
        "tidegate_plugin_behind",
        Kind::Gauge,
        "Whether a plugin runs as an earlier version than wanted.",
    );
    for (plugin, state) in &current.plugins {
        let behind = matches!(state, PluginState::Running { behind: Some(_), .. });
        page.sample(&[("plugin", plugin)], behind);
    }
}

fn modules(page: &mut Page, library: &Library) {
    let counts = library.counts();
    let name = "tidegate_module_fetches_total";
    page.metric(name, Kind::Counter, "Attempts to fetch a module, by how they ended.");
    let results = [("fetched", counts.fetched), ("unchanged", counts.unchanged), ("failed", counts.failed)];
    for (result, count) in results {
        page.sample(&[("result", result)], count);
    }
}

fn certificates(page: &mut Page, all: &[CertificateUse]) {
    let name = "tidegate_certificate_not_after_timestamp_seconds";
    page.metric(name, Kind::Gauge, "Until when a certificate that clients are shown may be used.");
    let mut told: Vec<(&str, String)> = Vec::new();
    for certificate in all {
        let key = (certificate.listener.as_str(), certificate.file.display().to_string());
        // One file may stand twice in a list: it is one series.
        if !told.contains(&key) {
            page.sample(&[("listener", key.0), ("file", &key.1)], certificate.not_after);
            told.push(key);
        }
    }
}

/// From /proc; what cannot be read is left out.
fn process(page: &mut Page, status: &Status) {
    let uptime = status.started.elapsed().as_secs_f64();
    page.one("tidegate_uptime_seconds", Kind::Gauge, "Time since the start.", uptime);
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        page.one("process_cpu_seconds_total", Kind::Counter, "User and system time.", stat.cpu_seconds);
        page.one("process_threads", Kind::Gauge, "Threads.", stat.threads);
        page.one("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", stat.virtual_bytes);
    }
    if let Some(bytes) = memory::resident_bytes() {
        page.one("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", bytes);
    }
    if let Some(bytes) = status.memory.limit() {
        let help = "Resident memory above which new requests are refused.";
        page.one("tidegate_memory_limit_bytes", Kind::Gauge, help, bytes);
    }
    let full = u64::from(status.memory.is_full());
    page.one(
        "tidegate_memory_full",
        Kind::Gauge,
        "Whether new requests are refused, as memory is used up.",
        full,
    );
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", Kind::Gauge, "Open file descriptors.", open.count());
    }
    if let Some(most) = descriptors::limit() {
        page.one("process_max_fds", Kind::Gauge, "File descriptors that may be open.", most);
    }
}

/// What is read of `/proc/self/stat`; see proc(5).
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program is in parentheses and may hold anything, spaces too.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - FIRST_AFTER_NAME)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)?;
        Some(Self {
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            threads: number(20)?,
            virtual_bytes: number(23)?,
        })
    }
}

/// CPU time of the process so far.
pub(super) fn cpu_seconds() -> Option<f64> {
    Some(Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?.cpu_seconds)
}

/// The number, as proc(5) counts, of the field after the program's name.
const FIRST_AFTER_NAME: usize = 3;

/// USER_HZ, which is 100 on every Linux that user programs see.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_client_likes_best() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Form::Prometheus),
            (Some("*/*"), Form::Prometheus),
            (Some("text/html"), Form::Prometheus),
            (Some("application/openmetrics-text"), Form::OpenMetrics),
            (Some("application/openmetrics-text; version=1.0.0; q=0"), Form::Prometheus),
            (Some("text/plain, application/openmetrics-text;q=0.9"), Form::Prometheus),
            (Some(prometheus), Form::OpenMetrics),
        ] {
            assert_eq!(form(accept).0, expected, "{accept:?}");
        }
    }

    #[test]
    fn stat_is_read_whatever_the_program_is_called() {
        let text = "7 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 4096 10 1 1";
        let stat = Stat::parse(text).expect("all fields are there");
        assert_eq!((stat.cpu_seconds, stat.threads, stat.virtual_bytes), (3.0, 9, 4096));
        assert!(Stat::parse("7 (a) S 1").is_none());
    }
}
