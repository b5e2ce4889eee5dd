//! The first-party filter `cors`, as it is shipped: preflights, answers and refusals in both.

use super::{Case, get, post};
use crate::envoy::config::CORS;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("cors, {name}"),
        listener: CORS.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let shop = ("origin", "https://shop.test");
    let other = ("origin", "https://evil.test");
    let ask = ("access-control-request-method", "PUT");
    let names = ("access-control-request-headers", "x-a, content-type");
    let mut cases = vec![
        of("no origin", &[], get("", "")),
        of("allowed", &[shop], get("", "")),
        of("below a name", &[("origin", "https://a.example.org")], get("", "")),
        of("other", &[other], get("", "")),
        of("other, with a body", &[other], post("", "").sized()),
        of("allowed, with a body", &[shop], post("", "")),
        of("preflight", &[shop, ask], get("", "").by("OPTIONS")),
        of("preflight with headers", &[shop, ask, names], get("", "").by("OPTIONS")),
        of("preflight of another", &[other, ask], get("", "").by("OPTIONS")),
        of("options alone", &[shop], get("", "").by("OPTIONS")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
