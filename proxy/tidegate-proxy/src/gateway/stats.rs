//! The data plane's counters at one moment, for those who show them: the dashboard, `tidegate top`, other gateways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_config::plan::{Action, HostPattern};

use super::ledger::{GenerationUse, ModuleUse};
use super::{Gateway, Loads};
use crate::http::fail::Reason;
use crate::shared::durations::{Steps, Sum};
use crate::shared::traffic::Total;
use crate::shared::{Counter, ListenerCells, PluginCells, UpstreamCells};
use crate::snapshot::Snapshot;
use crate::upstream::cluster::Cluster;
use crate::upstream::roster::Entry;
use crate::upstream::server::Cause;

/// Everything that is counted, summed over workers. Counters grow from the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The configuration that was published last.
    pub generation: u64,
    /// Worker threads.
    pub workers: usize,
    /// Clients' connections.
    pub connections: Connections,
    /// Clients' requests.
    pub requests: Requests,
    /// How long requests took.
    pub latency: Latency,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerStats>,
    /// In the order of the configuration.
    pub routes: Vec<RouteStats>,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamStats>,
    /// Which route called which upstream.
    pub edges: Vec<Edge>,
    /// By which listener requests came to which route; other gateways of earlier versions do not tell.
    #[serde(default)]
    pub arrivals: Vec<Arrival>,
    /// By name.
    pub plugins: Vec<PluginStats>,
    /// Versions of plugins that are held.
    pub modules: Vec<ModuleStats>,
    /// Configurations that are held.
    pub generations: Vec<GenerationStats>,
}

/// Clients' connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Accepted.
    pub total: u64,
    /// Open now.
    pub open: u64,
    /// Refused by a limit.
    pub refused: u64,
}

/// Clients' requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// Begun.
    pub total: u64,
    /// In flight now.
    pub active: u64,
    /// Those that failed, by reason; only reasons that there were.
    pub failures: BTreeMap<String, u64>,
    /// Answers by class, 1xx to 5xx.
    pub classes: [u64; 5],
    /// Bytes of bodies from clients.
    pub received: u64,
    /// Bytes of bodies to clients.
    pub sent: u64,
}

/// A histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Upper bounds in seconds.
    pub bounds: Vec<f64>,
    /// How many were in each bucket; one more than bounds.
    pub counts: Vec<u64>,
    /// All together, in seconds.
    pub seconds: f64,
}

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStats {
    /// Its name.
    pub name: String,
    /// Where it is bound.
    pub addresses: Vec<String>,
    /// Its connections.
    pub connections: Connections,
    /// Requests begun.
    pub requests: u64,
}

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStats {
    /// Its name.
    pub name: String,
    /// Hosts that it is for; none: all.
    pub hostnames: Vec<String>,
    /// Listeners that have it.
    pub listeners: Vec<String>,
    /// Upstreams that its rules name.
    pub upstreams: Vec<String>,
    /// Answers by class, 1xx to 5xx.
    pub classes: [u64; 5],
    /// Forwarded connections, of a route for these.
    pub connections: u64,
}

/// An upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStats {
    /// Its name.
    pub name: String,
    /// How a server is chosen.
    pub balance: String,
    /// Its servers.
    pub servers: Vec<ServerStats>,
    /// Attempts.
    pub requests: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Connections opened.
    pub connections: u64,
    /// Connections that failed.
    pub connect_failures: u64,
    /// Requests over a limit.
    pub overflow: u64,
    /// How often a server was left out.
    pub ejections: u64,
    /// Requests that wait now.
    pub pending: u64,
    /// Servers that are left out now, summed over workers.
    pub left_out: u64,
}

/// A server of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStats {
    /// Its address.
    pub address: String,
    /// The name by which it was found.
    pub host: Option<String>,
    /// Its share.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<String>,
    /// 0 is asked first.
    pub priority: u32,
    /// `healthy`, or why it gets no requests: `check`, `outlier`, `source`.
    pub state: String,
    /// Requests in flight there; other gateways of earlier versions do not tell.
    #[serde(default)]
    pub in_flight: u64,
}

