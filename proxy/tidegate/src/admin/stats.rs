//! Everything that is counted, and what the process knows of itself beside it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use tidegate_proxy::Stats;

use super::Shown;
use super::answer::{plugin_states, problem, seconds};
use crate::memory;

/// What `/stats` answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// The gateway's name among others.
    name: String,
    version: &'static str,
    /// Seconds since the Unix epoch.
    time: f64,
    started: f64,
    /// The newest generation that all workers serve.
    served: u64,
    draining: bool,
    memory_bytes: u64,
    /// By the plugins' keys.
    plugin_states: BTreeMap<String, Value>,
    /// The configuration that was refused after the running one.
    rejected: Option<Value>,
    #[serde(flatten)]
    stats: Stats,
}

/// What is counted now.
pub(super) async fn now(shown: &Shown) -> Told {
    let loads = shown.gateway.loads().await;
    let status = &shown.status;
    let rejected = status.rejected.borrow();
    Told {
        name: shown.peers.own_name(),
        version: env!("CARGO_PKG_VERSION"),
        time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        started: seconds(status.since),
        served: status.served.get(),
        draining: status.draining.get(),
        memory_bytes: memory::resident_bytes().unwrap_or(0),
        plugin_states: plugin_states(shown),
        rejected: rejected.as_ref().map(|rejected| {
            json!({
                "since": seconds(rejected.since),
                "problems": rejected.problems.iter().map(problem).collect::<Vec<_>>(),
            })
        }),
        stats: shown.gateway.stats(&loads),
    }
}

/// A part of what is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Routes,
    Upstreams,
    Plugins,
}

/// One part alone.
pub(super) async fn part(shown: &Shown, part: Part) -> Value {
    let stats = shown.gateway.stats(&shown.gateway.loads().await);
    match part {
        Part::Routes => {
            json!({ "routes": stats.routes, "edges": stats.edges, "arrivals": stats.arrivals })
        }
        Part::Upstreams => json!({ "upstreams": stats.upstreams }),
        Part::Plugins => json!({ "plugins": stats.plugins, "modules": stats.modules }),
    }
}
