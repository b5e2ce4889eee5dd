//! What is known of the gateway: the last answers, and the rates between them.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;
use tidegate_proxy::Stats;

/// Answers that are kept, one a second.
const KEPT: usize = 240;

/// Seconds that rates look back.
const BACK: f64 = 5.0;

/// An answer of the admin API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) time: f64,
    pub(super) started: f64,
    pub(super) served: u64,
    pub(super) draining: bool,
    pub(super) memory_bytes: u64,
    pub(super) rejected: Option<Value>,
    #[serde(flatten)]
    pub(super) stats: Stats,
}

/// The last answers.
pub(super) struct Model {
    told: VecDeque<Told>,
    /// Requests a second and seconds below which 99 of 100 requests took, oldest first.
    pub(super) points: VecDeque<Flow>,
    /// Why the last question had no answer.
    pub(super) trouble: Option<String>,
}

/// What flowed for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Flow {
    /// Requests a second.
    pub(super) rate: f64,
    /// 5xx of all.
    pub(super) errors: f64,
    /// In seconds; none without requests.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// A line of a table.
pub(super) type Cells = Vec<String>;

impl Model {
    /// After the first answer.
    pub(super) fn new(first: Told) -> Self {
        Self { told: VecDeque::from([first]), points: VecDeque::new(), trouble: None }
    }

    /// The newest answer.
    pub(super) fn now(&self) -> &Told {
        // There is always one: the first is only taken out when there are more.
        &self.told[self.told.len() - 1]
    }

    /// Another answer. A process that began again counts from zero.
    pub(super) fn take(&mut self, told: Told) {
        self.trouble = None;
        if told.started != self.now().started {
            self.told.clear();
            self.points.clear();
        }
        self.told.push_back(told);
        if self.told.len() > KEPT {
            self.told.pop_front();
        }
        if let Some((before, now)) = self.span(1.0) {
            self.points.push_back(flow(before, now));
        }
        if self.points.len() > KEPT {
            self.points.pop_front();
        }
    }

    /// What flows now.
    pub(super) fn flow(&self) -> Option<Flow> {
        self.span(BACK).map(|(before, now)| flow(before, now))
    }

    fn span(&self, back: f64) -> Option<(&Told, &Told)> {
        let now = self.now();
        let old_enough = |told: &&Told| now.time - told.time >= back - 0.25;
        let before = self.told.iter().rev().find(old_enough).or_else(|| self.told.front())?;
        (now.time - before.time > 0.1).then_some((before, now))
    }

    /// Routes, the busiest first.
    pub(super) fn routes(&self) -> Vec<Cells> {
        let Some((before, now)) = self.span(BACK) else { return Vec::new() };
        let seconds = now.time - before.time;
        let mut rows: Vec<(f64, Cells)> = now
            .stats
            .routes
            .iter()
            .map(|route| {
                let old = before.stats.routes.iter().find(|old| old.name == route.name);
                let classes: Vec<u64> = (0..5)
                    .map(|class| grown(route.classes[class], old.map_or(0, |old| old.classes[class])))
                    .collect();
                let all: u64 = classes.iter().sum::<u64>()
                    + grown(route.connections, old.map_or(0, |old| old.connections));
                let rate = all as f64 / seconds;
                let share =
                    |count: u64| if all == 0 { "–".to_owned() } else { percent(count as f64 / all as f64) };
                let cells = vec![
                    route.name.clone(),
                    number(rate),
                    share(classes[3]),
                    share(classes[4]),
                    route.upstreams.join(", "),
                ];
                (rate, cells)
            })
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        rows.into_iter().map(|(_, cells)| cells).collect()
    }

    /// Upstreams in the order of the configuration.
    pub(super) fn upstreams(&self) -> Vec<Cells> {
        let Some((before, now)) = self.span(BACK) else { return Vec::new() };
        let seconds = now.time - before.time;
        now.stats
            .upstreams
            .iter()
            .map(|upstream| {
                let old = before.stats.upstreams.iter().find(|old| old.name == upstream.name);
                let rate =
                    |now: u64, before: Option<u64>| number(grown(now, before.unwrap_or(0)) as f64 / seconds);
                let healthy = upstream.servers.iter().filter(|server| server.state == "healthy").count();
                vec![
                    upstream.name.clone(),
                    rate(upstream.requests, old.map(|old| old.requests)),
                    rate(upstream.retries, old.map(|old| old.retries)),
                    rate(upstream.connect_failures, old.map(|old| old.connect_failures)),
                    upstream.servers.iter().map(|server| server.in_flight).sum::<u64>().to_string(),
                    upstream.pending.to_string(),
                    format!("{healthy} of {}", upstream.servers.len()),
                ]
            })
            .collect()
    }