/// Requests of a route that went to an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The route's name.
    pub route: String,
    /// The upstream's.
    pub upstream: String,
    /// How many.
    pub requests: u64,
    /// Those answered 5xx or not at all.
    pub errors: u64,
}

/// Requests, or forwarded connections, of a route that came by a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// The listener's name.
    pub listener: String,
    /// The route's.
    pub route: String,
    /// How many.
    pub requests: u64,
    /// Those answered 5xx or not at all.
    pub errors: u64,
}

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStats {
    /// Its name.
    pub name: String,
    /// Requests that passed it.
    pub requests: u64,
    /// Answers that it gave.
    pub replies: u64,
    /// Traps.
    pub traps: u64,
    /// Calls that used up their time.
    pub timeouts: u64,
    /// Calls that its capabilities refused.
    pub refused: u64,
}

/// A version of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleStats {
    /// The plugin's name.
    pub plugin: String,
    /// The beginning of the module's digest.
    pub version: String,
    /// The whole of it.
    pub sha256: String,
    /// Since the Unix epoch, in seconds.
    pub since: f64,
    /// Instances now.
    pub instances: u64,
    /// Of their memories.
    pub memory_bytes: u64,
    /// Requests and connections inside them now.
    pub requests: u64,
    /// Calls into the guest.
    pub calls: u64,
    /// Time in the guest, of the calls that were timed.
    pub guest: Timed,
    /// Time in host functions, of the same calls.
    pub host: Timed,
}

/// Some calls and their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timed {
    /// How many.
    pub count: u64,
    /// All together, in seconds.
    pub seconds: f64,
}

/// A configuration that is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStats {
    /// Its number.
    pub generation: u64,
    /// Workers that hold it.
    pub workers: usize,
    /// Requests that began with it and are not over.
    pub requests: u64,
    /// Since the Unix epoch, in seconds.
    pub since: f64,
}

/// The state of a server that gets requests.
const HEALTHY: &str = "healthy";

/// What everything is counted of.
pub(super) struct Counted<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) generation: u64,
    pub(super) workers: usize,
    pub(super) generations: &'a [GenerationUse],
    pub(super) modules: &'a [ModuleUse],
    pub(super) loads: &'a Loads,
    /// Where a listener is bound.
    pub(super) addresses: &'a dyn Fn(&str) -> Vec<SocketAddr>,
}

impl Gateway {
    /// What is counted now; nothing before the first configuration. `loads` are what the workers have told.
    pub fn stats(&self, loads: &Loads) -> Stats {
        let (snapshot, generation, generations, modules) = {
            let state = self.state();
            (state.snapshot.clone(), state.generation, state.ledger.generations(), state.ledger.modules())
        };
        let Some(snapshot) = snapshot else { return Stats::default() };
        collect(&Counted {
            snapshot: &snapshot,
            generation,
            workers: self.0.shards.len(),
            generations: &generations,
            modules: &modules,
            loads,
            addresses: &|name| self.addresses(name),
        })
    }
}

fn collect(counted: &Counted<'_>) -> Stats {
    let Counted { snapshot, generation, workers, generations, modules, loads, .. } = counted;
    let (by_upstream, by_listener) = pairs(snapshot);
    let mut stats = Stats {
        generation: *generation,
        workers: *workers,
        routes: routes(snapshot),
        upstreams: upstreams(snapshot, loads),
        edges: edges(by_upstream),
        arrivals: arrivals(by_listener),
        plugins: plugins(snapshot),
        modules: modules.iter().map(module).collect(),
        generations: generations.iter().map(generation_stats).collect(),
        ..Stats::default()
    };
    listeners(&mut stats, counted);
    stats
}

