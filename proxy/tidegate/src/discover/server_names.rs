//! The addresses of servers that `servers` gives by name. A name is looked up again when its time to live is over; one
//! that cannot be looked up keeps the addresses that it had.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidegate_config::plan::{Plan, Resolver, Upstream};
use tokio::task::{LocalSet, spawn_blocking};

use super::names::{self, Addresses as Found, NameServers};
use super::resolver::Failure;

/// The addresses of servers by `host:port`.
pub(crate) type Addresses = HashMap<String, Vec<SocketAddr>>;

/// A server's name that could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameFailure {
    pub(crate) upstream: String,
    pub(crate) server: String,
    pub(crate) why: String,
    /// Earlier addresses are still used.
    pub(crate) kept: bool,
}

/// What is known of names, for as long as it holds.
#[derive(Debug, Default)]
pub(crate) struct ServerNames {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Who was asked.
    resolver: Resolver,
    names: BTreeMap<String, Name>,
}

#[derive(Debug)]
struct Name {
    addresses: Vec<IpAddr>,
    trouble: Option<String>,
    due: Instant,
}

impl ServerNames {
    /// Finds the addresses of all servers that are given by name, and blocks while it asks for those whose time is over.
    pub(crate) fn resolve(&self, plan: &Plan, before: Option<&Addresses>) -> (Addresses, Vec<NameFailure>) {
        let named = named(&plan.upstreams);
        let hosts: BTreeSet<&str> = named.iter().map(|(server, _)| split(server).0).collect();
        let asked = self.due_now(&plan.resolver, &hosts);
        if !asked.is_empty() {
            let answers = look_up(plan.resolver.address, asked);
            self.learn(&plan.resolver, answers);
        }
        self.all(&named, before)
    }

    /// When a name of the plan is to be looked up again; none: it has none.
    pub(crate) fn due(&self, plan: &Plan) -> Option<Instant> {
        let known = self.known();
        let named = named(&plan.upstreams);
        named.iter().filter_map(|(server, _)| known.names.get(split(server).0)).map(|name| name.due).min()
    }

    /// The names that are to be asked for, with the addresses that they have. Others are forgotten.
    fn due_now(&self, resolver: &Resolver, hosts: &BTreeSet<&str>) -> Vec<(String, Vec<IpAddr>)> {
        let mut known = self.known();
        if known.resolver != *resolver {
            *known = Known { resolver: *resolver, names: BTreeMap::new() };
        }
        known.names.retain(|name, _| hosts.contains(name.as_str()));
        let now = Instant::now();
        let wanted = hosts.iter().filter(|host| known.names.get(**host).is_none_or(|name| name.due <= now));
        wanted
            .map(|host| {
                let before = known.names.get(*host).map(|name| name.addresses.clone());
                ((*host).to_owned(), before.unwrap_or_default())
            })
            .collect()
    }

    fn learn(&self, resolver: &Resolver, answers: Vec<(String, Result<Found, String>)>) {
        let mut known = self.known();
        for (host, answer) in answers {
            let now = Instant::now();
            let name = known.names.entry(host).or_insert_with(|| Name {
                addresses: Vec::new(),
                trouble: None,
                due: now,
            });
            let ttl = match answer {
                Ok(Found { list, ttl }) => {
                    (name.addresses, name.trouble) = (list, None);
                    ttl
                }
                Err(why) => {
                    name.trouble = Some(why);
                    None
                }
            };
            name.due = now + names::due((resolver.min_ttl, resolver.max_ttl), ttl);
        }
    }

