//! Names in DNS: addresses and SRV records with their times to live. The resolver asks; what its answers mean is pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tidegate_config::plan::{DnsRecords, DnsSource};

use super::source::Found;

/// Asks name servers, without a cache: times to live are the askers' business.
pub(super) struct NameServers(TokioResolver);

impl NameServers {
    /// Asks this one, or those of the system.
    pub(super) fn new(resolver: Option<SocketAddr>) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match resolver {
            None => TokioResolver::builder_tokio()
                .map_err(|error| format!("the system's resolver cannot be set up: {error}"))?,
            Some(address) => {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                Resolver::builder_with_config(config, provider)
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.preserve_intermediates = true;
        options.timeout = QUESTION;
        options.attempts = 2;
        builder.build().map(Self).map_err(|error| format!("the resolver cannot be set up: {error}"))
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, NetError> {
        // A whole name is looked up as it is; others by the system's search list too.
        self.0.lookup(name, kind).await.map(|lookup| lookup.answers().to_vec())
    }

    /// The addresses of a name. A kind that cannot be asked now keeps those of `before`.
    pub(super) async fn addresses(
        &self,
        name: &str,
        (ipv4, ipv6): (bool, bool),
        before: &[IpAddr],
    ) -> Result<Addresses, String> {
        let ask = async |wanted: bool, kind| match wanted {
            true => Some(self.records(name, kind).await),
            false => None,
        };
        let (four, six) = tokio::join!(ask(ipv4, RecordType::A), ask(ipv6, RecordType::AAAA));
        let kept = |six: bool| before.iter().copied().filter(move |address| address.is_ipv6() == six);
        let mut found = Addresses::default();
        let mut troubles = Vec::new();
        let mut away = false;
        for (answer, is_six) in [(four, false), (six, true)] {
            match answer {
                None => {}
                Some(Ok(records)) => found.add(&records),
                Some(Err(error)) => {
                    if !error.is_no_records_found() {
                        away = true;
                        found.list.extend(kept(is_six));
                    }
                    troubles.push(error.to_string());
                }
            }
        }
        found.list.sort_unstable();
        found.list.dedup();
        match (found.ttl, troubles.into_iter().next()) {
            (None, Some(why)) => Err(format!("{name}: {why}")),
            (None, None) => Err(format!("{name} has no address")),
            (Some(_), _) => {
                found.ttl = found.ttl.filter(|_| !away);
                Ok(found)
            }
        }
    }

    /// The servers that a source's records name.
    pub(super) async fn ask(&self, source: &DnsSource, before: &[IpAddr]) -> Result<Named, String> {
        match source.records {
            DnsRecords::Addresses { port, ipv4, ipv6 } => {
                let found = self.addresses(&source.name, (ipv4, ipv6), before).await?;
                let server = |address: &IpAddr| Found::of_name(&source.name, SocketAddr::new(*address, port));
                Ok(Named {
                    servers: found.list.iter().map(server).collect(),
                    ttl: found.ttl,
                    addresses: found.list,
                })
            }
            DnsRecords::Srv => {
                let records = self.records(&source.name, RecordType::SRV).await;
                let records = records.map_err(|error| format!("{}: {error}", source.name))?;
                let ttl = least_ttl(&records);
                let targets = targets(&records);
                match targets.is_empty() {
                    true => Err(format!("{} has no SRV record with a target", source.name)),
                    // Targets are names: whoever asked looks them up as those of any list.
                    false => Ok(Named { servers: targets, ttl, addresses: Vec::new() }),
                }
            }
        }
    }
}

/// Addresses of a name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    /// In one order, so that the same answer in another order is not a change.
    pub(super) list: Vec<IpAddr>,
    /// None: part of it is older.
    pub(super) ttl: Option<Duration>,
}

impl Addresses {
    fn add(&mut self, records: &[Record]) {
        let address = |record: &Record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let before = self.list.len();
        self.list.extend(records.iter().filter_map(address));
        if self.list.len() > before {
            self.ttl = self.ttl.into_iter().chain(least_ttl(records)).min();
        }
    }
}

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) servers: Vec<Found>,
    pub(super) ttl: Option<Duration>,
    /// For the next question.
    pub(super) addresses: Vec<IpAddr>,
}

fn least_ttl(records: &[Record]) -> Option<Duration> {
    records.iter().map(|record| Duration::from_secs(record.ttl.into())).min()
}

/// The targets of SRV records (RFC 2782). Priorities become ranks from 0; a weight of 0 counts as the least one.
fn targets(records: &[Record]) -> Vec<Found> {
    let mut by_priority: BTreeMap<u16, Vec<(String, u16, u16)>> = BTreeMap::new();
    for record in records {
        let RData::SRV(srv) = &record.data else { continue };
        // The root as a target says that there is no such service.
        if !srv.target.is_root() {
            let host = srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
            by_priority.entry(srv.priority).or_default().push((host, srv.port, srv.weight));
        }
    }
    let ranked = by_priority.into_values().zip(0..);
    let mut found: Vec<Found> = ranked
        .flat_map(|(targets, rank)| {
            targets.into_iter().map(move |(host, port, weight)| Found {
                weight: weight.max(1).into(),
                priority: rank,
                ..Found::new(format!("{host}:{port}"))
            })
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// When a name is to be asked for again.
pub(super) fn due(source: &DnsSource, ttl: Option<Duration>) -> Duration {
    ttl.unwrap_or(source.min_ttl).clamp(source.min_ttl, source.max_ttl.max(source.min_ttl))
}

/// The longest time of one question to one server.
const QUESTION: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;
    use hickory_resolver::proto::rr::rdata::{A, SRV};

    fn record(ttl: u32, data: RData) -> Record {
        Record::from_rdata(Name::from_ascii("orders.internal.").expect("a name"), ttl, data)
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Record {
        let target = Name::from_ascii(target).expect("a name");
        record(60, RData::SRV(SRV::new(priority, weight, 8080, target)))
    }

    #[test]
    fn targets_are_ranked_by_priority() {
        let records = [srv(20, 0, "C.test."), srv(10, 3, "a.test."), srv(10, 1, "b.test."), srv(30, 5, ".")];
        let found: Vec<_> = targets(&records)
            .into_iter()
            .map(|found| (found.address, found.weight, found.priority))
            .collect();
        let expected = [("a.test:8080", 3, 0), ("b.test:8080", 1, 0), ("c.test:8080", 1, 1)];
        assert_eq!(found, expected.map(|(address, weight, rank)| (address.to_owned(), weight, rank)));
    }

    #[test]
    fn the_shortest_time_to_live_counts_within_bounds() {
        let mut found = Addresses::default();
        found.add(&[record(60, RData::A(A::new(10, 0, 0, 2))), record(7, RData::A(A::new(10, 0, 0, 1)))]);
        assert_eq!((found.list.len(), found.ttl), (2, Some(Duration::from_secs(7))));
        let seconds = Duration::from_secs;
        let source = DnsSource {
            name: "orders.internal".to_owned(),
            records: DnsRecords::Srv,
            resolver: None,
            min_ttl: seconds(5),
            max_ttl: seconds(300),
        };
        for (ttl, expected) in [(Some(0), 5), (Some(7), 7), (Some(3600), 300), (None, 5)] {
            assert_eq!(due(&source, ttl.map(seconds)), seconds(expected), "{ttl:?}");
        }
    }
}
