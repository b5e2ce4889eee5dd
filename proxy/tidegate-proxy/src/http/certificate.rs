//! What a certificate says of its owner, for guests that ask: as much of X.509 (RFC 5280, 4.1) as that needs. The
//! certificates were checked by the TLS library before; what cannot be read here is left out.

mod times;

use std::net::IpAddr;
use std::time::Duration;

use rustls::ProtocolVersion;
use sha2::{Digest, Sha256};
use tidegate_wasm::CertificateDetails;

/// A version of TLS as guests read it.
pub(crate) fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// The number alone, as OpenTelemetry has it.
pub(crate) fn version_number(tls: Option<ProtocolVersion>) -> &'static str {
    version(tls).trim_start_matches("TLSv")
}

/// Reads a certificate in DER.
pub(crate) fn details(der: &[u8]) -> CertificateDetails {
    let mut details = read(der).unwrap_or_default();
    details.sha256 = hex(&Sha256::digest(der));
    details
}

/// The DNS names and addresses that a certificate is for, in its order.
pub(crate) fn names(der: &[u8]) -> Vec<String> {
    let shown = |(kind, name): (u8, &[u8])| match kind {
        DNS => Some(text(name)),
        IP => address(name).map(|address| address.to_string()),
        _ => None,
    };
    alternative_names(der).map(|names| names.filter_map(shown).collect()).unwrap_or_default()
}

/// An address as certificates have it.
fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Who made a certificate, and until when it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) issuer: String,
    /// Since the Unix epoch.
    pub(crate) not_before: Duration,
    pub(crate) not_after: Duration,
}

/// The term of a certificate in DER; none where it cannot be read.
pub(crate) fn term(der: &[u8]) -> Option<Term> {
    let certificate = Elements(der).expect(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).expect(SEQUENCE)?);
    fields.pass(VERSION);
    // Serial number, algorithm.
    fields.next()?;
    fields.next()?;
    let issuer = subject(fields.expect(SEQUENCE)?);
    let mut validity = Elements(fields.expect(SEQUENCE)?);
    let mut time = || validity.next().and_then(|(tag, text)| times::read(tag, text));
    Some(Term { issuer, not_before: time()?, not_after: time()? })
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// Parts of a certificate that have a number for a tag.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of alternative names.
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// `2.5.29.17`, the alternative names of the subject.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Attributes with short names (RFC 4514, 3).
const ATTRIBUTES: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];

/// Elements of DER, one behind the other.
#[derive(Clone, Copy)]
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// What is inside of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, inside)| inside)
    }

    /// Goes past an element with this tag, if the next one has it.
    fn pass(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut len = usize::from(*first);
        if len > 0x80 {
            let (bytes, more) = rest.split_at_checked(len & 0x7f)?;
            if bytes.len() > 4 {
                return None;
            }
            len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = more;
        }
        let (inside, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, inside))
    }
}

fn read(der: &[u8]) -> Option<CertificateDetails> {
    let mut fields = behind_validity(der)?;
    let mut details = CertificateDetails { subject: subject(fields.expect(SEQUENCE)?), ..Default::default() };
    for (kind, name) in alternative_names(der).into_iter().flatten() {
        match kind {
            DNS => details.names.push(text(name)),
            URI => details.uris.push(text(name)),
            _ => {}
        }
    }
    Some(details)
}

/// The fields of a certificate from its subject on.
fn behind_validity(der: &[u8]) -> Option<Elements<'_>> {
    let certificate = Elements(der).expect(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).expect(SEQUENCE)?);
    fields.pass(VERSION);
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        fields.next()?;
    }
    Some(fields)
}

