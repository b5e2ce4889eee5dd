//! `listeners`: addresses, TLS, filters and limits.

use super::Check;
use super::filter::{Place, listener_filters};
use super::plugin::Plugins;
use super::stream;
use crate::document::{
    Addresses, ClientAuthMode, Document, ListenerDocument, ListenerLimitsDocument, ListenerProtocol,
    ListenerTimeoutsDocument, ListenerTls,
};
use crate::node::Path;
use crate::plan::{
    CertificateFiles, ClientAuth, HostPattern, Listener, ListenerIndex, ListenerLimits, ListenerTimeouts,
    Protocol, ServerTls,
};
use crate::problem::Fault;
use crate::types::{Network, check_name, parse_host, parse_network, parse_socket};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

/// The listeners of the plan, found by name.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) list: Vec<Listener>,
    pub(super) by_name: HashMap<String, ListenerIndex>,
}

impl Listeners {
    pub(super) fn into_inner(self) -> Vec<Listener> {
        self.list
    }
}

pub(super) fn listeners(check: &mut Check<'_>, document: &Document, plugins: &mut Plugins) -> Listeners {
    let mut listeners = Listeners::default();
    let mut seen = Seen::new();
    let root = Path::ROOT;
    let section = root.key("listeners");
    for (index, written) in document.listeners.iter().enumerate() {
        let path = section.index(index);
        unique_name(check, (&section, index), "listener", (&written.name, &mut seen));
        listeners.by_name.entry(written.name.clone()).or_insert(index);
        let listener = listener(check, &path, written, plugins);
        listeners.list.push(listener);
    }
    listeners
}

/// Names of the parts of one list, with the index that each was seen at first.
pub(super) type Seen<'n> = HashMap<&'n str, usize>;

/// Checks the name of a part of a list, and that no part before has it.
pub(super) fn unique_name<'n>(
    check: &mut Check<'_>,
    (section, index): (&Path<'_>, usize),
    word: &str,
    (name, seen): (&'n str, &mut Seen<'n>),
) {
    let path = section.index(index);
    let path = path.key("name");
    check.take(&path, check_name(name));
    match seen.get(name).copied() {
        Some(first) => {
            let before = check.place(&section.index(first).key("name"));
            let fault = Fault::new(format!("another {word} is named {name:?}, in {before}"));
            check.fault(&path, fault.hint("rename one of them"));
        }
        None => {
            seen.insert(name, index);
        }
    }
}

fn listener(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &ListenerDocument,
    plugins: &mut Plugins,
) -> Listener {
    if written.http3 == Some(true) {
        check.unsupported(&path.key("http3"), "HTTP/3", "http3: false");
    }
    if written.proxy_protocol == Some(true) {
        check.unsupported(&path.key("proxyProtocol"), "the PROXY protocol", "proxyProtocol: false");
    }
    let filters = path.key("filters");
    let place = Place { owner: &written.name, path: &filters };
    let protocol = protocol(check, path, written);
    Listener {
        name: written.name.clone(),
        addresses: addresses(check, &path.key("address"), &written.address),
        protocol,
        hostnames: hostnames(check, &path.key("hostnames"), written.hostnames.as_deref().unwrap_or_default()),
        trusted_proxies: networks(check, &path.key("trustedProxies"), written.trusted_proxies.as_deref()),
        tls: written.tls.as_ref().map(|tls| server_tls(check, &path.key("tls"), tls)),
        filters: listener_filters(check, place, &written.filters, plugins),
        timeouts: timeouts(check, &path.key("timeouts"), written.timeouts.as_ref()),
        limits: limits(check, &path.key("limits"), written.limits.as_ref()),
    }
}

fn protocol(check: &mut Check<'_>, path: &Path<'_>, written: &ListenerDocument) -> Protocol {
    let protocol = match written.protocol {
        Some(ListenerProtocol::Https) => Protocol::Https,
        Some(ListenerProtocol::Http) | None => Protocol::Http,
        Some(ListenerProtocol::Tcp) => Protocol::Tcp,
        Some(ListenerProtocol::Tls) => Protocol::Tls,
    };
    // A protocol or a tls that was dropped has been reported; what remains does not show what was meant.
    if check.intact(path) {
        let word = protocol.word();
        match (protocol.is_secure(), &written.tls) {
            (true, None) => {
                let hint = "tls: { certificates: [{ cert: site.pem, key: site.key }] }";
                check.fault(path, Fault::new(format!("the protocol {word:?} needs certificates")).hint(hint));
            }
            (false, Some(_)) => {
                let fault = Fault::new(format!("certificates have no meaning with the protocol {word:?}"));
                let other = if protocol == Protocol::Tcp { "tls" } else { "https" };
                check.fault(&path.key("tls"), fault.hint(format!("protocol: {other}, or leave tls out")));
            }
            _ => {}
        }
        if !protocol.is_http() {
            stream::listener_keys(check, path, written, protocol);
        }
    }
    protocol
}

