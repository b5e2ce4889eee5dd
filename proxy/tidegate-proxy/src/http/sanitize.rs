//! Checks what the parsers leave open, and brings heads into the one form that everything below relies on.
//!
//! After [`request`] a head has an origin-form target with a canonical path (see `path`), exactly one valid `host`, at
//! most one `content-length`, and no field that is for one connection only: it can be passed on in any HTTP version
//! as exactly one message, and the gateway, its filters and the upstream read the same in it.
//!
//! What a parser has removed cannot be seen here: the codecs of HTTP/1 refuse what they cannot show (`http/h1`).

mod authority;
mod fields;
mod path;

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version, request, response};

pub(crate) use self::authority::{MAX_HOST, host};
use self::fields::{FieldFault, Seen};
pub(crate) use self::path::{PathFault, canonical, hex};
use super::fail::{Fail, Origin, Reason, Retry};
use super::headers;

/// What was taken out of a request's head.
#[derive(Debug, Default)]
pub(crate) struct Sanitized {
    /// The protocol that an HTTP/1.1 client without a body wants to change to; forwarded only with a fresh
    /// `connection: upgrade`, and nothing more is read for the upstream until it has answered 101.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client takes trailers.
    pub(crate) te_trailers: bool,
    /// The client waits for `100 Continue` before it sends its body.
    pub(crate) expect_continue: bool,
    /// There are fields by which the client says who it is (`forwarded`, `x-forwarded-*`, `x-real-ip`,
    /// `x-request-id`); without any, [`super::headers::forwarded`] has nothing to remove.
    pub(crate) claims: bool,
    /// There may be fields by which the client says of which trace the request is part, in any of the formats.
    pub(crate) traced: bool,
}

/// Brings a request's head into canonical form, or refuses the request.
///
/// # Errors
/// The origin is always the client; the reason says which part: framing, host, path, method or header.
pub(crate) fn request(head: &mut request::Parts) -> Result<Sanitized, Fail> {
    // TRACE would show the client what filters and gateways have added; CONNECT would make a tunnel.
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Fail::client(Reason::Method));
    }
    // RFC 9113 8.2.1. A server that is asked by HTTP/1 would read another value than rules and filters have seen.
    if head.version > Version::HTTP_11 && head.headers.values().any(fields::is_padded) {
        return Err(client_fault(FieldFault::Padded));
    }
    let seen = fields::scan(&head.headers).map_err(client_fault)?;
    if seen.codings > 0 && head.version != Version::HTTP_11 {
        return Err(client_fault(FieldFault::CodingVersion));
    }
    set_target_and_host(head, seen.hosts, authority::is_valid)?;
    let upgrade = requested_upgrade(head, &seen);
    seen.strip(&mut head.headers).map_err(client_fault)?;
    seen.strip_underscores(&mut head.headers);
    if seen.expect {
        head.headers.remove(header::EXPECT);
    }
    Ok(Sanitized {
        upgrade,
        te_trailers: seen.te_trailers,
        expect_continue: seen.expect,
        claims: seen.claims,
        traced: seen.traced,
    })
}

/// Makes target and host canonical again after filters that may have written them, before a rule is chosen by them:
/// a filter that copies a path from somewhere must not lead a request past a rule.
///
/// # Errors
/// The origin is the filter.
pub(crate) fn rewritten(head: &mut request::Parts) -> Result<(), Fail> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    set_target_and_host(head, hosts, authority::is_writable)
        .map_err(|fail| Fail { origin: Origin::Filter, ..fail })
}

