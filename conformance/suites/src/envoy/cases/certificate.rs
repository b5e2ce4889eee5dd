//! The first-party filter `auth` on a listener that asks clients for certificates: who they are is read from the
//! connection, so both proxies must tell a filter the same of it.

use super::{Case, get, post};
use crate::envoy::config::CERTIFICATE;

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, case: Case| Case {
        name: format!("mutual TLS, {name}"),
        listener: CERTIFICATE.to_owned(),
        headers: vec![("x-t-subject", "root"), ("x-t-dns", "root")],
        ..case
    };
    vec![
        of("known", get("", "").to("/body").showing("client.test")),
        of("known by a pattern", get("", "").showing("a.shop.test")),
        of("known, with a body", post("", "").sized().showing("client.test")),
        of("of others", get("", "").showing("evil.test")),
        of("of others, with a body", post("", "").sized().showing("evil.test")),
        of("none", get("", "")),
        of("none, told by a header", get("", "").with("x-forwarded-client-cert", "Hash=ab;DNS=client.test")),
    ]
}
