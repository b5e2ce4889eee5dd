//! Who is taken for the client of a request.

use http::request::Parts;
use tidegate_config::plan::Listener;

use super::ExplainRequest;
use crate::http::headers::FORWARDED_FOR;
use crate::http::trust;

/// In words; none where nothing was asked and no proxy is trusted.
pub(super) fn of(listener: &Listener, request: &ExplainRequest, head: &Parts) -> Option<String> {
    let networks = &listener.trusted_proxies;
    let claims = head.headers.contains_key(FORWARDED_FOR);
    let Some(peer) = request.client else {
        if networks.is_empty() {
            let why = "no proxy is trusted, so its x-forwarded-for is replaced";
            return claims.then(|| format!("who connects: {why}"));
        }
        let trusted: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let trusted = trusted.join(", ");
        return Some(format!("who connects, unless that is one of {trusted}: --client-address tries one"));
    };
    let ip = peer.ip().to_canonical();
    if !trust::is_trusted(networks, ip) {
        let replaced = if claims { ", so its x-forwarded-for is replaced" } else { "" };
        return Some(format!("{ip}: not a trusted proxy{replaced}"));
    }
    let client = trust::client(&head.headers, peer, networks).ip();
    Some(match claims {
        false => format!("{ip}: a trusted proxy, but there is no x-forwarded-for"),
        true if client == peer.ip() => {
            format!("{ip}: a trusted proxy, but its x-forwarded-for does not end with an address")
        }
        true if trust::is_trusted(networks, client) => {
            format!("{client}: the first of x-forwarded-for, all of which are trusted proxies")
        }
        true => format!("{client}: the last of x-forwarded-for that is not a trusted proxy; {ip} is one"),
    })
}
