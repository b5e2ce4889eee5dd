//! `upstreams.X.health`: how servers are checked.

use super::Check;
use super::discover::fields;
use crate::document::{HealthDocument, HttpCheckDocument, HttpCheckEntry, InitialHealth, UpstreamWire};
use crate::node::Path;
use crate::plan::{Health, Probe};
use crate::problem::Fault;
use crate::types::{check_header_value, check_method};
use std::collections::BTreeMap;
use std::time::Duration;

/// How servers are checked; none: by nothing but the requests that they get.
pub(super) fn health(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&HealthDocument>,
    protocol: Option<UpstreamWire>,
) -> Option<Health> {
    let written = written?;
    let probe = probe(check, path, written)?;
    let wrong = match (&probe, protocol) {
        (Probe::Grpc { .. }, Some(UpstreamWire::Http1)) => {
            Some("grpc needs protocol: http2 or auto over TLS")
        }
        (Probe::Http { .. } | Probe::Grpc { .. }, Some(UpstreamWire::Redis)) => {
            Some("servers that speak Redis are checked by tcp: { send: \"PING\\r\\n\", expect: PONG }")
        }
        _ => None,
    };
    if let Some(hint) = wrong {
        check.fault(path, Fault::new("the servers do not speak what the check does").hint(hint));
    }
    let interval = check.positive(&path.key("interval"), written.interval, Duration::from_secs(10));
    // Not zero, so that a wrong interval is told of once.
    let unsettled = Duration::from_secs(1).min(interval.max(Duration::from_millis(1)));
    let unsettled_interval =
        check.positive(&path.key("unsettledInterval"), written.unsettled_interval, unsettled);
    Some(Health {
        probe,
        interval,
        unsettled_interval,
        timeout: check.positive(&path.key("timeout"), written.timeout, Duration::from_secs(2)),
        jitter: written.jitter.unwrap_or(10),
        healthy_after: written.healthy_after.unwrap_or(2),
        unhealthy_after: written.unhealthy_after.unwrap_or(3),
        initially_healthy: written.initial != Some(InitialHealth::Unhealthy),
        port: written.port,
    })
}

fn probe(check: &mut Check<'_>, path: &Path<'_>, written: &HealthDocument) -> Option<Probe> {
    if let Some(entry) = &written.http {
        return Some(http(check, &path.key("http"), entry));
    }
    if let Some(grpc) = &written.grpc {
        let place = path.key("grpc");
        if let Some(authority) = &grpc.authority {
            check.take(&place.key("authority"), check_authority(authority));
        }
        let service = grpc.service.clone().unwrap_or_default();
        return Some(Probe::Grpc { service, authority: grpc.authority.clone() });
    }
    let tcp = written.tcp.as_ref()?;
    let bytes = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    let expect = bytes(&tcp.expect);
    if expect.len() > MOST_EXPECTED {
        let fault =
            Fault::new(format!("{} bytes are expected, at most {MOST_EXPECTED} can be", expect.len()));
        check.fault(&path.key("tcp").key("expect"), fault);
    }
    Some(Probe::Tcp { send: bytes(&tcp.send), expect })
}

fn http(check: &mut Check<'_>, path: &Path<'_>, entry: &HttpCheckEntry) -> Probe {
    let (written, place) = match entry {
        HttpCheckEntry::Path(text) => (&HttpCheckDocument::of(text), *path),
        HttpCheckEntry::Check(written) => (written, path.key("path")),
    };
    if !written.path.starts_with('/') || written.path.chars().any(|c| !c.is_ascii_graphic() || c == '#') {
        let fault = Fault::new(format!("{:?} is not a path that can be asked for", written.path));
        check.fault(&place, fault.hint("for instance /healthz"));
    }
    let method = written.method.clone().unwrap_or_else(|| "GET".to_owned());
    check.take(&path.key("method"), check_method(&method));
    if let Some(host) = &written.host {
        check.take(&path.key("host"), check_authority(host));
    }
    Probe::Http {
        path: written.path.clone(),
        host: written.host.clone(),
        method,
        headers: fields(check, &path.key("headers"), &written.headers),
        statuses: written.statuses.clone().unwrap_or_default(),
    }
}

impl HttpCheckDocument {
    fn of(path: &str) -> Self {
        Self { path: path.to_owned(), host: None, method: None, headers: BTreeMap::new(), statuses: None }
    }
}

fn check_authority(text: &str) -> Result<(), Fault> {
    check_header_value(text)?;
    if text.is_empty() || text.contains(['/', '@', ' ', '#', '?']) {
        return Err(Fault::new(format!("{text:?} is not a host")).hint("for instance orders.internal"));
    }
    Ok(())
}

/// Bytes that are kept of what a server sends.
const MOST_EXPECTED: usize = 4096;
