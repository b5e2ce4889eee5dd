//! Identities of mutual TLS: the client's certificate on this connection, or one that a trusted proxy before the gateway
//! has seen and tells of in `x-forwarded-client-cert`.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use tidegate_sdk::ConfigError;

use crate::Request;
use crate::identity::Identity;
use crate::pattern::{Network, Pattern};
use crate::place::Place;
use crate::verdict::{Challenge, Refusal, Verdict};

pub(super) const KIND: &str = "certificate";

/// Client certificates. The listener must verify them: the filter only reads who they are for.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Document {
    /// Patterns of the names that are accepted: a SPIFFE id or other URI, a host name. Any name when it is left out.
    names: Option<Vec<Pattern>>,
    /// The trust domains of SPIFFE ids that are accepted, as `example.org`; ids only, then.
    trust_domains: Option<Vec<String>>,
    /// Networks of proxies whose `x-forwarded-client-cert` is believed, where the connection itself has no certificate.
    /// Nobody's when it is left out.
    forwarded_from: Vec<Network>,
    /// Lets the upstream see `x-forwarded-client-cert`.
    forward: bool,
}

/// Whose certificates are accepted.
pub(crate) struct Certificate {
    document: Document,
    places: Vec<Place>,
}

/// What is known of a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    uri: Option<String>,
    dns: Option<String>,
    subject: Option<String>,
    digest: Option<String>,
}

impl Certificate {
    pub(crate) fn build(document: Document, path: &str) -> Result<Self, ConfigError> {
        let at = |key: &str, message: &str| ConfigError::at(format!("{path}.{key}"), message);
        if document.names.as_ref().is_some_and(Vec::is_empty) {
            return Err(at("names", "no name is accepted; leave it out to accept any"));
        }
        if document.trust_domains.as_ref().is_some_and(Vec::is_empty) {
            return Err(at("trustDomains", "no trust domain is accepted; leave it out to accept any name"));
        }
        let places = match document.forward {
            true => Vec::new(),
            false => vec![Place::Header(FORWARDED.to_owned())],
        };
        Ok(Certificate { document, places })
    }

    pub(crate) fn check(&self, request: &Request) -> Verdict {
        let Some(shown) = self.of_connection(request).or_else(|| self.forwarded(request)) else {
            return Verdict::Nothing(Challenge::default());
        };
        let refused = || Refusal::new("certificate_unknown", "this certificate is not accepted").status(403);
        let Some(name) = shown.uri.as_ref().or(shown.dns.as_ref()).or(shown.subject.as_ref()) else {
            return refused().into();
        };
        let is_named = |names: &Vec<Pattern>| {
            let known = [&shown.uri, &shown.dns];
            known.into_iter().flatten().any(|name| names.iter().any(|pattern| pattern.matches(name)))
        };
        let is_trusted = |domains: &Vec<String>| {
            let domain = shown.uri.as_deref().and_then(trust_domain);
            domain.is_some_and(|domain| domains.iter().any(|known| known.eq_ignore_ascii_case(domain)))
        };
        if !self.document.names.as_ref().is_none_or(is_named)
            || !self.document.trust_domains.as_ref().is_none_or(is_trusted)
        {
            return refused().into();
        }
        let mut identity = Identity::new(KIND, name);
        let parts = [
            ("uri", &shown.uri),
            ("dns", &shown.dns),
            ("subject", &shown.subject),
            ("sha256", &shown.digest),
        ];
        for (claim, value) in parts {
            if let Some(value) = value {
                identity.claims.insert(claim.to_owned(), Value::String(value.clone()));
            }
        }
        if let Some(domain) = shown.uri.as_deref().and_then(trust_domain) {
            identity.claims.insert("trustDomain".to_owned(), Value::String(domain.to_owned()));
        }
        identity.into()
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    fn of_connection(&self, request: &Request) -> Option<Shown> {
        let connection = request.properties().connection();
        if connection.mtls() != Some(true) {
            return None;
        }
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Some(Shown {
            uri: some(connection.peer_uri()),
            dns: some(connection.peer_name()),
            subject: some(connection.peer_subject()),
            digest: some(connection.peer_digest()),
        })
    }

    /// The certificate that the proxy next to us has seen.
    fn forwarded(&self, request: &Request) -> Option<Shown> {
        if self.document.forwarded_from.is_empty() {
            return None;
        }
        // A proxy that says for whom it asks is not the source of the request.
        let properties = request.properties();
        let proxy: IpAddr = properties.peer().ip_addr().or_else(|| properties.source().ip_addr())?;
        if !self.document.forwarded_from.iter().any(|network| network.contains(proxy)) {
            return None;
        }
        let values = request.headers().get_all(FORWARDED);
        read(values.last()?.to_str()?)
    }
}

const FORWARDED: &str = "x-forwarded-client-cert";

/// The trust domain of a SPIFFE id.
fn trust_domain(uri: &str) -> Option<&str> {
    let domain = uri.strip_prefix("spiffe://")?.split('/').next()?;
    (!domain.is_empty()).then_some(domain)
}

/// The last element of the header, which the proxy next to us has written.
fn read(header: &str) -> Option<Shown> {
    let mut shown = Shown::default();
    for pair in split(split(header, ',')?.last()?, ';')? {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = unquoted(value.trim());
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "uri" => &mut shown.uri,
            "dns" => &mut shown.dns,
            "subject" => &mut shown.subject,
            "hash" => &mut shown.digest,
            _ => continue,
        };
        // Of several the first counts, as in a certificate.
        if slot.is_none() && !value.is_empty() {
            *slot = Some(value);
        }
    }
    Some(shown)
}

/// The parts between separators that are not within quotation marks; nothing where those do not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if char == separator && !quoted => {
                parts.push(text.get(start..at)?);
                start = at + char.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!quoted).then_some(parts)
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut out, mut escaped) = (String::with_capacity(inner.len()), false);
    for char in inner.chars() {
        match char {
            '\\' if !escaped => escaped = true,
            char => {
                escaped = false;
                out.push(char);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_element_of_the_header_counts() {
        let header = "By=spiffe://a/x;Hash=11;URI=spiffe://a/evil,By=b;Hash=22;Subject=\"CN=x, O=\\\"y;URI=z\\\"\";URI=spiffe://a/good;URI=other;DNS=h";
        let want = Shown {
            uri: Some("spiffe://a/good".to_owned()),
            dns: Some("h".to_owned()),
            subject: Some("CN=x, O=\"y;URI=z\"".to_owned()),
            digest: Some("22".to_owned()),
        };
        assert_eq!(read(header), Some(want));
        assert_eq!(read("Subject=\"open;URI=spiffe://a/evil"), None);
        assert_eq!(trust_domain("spiffe://example.org/a/b"), Some("example.org"));
        assert_eq!(trust_domain("https://example.org/"), None);
    }
}
