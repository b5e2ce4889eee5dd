//! A client that sends exactly the bytes it is given.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::message::{ReadError, Response, read_response};
use crate::tls::{Authority, Certificate};
use crate::wire::{End, Transport, Wire};

/// How long a test waits for something that must happen: longer than a machine with other work may take, shorter than
/// the default limits that would make it happen by themselves.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the gateway, used byte by byte.
#[derive(Debug)]
pub struct RawClient {
    wire: Wire,
    /// For each write.
    patience: Duration,
}

impl RawClient {
    /// Connects in clear text.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(address: SocketAddr) -> Self {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self { wire: Wire::new(Transport::Plain(socket), PATIENCE), patience: PATIENCE }
    }

    /// Connects with a small receive buffer, so that the gateway soon notices that nothing is read, and takes a write
    /// that does not end for 700 ms as refused.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a descriptor is free");
        socket.set_recv_buffer_size(4096).expect("the system makes it as small as it can");
        socket.connect(&address.into()).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let transport = Transport::Plain(socket.into());
        Self { wire: Wire::new(transport, PATIENCE), patience: Duration::from_millis(700) }
    }

    /// Connects with TLS, trusting `authority`, asking for `name` and offering `protocols` by ALPN.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// If nobody listens, or the name is none.
    pub fn connect_tls(
        address: SocketAddr,
        authority: &Authority,
        name: &str,
        protocols: &[&str],
    ) -> io::Result<Self> {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let server = ServerName::try_from(name.to_owned()).expect("a test uses valid names");
        Self::shake_hands(socket, authority.client_config(protocols), server)
    }

    /// The same, showing a certificate to the gateway.
    ///
    /// # Errors
    /// When the handshake fails. With TLS 1.3 a refusal may show only when something is read.
    ///
    /// # Panics
    /// If nobody listens, or the name is none.
    pub fn connect_with(
        address: SocketAddr,
        authority: &Authority,
        name: &str,
        certificate: &Certificate,
    ) -> io::Result<Self> {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let server = ServerName::try_from(name.to_owned()).expect("a test uses valid names");
        Self::shake_hands(socket, authority.client_config_with(certificate), server)
    }

    /// The same with settings that clients share: the second one goes on with the session of the first.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// If nobody listens, or the name is none.
    pub fn connect_again(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let server = ServerName::try_from(name.to_owned()).expect("a test uses valid names");
        Self::shake_hands(socket, Arc::clone(config), server)
    }

    fn shake_hands(
        mut socket: TcpStream,
        config: impl Into<Arc<ClientConfig>>,
        server: ServerName<'static>,
    ) -> io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut session = ClientConnection::new(config.into(), server).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let transport = Transport::Client(Box::new(StreamOwned::new(session, socket)));
        Ok(Self { wire: Wire::new(transport, PATIENCE), patience: PATIENCE })
    }

    /// The protocol that ALPN settled on.
    pub fn alpn(&mut self) -> Option<String> {
        match self.wire.transport() {
            Transport::Client(tls) => {
                tls.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
            }
            _ => None,
        }
    }

    /// The server's certificate chain in DER.
    pub fn certificates(&mut self) -> Vec<Vec<u8>> {
        match self.wire.transport() {
            Transport::Client(tls) => {
                let chain = tls.conn.peer_certificates().unwrap_or_default();
                chain.iter().map(|certificate| certificate.as_ref().to_vec()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Sends the bytes; false when the peer has closed already, which hostile bytes may well cause.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.renew(self.patience);
        self.wire.send(bytes.as_ref()).is_ok()
    }

    /// Sends each piece as a segment of its own.
    pub fn send_pieces<P: AsRef<[u8]>>(&mut self, pieces: &[P]) -> bool {
        pieces.iter().all(|piece| self.send(piece))
    }

    /// Reads exactly one response to a request of that method.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn response(&mut self, method: &str) -> Result<Response, ReadError> {
        self.wire.renew(PATIENCE);
        read_response(&mut self.wire, method)
    }

    /// Sends a request and reads the response; the method is the first word.
    ///
    /// # Panics
    /// If there is no well-formed response.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let line = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        self.send(request);
        let method = line.split(' ').next().unwrap_or_default();
        self.response(method).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        self.wire.renew(PATIENCE);
        self.wire.drain()
    }

    /// Says that no more bytes come.
    pub fn half_close(&mut self) {
        self.wire.half_close();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.wire.reset();
    }

    /// The connection below, for what is not a request and a response.
    pub fn wire(&mut self) -> &mut Wire {
        self.wire.renew(PATIENCE);
        &mut self.wire
    }
}
