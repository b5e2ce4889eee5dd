//! The guest that is written with the SDK: what it makes of the same wishes in both.

use super::{Case, get, post};
use crate::envoy::config::SDK;

pub(crate) fn cases() -> Vec<Case> {
    let heads = ["refuse", "bad-header", "source repeated", "foreign nowhere", "what"];
    let waits = ["call", "join", "sleep call sleep", "call refuse", "later-call", "close"];
    let bodies = ["upper", "brackets", "call brackets", "sleep upper", "refuse", "brackets refuse"];
    let responses = ["later-upper", "later-whole", "later-call later-whole", "call later-upper"];
    let of = |wish: &&'static str, case: Case| Case {
        name: format!("sdk, {wish}, {}", case.method),
        listener: SDK.to_owned(),
        headers: vec![("x-do", *wish)],
        ..case
    };
    let mut cases: Vec<Case> = heads.iter().chain(&waits).map(|wish| of(wish, get("", ""))).collect();
    cases.extend(bodies.iter().map(|wish| of(wish, post("", ""))));
    let sized = |wish| Case { name: format!("sdk, {wish}, sized"), ..of(&wish, post("", "")).sized() };
    cases.extend(["upper", "brackets"].map(sized));
    cases.extend(responses.iter().map(|wish| of(wish, get("", "").to("/body"))));
    let chunks = |wish: &&'static str| {
        let case = of(wish, get("", "").to("/chunks"));
        Case { name: format!("sdk, {wish}, chunks"), ..case }
    };
    cases.extend(responses.iter().map(chunks));
    cases
}