fn listeners(stats: &mut Stats, counted: &Counted<'_>) {
    let mut took = Sum::default();
    for listener in &counted.snapshot.listeners {
        let sum = |of: fn(&ListenerCells) -> &Counter| listener.counters.sum(of);
        let connections =
            Connections { total: sum(|c| &c.accepted), open: sum(|c| &c.open), refused: sum(|c| &c.refused) };
        let requests = sum(|c| &c.started);
        let traffic = Total::of(&listener.counters, |cells| &cells.traffic);
        stats.connections.total += connections.total;
        stats.connections.open += connections.open;
        stats.connections.refused += connections.refused;
        stats.requests.total += requests;
        stats.requests.active += sum(|c| &c.active);
        stats.requests.received += traffic.received;
        stats.requests.sent += traffic.sent;
        stats.requests.classes.iter_mut().zip(traffic.classes).for_each(|(sum, count)| *sum += count);
        for (reason, &count) in
            Reason::ALL.into_iter().zip(traffic.fails.iter()).filter(|(_, count)| **count > 0)
        {
            *stats.requests.failures.entry(reason.word().to_owned()).or_default() += count;
        }
        for cells in listener.counters.iter() {
            took.add(&cells.traffic.took);
        }
        let addresses = (counted.addresses)(&listener.spec.name).iter().map(ToString::to_string).collect();
        stats.listeners.push(ListenerStats {
            name: listener.spec.name.clone(),
            addresses,
            connections,
            requests,
        });
    }
    let mut before = 0;
    for (bound, below) in took.cumulative(Steps::Half) {
        stats.latency.bounds.push(bound);
        stats.latency.counts.push(below - before);
        before = below;
    }
    stats.latency.counts.push(took.count().saturating_sub(before));
    stats.latency.seconds = took.seconds();
}

fn routes(snapshot: &Snapshot) -> Vec<RouteStats> {
    let plan = &snapshot.plan;
    let mut first = 0;
    let mut routes = Vec::with_capacity(plan.routes.len());
    for route in &plan.routes {
        let rule = snapshot.rules.get(first);
        first += route.rules.len();
        let Some(rule) = rule.filter(|_| !route.rules.is_empty()) else { continue };
        let mut upstreams: Vec<String> = Vec::new();
        for rule in &route.rules {
            let Action::Forward(targets) = &rule.action else { continue };
            let named = targets.iter().filter_map(|target| plan.upstreams.get(target.upstream));
            for upstream in named {
                if !upstreams.contains(&upstream.name) {
                    upstreams.push(upstream.name.clone());
                }
            }
        }
        let listener = |index: &usize| plan.listeners.get(*index).map(|listener| listener.name.clone());
        routes.push(RouteStats {
            name: route.name.clone(),
            hostnames: route.hostnames.iter().map(host).collect(),
            listeners: route.listeners.iter().filter_map(listener).collect(),
            upstreams,
            classes: Total::of(&rule.counters, |cells| &cells.traffic).classes,
            connections: rule.counters.sum(|cells| &cells.connections),
        });
    }
    routes
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    }
}

fn upstreams(snapshot: &Snapshot, loads: &Loads) -> Vec<UpstreamStats> {
    let one = |cluster: &Arc<Cluster>| {
        let sum = |of: fn(&UpstreamCells) -> &Counter| cluster.counters.sum(of);
        let server = |entry: Entry| {
            let causes: Vec<_> = entry.identity.causes().into_iter().map(Cause::word).collect();
            ServerStats {
                address: entry.server.address.to_string(),
                host: entry.server.host.clone(),
                weight: entry.server.weight,
                zone: entry.server.zone.as_deref().map(str::to_owned),
                priority: entry.server.priority,
                state: if causes.is_empty() { HEALTHY.to_owned() } else { causes.join(", ") },
                in_flight: loads.at(cluster.counters.id(), entry.identity.id),
            }
        };
        UpstreamStats {
            name: cluster.spec.name.clone(),
            balance: cluster.spec.balance.word().to_owned(),
            servers: cluster.roster.entries().into_iter().map(server).collect(),
            requests: sum(|c| &c.requests),
            retries: sum(|c| &c.retries),
            connections: sum(|c| &c.connections),
            connect_failures: sum(|c| &c.connect_failures),
            overflow: sum(|c| &c.overflow),
            ejections: sum(|c| &c.ejections),
            pending: sum(|c| &c.pending),
            left_out: sum(|c| &c.left_out),
        }
    };
    snapshot.clusters.iter().map(one).collect()
}

