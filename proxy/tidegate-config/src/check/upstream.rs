//! `upstreams`: servers, balancing, TLS and limits.

use super::balance::balance;
use super::names::Kind;
use super::policy::{budget, limits, pool};
use super::{Check, Names};
use super::{discover, health, outliers};
use crate::document::{
    Document, EjectionDocument, EjectionEntry, RedisLoginDocument, ServerEntry, UpstreamDocument,
    UpstreamTls, UpstreamWire,
};
use crate::node::{Node, Path};
use crate::plan::{
    CertificateFiles, ClientTls, Discover, Ejection, RedisLogin, Resolver, Server, Subset, Upstream,
    UpstreamIndex, UpstreamProtocol,
};
use crate::problem::Fault;
use crate::report::Report;
use crate::types::{check_name, check_server_name, parse_server};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path as FilePath;
use std::time::Duration;

/// The upstreams of the plan, found by name.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    by_name: HashMap<String, UpstreamIndex>,
    /// Subsets that rules name; they follow the list.
    subsets: RefCell<Vec<Upstream>>,
}

impl Upstreams {
    /// The upstream of a name; reports a name that nothing has.
    pub(super) fn find(&self, check: &mut Check<'_>, path: &Path<'_>, name: &str) -> Option<UpstreamIndex> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            check.dangling(path, Kind::Upstream, name);
        }
        found
    }

    /// As [`Upstreams::find`] for what requests are sent to, which speaks HTTP.
    pub(super) fn find_for_requests(
        &self,
        check: &mut Check<'_>,
        path: &Path<'_>,
        name: &str,
    ) -> Option<UpstreamIndex> {
        let found = self.find(check, path, name)?;
        if self.list.get(found).is_some_and(|own| own.protocol == UpstreamProtocol::Redis) {
            let fault = Fault::new(format!("the upstream {name:?} speaks Redis, requests are HTTP"));
            let hint =
                "plugins ask it: capabilities.upstreams; for requests name an upstream with protocol: auto";
            check.fault(path, fault.hint(hint));
            return None;
        }
        Some(found)
    }

    /// The upstream that has the servers of another one with these labels. Equal subsets are one.
    pub(super) fn subset(
        &self,
        check: &mut Check<'_>,
        path: &Path<'_>,
        of: UpstreamIndex,
        labels: &BTreeMap<String, String>,
    ) -> UpstreamIndex {
        let Some(whole) = self.list.get(of) else { return of };
        let has =
            |server: &Server| labels.iter().all(|(label, value)| server.labels.get(label) == Some(value));
        if !whole.servers.is_empty() && !whole.servers.iter().any(has) {
            let fault =
                Fault::new(format!("no server of {:?} has these labels, so nobody answers", whole.name));
            check.warn(path, fault.hint("servers: [{ address: host:port, labels: { name: value } }]"));
        }
        let subset = Subset { of, labels: labels.clone() };
        let mut subsets = self.subsets.borrow_mut();
        let known = subsets.iter().position(|own| own.subset.as_ref() == Some(&subset));
        let index = known.unwrap_or_else(|| {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            let name = format!("{}{{{}}}", whole.name, labels.join(","));
            // The whole one finds the servers and checks them.
            subsets.push(Upstream {
                name,
                servers: Vec::new(),
                discover: None,
                health: None,
                subset: Some(subset),
                ..whole.clone()
            });
            subsets.len() - 1
        });
        self.list.len() + index
    }

    pub(super) fn into_inner(self) -> Vec<Upstream> {
        let mut list = self.list;
        list.append(&mut self.subsets.into_inner());
        list
    }
}

pub(super) fn upstreams(check: &mut Check<'_>, document: &Document, resolver: &Resolver) -> Upstreams {
    let mut upstreams = Upstreams::default();
    let root = Path::ROOT;
    let section = root.key("upstreams");
    for (name, written) in &document.upstreams {
        let path = section.key(name);
        check.take(&path, check_name(name));
        upstreams.by_name.insert(name.clone(), upstreams.list.len());
        let mut upstream = upstream(check, &path, (name, document.zone.as_ref()), written);
        if let Some(Discover::Dns(source)) = &mut upstream.discover {
            source.resolver = source.resolver.or(resolver.address);
        }
        upstreams.list.push(upstream);
    }
    upstreams
}

