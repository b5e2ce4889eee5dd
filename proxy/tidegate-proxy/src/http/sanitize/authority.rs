//! Hosts: what may stand in a `host` field or an authority, and the part of it that is compared.

use std::net::Ipv6Addr;

/// The longest host name (RFC 1035 2.3.4), with one more for a final dot.
pub(crate) const MAX_HOST: usize = 254;

/// Whether this is a host with an optional port, without user information.
pub(crate) fn is_valid(authority: &[u8]) -> bool {
    let (host, port) = split(authority);
    is_host(host) && port.is_none_or(is_port)
}

/// Whether a filter may write this: what no server takes for more than a name, though it need not be a host with a
/// port. Filters mark hosts for the choice of a route, behind their ports too.
pub(crate) fn is_writable(authority: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    (1..=MAX_HOST + 6).contains(&authority.len()) && authority.iter().all(allowed)
}

/// The host without port and final dot, as it is compared with names; case is left alone.
pub(crate) fn host(authority: &[u8]) -> &[u8] {
    let (host, _) = split(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

/// Host and port; brackets belong to the host.
fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_literal = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map_or(authority.len(), |end| end + 1),
        _ => 0,
    };
    match memchr::memchr(b':', &authority[after_literal..]) {
        Some(colon) => (&authority[..after_literal + colon], Some(&authority[after_literal + colon + 1..])),
        None => (authority, None),
    }
}

fn is_host(host: &[u8]) -> bool {
    if let Some(literal) = host.strip_prefix(b"[") {
        let address = literal.strip_suffix(b"]").and_then(|address| std::str::from_utf8(address).ok());
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    if host.is_empty() || host.len() > MAX_HOST {
        return false;
    }
    // A label is never empty, but the last one when a dot ends the name.
    let mut before = Kind::Dot;
    for &byte in host {
        let kind = KINDS[usize::from(byte)];
        if kind == Kind::Other || (kind == Kind::Dot && before == Kind::Dot) {
            return false;
        }
        before = kind;
    }
    true
}

/// What a byte is in the name of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Part of a label.
    Label,
    Dot,
    /// Nothing that stands there.
    Other,
}

static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'.' => Kind::Dot,
            b'-' | b'_' => Kind::Label,
            byte if byte.is_ascii_alphanumeric() => Kind::Label,
            _ => Kind::Other,
        };
        byte += 1;
    }
    kinds
};

fn is_port(port: &[u8]) -> bool {
    matches!(port.len(), 1..=5)
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        for good in [
            "a",
            "a.b",
            "A.b:80",
            "a.b.",
            "a_b:1",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:8080",
            "xn--bcher-kva.example",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ".",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:123456",
            "a:80:80",
            "u@a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "..a",
            "a..b",
            ".a",
            "a,b",
            "a%41",
            "[::1",
            "::1",
            "[::1]x",
            "[::1%25eth0]",
            "[]",
            "[a]",
            "a\u{e9}",
            "a;b",
            "*.a",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert!(!is_valid("a".repeat(255).as_bytes()));
    }

    #[test]
    fn the_compared_part_has_no_port_and_no_final_dot() {
        for (authority, expected) in [
            ("a.b", "a.b"),
            ("a.b:80", "a.b"),
            ("a.b.:80", "a.b"),
            ("[::1]:80", "[::1]"),
            ("", ""),
            ("[::1", "[::1"),
        ] {
            assert_eq!(host(authority.as_bytes()), expected.as_bytes(), "{authority}");
        }
    }
}
