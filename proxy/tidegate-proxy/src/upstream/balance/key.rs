//! Keys: what requests and servers are known by where a hash decides. The same in every gateway and every version.

use std::io::Write;

use crate::upstream::server::{Identity, mixed};

/// The key of some bytes (FNV-1a, with its bits spread).
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mixed(hash)
}

/// The key of a server: of its address and TLS name.
pub(crate) fn of_server(identity: &Identity) -> u64 {
    let mut text = Vec::with_capacity(64);
    // Writing to memory cannot fail.
    _ = write!(text, "{}", identity.address);
    if let Some(name) = &identity.name {
        _ = write!(text, " {}", name.to_str());
    }
    of_bytes(&text)
}
