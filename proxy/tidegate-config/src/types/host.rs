//! Hosts: patterns that requests are matched by, names that are connected to, addresses that are listened on.

use crate::plan::HostPattern;
use crate::problem::Fault;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A host that requests are matched by: a name, an address, or `*.` and a name.
pub(crate) fn parse_host(text: &str) -> Result<HostPattern, Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a host: {why}"));
    if text.is_empty() {
        return Err(Fault::new("the host is empty").hint("a name like shop.example.com or *.example.com"));
    }
    if text == "*" {
        return Err(fault("a wildcard needs a name").hint("leave the list out to serve all hosts"));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !host.contains(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(fault("it has a port").hint(format!("write {host:?}; the port is the listener's")));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let address: Ipv6Addr =
            address.parse().map_err(|_| fault("there is no IPv6 address in the brackets"))?;
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    if text.ends_with('.') {
        return Err(fault("it ends with a dot").hint(format!("write {:?}", text.trim_end_matches('.'))));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    check_labels(name).map_err(|why| {
        let hint = if why.contains("wildcard") { "only the beginning may be *." } else { NAME };
        fault(&why).hint(hint)
    })?;
    let name = name.to_ascii_lowercase();
    Ok(if text.starts_with("*.") {
        HostPattern::Wildcard(format!(".{name}"))
    } else {
        HostPattern::Exact(name)
    })
}

const NAME: &str =
    "letters, digits, - and _ in parts of at most 63 characters, joined by dots; other scripts as xn--";

fn check_labels(name: &str) -> Result<(), String> {
    if name.len() > 253 {
        return Err("it has more than 253 characters".to_owned());
    }
    for label in name.split('.') {
        let bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        match label.chars().find(bad) {
            Some('*') => return Err("a wildcard stands inside of it".to_owned()),
            Some(other) => return Err(format!("{other:?} cannot be part of it")),
            None if label.is_empty() => return Err("a part of it is empty".to_owned()),
            None if label.len() > 63 => return Err("a part of it has more than 63 characters".to_owned()),
            None if label.starts_with('-') || label.ends_with('-') => {
                return Err("a part of it begins or ends with -".to_owned());
            }
            None => {}
        }
    }
    Ok(())
}

/// What is put at the end of a host's name; may be empty.
pub(crate) fn check_host_suffix(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| {
        let fault = Fault::new(format!("{text:?} cannot be the end of a host: {why}"));
        fault.hint("for instance -shadow or .shadow.example.com")
    };
    if text.len() > 100 {
        return Err(fault("it has more than 100 characters"));
    }
    if let Some(other) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        return Err(fault(&format!("it has the character {other:?}")));
    }
    if text.ends_with(['-', '.']) || text.contains("..") {
        return Err(fault("a part of it is empty or ends with -"));
    }
    Ok(())
}

/// The one host that a rewrite or a redirect puts into place, as it is sent.
pub(crate) fn parse_new_host(text: &str) -> Result<String, Fault> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Fault::new(format!("{text:?} is not a host: an IPv6 address stands in brackets"))
            .hint(format!("write {:?}", format!("[{text}]"))));
    }
    match parse_host(text)? {
        HostPattern::Exact(name) => Ok(name),
        HostPattern::Wildcard(_) => {
            Err(Fault::new(format!("{text:?} is not one host")).hint("a name without *"))
        }
    }
}

/// A name or an address without a port: what TLS verifies.
pub(crate) fn check_server_name(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a host: {why}")).hint(NAME);
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if text.is_empty() {
        return Err(Fault::new("the host is empty").hint("a name like shop.example.com"));
    }
    check_labels(text).map_err(|why| fault(&why))
}

/// An address to listen on.
pub(crate) fn parse_socket(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let fault = Fault::new(format!("{text:?} is not an address to listen on"));
        match text.rsplit_once(':') {
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                fault.hint(format!("write 0.0.0.0:{port} for all addresses"))
            }
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
                fault.hint(format!("write 127.0.0.1:{port}"))
            }
            None if text.parse::<u16>().is_ok() => {
                fault.hint(format!("write 0.0.0.0:{text} for all addresses"))
            }
            _ => fault.hint("an IP address and a port: 0.0.0.0:8080 or [::]:8080"),
        }
    })
}

/// The address of a server: a name or an address, and a port.
pub(crate) fn parse_server(text: &str) -> Result<String, Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not the address of a server: {why}"));
    if text.contains("://") {
        return Err(fault("it is a URL").hint("host and port only; tls: {} on the upstream for TLS"));
    }
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.starts_with('['))
        .ok_or_else(|| fault("it has no port").hint("write host:port, for instance 127.0.0.1:3001"))?;
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err(fault(&format!("{port:?} is not a port")).hint("a port is 1 to 65535")),
    }
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(address) if address.parse::<Ipv6Addr>().is_err() => {
            return Err(fault("there is no IPv6 address in the brackets").hint("for instance [::1]:3001"));
        }
        Some(_) => {}
        None if host.is_empty() => return Err(fault("it has no host").hint("for instance 127.0.0.1:3001")),
        None => check_labels(host).map_err(|why| fault(&why).hint(NAME))?,
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let cases = [
            ("Shop.Example.com", exact("shop.example.com")),
            ("localhost", exact("localhost")),
            ("127.0.0.1", exact("127.0.0.1")),
            ("[0::1]", exact("[::1]")),
            ("a_b.example", exact("a_b.example")),
            ("*.Example.com", HostPattern::Wildcard(".example.com".to_owned())),
        ];
        for (text, host) in cases {
            assert_eq!(parse_host(text), Ok(host), "{text}");
        }
    }

    #[test]
    fn other_hosts_are_refused() {
        for text in [
            "",
            "*",
            "*.",
            "a..b",
            "a.",
            "-a.b",
            "a b",
            "a/b",
            "a:80",
            "*a.b",
            "a.*.b",
            "münchen.de",
            "[::x]",
        ] {
            assert!(parse_host(text).is_err(), "{text}");
        }
        assert!(parse_host(&format!("{}.example", "a".repeat(64))).is_err());
    }

    #[test]
    fn new_hosts_are_one_host() {
        assert_eq!(parse_new_host("New.Example"), Ok("new.example".to_owned()));
        assert_eq!(parse_new_host("[::1]"), Ok("[::1]".to_owned()));
        for text in ["", "::1", "*.example", "a:80"] {
            assert!(parse_new_host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_read() {
        for text in ["127.0.0.1:3001", "orders.internal:80", "[::1]:443", "api_v1:8080"] {
            assert_eq!(parse_server(text), Ok(text.to_owned()));
        }
        for text in
            ["", "a", ":80", "a:0", "a:65536", "a:+80", "::1:80", "[::1]", "[x]:80", "http://a:80", "a b:80"]
        {
            assert!(parse_server(text).is_err(), "{text}");
        }
    }
}