fn upstream(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (name, zone): (&str, Option<&String>),
    written: &UpstreamDocument,
) -> Upstream {
    let protocol = match written.protocol {
        Some(UpstreamWire::Http1) => UpstreamProtocol::Http1,
        Some(UpstreamWire::Http2) => UpstreamProtocol::Http2,
        Some(UpstreamWire::Redis) => UpstreamProtocol::Redis,
        Some(UpstreamWire::Auto) | None => UpstreamProtocol::Auto,
    };
    let timeouts = written.timeouts.as_ref();
    let times = path.key("timeouts");
    let (balance, balancing) = balance(check, path, written, zone);
    Upstream {
        name: name.to_owned(),
        servers: servers(check, &path.key("servers"), written.servers.as_deref().unwrap_or_default()),
        discover: discover::discover(check, &path.key("discover"), written.discover.as_ref()),
        health: health::health(check, &path.key("health"), written.health.as_ref(), written.protocol),
        protocol,
        login: login(check, &path.key("login"), protocol, written.login.as_ref()),
        subset: None,
        balance,
        balancing,
        ejection: ejection(check, &path.key("ejection"), written.ejection.as_ref()),
        tls: written.tls.as_ref().map(|tls| client_tls(check, &path.key("tls"), tls)),
        limits: limits(check, &path.key("limits"), written.limits.as_ref()),
        retry_budget: written.retry_budget.as_ref().map(budget),
        pool: pool(check, &path.key("pool"), written.pool.as_ref()),
        connect_timeout: check.positive(
            &times.key("connect"),
            timeouts.and_then(|timeouts| timeouts.connect),
            Duration::from_secs(5),
        ),
        idle_timeout: check.positive(
            &times.key("idle"),
            timeouts.and_then(|timeouts| timeouts.idle),
            Duration::from_secs(60),
        ),
    }
}

/// The servers of the only upstream of a document, which holds nothing else.
pub(crate) fn servers_alone(document: &Document, tree: &Node, report: &mut Report) -> Vec<Server> {
    let names = Names::collect(tree);
    let mut check = Check { tree, names: &names, sources: &[], base: FilePath::new(""), report };
    let section = Path::ROOT.key("upstreams");
    let Some((name, upstream)) = document.upstreams.first_key_value() else { return Vec::new() };
    let path = section.key(name);
    servers(&mut check, &path.key("servers"), upstream.servers.as_deref().unwrap_or_default())
}

fn login(
    check: &mut Check<'_>,
    path: &Path<'_>,
    protocol: UpstreamProtocol,
    written: Option<&RedisLoginDocument>,
) -> RedisLogin {
    let Some(written) = written else { return RedisLogin::default() };
    if protocol != UpstreamProtocol::Redis {
        check.unsupported(path, "login", "protocol: redis, or no login");
    }
    if written.username.is_some() && written.password.is_none() {
        check.unsupported(&path.key("username"), "a user without a password", "password: ${env:NAME}");
    }
    RedisLogin {
        username: written.username.clone(),
        password: written.password.clone(),
        database: written.database.unwrap_or(0),
    }
}

fn servers(check: &mut Check<'_>, path: &Path<'_>, written: &[ServerEntry]) -> Vec<Server> {
    let mut servers = Vec::with_capacity(written.len());
    let mut seen = HashSet::new();
    for (index, entry) in written.iter().enumerate() {
        let place = path.index(index);
        let (address, written, place) = match entry {
            ServerEntry::Address(address) => (address, None, place),
            ServerEntry::Weighted(server) => (&server.address, Some(server), place.key("address")),
        };
        let Some(address) = check.take(&place, parse_server(address)) else { continue };
        if !seen.insert(address.clone()) {
            let fault = Fault::new(format!("the server {address:?} is there twice"));
            check.warn(&place, fault.hint("weight gives a server a larger share"));
        }
        servers.push(Server {
            address,
            weight: written.and_then(|server| server.weight).unwrap_or(1),
            zone: written.and_then(|server| server.zone.clone()),
            priority: written.and_then(|server| server.priority).unwrap_or(0),
            labels: written.map(|server| server.labels.clone()).unwrap_or_default(),
        });
    }
    servers
}

/// As long as a process takes to begin again at least.
const REFUSED: Duration = Duration::from_millis(100);

fn ejection(check: &mut Check<'_>, path: &Path<'_>, written: Option<&EjectionEntry>) -> Option<Ejection> {
    let defaults = EjectionDocument::default();
    let written = match written {
        Some(EjectionEntry::Switch(false)) => return None,
        None | Some(EjectionEntry::Switch(true)) => &defaults,
        Some(EjectionEntry::Rule(written)) => written,
    };
    let time = check.positive(&path.key("time"), written.time, Duration::from_secs(5));
    let longest = path.key("maxTime");
    let max_time = check.positive(&longest, written.max_time, Duration::from_secs(300).max(time));
    if max_time < time {
        let fault = Fault::new("the longest time is shorter than the first one");
        check.fault(&longest, fault.hint("as long as `time`, or longer"));
    }
    Some(Ejection {
        failures: written.failures.unwrap_or(5),
        statuses: written.statuses.clone().unwrap_or_default(),
        time,
        max_time,
        refused: written.refused.map_or(REFUSED, |time| time.0),
        percent: written.percent.unwrap_or(50) as usize,
        outliers: outliers::outliers(check, path, written),
    })
}

pub(super) fn client_tls(check: &mut Check<'_>, path: &Path<'_>, written: &UpstreamTls) -> ClientTls {
    if let Some(name) = &written.server_name {
        check.take(&path.key("serverName"), check_server_name(name));
    }
    let certificate = written.client_certificate.as_ref().map(|files| {
        let path = path.key("clientCertificate");
        CertificateFiles {
            cert: check.file(&path.key("cert"), &files.cert),
            key: check.file(&path.key("key"), &files.key),
        }
    });
    let ca = written.ca.as_ref().map(|ca| check.file(&path.key("ca"), ca));
    ClientTls { server_name: written.server_name.clone(), ca, certificate }
}
