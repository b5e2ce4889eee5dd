//! The first-party filter `routing`, as it is shipped: what it chooses in both, by headers.

use super::{Case, get};
use crate::envoy::config::ROUTING;

const TOKEN: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("routing, {name}"),
        listener: ROUTING.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("none", &[], get("", "")),
        of("none, claims an arm", &[("x-t-arm", "gold")], get("", "")),
        of("redirect", &[], get("", "").to("/old/a/b?c=d")),
        of("rewrite", &[], get("", "").to("/v1/a?b=c")),
        of("value", &[("x-plan", "gold")], get("", "").to("/body")),
        of("other value", &[("x-plan", "tin")], get("", "")),
        of("language", &[("accept-language", "fr, de-AT;q=0.5")], get("", "")),
        of("other language", &[("accept-language", "fr")], get("", "")),
        of("cookie", &[("x-user", "1"), ("cookie", "a=b; v=b")], get("", "")),
        of("switch, blue", &[], get("", "").to("/shop")),
        of("switch, no token", &[], get("", "").to("/switch?to=green").by("POST")),
        of("switch, flip", &[TOKEN], get("", "").to("/switch?to=green").by("POST")),
        of("switch, green", &[], get("", "").to("/shop")),
        of("switch, back", &[TOKEN], get("", "").to("/switch?to=blue").by("POST")),
    ];
    for user in ["1", "2", "3", "4", "5", "6"] {
        cases.push(of(&format!("identity {user}"), &[("x-user", user)], get("", "")));
    }
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases
}
