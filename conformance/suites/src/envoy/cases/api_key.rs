//! The first-party filter `api-key`, as it is shipped: what it decides in both.

use super::{Case, get, post};
use crate::envoy::config::API_KEY;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("api-key, {name}"),
        listener: API_KEY.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("none", &[], get("", "")),
        of("unknown", &[("x-api-key", "other")], get("", "")),
        of("empty", &[("x-api-key", "")], get("", "")),
        of("known", &[("x-api-key", "plain-key")], get("", "")),
        of(
            "known, claims to be somebody",
            &[("x-api-key", "plain-key"), ("x-t-consumer", "bob")],
            get("", ""),
        ),
        of("of a consumer", &[("X-Api-Key", "anns-key")], get("", "")),
        of("two keys", &[("x-api-key", "other"), ("x-api-key", "plain-key")], get("", "")),
        of("known, with a body", &[("x-api-key", "plain-key")], post("", "")),
        of("none, with a body", &[], post("", "").sized()),
        of("none, no body in the answer", &[], get("", "").by("HEAD")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
