//! `otlp`, wherever it is.

use super::Check;
use super::upstream::client_tls;
use crate::document::{Document, OtlpBackoffDocument, OtlpDocument, OtlpProtocol, OtlpRetriesDocument};
use crate::node::Path;
use crate::plan::{Otlp, OtlpRetries};
use crate::problem::Fault;
use crate::types::parse_server;
use std::collections::BTreeMap;
use std::time::Duration;

/// A collector. `service` is what the gateway is called where the resource does not say so.
pub(super) fn otlp(check: &mut Check<'_>, place: &Path<'_>, written: &OtlpDocument, service: &str) -> Otlp {
    let OtlpDocument { endpoint, tls, protocol, headers, timeout, retries, resource } = written;
    let found = check.take(&place.key("endpoint"), endpoint_of(endpoint)).unwrap_or_default();
    let Endpoint { secure, authority, path } = found;
    let section = place.key("tls");
    if tls.is_some() && !secure {
        let fault = Fault::new("\"tls\" has no meaning for an endpoint with \"http\"");
        check.fault(&section, fault.hint("an endpoint such as https://otlp.example.com"));
    }
    let tls = tls.as_ref().map(|tls| client_tls(check, &section, tls));
    fields(check, &place.key("headers"), headers);
    let mut resource: Vec<_> = resource.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(empty) = resource.iter().position(|(name, _)| name.is_empty()) {
        check.fault(&place.key("resource"), Fault::new("the name of an attribute is empty"));
        resource.remove(empty);
    }
    if resource.iter().all(|(name, _)| name != "service.name") {
        resource.insert(0, ("service.name".to_owned(), service.to_owned()));
    }
    Otlp {
        authority,
        path,
        tls: secure.then(|| tls.unwrap_or_default()),
        grpc: *protocol == Some(OtlpProtocol::Grpc),
        headers: headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
        timeout: check.positive(&place.key("timeout"), *timeout, Duration::from_secs(10)),
        retries: again(check, &place.key("retries"), retries.as_ref()),
        resource,
    }
}

/// What the gateway is called where a collector's `resource` does not say so.
pub(super) fn service(document: &Document) -> &str {
    let named = document.tracing.as_ref().and_then(|tracing| tracing.service.as_deref());
    named.unwrap_or("tidegate")
}

fn fields(check: &mut Check<'_>, place: &Path<'_>, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            check.fault(&place.key(name), Fault::new(format!("{name:?} is not the name of a field")));
        }
        if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            check.fault(&place.key(name), Fault::new("the value has bytes that a field cannot have"));
        }
    }
}

fn again(check: &mut Check<'_>, place: &Path<'_>, written: Option<&OtlpRetriesDocument>) -> OtlpRetries {
    let OtlpRetriesDocument { attempts, backoff } = written.cloned().unwrap_or_default();
    let OtlpBackoffDocument { base, max } = backoff.unwrap_or_default();
    let section = place.key("backoff");
    let base = check.positive(&section.key("base"), base, Duration::from_secs(1));
    let max = check.positive(&section.key("max"), max, base.max(Duration::from_secs(30)));
    if base > max {
        let fault = Fault::new(format!("the first wait ({base:?}) is longer than the longest one ({max:?})"));
        check.fault(&section, fault.hint("base at most as long as max"));
    }
    OtlpRetries { attempts: attempts.unwrap_or(5), base, max }
}

/// Where a collector is.
#[derive(Debug, Default, PartialEq)]
struct Endpoint {
    secure: bool,
    authority: String,
    path: String,
}

fn endpoint_of(text: &str) -> Result<Endpoint, Fault> {
    let wrong =
        |what: &str| Err(Fault::new(format!("{text:?} {what}")).hint("for instance http://127.0.0.1:4318"));
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return wrong("is not an http or https URL"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let authority = match (has_port, secure) {
        (true, _) => authority.to_owned(),
        (false, true) => format!("{authority}:443"),
        // The ports of OTLP in clear text are by custom, not by the scheme.
        (false, false) => return wrong("has no port"),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    if !authority.bytes().all(valid) || parse_server(&authority).is_err() {
        return wrong("has no host and port");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
        return wrong("has more than a path");
    }
    Ok(Endpoint { secure, authority, path: path.trim_end_matches('/').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let found = |text: &str| endpoint_of(text).map_err(|fault| fault.message);
        let endpoint = |secure, authority: &str, path: &str| {
            Ok(Endpoint { secure, authority: authority.to_owned(), path: path.to_owned() })
        };
        assert_eq!(found("http://127.0.0.1:4318"), endpoint(false, "127.0.0.1:4318", ""));
        assert_eq!(found("http://[::1]:4318/otlp/"), endpoint(false, "[::1]:4318", "/otlp"));
        assert_eq!(found("https://a.test/otlp"), endpoint(true, "a.test:443", "/otlp"));
        assert_eq!(found("https://[::1]"), endpoint(true, "[::1]:443", ""));
        assert_eq!(found("https://a:4317"), endpoint(true, "a:4317", ""));
        for text in ["127.0.0.1:4318", "http://a", "http://a:99999", "http://:1", "https://", "http://a:1/?b"]
        {
            assert!(found(text).is_err(), "{text}");
        }
    }
}