    /// Servers, those with the most requests first.
    pub(super) fn servers(&self) -> Vec<Cells> {
        let mut rows: Vec<(u64, Cells)> = Vec::new();
        for upstream in &self.now().stats.upstreams {
            rows.extend(upstream.servers.iter().map(|server| {
                let cells = vec![
                    upstream.name.clone(),
                    server.address.clone(),
                    server.in_flight.to_string(),
                    server.state.clone(),
                    server.zone.clone().unwrap_or_default(),
                    server.weight.to_string(),
                ];
                (server.in_flight, cells)
            }));
        }
        rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        rows.into_iter().map(|(_, cells)| cells).collect()
    }

    /// Plugins with what they cost.
    pub(super) fn plugins(&self) -> Vec<Cells> {
        let Some((before, now)) = self.span(BACK) else { return Vec::new() };
        let seconds = now.time - before.time;
        now.stats
            .plugins
            .iter()
            .map(|plugin| {
                let old = before.stats.plugins.iter().find(|old| old.name == plugin.name);
                let versions: Vec<_> =
                    now.stats.modules.iter().filter(|module| module.plugin == plugin.name).collect();
                let (count, time) = versions.iter().fold((0, 0.0), |(count, time), module| {
                    (count + module.guest.count, time + module.guest.seconds)
                });
                vec![
                    plugin.name.clone(),
                    number(grown(plugin.requests, old.map_or(0, |old| old.requests)) as f64 / seconds),
                    if count == 0 { "–".to_owned() } else { duration(Some(time / count as f64)) },
                    bytes(versions.iter().map(|module| module.memory_bytes).sum()),
                    plugin.replies.to_string(),
                    (plugin.traps + plugin.timeouts).to_string(),
                    versions.iter().map(|module| module.version.as_str()).collect::<Vec<_>>().join(" "),
                ]
            })
            .collect()
    }

    /// Failures by reason, the most frequent first.
    pub(super) fn failures(&self) -> Vec<Cells> {
        let now = self.now();
        let before = self.span(BACK).map(|(before, _)| before);
        let mut rows: Vec<(u64, u64, &String)> = now
            .stats
            .requests
            .failures
            .iter()
            .map(|(reason, &count)| {
                let old = before.and_then(|before| before.stats.requests.failures.get(reason)).copied();
                (grown(count, old.unwrap_or(0)), count, reason)
            })
            .collect();
        rows.sort_by(|a, b| b.cmp(a));
        let seconds = before.map_or(1.0, |before| now.time - before.time);
        rows.into_iter()
            .map(|(grown, count, reason)| {
                vec![reason.clone(), number(grown as f64 / seconds), count.to_string()]
            })
            .collect()
    }
}

/// By how much a counter has grown; one that began again by what it shows.
fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn flow(before: &Told, now: &Told) -> Flow {
    let seconds = now.time - before.time;
    let old = &before.stats.latency.counts;
    let counts: Vec<u64> = now
        .stats
        .latency
        .counts
        .iter()
        .enumerate()
        .map(|(at, &count)| grown(count, old.get(at).copied().unwrap_or(0)))
        .collect();
    let total: u64 = counts.iter().sum();
    let errors = grown(now.stats.requests.classes[4], before.stats.requests.classes[4]);
    let below = |share: f64| below(&now.stats.latency.bounds, &counts, total as f64 * share);
    Flow {
        rate: total as f64 / seconds,
        errors: if total == 0 { 0.0 } else { (errors as f64 / total as f64).min(1.0) },
        p50: below(0.5),
        p99: below(0.99),
    }
}

/// The time that so many took less than; inside a bucket times are taken as spread evenly.
fn below(bounds: &[f64], counts: &[u64], mut left: f64) -> Option<f64> {
    let mut low = 0.0;
    for (at, &count) in counts.iter().enumerate() {
        let high = bounds.get(at).copied().unwrap_or(low);
        if count > 0 && left <= count as f64 {
            return Some(low + (high - low) * left / count as f64);
        }
        left -= count as f64;
        low = high;
    }
    None
}

/// Three digits at most.
pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

