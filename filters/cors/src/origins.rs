//! Which origins are allowed: parsed once, compared with the header of each request.

use regex_lite::{Regex, RegexBuilder};
use tidegate_sdk::ConfigError;

use crate::config::Origin;

/// The allowed origins.
#[derive(Debug, Default)]
pub struct Origins {
    any: bool,
    /// Sorted.
    exact: Vec<Box<str>>,
    wild: Vec<Wild>,
    patterns: Vec<Regex>,
}

/// An origin with a `*` for the names before its host, or for its port.
#[derive(Debug)]
struct Wild {
    /// With `://`.
    scheme: Box<str>,
    /// Begins with a dot where names stand before it.
    host: Box<str>,
    port: Port,
}

#[derive(Debug)]
enum Port {
    None,
    Any,
    One(Box<str>),
}

impl Origins {
    /// Checks the list of the configuration.
    pub fn new(list: &[Origin], credentials: bool) -> Result<Self, ConfigError> {
        let mut origins = Origins::default();
        for (at, origin) in list.iter().enumerate() {
            let path = format!("origins[{at}]");
            origins.add(origin).map_err(|problem| ConfigError::at(&path, problem))?;
            if origins.any && credentials {
                return Err(ConfigError::at(
                    path,
                    "\"*\" cannot be together with credentials: true, since browsers refuse it; list the origins",
                ));
            }
        }
        if list.is_empty() {
            return Err(ConfigError::at("origins", "no origin is listed, so the filter would allow nobody"));
        }
        origins.exact.sort_unstable();
        Ok(origins)
    }

    /// Whether everybody is allowed.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// Whether this origin is allowed, as a browser writes it.
    pub fn allow(&self, origin: &[u8]) -> bool {
        if self.any {
            return true;
        }
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        if self.exact.binary_search_by(|known| (**known).cmp(origin)).is_ok() {
            return true;
        }
        origin.len() <= LONGEST
            && (self.wild.iter().any(|wild| wild.matches(origin))
                || self.patterns.iter().any(|pattern| pattern.is_match(origin)))
    }

    fn add(&mut self, origin: &Origin) -> Result<(), String> {
        match origin {
            Origin::Text(text) if text == "*" => self.any = true,
            Origin::Text(text) if text == "null" => self.exact.push("null".into()),
            Origin::Text(text) => self.add_text(&text.to_ascii_lowercase())?,
            Origin::Pattern(pattern) => {
                let whole = format!("^(?:{})$", pattern.regex);
                let regex = RegexBuilder::new(&whole).size_limit(PATTERN_BYTES).build();
                self.patterns.push(regex.map_err(|error| {
                    format!("\"{}\" is not a regular expression: {error}", pattern.regex.escape_debug())
                })?);
            }
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) -> Result<(), String> {
        let wrong = |what: &str| format!("\"{}\" {what}", text.escape_debug());
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("is not an origin, as \"https://app.example.com\" is"));
        };
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(wrong("has no scheme, as \"https\" is"));
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(wrong("has more than scheme, host and port in it; browsers send no more"));
        }
        let (host, port) = split_port(rest);
        if matches!((scheme, port), ("https", Some("443")) | ("http", Some("80"))) {
            return Err(wrong("has the usual port in it, which browsers leave out"));
        }
        let port = match port {
            None => Port::None,
            Some("*") => Port::Any,
            Some(port) if port.parse::<u16>().is_ok_and(|port| port != 0) => Port::One(port.into()),
            Some(_) => return Err(wrong("has no port behind the colon, as 8443 or * is")),
        };
        let below = host.strip_prefix('*');
        let plain = below.unwrap_or(host);
        if below.is_some_and(|suffix| suffix.len() < 2 || !suffix.starts_with('.')) {
            return Err(wrong(
                "has a * that is not before a dot and a name, as in \"https://*.example.com\"",
            ));
        }
        if !is_host(plain.strip_prefix('.').filter(|_| below.is_some()).unwrap_or(plain)) {
            return Err(wrong(
                "has no host, as \"app.example.com\" is; a * stands for whole names at its start",
            ));
        }
        match (below, &port) {
            (None, Port::None | Port::One(_)) => self.exact.push(text.into()),
            _ => {
                let scheme = format!("{scheme}://").into();
                self.wild.push(Wild { scheme, host: plain.into(), port });
            }
        }
        Ok(())
    }
}

impl Wild {
    fn matches(&self, origin: &str) -> bool {
        let Some(rest) = origin.strip_prefix(&*self.scheme) else { return false };
        let (host, port) = split_port(rest);
        let port_fits = match &self.port {
            Port::None => port.is_none(),
            Port::Any => port.is_none_or(|port| port.parse::<u16>().is_ok()),
            Port::One(one) => port == Some(one),
        };
        port_fits
            && match self.host.starts_with('.') {
                true => host.strip_suffix(&*self.host).is_some_and(is_host),
                false => *host == *self.host,
            }
    }
}

/// Host and port; an IPv6 address has colons of its own.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Whether it is made of names, or an address; nothing that could end a host early.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.split('.').all(name)
}

/// The longest origin that is compared with patterns: a host name has 253 bytes.
const LONGEST: usize = 512;

/// What a compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;
