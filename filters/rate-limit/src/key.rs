//! Who is counted: parts of a request that together are the key of a limit.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use tidegate_request_parts::{Claim, Subject};
use tidegate_sdk::{Request, units};

/// The parts of a key, in order. None: everybody is counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key(Vec<Part>);

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The client's address, or its network: bits of IPv4 and of IPv6.
    Address(u8, u8),
    Header(String),
    Cookie(String),
    Query(String),
    Property(String),
    Subject,
    Claim(Claim),
    Method,
    /// The path, or so many of its first segments.
    Path(Option<usize>),
    Host,
    Route,
    Rule,
    Text(String),
    /// The first of these that the request has.
    FirstOf(Vec<Part>),
}

const EXAMPLES: &str = "address, address/24/64, header:NAME, cookie:NAME, query:NAME, claim:NAME, subject, property:PATH, \
                        method, path, path/2, host, route, rule or text:ANY, or several with | between them";

impl Part {
    fn parse(text: &str) -> Option<Self> {
        if text.contains(OR) {
            let parts: Vec<_> = text.split(OR).map(Part::parse).collect::<Option<_>>()?;
            // Behind what every request has, nothing would ever be looked at.
            let all_count = parts.iter().rev().skip(1).all(|part| !part.is_always_there());
            return (all_count && parts.len() <= MOST_ALTERNATIVES).then_some(Part::FirstOf(parts));
        }
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Some(match text.split_once(':') {
            Some(("header", name)) => Part::Header(units::header_name(name).ok()?),
            Some(("cookie", name)) => Part::Cookie(named(name)?),
            Some(("query", name)) => Part::Query(named(name)?),
            Some(("claim", name)) => Part::Claim(Claim::new(name).ok()?),
            Some(("property", path)) => Part::Property(named(path)?),
            Some(("text", text)) => Part::Text(named(text)?),
            Some(_) => return None,
            None => match text {
                "method" => Part::Method,
                "subject" => Part::Subject,
                "path" => Part::Path(None),
                "host" => Part::Host,
                "route" => Part::Route,
                "rule" => Part::Rule,
                _ => segments(text).or_else(|| address(text))?,
            },
        })
    }

    fn is_always_there(&self) -> bool {
        matches!(self, Part::Method | Part::Path(_) | Part::Host | Part::Text(_))
    }

    /// Appends what the request has; false: it has no such thing.
    fn write<S>(&self, request: &Request<S>, out: &mut Vec<u8>) -> bool {
        let add = |value: Option<Vec<u8>>, out: &mut Vec<u8>| {
            let there = value.as_ref().is_some_and(|value| !value.is_empty());
            out.extend(value.unwrap_or_default());
            there
        };
        match self {
            Part::Address(v4, v6) => write_address(request, *v4, *v6, out),
            Part::Header(name) => add(request.headers().get(name).map(|value| value.into_bytes()), out),
            Part::Cookie(name) => add(request.cookie(name).map(|value| value.into_bytes()), out),
            Part::Query(name) => add(request.query_decoded(name).map(String::into_bytes), out),
            // One that a filter has set is found by its whole name only, whatever dots are in it.
            Part::Property(path) => {
                let properties = request.properties();
                add(properties.bytes(path).or_else(|| properties.own(path)), out)
            }
            Part::Method => add(Some(request.method().into_bytes()), out),
            Part::Subject => add(Subject.of(request), out),
            Part::Claim(claim) => add(claim.of(request), out),
            Part::Path(segments) => {
                let mut path = request.path();
                path.truncate(path.find('?').unwrap_or(path.len()));
                let next = segments.and_then(|segments| path.match_indices('/').nth(segments));
                let end = next.map(|(at, _)| at);
                path.truncate(end.unwrap_or(path.len()));
                add(Some(path.into_bytes()), out)
            }
            Part::Host => add(Some(request.authority().to_ascii_lowercase().into_bytes()), out),
            Part::Route => add(request.properties().route().name().map(String::into_bytes), out),
            Part::Rule => add(request.properties().route().rule().map(String::into_bytes), out),
            Part::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            Part::FirstOf(parts) => {
                // Nobody may be counted as another by writing the other's address into a header.
                let (start, mut nth) = (out.len(), 0_u8);
                parts.iter().any(|part| {
                    nth += 1;
                    out.push(nth);
                    let there = part.write(request, out);
                    if !there {
                        out.truncate(start);
                    }
                    there
                })
            }
        }
    }

    /// As [`Part::write`], for what wants texts.
    fn write_text<S>(&self, request: &Request<S>, out: &mut Vec<u8>) -> bool {
        match self {
            Part::FirstOf(parts) => {
                let start = out.len();
                parts.iter().any(|part| {
                    out.truncate(start);
                    // As in a key of our own: nobody is counted as another.
                    out.extend_from_slice(part.word().as_bytes());
                    out.push(b'=');
                    part.write_text(request, out)
                })
            }
            Part::Address(v4, v6) if (*v4, *v6) != (32, 128) => {
                let Some(ip) = request.properties().source().ip_addr() else { return false };
                let network = match ip {
                    IpAddr::V4(ip) => format!("{}/{v4}", Ipv4Addr::from(u32::from(ip) & mask_v4(*v4))),
                    IpAddr::V6(ip) => format!("{}/{v6}", Ipv6Addr::from(u128::from(ip) & mask_v6(*v6))),
                };
                out.extend_from_slice(network.as_bytes());
                true
            }
            part => part.write(request, out),
        }
    }

