//! The first-party filter `fault`, as it is shipped: what requests meet in both.

use super::{Case, get, post};
use crate::envoy::config::FAULT;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("fault, {name}"),
        listener: FAULT.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("none", &[], get("", "").to("/body")),
        of("status", &[("x-fault", "status")], get("", "")),
        of("status, with a body", &[("x-fault", "status")], post("", "").sized()),
        of("status of gRPC", &[("x-fault", "grpc"), ("content-type", "application/grpc")], post("", "")),
        of("status of gRPC, for others", &[("x-fault", "grpc")], get("", "")),
        of("reset", &[("x-fault", "reset")], get("", "")),
        of("delay", &[("x-fault", "delay")], get("", "").to("/body")),
        of("delay, with a body", &[("x-fault", "delay")], post("", "").to("/body")),
        of("slow", &[("x-fault", "slow")], post("", "").to("/body")),
        of("slow, in chunks", &[("x-fault", "slow")], get("", "").to("/chunks")),
        of("cut", &[("x-fault", "cut")], get("", "").to("/body")),
        of("cut, in chunks", &[("x-fault", "cut")], get("", "").to("/chunks")),
        of("corrupt", &[("x-fault", "corrupt"), ("x-id", "7")], get("", "").to("/body")),
        of("by header", &[("x-tidegate-fault-abort", "418")], get("", "")),
        of("by header, not understood", &[("x-tidegate-fault-abort", "x")], get("", "")),
    ];
    for id in ["1", "2", "3", "4", "5", "6"] {
        cases.push(of(&format!("a half, {id}"), &[("x-fault", "half"), ("x-id", id)], get("", "")));
    }
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
