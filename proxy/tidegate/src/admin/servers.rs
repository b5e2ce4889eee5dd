//! `/servers`: the servers of each upstream, where they come from and how they are.

use serde_json::{Value, json};
use tidegate_proxy::{Cause, CheckState, Circuit, ServerState};

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
        "failure": state.failure,
        "outlier": state.outlier,
        "causes": state.causes.iter().map(|cause| cause.word()).collect::<Vec<_>>(),
        "check": state.check.as_ref().map(check),
    })
}

/// Why no requests go to a server; none: they do.
pub(super) fn why_not(state: &ServerState) -> Option<String> {
    let causes = state.causes.iter().map(|cause| match cause {
        Cause::Check => match state.check.as_ref().and_then(|check| check.why.as_deref()) {
            Some(why) => format!("its checks fail: {why}"),
            None => "it was not checked yet, or its checks fail".to_owned(),
        },
        Cause::Outlier => match &state.outlier {
            Some(why) => format!("worse than others: {why}"),
            None => "worse than others".to_owned(),
        },
        Cause::Source => "its source says that it is not well".to_owned(),
    });
    let failed = (state.left_out_by > 0).then(|| {
        let what = state.failure.as_deref().unwrap_or("failures");
        let tried = if state.circuit == Circuit::HalfOpen { ", and tried by a request now" } else { "" };
        format!("left out after {what}, by workers: {}{tried}", state.left_out_by)
    });
    let why: Vec<String> = causes.chain(failed).collect();
    (!why.is_empty()).then(|| format!("{}: {}", state.server.address, why.join("; ")))
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
