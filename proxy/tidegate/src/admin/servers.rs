//! `/servers`: the servers of each upstream, where they come from and how they are.

use serde_json::{Value, json};
use tidegate_proxy::{CheckState, ServerState};

use super::Shown;
use super::answer::seconds;
use crate::discover::SourceState;

/// All upstreams of the configuration that was published last, by name.
pub(super) async fn servers(shown: &Shown) -> Value {
    let loads = shown.gateway.loads().await;
    let Some(snapshot) = shown.gateway.snapshot() else { return json!({}) };
    let one = |name: &String| {
        let servers = shown.gateway.loaded_servers(name, &loads).unwrap_or_default();
        let source =
            shown.sources.of(name).map_or_else(|| json!({ "kind": "static" }), |state| source(&state));
        let servers: Vec<Value> = servers.iter().map(server).collect();
        (name.clone(), json!({ "source": source, "servers": servers }))
    };
    Value::Object(snapshot.plan().upstreams.iter().map(|upstream| one(&upstream.name)).collect())
}

fn source(state: &SourceState) -> Value {
    json!({
        "kind": state.kind,
        "place": state.place,
        "answers": state.answers,
        "failures": state.failures,
        "changes": state.changes,
        "lastAnswer": state.last_answer.map(seconds),
        "lastChange": state.last_change.map(seconds),
        "error": state.trouble.as_ref().map(|(why, _)| why),
        "failingSince": state.trouble.as_ref().map(|(_, since)| seconds(*since)),
    })
}

fn server(state: &ServerState) -> Value {
    let server = &state.server;
    json!({
        "address": server.address.to_string(),
        "host": server.host,
        "weight": server.weight,
        "priority": server.priority,
        "zone": server.zone.as_deref(),
        "labels": server.labels,
        "inFlight": state.in_flight,
        "circuit": state.circuit.word(),
        "leftOutBy": state.left_out_by,
        "outlier": state.outlier,
        "causes": state.causes.iter().map(|cause| cause.word()).collect::<Vec<_>>(),
        "check": state.check.as_ref().map(check),
    })
}

fn check(state: &CheckState) -> Value {
    json!({
        "good": state.good,
        "bad": state.bad,
        "last": state.last.map(|last| last.as_secs_f64()),
        "tookSeconds": state.took.as_secs_f64(),
        "error": state.why,
    })
}
