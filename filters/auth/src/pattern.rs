//! Names with at most one `*`, and networks.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, de::Error};

/// A text with at most one `*`, which stands for anything, also nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema), schemars(with = "String"))]
pub(crate) struct Pattern {
    start: String,
    end: Option<String>,
}

impl Pattern {
    /// Whether a text is meant.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match &self.end {
            None => text == self.start,
            Some(end) => text.strip_prefix(&self.start).is_some_and(|rest| rest.ends_with(end.as_str())),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        match text.split_once('*') {
            None => Ok(Pattern { start: text, end: None }),
            Some((_, end)) if end.contains('*') => Err(D::Error::custom(format!(
                "\"{}\" has more than one `*`; one is possible",
                text.escape_debug()
            ))),
            Some((start, end)) => Ok(Pattern { start: start.to_owned(), end: Some(end.to_owned()) }),
        }
    }
}

/// Addresses with the same beginning, as `10.0.0.0/8`; an address alone is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema), schemars(with = "String"))]
pub(crate) struct Network {
    address: u128,
    bits: u32,
    is_v4: bool,
}

impl Network {
    /// Whether an address is in it.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let (address, is_v4) = number(address);
        is_v4 == self.is_v4 && masked(address, self.bits) == self.address
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let (address, is_v4) = number(address.parse().ok()?);
        let size = if is_v4 { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => size,
        };
        // All are compared as those of IPv6 are, from the highest bit.
        (bits <= size).then(|| Network { address: masked(address, bits), bits, is_v4 })
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        let wrong =
            || format!("\"{}\" is no network, as 10.0.0.0/8 or 2001:db8::/32 is", text.escape_debug());
        Network::parse(&text).ok_or_else(|| D::Error::custom(wrong()))
    }
}

/// The address from the highest bit on; one of IPv4 that is written as one of IPv6 is one of IPv4.
fn number(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

fn masked(address: u128, bits: u32) -> u128 {
    address & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [
            ("alice", "alice", true),
            ("alice", "alice2", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*@example.com", "a@example.com", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "", true),
        ];
        for (pattern, text, matches) in cases {
            let read: Pattern = serde_json::from_value(pattern.into()).expect("a pattern");
            assert_eq!(read.matches(text), matches, "{pattern} {text}");
        }
        assert!(serde_json::from_value::<Pattern>("*a*".into()).is_err());
    }

    #[test]
    fn networks_hold_addresses() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::/0", "2001::", true),
        ];
        for (network, address, contains) in cases {
            let network = Network::parse(network).expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                contains,
                "{network:?} {address}"
            );
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "a", "::/129", "10.0.0.0/+8", "10.0.0.0/"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