/// The addresses as written, by path.
pub(super) fn written_addresses(addresses: &Addresses) -> Vec<&str> {
    match addresses {
        Addresses::One(address) => vec![address.as_str()],
        Addresses::Many(addresses) => addresses.iter().map(String::as_str).collect(),
    }
}

fn addresses(check: &mut Check<'_>, path: &Path<'_>, written: &Addresses) -> Vec<SocketAddr> {
    let all = written_addresses(written).into_iter().enumerate();
    all.filter_map(|(index, address)| check.take(&path.index(index), parse_socket(address))).collect()
}

fn networks(check: &mut Check<'_>, path: &Path<'_>, written: Option<&[String]>) -> Vec<Network> {
    let written = written.unwrap_or_default().iter().enumerate();
    written.filter_map(|(index, text)| check.take(&path.index(index), parse_network(text))).collect()
}

/// Hosts of a listener or of a route.
pub(super) fn hostnames(check: &mut Check<'_>, path: &Path<'_>, written: &[String]) -> Vec<HostPattern> {
    let mut hosts = Vec::with_capacity(written.len());
    let mut seen = HashSet::new();
    for (index, text) in written.iter().enumerate() {
        let place = path.index(index);
        let Some(host) = check.take(&place, parse_host(text)) else { continue };
        if seen.insert(host.clone()) {
            hosts.push(host);
        } else {
            check.warn(&place, Fault::new(format!("the host {text:?} is there twice")));
        }
    }
    hosts
}

pub(super) fn server_tls(check: &mut Check<'_>, path: &Path<'_>, written: &ListenerTls) -> ServerTls {
    let section = path.key("certificates");
    let files = written.certificates.iter().enumerate().map(|(index, files)| {
        let path = section.index(index);
        CertificateFiles {
            cert: check.file(&path.key("cert"), &files.cert),
            key: check.file(&path.key("key"), &files.key),
        }
    });
    let certificates = files.collect();
    let client_auth = written.client_auth.as_ref().map(|auth| ClientAuth {
        ca: check.file(&path.key("clientAuth").key("ca"), &auth.ca),
        required: auth.mode != Some(ClientAuthMode::Optional),
    });
    ServerTls { certificates, client_auth }
}

fn timeouts(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&ListenerTimeoutsDocument>,
) -> ListenerTimeouts {
    let mut time =
        |key: &str, chosen, default| check.positive(&path.key(key), chosen, Duration::from_secs(default));
    ListenerTimeouts {
        handshake: time("handshake", written.and_then(|timeouts| timeouts.handshake), 5),
        headers: time("headers", written.and_then(|timeouts| timeouts.headers), 10),
        body: time("body", written.and_then(|timeouts| timeouts.body), 30),
        idle: time("idle", written.and_then(|timeouts| timeouts.idle), 60),
    }
}

/// Least and most that a request head may be limited to: less takes no ordinary request, more is a way to fill memory.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1024..=16 << 20;

fn limits(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&ListenerLimitsDocument>,
) -> ListenerLimits {
    let header_bytes = written.and_then(|limits| limits.header_bytes).map_or(64 << 10, |bytes| bytes.0);
    if !HEADER_BYTES.contains(&header_bytes) {
        let fault = Fault::new(format!("a request head cannot be limited to {header_bytes} bytes"));
        check.fault(&path.key("headerBytes"), fault.hint("1KiB to 16MiB"));
    }
    let limit = |chosen: Option<u32>, default: usize| chosen.map_or(default, |limit| limit as usize);
    ListenerLimits {
        header_bytes: usize::try_from(header_bytes).unwrap_or(usize::MAX),
        headers: limit(written.and_then(|limits| limits.headers), 100),
        connections: limit(written.and_then(|limits| limits.connections), 100_000),
        streams: limit(written.and_then(|limits| limits.streams), 100),
    }
}