/// A share of one.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        value if value < 0.1 => "< 0.1 %".to_owned(),
        value if value < 10.0 => format!("{value:.1} %"),
        value => format!("{value:.0} %"),
    }
}

/// Seconds.
pub(super) fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(s) if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        Some(s) if s < 1.0 => format!("{:.1} ms", s * 1e3),
        Some(s) if s < 120.0 => format!("{s:.1} s"),
        Some(s) if s < 7200.0 => format!("{:.0} min", s / 60.0),
        Some(s) if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        Some(s) => format!("{:.0} days", s / 86_400.0),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / f64::from(1 << 30)),
        b if b >= 1 << 20 => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
        b => format!("{} KiB", b >> 10),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer at a second, with so many fast and slow requests and errors until then.
    pub(in super::super) fn told(time: f64, fast: u64, slow: u64, errors: u64) -> Told {
        serde_json::from_value(serde_json::json!({
            "name": "edge", "version": "0.1.0", "time": time, "started": 1.0, "served": 3, "draining": false,
            "memoryBytes": 44 << 20, "rejected": null, "generation": 3, "workers": 2,
            "connections": { "total": 9, "open": 4, "refused": 0 },
            "requests": { "total": fast + slow, "active": 2, "failures": { "upstream_connect": errors },
                "classes": [0, fast + slow - errors, 0, 0, errors], "received": 0, "sent": 0 },
            "latency": { "bounds": [0.001, 0.01, 0.1], "counts": [fast, 0, slow, 0], "seconds": 0.0 },
            "listeners": [], "edges": [], "generations": [],
            "routes": [
                { "name": "shop", "hostnames": [], "listeners": ["web"], "upstreams": ["a", "b"], "classes": [0, fast, 0, 0, errors], "connections": 0 },
                { "name": "idle", "hostnames": [], "listeners": ["web"], "upstreams": [], "classes": [0, 0, 0, 0, 0], "connections": 0 },
            ],
            "upstreams": [{ "name": "a", "balance": "random", "servers": [
                { "address": "127.0.0.1:1", "weight": 1, "priority": 0, "state": "healthy", "inFlight": 3 }, { "address": "127.0.0.1:2", "weight": 1, "priority": 0, "state": "left out" },
            ], "requests": fast, "retries": 0, "connections": 1, "connectFailures": errors, "overflow": 0, "ejections": 1, "pending": 0, "leftOut": 1 }],
            "plugins": [{ "name": "auth", "requests": fast, "replies": 1, "traps": 0, "timeouts": 0, "refused": 0 }],
            "modules": [{ "plugin": "auth", "version": "abcdef123456", "sha256": "abcdef123456", "since": 1.0, "instances": 2,
                "memoryBytes": 2 << 20, "requests": 0, "calls": 9, "guest": { "count": 4, "seconds": 0.000_008 }, "host": { "count": 4, "seconds": 0.0 } }],
        }))
        .expect("it is an answer")
    }

    #[test]
    fn rates_and_times_are_of_the_last_seconds() {
        let mut model = Model::new(told(100.0, 1000, 0, 0));
        assert_eq!(model.flow(), None);
        model.take(told(105.0, 1980, 20, 10));
        let flow = model.flow().expect("there are two answers");
        assert_eq!((flow.rate, flow.errors), (200.0, 0.01));
        assert!(flow.p50.is_some_and(|p50| p50 < 0.001), "{flow:?}");
        assert!(flow.p99.is_some_and(|p99| (0.01..0.1).contains(&p99)), "{flow:?}");
        assert_eq!(model.routes()[0][..4], ["shop", "198", "0 %", "1.0 %"]);
        assert_eq!(model.upstreams()[0], ["a", "196", "0", "2.0", "3", "0", "1 of 2"]);
        assert_eq!(model.servers()[0], ["a", "127.0.0.1:1", "3", "healthy", "", "1"]);
        assert_eq!(
            model.servers()[1][1..4],
            ["127.0.0.1:2", "0", "left out"],
            "an earlier version does not tell"
        );
        assert_eq!(model.plugins()[0][2], "2 µs");
        assert_eq!(model.failures(), [["upstream_connect", "2.0", "10"]]);
    }

    #[test]
    fn a_process_that_began_again_counts_from_zero() {
        let mut model = Model::new(told(100.0, 1000, 0, 0));
        model.take(Told { started: 101.0, ..told(102.0, 3, 0, 0) });
        assert_eq!(model.flow(), None);
    }
}
