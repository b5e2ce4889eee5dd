//! From what a source names to servers: hosts that are names are looked up, and again when their time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::plan::{Discover, DnsSource, Resolver};
use tidegate_proxy::Server;

use super::names::{self, Addresses, NameServers};
use super::source::Found;

/// The names of one upstream's lists.
pub(super) struct Hosts {
    resolver: Option<SocketAddr>,
    bounds: (Duration, Duration),
    /// Made for the first name.
    servers: Option<Rc<NameServers>>,
    known: BTreeMap<String, Vec<IpAddr>>,
}

/// The servers of a list.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) servers: Vec<Server>,
    /// When the names are to be looked up again.
    pub(super) due: Option<Duration>,
    /// Names that could not be looked up.
    pub(super) troubles: Vec<String>,
}

impl Hosts {
    /// Asks whom the source asks, if that is a name server.
    pub(super) fn new(spec: &Discover, all: &Resolver) -> Self {
        let (resolver, bounds) = match spec {
            Discover::Dns(DnsSource { resolver, min_ttl, max_ttl, .. }) => (*resolver, (*min_ttl, *max_ttl)),
            _ => (all.address, (all.min_ttl, all.max_ttl)),
        };
        Self { resolver, bounds, servers: None, known: BTreeMap::new() }
    }

    /// Looks the names of a list up. One that cannot be looked up now keeps the addresses that it had.
    pub(super) async fn look_up(&mut self, list: &[Found]) -> Looked {
        let mut looked = Looked::default();
        let names: BTreeSet<&str> = list.iter().filter_map(name_of).collect();
        self.known.retain(|name, _| names.contains(name.as_str()));
        if !names.is_empty() {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            self.ask(names, &mut looked).await;
        }
        looked.servers = servers(list, &self.known);
        looked
    }

    async fn ask(&mut self, names: Vec<String>, looked: &mut Looked) {
        let servers = match &self.servers {
            Some(servers) => Rc::clone(servers),
            None => match NameServers::new(self.resolver) {
                Ok(servers) => Rc::clone(self.servers.insert(Rc::new(servers))),
                Err(why) => {
                    looked.troubles.push(why);
                    looked.due = Some(self.bounds.0);
                    return;
                }
            },
        };
        let before = |name: &String| self.known.get(name).cloned().unwrap_or_default();
        let names = names.into_iter().map(|name| {
            let before = before(&name);
            (name, before)
        });
        let mut answers = servers.all(names.collect());
        while let Some(answer) = answers.join_next().await {
            let Ok((name, answer)) = answer else { continue };
            let ttl = match answer {
                Ok(Addresses { list, ttl }) => {
                    self.known.insert(name, list);
                    ttl
                }
                Err(why) => {
                    looked.troubles.push(format!("{name}: {why}"));
                    None
                }
            };
            let due = names::due(self.bounds, ttl);
            looked.due = Some(looked.due.map_or(due, |known| known.min(due)));
        }
        looked.troubles.sort();
    }
}

/// The host of a server, if it is a name.
fn name_of(found: &Found) -> Option<&str> {
    let (host, _) = found.address.rsplit_once(':')?;
    let is_address = found.address.parse::<SocketAddr>().is_ok();
    (!is_address).then_some(host)
}

/// The servers of a list, one for each address.
fn servers(list: &[Found], known: &BTreeMap<String, Vec<IpAddr>>) -> Vec<Server> {
    let mut servers = Vec::with_capacity(list.len());
    for found in list {
        let server = |address, host: Option<&str>| Server {
            host: host.map(str::to_owned),
            weight: found.weight,
            priority: found.priority,
            zone: found.zone.as_deref().map(Into::into),
            labels: found.labels.clone(),
            ..Server::new(address)
        };
        match (name_of(found), found.address.parse()) {
            (None, Ok(address)) => servers.push(server(address, found.host.as_deref())),
            (Some(name), _) => {
                let port = found.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                let addresses = known.get(name).into_iter().flatten();
                let at = addresses.filter_map(|address| Some(SocketAddr::new(*address, port?)));
                servers.extend(at.map(|address| server(address, Some(name))));
            }
            (None, Err(_)) => {}
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_their_addresses_and_addresses_for_themselves() {
        let known = BTreeMap::from([(
            "a.test".to_owned(),
            vec![IpAddr::from([10, 0, 0, 1]), "2001:db8::1".parse().expect("an address")],
        )]);
        let list = [
            Found { weight: 3, priority: 1, ..Found::new("a.test:80".to_owned()) },
            Found::new("b.test:80".to_owned()),
            Found::new("[::1]:81".to_owned()),
            Found::of_name("c.test", ([10, 0, 0, 2], 82).into()),
        ];
        let found: Vec<_> = servers(&list, &known)
            .into_iter()
            .map(|server| (server.address.to_string(), server.host, server.weight, server.priority))
            .collect();
        let named = |name: &str| Some(name.to_owned());
        let expected = [
            ("10.0.0.1:80".to_owned(), named("a.test"), 3, 1),
            ("[2001:db8::1]:80".to_owned(), named("a.test"), 3, 1),
            ("[::1]:81".to_owned(), None, 1, 0),
            ("10.0.0.2:82".to_owned(), named("c.test"), 1, 0),
        ];
        assert_eq!(found, expected);
    }
}
