//! Names in DNS: addresses and SRV records with their times to live. The resolver asks; what its answers mean is pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tidegate_config::plan::{DnsRecords, DnsSource};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::resolver::{Failure, Resolver};
use super::source::Found;

/// Whoever is asked for names.
pub(crate) struct NameServers(Resolver);

impl NameServers {
    /// Asks this one, or those of the system.
    pub(crate) fn new(resolver: Option<SocketAddr>) -> Result<Self, String> {
        resolver.map_or_else(Resolver::of_system, Resolver::at).map(Self)
    }

    /// The addresses of a name. A kind that cannot be asked now keeps those of `before`.
    pub(super) async fn addresses(
        &self,
        name: &str,
        (ipv4, ipv6): (bool, bool),
        before: &[IpAddr],
    ) -> Result<Addresses, Failure> {
        let wanted = |address: &IpAddr| if address.is_ipv6() { ipv6 } else { ipv4 };
        let mut listed = self.0.in_hosts_file(name);
        listed.retain(wanted);
        if !listed.is_empty() {
            return Ok(Addresses { list: in_order(listed), ttl: None });
        }
        let ask = async |wanted: bool, kind| match wanted {
            true => Some(self.0.records(name, kind).await),
            false => None,
        };
        let (four, six) = tokio::join!(ask(ipv4, RecordType::A), ask(ipv6, RecordType::AAAA));
        let kept = |six: bool| before.iter().copied().filter(move |address| address.is_ipv6() == six);
        let mut found = Addresses::default();
        let mut failures = Vec::new();
        let mut away = false;
        for (answer, is_six) in [(four, false), (six, true)] {
            match answer {
                None => {}
                Some(Ok(records)) => found.add(&records),
                Some(Err(why @ Failure::None(_))) => failures.push(why),
                Some(Err(why @ Failure::Away(_))) => {
                    away = true;
                    found.list.extend(kept(is_six));
                    failures.insert(0, why);
                }
            }
        }
        found.list = in_order(found.list);
        match (found.ttl, failures.into_iter().next()) {
            (None, why) => Err(why.unwrap_or(Failure::None("the name has no address"))),
            (Some(_), _) => {
                found.ttl = found.ttl.filter(|_| !away);
                Ok(found)
            }
        }
    }

    /// The addresses of several names, each with what it had before; by and by, in no order.
    pub(crate) fn all(self: &Rc<Self>, names: Vec<(String, Vec<IpAddr>)>) -> JoinSet<(String, Answer)> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut answers = JoinSet::new();
        for (name, before) in names {
            let (servers, places) = (Rc::clone(self), Arc::clone(&places));
            answers.spawn_local(async move {
                let _place = places.acquire().await;
                let answer = servers.addresses(&name, (true, true), &before).await;
                (name, answer)
            });
        }
        answers
    }

    /// The servers that a source's records name.
    pub(super) async fn ask(&self, source: &DnsSource, before: &[IpAddr]) -> Result<Named, String> {
        match source.records {
            DnsRecords::Addresses { port, ipv4, ipv6 } => {
                let found = self.addresses(&source.name, (ipv4, ipv6), before).await;
                let found = found.map_err(|why| format!("{}: {why}", source.name))?;
                let server = |address: &IpAddr| Found::of_name(&source.name, SocketAddr::new(*address, port));
                Ok(Named {
                    servers: found.list.iter().map(server).collect(),
                    ttl: found.ttl,
                    addresses: found.list,
                })
            }
            DnsRecords::Srv => {
                let records = self.0.records(&source.name, RecordType::SRV).await;
                let records = records.map_err(|why| format!("{}: {why}", source.name))?;
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

/// What came of asking for a name's addresses.
pub(crate) type Answer = Result<Addresses, Failure>;

/// Addresses of a name.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// In one order, so that the same answer in another order is not a change.
    pub(crate) list: Vec<IpAddr>,
    /// None: part of it is older, or nobody says how long it holds.
    pub(crate) ttl: Option<Duration>,
}

fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
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

/// When a name is to be asked for again, by bounds of the time that answers are kept.
pub(crate) fn due((least, most): (Duration, Duration), ttl: Option<Duration>) -> Duration {
    ttl.unwrap_or(least).clamp(least, most.max(least))
}

/// Names that are looked up at one time.
const AT_ONCE: usize = 16;

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
        let bounds = (seconds(5), seconds(300));
        for (ttl, expected) in [(Some(0), 5), (Some(7), 7), (Some(3600), 300), (None, 5)] {
            assert_eq!(due(bounds, ttl.map(seconds)), seconds(expected), "{ttl:?}");
        }
    }
}
