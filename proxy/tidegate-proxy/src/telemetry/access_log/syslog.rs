//! Lines to a syslog server: one datagram each (RFC 5424, RFC 5426).

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use tidegate_config::plan::{Syslog, SyslogAddress};

use super::{Entry, Timestamp};
use crate::time::Clock;

/// RFC 5424, 6.2.1.
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// Sends datagrams; a socket that failed is made anew for the next one.
pub(super) struct Sender<'a> {
    server: &'a Syslog,
    socket: Option<Socket>,
    /// What each line has before its text, without its priority and time.
    origin: String,
    clock: Clock,
    datagram: Vec<u8>,
    told: Option<io::ErrorKind>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl<'a> Sender<'a> {
    pub(super) fn new(server: &'a Syslog) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("-");
        let origin = format!("{host} {} {} access - ", server.app, std::process::id());
        Self { server, socket: None, origin, clock: Clock::new(), datagram: Vec::new(), told: None }
    }

    /// Whether the datagram is on its way.
    pub(super) fn send(&mut self, entry: &Entry) -> bool {
        let severity = if entry.failed { WARNING } else { INFORMATIONAL };
        let priority = self.server.facility * 8 + severity;
        self.datagram.clear();
        let time = Timestamp(self.clock.wall());
        // Writing to bytes cannot fail.
        _ = write!(self.datagram, "<{priority}>1 {time} {}", self.origin);
        self.datagram.extend_from_slice(&entry.text);
        let sent = self.try_send();
        match &sent {
            Ok(()) => self.told = None,
            Err(error) => {
                self.socket = None;
                if self.told.replace(error.kind()) != Some(error.kind()) {
                    tracing::error!(address = ?self.server.address, %error, "cannot write to syslog");
                }
            }
        }
        sent.is_ok()
    }

    fn try_send(&mut self) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open(&self.server.address)?),
        };
        match socket {
            Socket::Udp(socket) => socket.send(&self.datagram),
            Socket::Unix(socket) => socket.send(&self.datagram),
        }
        .map(drop)
    }
}

fn open(address: &SyslogAddress) -> io::Result<Socket> {
    match address {
        SyslogAddress::Udp(address) => {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(Socket::Udp(socket))
        }
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(Socket::Unix(socket))
        }
    }
}
