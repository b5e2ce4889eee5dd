//! The first-party filter `transform`, as it is shipped: headers and queries in both. Bodies need a head that is held
//! while its body is shown, which Envoy does not offer by default.

use super::{Case, get, post};
use crate::envoy::config::TRANSFORM;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("transform, {name}"),
        listener: TRANSFORM.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("nothing to take", &[], get("", "")),
        of("copied and renamed", &[("x-t-a", "1"), ("x-t-a", "2"), ("x-t-old", "o")], get("", "")),
        of("removed", &[("x-t-secret", "s")], get("", "")),
        of("query", &[("x-t-a", "a b&c")], get("", "").to("/ok?page=1&q=%2Fx")),
        of("what ends a header", &[], get("", "").to("/ok?q=a%0d%0ab")),
        of("a body passes", &[("x-t-a", "1")], post("", "")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