/// Removes from a response's head what is for one connection only. `upgraded`: the request asked for an upgrade, which
/// a 101 then grants.
///
/// # Errors
/// The origin is always the upstream, the reason [`Reason::Garbage`]: the answer could be read in more than one way.
pub(crate) fn response(head: &mut response::Parts, upgraded: bool) -> Result<(), Fail> {
    let garbage = |fault: FieldFault| Fail::upstream(Reason::Garbage, Retry::Never).because(fault.boxed());
    if head.version > Version::HTTP_11 {
        fields::trim(&mut head.headers);
    }
    let seen = fields::scan(&head.headers).map_err(garbage)?;
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && (!upgraded || seen.upgrades != 1) || (head.status.is_informational() && !switching) {
        return Err(
            Fail::upstream(Reason::Garbage, Retry::Never).because("an interim answer that was not asked for")
        );
    }
    let protocol = if switching { head.headers.get(header::UPGRADE).cloned() } else { None };
    seen.strip(&mut head.headers).map_err(garbage)?;
    if let Some(protocol) = protocol {
        head.headers.insert(header::UPGRADE, protocol);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // RFC 9110 8.6: neither has a length, and a client that believed one would wait for a body.
    if seen.lengths > 0 && (switching || head.status == StatusCode::NO_CONTENT) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(())
}

/// As [`response`], of an interim answer, which has no body whatever its fields say (RFC 9112, 6.3).
///
/// # Errors
/// As of [`response`]; a 101 is no interim answer.
pub(crate) fn interim(head: &mut response::Parts) -> Result<(), Fail> {
    let garbage = |fault: FieldFault| Fail::upstream(Reason::Garbage, Retry::Never).because(fault.boxed());
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(
            Fail::upstream(Reason::Garbage, Retry::Never).because("a protocol that was not asked for")
        );
    }
    fields::trim(&mut head.headers);
    let seen = fields::scan(&head.headers).map_err(garbage)?;
    seen.strip(&mut head.headers).map_err(garbage)?;
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(())
}

/// Removes from trailers what has no business there (RFC 9110 6.5.1): framing, routing, credentials, and how to
/// read the content, for a receiver that merges trailers into the head.
pub(crate) fn trailers(trailers: &mut HeaderMap) {
    keep(trailers, |name| may_trail(name) && !name.contains('_'));
}

/// As [`trailers`], of a response: in its fields an underscore is no other way to write a hyphen.
pub(crate) fn response_trailers(trailers: &mut HeaderMap) {
    keep(trailers, may_trail);
}

fn keep(trailers: &mut HeaderMap, may: impl Fn(&str) -> bool) {
    fields::trim(trailers);
    if trailers.keys().any(|name| !may(name.as_str())) {
        fields::remove_where(trailers, |name| !may(name));
    }
}

fn may_trail(name: &str) -> bool {
    !matches!(
        name,
        "age"
            | "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "location"
            | "max-forwards"
            | "pragma"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "range"
            | "retry-after"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "vary"
            | "www-authenticate"
            | "x-real-ip"
            | "x-request-id"
    ) && !name.starts_with("if-")
        && !name.starts_with("x-forwarded-")
}

/// Makes the target origin-form and `host` its authority. `valid`: what a `host` may be.
fn set_target_and_host(
    head: &mut request::Parts,
    hosts: usize,
    valid: fn(&[u8]) -> bool,
) -> Result<(), Fail> {
    if hosts > 1 {
        return Err(host_fault("more than one `host`"));
    }
    match (head.uri.scheme(), head.uri.authority()) {
        (Some(scheme), Some(_)) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
            return Err(
                Fail::client(Reason::Path).because("the target's scheme is neither `http` nor `https`")
            );
        }
        (None, Some(_)) => return Err(path_fault(PathFault::NotAbsolute)),
        (_, Some(_)) => set_host_by_authority(head, hosts)?,
        (_, None) => check_host(head, valid)?,
    }
    let canonical = match head.uri.path() {
        "*" if head.method == Method::OPTIONS => None,
        path => match canonical(path).map_err(path_fault)? {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        },
    };
    let has_path = head.uri.path_and_query().is_some_and(|target| !target.as_str().starts_with('?'));
    if canonical.is_some() || !has_path {
        let path = canonical.as_deref().unwrap_or("/");
        head.uri = Uri::from(with_path(path, head.uri.query())?);
    } else if head.uri.authority().is_some() {
        let target = std::mem::take(&mut head.uri).into_parts().path_and_query;
        head.uri = target.map(Uri::from).unwrap_or_default();
    }
    Ok(())
}

