//! Asks name servers: over UDP, and over TCP where an answer does not fit. Nothing is kept: times to live are the
//! askers' business.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::dns::{self, Kind, Record, Trouble};
use super::pace;

/// Who is asked, and for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Domains that short names are looked up in.
    search: Vec<String>,
    /// A name with so many dots is looked up as it is first.
    dots: usize,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There are none: a server says so.
    None(Trouble),
    /// Nobody says anything.
    Away(String),
}

impl Resolver {
    /// Asks this server only, for whole names.
    pub(super) fn at(server: SocketAddr) -> Self {
        Self { servers: vec![server], search: Vec::new(), dots: 0 }
    }

    /// Asks those of `/etc/resolv.conf`.
    pub(super) fn of_system() -> Result<Self, String> {
        let text =
            std::fs::read_to_string(SYSTEM).map_err(|error| format!("cannot read {SYSTEM}: {error}"))?;
        Ok(Self::read(&text))
    }

    /// Reads what resolv.conf(5) describes, as far as it is of use here.
    fn read(text: &str) -> Self {
        let mut found = Self { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.split('%').next()?.parse().ok());
                    found.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                Some("search" | "domain") => {
                    found.search = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
                    found.search.retain(|domain| !domain.is_empty());
                }
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    found.dots = dots.unwrap_or(found.dots).min(15);
                }
                _ => {}
            }
        }
        if found.servers.is_empty() {
            found.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        found
    }

    /// The names that are asked for, one after the other, until one has records.
    fn names(&self, name: &str) -> Vec<String> {
        let whole = || name.trim_end_matches('.').to_owned();
        if name.ends_with('.') {
            return vec![whole()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        match name.matches('.').count() >= self.dots {
            true => names.insert(0, whole()),
            false => names.push(whole()),
        }
        names
    }

    /// The records of a name.
    pub(super) async fn records(&self, name: &str, kind: Kind) -> Result<Vec<Record>, Failure> {
        let mut last = Trouble::NoName;
        for name in self.names(name) {
            match self.ask(&name, kind).await? {
                Ok(records) => return Ok(records),
                Err(trouble) => last = trouble,
            }
        }
        Err(Failure::None(last))
    }

    /// Asks each server, twice if need be. What a server says for sure is believed.
    async fn ask(&self, name: &str, kind: Kind) -> Result<Result<Vec<Record>, Trouble>, Failure> {
        let mut why = String::new();
        for _ in 0..2 {
            for server in &self.servers {
                let answered = tokio::time::timeout(PATIENCE, exchange(*server, name, kind)).await;
                why = match answered {
                    Ok(Ok(Err(sure @ (Trouble::NoName | Trouble::NoRecords)))) => return Ok(Err(sure)),
                    Ok(Ok(Ok(records))) => return Ok(Ok(records)),
                    Ok(Ok(Err(trouble))) => format!("{server}: {trouble}"),
                    Ok(Err(error)) => format!("{server}: {error}"),
                    Err(_) => format!("{server}: no answer within {PATIENCE:?}"),
                };
            }
        }
        Err(Failure::Away(why))
    }
}

async fn exchange(
    server: SocketAddr,
    name: &str,
    kind: Kind,
) -> std::io::Result<Result<Vec<Record>, Trouble>> {
    // Its lower bits; who answers for somebody else has to guess them, and the port.
    let id = pace::seed() as u16;
    let Some(question) = dns::question(id, name, kind) else { return Ok(Err(Trouble::NoName)) };
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match dns::answer(buffer.get(..length).unwrap_or_default(), id, name, kind) {
            // Somebody else's, or a late one.
            Err(Trouble::Garbage) => {}
            Err(Trouble::Truncated) => break,
            answered => return Ok(answered),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(dns::answer(&answer, id, name, kind))
}

const SYSTEM: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// The longest time of one question to one server.
const PATIENCE: Duration = Duration::from_secs(2);

/// Servers send 512 bytes unless they are told that more would do.
const LARGEST_DATAGRAM: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_settings_are_read() {
        let found = Resolver::read(
            "# who\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch a.test. b.test\noptions rotate ndots:2\n",
        );
        let servers: Vec<SocketAddr> =
            vec![([10, 0, 0, 53], 53).into(), "[fe80::1]:53".parse().expect("an address")];
        assert_eq!((found.servers.clone(), found.dots), (servers, 2));
        assert_eq!(found.names("x"), ["x.a.test", "x.b.test", "x"]);
        assert_eq!(found.names("x.y.z"), ["x.y.z", "x.y.z.a.test", "x.y.z.b.test"]);
        assert_eq!(found.names("x.y."), ["x.y"]);
        assert_eq!(Resolver::read("").servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }
}
