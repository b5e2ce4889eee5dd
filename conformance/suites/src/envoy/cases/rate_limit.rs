//! The first-party filter `rate-limit`, as it is shipped: limits whose time does not come round while the suite runs. Envoy
//! counts in shared data, Tidegate in limits of the host. How long
//! is left is not compared (`observe.rs`).

use super::{Case, get, post};
use crate::envoy::config::RATE_LIMIT;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: String, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("rate-limit, {name}"),
        listener: RATE_LIMIT.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = Vec::new();
    for nth in 1..=4 {
        cases.push(of(format!("nobody's, {nth}"), &[], get("", "")));
        cases.push(of(format!("a user's, {nth}"), &[("x-user", "ann")], get("", "")));
        cases.push(of(format!("another's with a body, {nth}"), &[("x-user", "bob")], post("", "").sized()));
        cases.push(of(format!("by two parts, {nth}"), &[("x-plan", "free")], get("", "").to("/body")));
        cases.push(of(format!("watched, {nth}"), &[("x-watched", "eve")], get("", "")));
    }
    for nth in 1..=3 {
        let case = get("", "").to("/costly");
        cases.push(of(format!("by what it has cost, {nth}"), &[("x-cost-of", "dan")], case));
    }
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