    fn all(&self, named: &[(&str, &str)], before: Option<&Addresses>) -> (Addresses, Vec<NameFailure>) {
        let known = self.known();
        let (mut addresses, mut failures) = (Addresses::new(), Vec::new());
        for (server, upstream) in named {
            let (host, port) = split(server);
            let name = known.names.get(host);
            let mut found: Vec<SocketAddr> = name
                .iter()
                .flat_map(|name| name.addresses.iter().map(|address| SocketAddr::new(*address, port)))
                .collect();
            if found.is_empty() {
                found = before.and_then(|before| before.get(*server)).cloned().unwrap_or_default();
            }
            let unknown = || Some("nobody could be asked".to_owned());
            if let Some(why) = name.map_or_else(unknown, |name| name.trouble.clone()) {
                let (upstream, server) = ((*upstream).to_owned(), (*server).to_owned());
                failures.push(NameFailure { upstream, server, why, kept: !found.is_empty() });
            }
            addresses.insert((*server).to_owned(), found);
        }
        (addresses, failures)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host:port` of each server whose host is a name, each once, with its upstream.
fn named(upstreams: &[Upstream]) -> Vec<(&str, &str)> {
    let mut seen = BTreeSet::new();
    upstreams
        .iter()
        .flat_map(|upstream| {
            upstream.servers.iter().map(|server| (server.address.as_str(), upstream.name.as_str()))
        })
        .filter(|(address, _)| address.parse::<SocketAddr>().is_err() && seen.insert(*address))
        .collect()
}

fn split(server: &str) -> (&str, u16) {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    // The configuration was checked, so there is one.
    (host, port.parse().unwrap_or_default())
}

/// Asks for names, on a thread of its own: the caller's may run a runtime.
fn look_up(
    resolver: Option<SocketAddr>,
    names: Vec<(String, Vec<IpAddr>)>,
) -> Vec<(String, Result<Found, String>)> {
    let hosts: Vec<String> = names.iter().map(|(host, _)| host.clone()).collect();
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("names cannot be looked up: {error}"))?;
            LocalSet::new().block_on(&runtime, ask(resolver, names))
        });
        asking.join().unwrap_or_else(|_| Err("names cannot be looked up".to_owned()))
    });
    asked.unwrap_or_else(|why| hosts.into_iter().map(|host| (host, Err(why.clone()))).collect())
}

async fn ask(
    resolver: Option<SocketAddr>,
    names: Vec<(String, Vec<IpAddr>)>,
) -> Result<Vec<(String, Result<Found, String>)>, String> {
    let servers = Rc::new(NameServers::new(resolver)?);
    let mut answers = servers.all(names);
    let mut found = Vec::new();
    while let Some(answer) = answers.join_next().await {
        let Ok((host, answer)) = answer else { continue };
        let answer = match answer {
            // What the system knows from elsewhere than DNS (nsswitch.conf) counts too.
            Err(why @ Failure::None(_)) if resolver.is_none() => by_system(&host).await.ok_or(why),
            answer => answer,
        };
        found.push((host, answer.map_err(|why| why.to_string())));
    }
    Ok(found)
}

async fn by_system(host: &str) -> Option<Found> {
    let host = host.to_owned();
    let asked = spawn_blocking(move || (host.as_str(), 0).to_socket_addrs().map(|found| found.collect()));
    let found: Vec<SocketAddr> = asked.await.ok()?.ok()?;
    let found: BTreeSet<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    (!found.is_empty()).then(|| Found { list: found.into_iter().collect(), ttl: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidegate_testkit::NameServer;

    fn plan(resolver: Resolver, servers: &[&str]) -> Plan {
        let server = |address: &&str| tidegate_config::plan::Server {
            address: (*address).to_owned(),
            weight: 1,
            ..Default::default()
        };
        let upstream = Upstream {
            name: "u".to_owned(),
            servers: servers.iter().map(server).collect(),
            protocol: tidegate_config::plan::UpstreamProtocol::Http1,
            login: tidegate_config::plan::RedisLogin::default(),
            balance: tidegate_config::plan::Balance::Random,
            discover: None,
            health: None,
            subset: None,
            balancing: tidegate_config::plan::Balancing::default(),
            ejection: None,
            tls: None,
            limits: tidegate_config::plan::UpstreamLimits::default(),
            retry_budget: None,
            pool: tidegate_config::plan::PoolSettings::default(),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        };
        Plan { upstreams: vec![upstream], resolver, ..Plan::default() }
    }

    fn resolve(names: &ServerNames, plan: &Plan) -> (Vec<SocketAddr>, Vec<NameFailure>) {
        let (addresses, failures) = names.resolve(plan, None);
        let mut found: Vec<SocketAddr> = addresses.into_values().flatten().collect();
        found.sort_unstable();
        (found, failures)
    }

    const NAME: &str = "orders.internal:80";

    fn at(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn names_are_asked_for_again_when_their_time_is_over() {
        let server = NameServer::start();
        let address = Some(server.address());
        let again = Resolver { address, min_ttl: Duration::ZERO, max_ttl: Duration::ZERO };
        let names = ServerNames::default();
        server.put("orders.internal", 3600, &[at(1)]);
        let long =
            plan(Resolver { max_ttl: Duration::from_secs(3600), ..again }, &[NAME, "orders.internal:81"]);
        let both = [80, 81].map(|port| SocketAddr::new(at(1), port));
        for _ in 0..3 {
            assert_eq!(resolve(&names, &long), (both.to_vec(), Vec::new()));
        }
        assert_eq!(server.questions(), 2, "one for each family");
        assert!(names.due(&long) > Some(Instant::now() + Duration::from_secs(3000)));

        // Other bounds: what is known counts no longer.
        let short = plan(again, &[NAME]);
        for last in [2, 3] {
            server.put("orders.internal", 3600, &[at(last)]);
            assert_eq!(resolve(&names, &short).0, [SocketAddr::new(at(last), 80)]);
        }
        // One that is gone keeps what it had, and says so.
        server.put("orders.internal", 0, &[]);
        let (found, failures) = resolve(&names, &short);
        assert_eq!(found, [SocketAddr::new(at(3), 80)]);
        let why = "the name has no such records".to_owned();
        let (upstream, server) = ("u".to_owned(), NAME.to_owned());
        assert_eq!(failures, [NameFailure { upstream, server, why, kept: true }]);
    }

    #[test]
    fn a_server_that_is_away_changes_nothing() {
        let server = NameServer::start();
        let names = ServerNames::default();
        let resolver =
            Resolver { address: Some(server.address()), min_ttl: Duration::ZERO, max_ttl: Duration::ZERO };
        server.put("orders.internal", 0, &[at(1)]);
        let plan = plan(resolver, &[NAME, "other.internal:1"]);
        let (found, failures) = resolve(&names, &plan);
        assert_eq!((found.len(), failures.len()), (1, 1), "nobody knows the other one");
        server.be_silent(true);
        let (found, failures) = resolve(&names, &plan);
        assert_eq!(found, [SocketAddr::new(at(1), 80)]);
        assert_eq!(failures.iter().map(|failure| failure.kept).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn addresses_are_not_looked_up_and_the_system_knows_this_machine() {
        let names = ServerNames::default();
        let literal = plan(Resolver::default(), &["127.0.0.1:1", "[::1]:2"]);
        assert_eq!(resolve(&names, &literal), (Vec::new(), Vec::new()));
        assert_eq!(names.due(&literal), None);
        let (found, failures) = resolve(&names, &plan(Resolver::default(), &["localhost:80"]));
        assert!(failures.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(!found.is_empty());
        // A label of more than 63 bytes is refused without a question to any server.
        let name = format!("{}:80", "a".repeat(300));
        let kept = Addresses::from([(name.clone(), vec![SocketAddr::new(at(1), 80)])]);
        let long = plan(Resolver::default(), &[&name]);
        let (addresses, failures) = names.resolve(&long, Some(&kept));
        assert_eq!(addresses, kept);
        assert!(failures.iter().all(|failure| failure.kept) && failures.len() == 1);
        let (addresses, failures) = names.resolve(&long, None);
        assert_eq!(addresses.get(&name), Some(&Vec::new()));
        assert!(failures.iter().all(|failure| !failure.kept) && failures.len() == 1);
    }
}
