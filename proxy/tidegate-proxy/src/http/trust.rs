//! Proxies in front of the gateway that are believed: who the client is when a request comes from one.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use tidegate_config::Network;

use super::headers::FORWARDED_FOR;

/// Whether a request from this address may say where it comes from.
pub(crate) fn is_trusted(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The client behind trusted proxies: each of them has appended to `x-forwarded-for` whom it got the request from, so the
/// first from the right that is not trusted is the client, and what stands before it is only its claim. Where all are
/// trusted it is the first of them. The port is 0 where none is named.
pub(crate) fn client(headers: &HeaderMap, peer: SocketAddr, networks: &[Network]) -> SocketAddr {
    let mut client = peer;
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
            // Whoever wrote something else does not tell where the request comes from.
            let Some(address) = parse(entry) else { return client };
            client = address;
            if !is_trusted(networks, address.ip()) {
                return client;
            }
        }
    }
    client
}

/// An address, with or without a port.
fn parse(entry: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = || text.parse().or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    let address = text.parse().or_else(|_| bare().map(|ip: IpAddr| SocketAddr::new(ip, 0))).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_the_last_one_that_is_not_trusted() {
        let networks = [("10.0.0.0", 8), ("2001:db8::", 32)]
            .map(|(address, bits)| Network::around(address.parse().expect("an address"), bits));
        let peer = "10.0.0.1:4711";
        for (fields, expected) in [
            (&[][..], peer),
            (&["192.0.2.1"], "192.0.2.1:0"),
            (&["198.51.100.7, 192.0.2.1"], "192.0.2.1:0"),
            (&["198.51.100.7, 192.0.2.1, 10.2.3.4"], "192.0.2.1:0"),
            (&["192.0.2.1", "10.2.3.4,\t10.3.4.5 "], "192.0.2.1:0"),
            (&["10.9.9.9, 10.2.3.4"], "10.9.9.9:0"),
            (&["192.0.2.1:8080"], "192.0.2.1:8080"),
            (&["[2001:db9::1]:99, [2001:db8::1]"], "[2001:db9::1]:99"),
            (&["::ffff:192.0.2.1"], "192.0.2.1:0"),
            (&["192.0.2.1, unknown"], peer),
            (&["192.0.2.1, _hidden, 10.2.3.4"], "10.2.3.4:0"),
            (&[""], peer),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(field));
            }
            let found = client(&headers, peer.parse().expect("an address"), &networks);
            assert_eq!(found, expected.parse().expect("an address"), "{fields:?}");
        }
    }
}
