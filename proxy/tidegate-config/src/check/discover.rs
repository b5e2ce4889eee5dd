//! `upstreams.X.discover`: where servers come from.

use super::Check;
use crate::document::{
    AddressFamily, ConsulDocument, ConsulEntry, DiscoverDocument, DnsDocument, DnsEntry, HttpSourceDocument,
    HttpSourceEntry, ResolverEntry, SrvDocument, SrvEntry,
};
use crate::node::Path;
use crate::plan::{ConsulSource, Discover, DnsRecords, DnsSource, HttpSource, Resolver, SecretFields};
use crate::problem::Fault;
use crate::types::{
    Timeout, check_header_value, check_server_name, check_url, parse_changed_header, parse_server,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The one source that is written down; none where the document has none, which was reported by its shape.
pub(super) fn discover(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&DiscoverDocument>,
) -> Option<Discover> {
    let DiscoverDocument { dns: names, srv: services, file, http: web, consul: catalog } = written?;
    if let Some(written) = names {
        return dns(check, &path.key("dns"), written);
    }
    if let Some(written) = services {
        return srv(check, &path.key("srv"), written);
    }
    if let Some(file) = file {
        return Some(Discover::File(check.file(&path.key("file"), file)));
    }
    if let Some(written) = web {
        return Some(http(check, &path.key("http"), written));
    }
    catalog.as_ref().map(|written| consul(check, &path.key("consul"), written))
}

fn dns(check: &mut Check<'_>, path: &Path<'_>, written: &DnsEntry) -> Option<Discover> {
    let (details, place) = match written {
        DnsEntry::Address(address) => (&DnsDocument::at(address), *path),
        DnsEntry::Source(details) => (details, path.key("address")),
    };
    let address = check.take(&place, parse_server(&details.address));
    let (min_ttl, max_ttl) = times(check, path, details.min_ttl, details.max_ttl);
    let resolver = details.resolver.as_ref().and_then(|text| name_server(check, &path.key("resolver"), text));
    let address = address?;
    let (name, port) = address.rsplit_once(':')?;
    let family = details.family.unwrap_or(AddressFamily::Any);
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        let fault = Fault::new(format!("{address:?} is an address, not a name"));
        check.fault(&place, fault.hint("servers: [host:port] for servers that never change"));
    }
    let records = DnsRecords::Addresses {
        port: port.parse().ok()?,
        ipv4: family != AddressFamily::Ipv6,
        ipv6: family != AddressFamily::Ipv4,
    };
    Some(Discover::Dns(DnsSource { name: name.to_owned(), records, resolver, min_ttl, max_ttl }))
}

impl DnsDocument {
    fn at(address: &str) -> Self {
        Self { address: address.to_owned(), resolver: None, min_ttl: None, max_ttl: None, family: None }
    }
}

fn srv(check: &mut Check<'_>, path: &Path<'_>, written: &SrvEntry) -> Option<Discover> {
    let (details, place) = match written {
        SrvEntry::Name(name) => {
            (&SrvDocument { name: name.clone(), resolver: None, min_ttl: None, max_ttl: None }, *path)
        }
        SrvEntry::Source(details) => (details, path.key("name")),
    };
    let (min_ttl, max_ttl) = times(check, path, details.min_ttl, details.max_ttl);
    let resolver = details.resolver.as_ref().and_then(|text| name_server(check, &path.key("resolver"), text));
    check.take(&place, check_server_name(&details.name))?;
    let name = details.name.to_ascii_lowercase();
    Some(Discover::Dns(DnsSource { name, records: DnsRecords::Srv, resolver, min_ttl, max_ttl }))
}

fn times(
    check: &mut Check<'_>,
    path: &Path<'_>,
    least: Option<Timeout>,
    most: Option<Timeout>,
) -> (Duration, Duration) {
    let min_ttl = check.positive(&path.key("minTtl"), least, Duration::from_secs(5));
    let max_ttl = check.positive(&path.key("maxTtl"), most, Duration::from_secs(300).max(min_ttl));
    if max_ttl < min_ttl {
        let fault = Fault::new("the longest time is shorter than the shortest one");
        check.fault(&path.key("maxTtl"), fault.hint("as long as `minTtl`, or longer"));
    }
    (min_ttl, max_ttl)
}

