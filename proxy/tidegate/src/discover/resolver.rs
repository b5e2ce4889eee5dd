//! Asks name servers, by hickory-resolver: over UDP, and over TCP where an answer does not fit. Nothing is kept: times to
//! live are the askers' business. The search list is walked here, so that a server that is away is not taken for one
//! that knows no such name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{Hosts, Resolver as Client, TokioResolver, system_conf};

/// Who is asked, and for which names.
pub(super) struct Resolver {
    client: TokioResolver,
    names: Names,
    /// The system's hosts file comes first.
    reads_hosts: bool,
}

/// How a name that may be short is made whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    /// Domains that short names are looked up in.
    search: Vec<String>,
    /// A name with so many dots is looked up as it is first.
    dots: usize,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There are none: a server says so.
    None(&'static str),
    /// Nobody says anything.
    Away(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(why) => f.write_str(why),
            Self::Away(why) => f.write_str(why),
        }
    }
}

impl Resolver {
    /// Asks this server only, for whole names.
    pub(super) fn at(server: SocketAddr) -> Result<Self, String> {
        let mut known = NameServerConfig::udp_and_tcp(server.ip());
        for connection in &mut known.connections {
            connection.port = server.port();
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![known]);
        Self::new(config, ResolverOpts::default(), Names::default(), false)
    }

    /// Asks those of `/etc/resolv.conf`; without any, this machine (resolv.conf(5)).
    pub(super) fn of_system() -> Result<Self, String> {
        let (config, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
            tracing::debug!("/etc/resolv.conf names no name server, asking this machine's: {error}");
            let own = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, Vec::new(), vec![own]), ResolverOpts::default())
        });
        let search = config.search().iter().map(|domain| domain.to_ascii().trim_end_matches('.').to_owned());
        let names =
            Names { search: search.filter(|domain| !domain.is_empty()).collect(), dots: options.ndots };
        Self::new(config, options, names, true)
    }

    fn new(
        config: ResolverConfig,
        options: ResolverOpts,
        names: Names,
        reads_hosts: bool,
    ) -> Result<Self, String> {
        let mut builder = Client::builder_with_config(config, TokioRuntimeProvider::default());
        let own = builder.options_mut();
        *own = options;
        own.cache_size = 0;
        own.preserve_intermediates = true;
        own.use_hosts_file = ResolveHosts::Never;
        own.timeout = PATIENCE;
        own.attempts = AGAIN;
        let client = builder.build().map_err(|error| format!("the resolver cannot be set up: {error}"))?;
        Ok(Self { client, names, reads_hosts })
    }

    /// The records of a name; aliases on the way are among them.
    pub(super) async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, Failure> {
        let mut why = NO_NAME;
        for name in self.names.of(name) {
            let Ok(whole) = Name::from_ascii(&name) else { continue };
            match self.client.lookup(whole, kind).await {
                Ok(found) if found.answers().iter().any(|record| record.record_type() == kind) => {
                    return Ok(found.answers().to_vec());
                }
                Err(error) if error.is_nx_domain() => {}
                Err(error) if !error.is_no_records_found() => return Err(Failure::Away(error.to_string())),
                Ok(_) | Err(_) => why = NO_RECORDS,
            }
        }
        Err(Failure::None(why))
    }

    /// The addresses that the hosts file has for a name. It is small and may change, so it is read each time.
    pub(super) fn in_hosts_file(&self, name: &str) -> Vec<IpAddr> {
        match self.reads_hosts {
            true => Hosts::from_system().map_or_else(|_| Vec::new(), |hosts| listed(&hosts, name)),
            false => Vec::new(),
        }
    }
}

impl Names {
    /// The names that are asked for, one after the other, until one has records; with their last dots.
    fn of(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}.")).collect();
        let whole = format!("{name}.");
        // RFC 6761, 6.3: nobody has to be asked for it.
        match name.matches('.').count() >= self.dots || name == "localhost" {
            true => names.insert(0, whole),
            false => names.push(whole),
        }
        names
    }
}

fn listed(hosts: &Hosts, name: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_ascii(name) else { return Vec::new() };
    [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)))
        .flat_map(|found| {
            found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect()
}

const NO_NAME: &str = "there is no such name";
const NO_RECORDS: &str = "the name has no such records";

/// The longest time of one question.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a question without an answer is asked again.
const AGAIN: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_looked_up_in_the_search_list() {
        let search = vec!["a.test".to_owned(), "b.test".to_owned()];
        let names = Names { search, dots: 2 };
        assert_eq!(names.of("x"), ["x.a.test.", "x.b.test.", "x."]);
        assert_eq!(names.of("x.y.z"), ["x.y.z.", "x.y.z.a.test.", "x.y.z.b.test."]);
        assert_eq!(names.of("x.y."), ["x.y."]);
        assert_eq!(names.of("localhost")[0], "localhost.");
        assert_eq!(Names::default().of("x"), ["x."]);
    }

    #[test]
    fn a_hosts_file_names_addresses_of_both_kinds() {
        let mut hosts = Hosts::default();
        let text = "# own\n10.0.0.1 one.test One\n::1 one.test\n10.0.0.2 one.test\n10.0.0.3 two.test\n";
        hosts.read_hosts_conf(text.as_bytes()).expect("it is in memory");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(listed(&hosts, "ONE.test"), [ip("10.0.0.1"), ip("10.0.0.2"), ip("::1")]);
        assert_eq!(listed(&hosts, "one"), [ip("10.0.0.1")]);
        assert_eq!(listed(&hosts, "three.test"), [] as [IpAddr; 0]);
    }
}
