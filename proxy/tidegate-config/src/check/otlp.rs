//! `otlp`, wherever it is.

use super::Check;
use crate::document::{Document, OtlpBackoffDocument, OtlpDocument, OtlpProtocol, OtlpRetriesDocument};
use crate::node::Path;
use crate::plan::{Otlp, OtlpRetries};
use crate::problem::Fault;
use std::collections::BTreeMap;
use std::time::Duration;

/// A collector. `service` is what the gateway is called where the resource does not say so.
pub(super) fn otlp(check: &mut Check<'_>, place: &Path<'_>, written: &OtlpDocument, service: &str) -> Otlp {
    let OtlpDocument { endpoint, protocol, headers, timeout, retries, resource } = written;
    let (authority, path) = check.take(&place.key("endpoint"), endpoint_of(endpoint)).unwrap_or_default();
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

/// Host with port, and path.
fn endpoint_of(text: &str) -> Result<(String, String), Fault> {
    let wrong =
        |what: &str| Err(Fault::new(format!("{text:?} {what}")).hint("for instance http://127.0.0.1:4318"));
    let Some(rest) = text.strip_prefix("http://") else {
        if text.starts_with("https://") {
            let fault = Fault::new("OTLP over TLS is not supported by this version");
            return Err(fault.hint("run a collector beside the gateway and send to it by http://"));
        }
        return wrong("is not an http URL");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((host, port)) = authority.rsplit_once(':') else { return wrong("has no port") };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(valid) || port.parse::<u16>().is_err() {
        return wrong("has no host and port");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
        return wrong("has more than a path");
    }
    Ok((authority.to_owned(), path.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        let found = |text: &str| endpoint_of(text).map_err(|fault| fault.message);
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(found("http://127.0.0.1:4318"), pair("127.0.0.1:4318", ""));
        assert_eq!(found("http://[::1]:4318/otlp/"), pair("[::1]:4318", "/otlp"));
        for text in
            ["127.0.0.1:4318", "http://a", "http://a:99999", "http://:1", "https://a:1", "http://a:1/?b"]
        {
            assert!(found(text).is_err(), "{text}");
        }
    }
}
