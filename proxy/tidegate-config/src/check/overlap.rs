//! Addresses that exclude each other: one listener (or the admin API) cannot have what another one has.

use super::Check;
use super::listener::written_addresses;
use crate::document::Document;
use crate::node::Path;
use crate::problem::Fault;
use crate::types::parse_socket;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Who listens on a port of one address family.
#[derive(Debug, Default)]
struct Port {
    /// The one that has all addresses.
    all: Option<usize>,
    /// Those that have one address each.
    single: HashMap<IpAddr, usize>,
}

/// An address, where it is written and what for.
struct User {
    address: SocketAddr,
    /// Listener and index of the address; none: the admin API.
    listener: Option<(usize, usize)>,
    label: String,
}

pub(super) fn addresses(check: &mut Check<'_>, document: &Document, admin: Option<SocketAddr>) {
    let mut users = Vec::new();
    users.extend(admin.map(|address| User { address, listener: None, label: "the admin API".to_owned() }));
    for (listener, written) in document.listeners.iter().enumerate() {
        for (index, text) in written_addresses(&written.address).into_iter().enumerate() {
            // An address that is none has been reported.
            if let Ok(address) = parse_socket(text) {
                let label = format!("the listener {:?}", written.name);
                users.push(User { address, listener: Some((listener, index)), label });
            }
        }
    }
    let mut ports: HashMap<(bool, u16), Port> = HashMap::new();
    for (index, user) in users.iter().enumerate() {
        // The system chooses a port that is free.
        if user.address.port() == 0 {
            continue;
        }
        let port = ports.entry((user.address.is_ipv4(), user.address.port())).or_default();
        let ip = user.address.ip();
        let first = if ip.is_unspecified() { port.single.values().min().copied() } else { None };
        let taken = port.all.or(first).or_else(|| port.single.get(&ip).copied());
        match taken.and_then(|taken| users.get(taken)) {
            Some(other) => report(check, user, other),
            None if ip.is_unspecified() => port.all = Some(index),
            None => {
                port.single.insert(ip, index);
            }
        }
    }
}

fn report(check: &mut Check<'_>, user: &User, other: &User) {
    let fault = if user.address == other.address {
        Fault::new(format!("{} is the address of {} already", user.address, other.label))
    } else {
        Fault::new(format!("{} overlaps {}, the address of {}", user.address, other.address, other.label))
    };
    let fault = fault.hint("give one of them another port");
    let root = Path::ROOT;
    if let Some((listener, index)) = user.listener {
        let section = root.key("listeners");
        let path = section.index(listener);
        check.fault(&path.key("address").index(index), fault);
    }
}
