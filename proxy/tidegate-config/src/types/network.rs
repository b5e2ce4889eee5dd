//! Sets of addresses by their first bits.

use crate::problem::Fault;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses with the same first bits (RFC 4632); a single address has all bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// All addresses that have the first `bits` bits of this one.
    #[must_use]
    pub fn around(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(address) => {
                let kept = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & kept).into()
            }
            IpAddr::V6(address) => {
                let kept = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & kept).into()
            }
        };
        Self { address, bits }
    }

    /// Whether an address is one of them. IPv4 in the form of IPv6 is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                first(network, self.bits) == first(address, self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                first_of_six(network, self.bits) == first_of_six(address, self.bits)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn first(address: Ipv4Addr, bits: u8) -> u32 {
    address.to_bits().checked_shr(32_u32.saturating_sub(bits.into())).unwrap_or(0)
}

fn first_of_six(address: Ipv6Addr, bits: u8) -> u128 {
    address.to_bits().checked_shr(128_u32.saturating_sub(bits.into())).unwrap_or(0)
}

/// A network as `10.0.0.0/8`, or one address.
pub(crate) fn parse_network(text: &str) -> Result<Network, Fault> {
    let fault = |why: &str| Fault::new(format!("{text:?} is not a network: {why}"));
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let hint = "an address and its number of bits: 10.0.0.0/8 or 2001:db8::/32";
    let address: IpAddr =
        address.parse().map_err(|_| fault(&format!("{address:?} is not an IP address")).hint(hint))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u8 = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(|| {
            fault(&format!("{bits:?} is not a number of bits")).hint(format!("0 to {most}"))
        })?,
        None => most,
    };
    let network = Network::around(address, bits);
    if network.address != address {
        let why = format!("{address} has bits beyond the first {bits}");
        return Err(fault(&why).hint(format!("{network} for the network, {address} for the one address")));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_by_their_first_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.128/25", "::ffff:192.0.2.200", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001::", "1.2.3.4"),
            ("::1", "::1", "::2"),
        ] {
            let found = parse_network(network).unwrap_or_else(|_| panic!("{network} is a network"));
            assert!(found.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!found.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "a.test", "10.0.0.1/8", "2001:db8::1/32", "::/129"]
        {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
