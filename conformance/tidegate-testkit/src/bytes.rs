//! A server that takes connections one by one for a test that speaks for it, and a log file that a test reads.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use crate::client::PATIENCE;
use crate::tls::Certificate;
use crate::wire::{Transport, Wire};

/// A server without a script: whoever holds it accepts, reads and writes.
#[derive(Debug)]
pub struct ByteServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl Default for ByteServer {
    fn default() -> Self {
        Self::start()
    }
}

impl ByteServer {
    /// Listens on a port that the system chooses.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start() -> Self {
        Self::from(TcpListener::bind(("127.0.0.1", 0)).expect("a port is free"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    ///
    /// # Panics
    /// If none comes.
    pub fn accept(&self) -> Wire {
        let (socket, _) = self.listener.accept().unwrap_or_else(|error| panic!("nobody connected: {error}"));
        Wire::new(Transport::Plain(socket), PATIENCE)
    }

    /// The next connection over TLS, and the protocol that ALPN settled on.
    ///
    /// # Panics
    /// If none comes, or hands are not shaken.
    pub fn accept_tls(&self, certificate: &Certificate, protocols: &[&str]) -> (Wire, Option<String>) {
        let (mut socket, _) =
            self.listener.accept().unwrap_or_else(|error| panic!("nobody connected: {error}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("the system takes the option");
        let config = certificate.server_config(protocols);
        let mut session = ServerConnection::new(config.into()).expect("the configuration is complete");
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap_or_else(|error| panic!("no handshake: {error}"));
        }
        let agreed = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        (Wire::new(Transport::Server(Box::new(StreamOwned::new(session, socket))), PATIENCE), agreed)
    }

    /// Whether nobody has connected within `time`.
    pub fn is_left_alone(&self, time: Duration) -> bool {
        let socket = SockRef::from(&self.listener);
        socket.set_read_timeout(Some(time)).expect("the system takes the option");
        let alone = self.listener.accept().is_err();
        socket.set_read_timeout(Some(PATIENCE)).expect("the system takes the option");
        alone
    }
}

impl From<TcpListener> for ByteServer {
    fn from(listener: TcpListener) -> Self {
        // An accept that nobody connects for must end.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).expect("the system takes the option");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }
}

/// A file among the system's temporary ones, gone when dropped.
#[derive(Debug)]
pub struct LogFile(PathBuf);

impl Default for LogFile {
    fn default() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tidegate-{}-{}.log", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl LogFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its lines, once there are at least `count`.
    ///
    /// # Panics
    /// If there are not soon.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.0).unwrap_or_default();
            let lines: Vec<String> =
                text.split_inclusive('\n').map(|line| line.trim_end().to_owned()).collect();
            if lines.len() >= count && text.ends_with('\n') {
                return lines;
            }
            assert!(Instant::now() < deadline, "waited in vain for {count} lines: {lines:?}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // Nothing was logged where there is no file.
        drop(std::fs::remove_file(&self.0));
    }
}