    /// What kind of part it is, in a text.
    fn word(&self) -> Cow<'_, str> {
        match self {
            Part::Address(..) => "address".into(),
            Part::Header(name) => format!("header:{name}").into(),
            Part::Cookie(name) => format!("cookie:{name}").into(),
            Part::Query(name) => format!("query:{name}").into(),
            Part::Property(path) => format!("property:{path}").into(),
            Part::Claim(claim) => format!("claim:{}", claim.name()).into(),
            Part::Subject => "subject".into(),
            Part::Method => "method".into(),
            Part::Path(_) => "path".into(),
            Part::Host => "host".into(),
            Part::Route => "route".into(),
            Part::Rule => "rule".into(),
            Part::Text(_) => "text".into(),
            Part::FirstOf(_) => "".into(),
        }
    }
}

/// What stands between alternatives; no header's name has a space in it.
const OR: &str = " | ";

/// More would be a mistake.
const MOST_ALTERNATIVES: usize = 8;

/// `path/2`.
fn segments(text: &str) -> Option<Part> {
    let segments = text.strip_prefix("path/")?.parse().ok()?;
    (1..=64).contains(&segments).then_some(Part::Path(Some(segments)))
}

/// `address`, `address/24`, `address/24/64`.
fn address(text: &str) -> Option<Part> {
    let rest = text.strip_prefix("address")?;
    if rest.is_empty() {
        return Some(Part::Address(32, 128));
    }
    let mut bits = rest.strip_prefix('/')?.split('/').map(|bits| bits.parse::<u8>().ok());
    let v4 = bits.next()?.filter(|bits| *bits <= 32)?;
    let v6 = match bits.next() {
        Some(bits) => bits.filter(|bits| *bits <= 128)?,
        None => 64,
    };
    bits.next().is_none().then_some(Part::Address(v4, v6))
}

fn write_address<S>(request: &Request<S>, v4: u8, v6: u8, out: &mut Vec<u8>) -> bool {
    let source = request.properties().source();
    if (v4, v6) == (32, 128) {
        // As the host writes it; nothing is to be cut off.
        let ip = source.ip().unwrap_or_default();
        out.extend_from_slice(ip.as_bytes());
        return !ip.is_empty();
    }
    let Some(ip) = source.ip_addr() else { return false };
    match ip {
        IpAddr::V4(ip) => {
            out.push(b'4');
            out.extend_from_slice(&(u32::from(ip) & mask_v4(v4)).to_be_bytes());
        }
        IpAddr::V6(ip) => {
            out.push(b'6');
            out.extend_from_slice(&(u128::from(ip) & mask_v6(v6)).to_be_bytes());
        }
    }
    true
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl Key {
    /// Appends the key of a request, behind the limit's name; false: the request lacks a part of it.
    pub fn write<S>(&self, name: &str, request: &Request<S>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(name.as_bytes());
        let mut whole = true;
        for part in &self.0 {
            // No value has a zero byte in it but the bits of a network, whose length is known.
            out.push(0);
            whole &= part.write(request, out);
        }
        whole
    }

    /// Whether it is the client's whole address.
    pub fn is_address(&self) -> bool {
        self.0 == [Part::Address(32, 128)]
    }

    /// Appends what is before the address, where it [is one](Key::is_address).
    pub fn write_before_address(name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
    }

    /// The text of one part, for what wants texts.
    pub fn text<S>(&self, request: &Request<S>) -> Option<String> {
        let mut value = Vec::new();
        for part in &self.0 {
            if !part.write_text(request, &mut value) {
                return None;
            }
        }
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EXAMPLES}, or a list of these")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        part(text).map(|part| Key(vec![part]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Key, A::Error> {
        let mut parts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            parts.push(part(&text)?);
        }
        Ok(Key(parts))
    }
}

fn part<E: Error>(text: &str) -> Result<Part, E> {
    let refuse =
        || E::custom(format!("\"{}\" is no part of a key; it may be {EXAMPLES}", text.escape_debug()));
    Part::parse(text).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        for (text, part) in [
            ("address", Part::Address(32, 128)),
            ("address/24", Part::Address(24, 64)),
            ("address/0/56", Part::Address(0, 56)),
            ("header:X-Tenant", Part::Header("x-tenant".to_owned())),
            ("text:a:b", Part::Text("a:b".to_owned())),
            ("property:filter_state.tenant", Part::Property("filter_state.tenant".to_owned())),
            ("path", Part::Path(None)),
            ("path/2", Part::Path(Some(2))),
            ("claim:org.tenant", Part::Claim(Claim::new("org.tenant").expect("a claim"))),
            ("subject | address/24/56", Part::FirstOf(vec![Part::Subject, Part::Address(24, 56)])),
        ] {
            assert_eq!(Part::parse(text), Some(part), "{text}");
        }
        for text in [
            "",
            "addr",
            "address/33",
            "address/24/129",
            "address/",
            "header:",
            "header:a b",
            "claim:",
            "path/0",
            "path/x",
            "subject | ",
            "text:a | address",
            "path | subject",
            "subject|address",
        ] {
            assert_eq!(Part::parse(text), None, "{text}");
        }
        assert_eq!(Part::parse(&["subject"; 9].join(" | ")), None);
    }
}
