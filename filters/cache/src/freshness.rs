//! What may be kept and for how long it is fresh (RFC 9111, 3 and 4.2).

use tidegate_sdk::Fields;

use crate::answer::opaque;
use crate::config::Config;
use crate::control::{self, Control};
use crate::date;
use crate::record::Entry;

/// The times that belong to a response, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When the request went to the upstream.
    pub asked: u64,
    /// When the response came.
    pub answered: u64,
}

/// What is to be kept of a response, but for its body; `None` when it may not be.
pub fn entry(
    config: &Config,
    headers: &Fields,
    status: u16,
    authorized: bool,
    times: Times,
) -> Option<Entry> {
    let control = Control::of(headers);
    if !STATUS.contains(&status) || control.no_store || control.private || headers.get("set-cookie").is_some()
    {
        return None;
    }
    let shared = control.public || control.s_maxage.is_some() || control.must_revalidate;
    // RFC 9111, 3.5.
    if authorized && !shared {
        return None;
    }
    let given = date_of(headers, "date");
    let lifetime = control.s_maxage.or(control.max_age).or_else(|| {
        let expires = headers.get("expires")?;
        // An expires that is no date is in the past.
        Some(date::parse(expires).unwrap_or(0).saturating_sub(given.unwrap_or(times.answered)))
    });
    let heuristic = || {
        let modified =
            date_of(headers, "last-modified").filter(|_| config.heuristic && HEURISTIC.contains(&status))?;
        Some((given.unwrap_or(times.answered).saturating_sub(modified) / 10).min(86_400))
    };
    let lifetime = lifetime.or_else(heuristic);
    if lifetime.is_none() && !control.no_cache && !control.public {
        return None;
    }
    let strict = control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some();
    let window =
        |own: Option<u64>, configured: Option<tidegate_sdk::units::Span>| match strict || control.no_cache {
            true => 0,
            false => own.unwrap_or_else(|| configured.map_or(0, |span| span.0.as_secs())),
        };
    let mut kept_headers: Fields = headers.iter().filter(|(name, _)| !is_dropped(name)).collect();
    if given.is_none() {
        // RFC 9110, 6.6.1: what is kept has a date, be it that of its coming.
        kept_headers.set("date", date::write(times.answered));
    }
    let kept = Entry {
        status,
        stored: times.answered,
        initial_age: initial_age(headers, given, times),
        since: 0,
        lifetime: lifetime.unwrap_or(0),
        while_revalidate: window(control.stale_while_revalidate, config.stale_while_revalidate),
        if_error: window(control.stale_if_error, config.stale_if_error),
        strict,
        no_cache: control.no_cache,
        shared,
        headers: kept_headers,
        body: Vec::new(),
    };
    let is_of_use =
        kept.lifetime > kept.initial_age || kept.has_validator() || kept.while_revalidate + kept.if_error > 0;
    is_of_use.then_some(kept)
}

/// The headers of a kept response that the upstream has confirmed: with those of the confirmation (RFC 9111, 4.3.4).
pub fn merged(old: &Entry, headers: &Fields) -> Fields {
    let mut merged = old.headers.clone();
    let mut replaced: Vec<&str> = Vec::new();
    // The old date is not that of the confirmation.
    merged.remove("date");
    for (name, value) in headers.iter().filter(|(name, _)| !is_dropped(name) && !OF_THE_BODY.contains(name)) {
        if !replaced.contains(&name) {
            merged.remove(name);
            replaced.push(name);
        }
        merged.add(name, value);
    }
    merged
}

/// A kept response that the upstream has confirmed.
pub fn confirmed(
    config: &Config,
    old: &Entry,
    headers: &Fields,
    authorized: bool,
    times: Times,
) -> Option<Entry> {
    let mut merged = merged(old, headers);
    if let Some(age) = headers.get("age") {
        merged.set("age", age);
    }
    let mut entry = entry(config, &merged, old.status, authorized, times)?;
    entry.body.clone_from(&old.body);
    Some(entry)
}

/// Whether a confirmation, or the answer to HEAD, is of the same version as a kept response. One that names another must
/// not change it (RFC 9111, 4.3.4).
pub fn is_same(old: &Entry, headers: &Fields) -> bool {
    let pair = |name: &str| old.headers.get(name).zip(headers.get(name));
    match (pair("etag"), pair("last-modified")) {
        (Some((one, other)), _) => opaque(one) == opaque(other),
        (None, Some((one, other))) => one == other,
        (None, None) => true,
    }
}

/// Whether a kept response may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// As it is.
    Fresh,
    /// As it is, while another request gets a new one.
    WhileRevalidated,
    /// When the upstream confirms it.
    Stale,
}

/// How a request may use a kept response.
pub fn usable(entry: &Entry, request: &Control, now: u64) -> Use {
    let age = entry.age(now);
    if entry.no_cache || request.no_cache || request.max_age.is_some_and(|most| age > most) {
        return Use::Stale;
    }
    let left = entry.lifetime.saturating_sub(age);
    if left > 0 && request.min_fresh.is_none_or(|least| left >= least) {
        return Use::Fresh;
    }
    if request.min_fresh.is_some() {
        return Use::Stale;
    }
    let staleness = age.saturating_sub(entry.lifetime);
    if !entry.strict && request.max_stale.is_some_and(|most| staleness <= most) {
        return Use::Fresh;
    }
    // A client that says how old it may be means it.
    if request.max_age.is_none() && staleness < entry.while_revalidate {
        Use::WhileRevalidated
    } else {
        Use::Stale
    }
}

/// Whether a stale response may be given in place of an error.
pub fn replaces_errors(entry: &Entry, request: &Control, now: u64) -> bool {
    // Who does not want it unconfirmed would rather have the error, unless they say otherwise.
    let own = if request.no_cache { 0 } else { entry.if_error };
    let window = request.stale_if_error.unwrap_or(own);
    !entry.strict && !entry.no_cache && entry.age(now).saturating_sub(entry.lifetime) < window
}

/// RFC 9111, 4.2.3.
fn initial_age(headers: &Fields, date: Option<u64>, times: Times) -> u64 {
    let apparent = date.map_or(0, |date| times.answered.saturating_sub(date));
    let told = headers.get("age").and_then(|age| control::age(age)).unwrap_or(0);
    apparent.max(told.saturating_add(times.answered.saturating_sub(times.asked)))
}

/// A header that is a date.
pub fn date_of(headers: &Fields, name: &str) -> Option<u64> {
    date::parse(headers.get(name)?)
}

/// Headers that are not kept: of the connection, of this one answer, or written anew each time.
fn is_dropped(name: &str) -> bool {
    name.starts_with(':') || name.starts_with("proxy-") || DROPPED.contains(&name)
}

const DROPPED: [&str; 9] = [
    "age",
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// What belongs to the kept body and not to its confirmation: if that had others, they would not fit.
const OF_THE_BODY: [&str; 7] = [
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "repr-digest",
];

/// Statuses that this cache understands as a whole answer.
const STATUS: [u16; 15] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 421, 451, 501];

/// Statuses that may be fresh without saying so (RFC 9110, 15.1).
const HEURISTIC: [u16; 10] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414];
