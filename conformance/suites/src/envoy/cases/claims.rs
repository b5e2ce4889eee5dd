//! Two first-party filters in one chain: `auth` hands on who sends a request, `rate-limit` counts by it.

use super::{Case, get};
use crate::envoy::config::CLAIMS;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, key: &'static str| Case {
        name: format!("claims, {name}"),
        listener: CLAIMS.to_owned(),
        headers: vec![("x-api-key", key), ("auth.claim.org.tenant", "forged")],
        ..get("", "")
    };
    let mut cases = vec![
        of("first of the tenant", "anns-key"),
        of("another sender of the tenant", "bobs-key"),
        of("the tenant has had its share", "anns-key"),
        of("another tenant", "eves-key"),
        of("nobody's key", "no-key"),
    ];
    let stranger = |name: &str| Case { headers: Vec::new(), ..of(name, "") };
    cases.extend(["a stranger", "the same stranger", "a stranger's third"].map(stranger));
    cases
}