/// Sums of requests and failures by two names.
type Pairs<'a> = BTreeMap<(&'a str, &'a str), (u64, u64)>;

/// By route and upstream; by listener and route.
fn pairs(snapshot: &Snapshot) -> (Pairs<'_>, Pairs<'_>) {
    let upstreams: BTreeMap<u64, &str> =
        snapshot.clusters.iter().map(|cluster| (cluster.counters.id(), cluster.spec.name.as_str())).collect();
    let listeners: BTreeMap<u64, &str> =
        snapshot.listeners.iter().map(|one| (one.counters.id(), one.spec.name.as_str())).collect();
    let (mut edges, mut arrivals) = (Pairs::new(), Pairs::new());
    let mut seen: Option<&str> = None;
    for rule in &snapshot.rules {
        // The rules of a route stand together and have the same counters.
        if seen.replace(&rule.route) == Some(&*rule.route) {
            continue;
        }
        for went in rule.counters.iter().flat_map(|cells| cells.targets.read()) {
            let add = |sum: &mut (u64, u64)| {
                *sum = (sum.0 + went.requests, sum.1 + went.failures);
            };
            // What is gone is not shown any more.
            if let Some(name) = upstreams.get(&went.upstream) {
                add(edges.entry((&rule.route, name)).or_default());
            }
            if let Some(name) = listeners.get(&went.listener) {
                add(arrivals.entry((name, &rule.route)).or_default());
            }
        }
    }
    (edges, arrivals)
}

fn edges(pairs: Pairs<'_>) -> Vec<Edge> {
    let edge = |((route, upstream), (requests, errors)): ((&str, &str), _)| Edge {
        route: route.to_owned(),
        upstream: upstream.to_owned(),
        requests,
        errors,
    };
    pairs.into_iter().map(edge).collect()
}

fn arrivals(pairs: Pairs<'_>) -> Vec<Arrival> {
    let arrival = |((listener, route), (requests, errors)): ((&str, &str), _)| Arrival {
        listener: listener.to_owned(),
        route: route.to_owned(),
        requests,
        errors,
    };
    pairs.into_iter().map(arrival).collect()
}

fn plugins(snapshot: &Snapshot) -> Vec<PluginStats> {
    let mut plugins: Vec<PluginStats> = Vec::new();
    for plugin in &snapshot.plugins {
        if plugins.iter().any(|known| *known.name == *plugin.name) {
            continue;
        }
        let sum = |of: fn(&PluginCells) -> &Counter| plugin.counters.sum(of);
        plugins.push(PluginStats {
            name: plugin.name.to_string(),
            requests: sum(|c| &c.streams),
            replies: sum(|c| &c.replies),
            traps: sum(|c| &c.traps),
            timeouts: sum(|c| &c.timeouts),
            refused: sum(|c| &c.refused),
        });
    }
    plugins
}

fn module(held: &ModuleUse) -> ModuleStats {
    let timed = |durations: &tidegate_wasm::Durations| Timed {
        count: durations.buckets().last().map_or(0, |(_, count)| count),
        seconds: durations.sum.as_secs_f64(),
    };
    ModuleStats {
        plugin: held.plugin.clone(),
        version: held.version().to_owned(),
        sha256: held.sha256.clone(),
        since: held.since.as_secs_f64(),
        instances: held.seen.instances,
        memory_bytes: held.seen.memory,
        requests: held.seen.streams,
        calls: held.seen.calls,
        guest: timed(&held.seen.guest),
        host: timed(&held.seen.host),
    }
}

fn generation_stats(held: &GenerationUse) -> GenerationStats {
    GenerationStats {
        generation: held.generation,
        workers: held.workers,
        requests: held.requests,
        since: held.since.as_secs_f64(),
    }
}