/// Path and query as one target.
fn with_path(path: &str, query: Option<&str>) -> Result<PathAndQuery, Fail> {
    let target = match query {
        Some(query) => PathAndQuery::try_from([path, "?", query].concat()),
        None => PathAndQuery::try_from(path),
    };
    target.map_err(|error| Fail::client(Reason::Path).because(error))
}

/// The authority of the target (absolute-form, or HTTP/2) becomes `host`.
fn set_host_by_authority(head: &mut request::Parts, hosts: usize) -> Result<(), Fail> {
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    if !authority::is_valid(authority.as_str().as_bytes()) {
        return Err(host_fault("the authority is not a host with an optional port"));
    }
    if hosts == 1
        && let Some(host) = head.headers.get(header::HOST)
    {
        if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) {
            return Ok(());
        }
        // HTTP/1.1 lets the target win (RFC 9112 3.2.2); from HTTP/2 on both must agree (RFC 9113 8.3.1).
        if head.version > Version::HTTP_11 {
            return Err(host_fault("`host` and `:authority` differ"));
        }
        if !authority::is_valid(host.as_bytes()) {
            return Err(host_fault("`host` is not a host with an optional port"));
        }
    }
    let host = HeaderValue::from_str(authority.as_str())
        .map_err(|error| Fail::client(Reason::Host).because(error))?;
    head.headers.insert(header::HOST, host);
    Ok(())
}

/// `host` must be there and valid. HTTP/1.0 does not have to have one: it is empty then, and only rules for any
/// host can match.
fn check_host(head: &mut request::Parts, valid: fn(&[u8]) -> bool) -> Result<(), Fail> {
    let old = head.version < Version::HTTP_11;
    match headers::host(&head.headers) {
        Some(host) if valid(host.as_bytes()) => Ok(()),
        Some(host) if old && host.is_empty() => Ok(()),
        Some(_) => Err(host_fault("`host` is not a host with an optional port")),
        None if old => {
            head.headers.insert(header::HOST, HeaderValue::from_static(""));
            Ok(())
        }
        None => Err(host_fault("`host` is missing")),
    }
}

/// The protocol that the client may change to: HTTP/1.1, one protocol, confirmed by `connection`, no body. Otherwise
/// the request is served as if it had not asked (RFC 9110 7.8). `h2c` and `TLS` are about this connection and never
/// passed on: an upstream that took them would leave the gateway out.
fn requested_upgrade(head: &request::Parts, seen: &Seen) -> Option<HeaderValue> {
    let has_body = seen.codings > 0 || seen.length.is_some_and(|length| length > 0);
    if head.version != Version::HTTP_11 || seen.upgrades != 1 || !seen.upgrade_option || has_body {
        return None;
    }
    let protocol = head.headers.get(header::UPGRADE)?;
    let name = protocol.as_bytes().split(|&byte| byte == b'/').next()?;
    let one = protocol.as_bytes().iter().all(|&byte| byte.is_ascii_graphic() && byte != b',');
    let own = [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"].iter().any(|own| name.eq_ignore_ascii_case(own));
    (one && !name.is_empty() && !own).then(|| protocol.clone())
}

fn client_fault(fault: FieldFault) -> Fail {
    let reason = match fault {
        FieldFault::Expect | FieldFault::Options | FieldFault::Padded => Reason::Header,
        FieldFault::Coding | FieldFault::CodingVersion | FieldFault::TwoFramings | FieldFault::Length => {
            Reason::Framing
        }
    };
    Fail::client(reason).because(fault.boxed())
}

fn host_fault(what: &'static str) -> Fail {
    Fail::client(Reason::Host).because(what)
}

fn path_fault(fault: PathFault) -> Fail {
    Fail::client(Reason::Path).because(fault)
}

#[cfg(test)]
mod tests;