/// The alternative names of the subject, each with its kind.
fn alternative_names(der: &[u8]) -> Option<Elements<'_>> {
    let (_, extensions) = behind_validity(der)?.find(|(tag, _)| *tag == EXTENSIONS)?;
    let value = Elements(Elements(extensions).expect(SEQUENCE)?).find_map(|(_, extension)| {
        let mut parts = Elements(extension);
        let is_wanted = parts.expect(OID) == Some(ALTERNATIVE_NAMES);
        parts.find(|(tag, _)| is_wanted && *tag == OCTETS).map(|(_, value)| value)
    })?;
    Elements(value).expect(SEQUENCE).map(Elements)
}

/// The last name first (RFC 4514, 2.1).
fn subject(names: &[u8]) -> String {
    let mut parts: Vec<String> = Elements(names)
        .filter(|(tag, _)| *tag == SET)
        .map(|(_, set)| Elements(set).filter_map(|(_, pair)| attribute(pair)).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(pair: &[u8]) -> Option<String> {
    let mut parts = Elements(pair);
    let oid = parts.expect(OID)?;
    let (_, value) = parts.next()?;
    let value = escaped(&String::from_utf8_lossy(value));
    Some(match ATTRIBUTES.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => format!("{name}={value}"),
        None => format!("{}={value}", dotted(oid)),
    })
}

/// RFC 4514, 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let edge = at == 0 && matches!(c, ' ' | '#') || at == last && c == ' ';
        if edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, inside: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inside.len()).expect("tests are short").to_be_bytes();
        [&[tag, 0x82], &length[..], inside].concat()
    }

    fn name(oid: &[u8], value: &[u8]) -> Vec<u8> {
        element(SET, &element(SEQUENCE, &[element(OID, oid), element(0x0c, value)].concat()))
    }

    fn certificate(subject: &[u8], rest: &[u8]) -> Vec<u8> {
        let fields = [
            &element(VERSION, &[2, 1, 2])[..],
            &element(2, &[1]),
            &element(SEQUENCE, &[]),
            &element(SEQUENCE, &[]),
            &element(SEQUENCE, &[]),
            &element(SEQUENCE, subject),
            &element(SEQUENCE, &[]),
            rest,
        ];
        element(SEQUENCE, &element(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn subject_and_alternative_names_are_read() {
        let subject = [
            name(&[0x55, 4, 6], b"DE"),
            name(&[0x55, 4, 10], b"A, B"),
            name(&[0x2a, 3], b"x"),
            name(&[0x55, 4, 3], b"me"),
        ];
        let names = [
            element(DNS, b"a.test"),
            element(IP, &[127, 0, 0, 1]),
            element(URI, b"spiffe://a/b"),
            element(IP, &std::net::Ipv6Addr::LOCALHOST.octets()),
            element(IP, &[1, 2, 3]),
        ]
        .concat();
        let extension =
            [element(OID, ALTERNATIVE_NAMES), element(OCTETS, &element(SEQUENCE, &names))].concat();
        let other = [element(OID, &[1]), element(1, &[0xff]), element(OCTETS, b"")].concat();
        let list = [element(SEQUENCE, &other), element(SEQUENCE, &extension)].concat();
        let der = certificate(&subject.concat(), &element(EXTENSIONS, &element(SEQUENCE, &list)));
        let found = details(&der);
        assert_eq!(found.subject, r"CN=me,1.2.3=x,O=A\, B,C=DE");
        assert_eq!((found.names, found.uris), (vec!["a.test".to_owned()], vec!["spiffe://a/b".to_owned()]));
        assert_eq!(found.sha256.len(), 64);
        assert_eq!(super::names(&der), ["a.test", "127.0.0.1", "::1"]);
    }

    #[test]
    fn what_is_no_certificate_has_a_digest_only() {
        let whole = certificate(&name(&[0x55, 4, 3], b"me"), b"");
        assert_eq!(details(&whole).subject, "CN=me");
        for len in 0..whole.len() {
            let found = details(&whole[..len]);
            assert_eq!((found.subject.as_str(), found.sha256.len()), ("", 64), "{len}");
        }
    }
}