/// Who is asked for the names of all upstreams that do not say it themselves.
pub(super) fn resolver(check: &mut Check<'_>, written: Option<&ResolverEntry>) -> Resolver {
    let root = Path::ROOT;
    let path = root.key("resolver");
    match written {
        None => Resolver::default(),
        Some(ResolverEntry::Address(text)) => {
            Resolver { address: name_server(check, &path, text), ..Resolver::default() }
        }
        Some(ResolverEntry::Rule(rule)) => {
            let address = rule.address.as_ref();
            let address = address.and_then(|text| name_server(check, &path.key("address"), text));
            let (min_ttl, max_ttl) = times(check, &path, rule.min_ttl, rule.max_ttl);
            Resolver { address, min_ttl, max_ttl }
        }
    }
}

fn name_server(check: &mut Check<'_>, path: &Path<'_>, text: &str) -> Option<SocketAddr> {
    let with_port = text.parse::<SocketAddr>().ok();
    let found = with_port.or_else(|| text.parse::<IpAddr>().ok().map(|address| (address, 53).into()));
    if found.is_none() {
        let fault = Fault::new(format!("{text:?} is not the address of a name server"));
        check.fault(path, fault.hint("an IP address, with or without a port: 10.0.0.53 or 127.0.0.1:8600"));
    }
    found
}

fn http(check: &mut Check<'_>, path: &Path<'_>, written: &HttpSourceEntry) -> Discover {
    let (details, place) = match written {
        HttpSourceEntry::Url(url) => (
            &HttpSourceDocument {
                url: url.clone(),
                headers: BTreeMap::new(),
                wait: None,
                interval: None,
                ca: None,
            },
            *path,
        ),
        HttpSourceEntry::Source(details) => (details, path.key("url")),
    };
    check.take(&place, check_url(&details.url));
    Discover::Http(HttpSource {
        url: details.url.clone(),
        headers: fields(check, &path.key("headers"), &details.headers),
        wait: check.positive(&path.key("wait"), details.wait, Duration::from_secs(30)),
        interval: check.positive(&path.key("interval"), details.interval, Duration::from_secs(5)),
        ca: details.ca.as_ref().map(|ca| check.file(&path.key("ca"), ca)),
    })
}

/// Header fields that a document adds to the gateway's own requests.
pub(super) fn fields(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &BTreeMap<String, String>,
) -> SecretFields {
    let mut fields = Vec::with_capacity(written.len());
    for (name, value) in written {
        let place = path.key(name);
        let known = check.take(&place, parse_changed_header(name));
        let valid = check.take(&place, check_header_value(value));
        if let (Some(name), Some(())) = (known, valid) {
            fields.push((name, value.clone()));
        }
    }
    SecretFields(fields)
}

fn consul(check: &mut Check<'_>, path: &Path<'_>, written: &ConsulEntry) -> Discover {
    let (details, place) = match written {
        ConsulEntry::Service(service) => (&ConsulDocument::of(service), *path),
        ConsulEntry::Source(details) => (details, path.key("service")),
    };
    if details.service.is_empty() || details.service.chars().any(char::is_control) {
        let fault = Fault::new(format!("{:?} is not the name of a service", details.service));
        check.fault(&place, fault.hint("the name that instances are registered under, for instance orders"));
    }
    let address = details.address.as_deref().unwrap_or("http://127.0.0.1:8500");
    check.take(&path.key("address"), check_url(address));
    if address.contains('?') {
        let fault = Fault::new(format!("{address:?} has a query"));
        check.fault(&path.key("address"), fault.hint("the URL only, for instance http://127.0.0.1:8500"));
    }
    let wait = check.positive(&path.key("wait"), details.wait, Duration::from_secs(300));
    if wait > LONGEST_CONSUL_WAIT {
        let fault = Fault::new("Consul holds a query for at most 10m");
        check.fault(&path.key("wait"), fault.hint("10m or less"));
    }
    let token = details.token.iter().map(|token| {
        check.take(&path.key("token"), check_header_value(token));
        ("x-consul-token".to_owned(), token.clone())
    });
    Discover::Consul(ConsulSource {
        headers: SecretFields(token.collect()),
        address: address.trim_end_matches('/').to_owned(),
        service: details.service.clone(),
        datacenter: details.datacenter.clone(),
        tags: details.tags.clone(),
        passing: details.passing.unwrap_or(true),
        wait,
        ca: details.ca.as_ref().map(|ca| check.file(&path.key("ca"), ca)),
    })
}

impl ConsulDocument {
    fn of(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            address: None,
            datacenter: None,
            tags: Vec::new(),
            passing: None,
            token: None,
            wait: None,
            ca: None,
        }
    }
}

/// Consul's own limit of `wait`.
const LONGEST_CONSUL_WAIT: Duration = Duration::from_secs(600);
