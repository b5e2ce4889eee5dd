//! A connection as bytes: plain TCP or TLS, blocking, with a deadline for every wait.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use crate::message::{ReadError, malformed};

/// A blocking connection.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Plain(TcpStream),
    /// The client's side of TLS.
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// The server's side of TLS.
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Transport {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Client(tls) => &tls.sock,
            Self::Server(tls) => &tls.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Client(tls) => tls.read(into),
            Self::Server(tls) => tls.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Client(tls) => tls.write(bytes),
            Self::Server(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Client(tls) => tls.flush(),
            Self::Server(tls) => tls.flush(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset, or TLS without close_notify.
    Broken,
    /// Not before the deadline.
    Open,
}

/// A connection with a buffer for what was read and not used yet.
#[derive(Debug)]
pub struct Wire {
    transport: Transport,
    buffer: Vec<u8>,
    used: usize,
    deadline: Instant,
    /// The longest line that is read.
    line_limit: usize,
}

impl Wire {
    /// Wraps a connection; each wait ends `patience` from now, see [`Wire::renew`].
    ///
    /// # Panics
    /// If the socket takes no options.
    pub fn new(transport: Transport, patience: Duration) -> Self {
        transport.socket().set_nodelay(true).expect("a TCP socket has nodelay");
        Self {
            transport,
            buffer: Vec::new(),
            used: 0,
            deadline: Instant::now() + patience,
            line_limit: 1 << 20,
        }
    }

    /// Moves the deadline to `patience` from now.
    pub fn renew(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.transport.socket().local_addr()
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.transport.socket()
    }

    /// The connection itself.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// Bytes that were read and not used.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the connection broke or the deadline passed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let remaining = self.remaining().ok_or(io::ErrorKind::TimedOut)?;
        self.transport.socket().set_write_timeout(Some(remaining))?;
        self.transport.write_all(bytes)?;
        self.transport.flush()
    }

    /// Writes `total` bytes of `x` and calls `stalled` with the number written each time that nothing moves for
    /// `quiet`. Returns the number written, which is less than `total` when `stalled` said to stop.
    ///
    /// # Errors
    /// When the connection broke or the deadline passed.
    pub fn fill(
        &mut self,
        total: u64,
        quiet: Duration,
        mut stalled: impl FnMut(u64) -> bool,
    ) -> io::Result<u64> {
        let block = vec![b'x'; 64 * 1024];
        let mut written = 0u64;
        while written < total {
            self.remaining().ok_or(io::ErrorKind::TimedOut)?;
            self.transport.socket().set_write_timeout(Some(quiet))?;
            let most = usize::try_from(total - written).unwrap_or(usize::MAX).min(block.len());
            match self.transport.write(&block[..most]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count as u64,
                Err(error) if is_timeout(&error) => {
                    if !stalled(written) {
                        return Ok(written);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Says that no more bytes will be sent (TLS: with close_notify).
    pub fn half_close(&mut self) {
        match &mut self.transport {
            Transport::Plain(_) => {}
            Transport::Client(tls) => {
                tls.conn.send_close_notify();
                tls.flush().ok();
            }
            Transport::Server(tls) => {
                tls.conn.send_close_notify();
                tls.flush().ok();
            }
        }
        // Fails only when the peer has closed already, which is as good.
        self.transport.socket().shutdown(Shutdown::Write).ok();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        // Fails only on a dead socket.
        socket2::SockRef::from(self.transport.socket()).set_linger(Some(Duration::ZERO)).ok();
    }

    /// Reads until the connection ends or the deadline passes; returns what came, with what was unused before it.
    pub fn drain(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.more() {
                Ok(0) => break End::Closed,
                Ok(_) => {}
                Err(ReadError::Timeout) => break End::Open,
                Err(_) => break End::Broken,
            }
        };
        let bytes = self.buffer.split_off(self.used);
        (self.buffer, self.used) = (Vec::new(), 0);
        (bytes, end)
    }

    /// Waits until there are unused bytes (true) or the connection ended (false).
    ///
    /// # Errors
    /// When the deadline passed.
    pub fn readable(&mut self) -> Result<bool, ReadError> {
        if !self.unused().is_empty() {
            return Ok(true);
        }
        match self.more() {
            Ok(count) => Ok(count > 0),
            Err(ReadError::Timeout) => Err(ReadError::Timeout),
            Err(_) => Ok(false),
        }
    }

    /// Takes exactly that many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(count);
        self.take(count as u64, &mut bytes, "inside a fixed number of bytes").map(|()| bytes)
    }

    /// Takes what has arrived, at least one byte; empty at the end of the connection.
    ///
    /// # Errors
    /// When the deadline passed or the connection broke.
    pub fn some(&mut self) -> Result<Vec<u8>, ReadError> {
        if self.unused().is_empty() {
            self.more()?;
        }
        let bytes = self.buffer.split_off(self.used);
        (self.buffer, self.used) = (Vec::new(), 0);
        Ok(bytes)
    }

    pub(crate) fn first_line(&mut self) -> Result<String, ReadError> {
        if self.unused().is_empty() {
            match self.more() {
                Ok(0) => return Err(ReadError::Closed),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        self.line("inside the first line")
    }

    /// One line without its CRLF; bare CR, bare LF and NUL are malformed.
    pub(crate) fn line(&mut self, place: &'static str) -> Result<String, ReadError> {
        let mut looked = 0;
        let length = loop {
            match self.unused()[looked..].iter().position(|b| *b == b'\n') {
                Some(at) => break looked + at,
                None => looked = self.unused().len(),
            }
            if looked > self.line_limit {
                return Err(malformed(format!("a line of more than {} bytes {place}", self.line_limit)));
            }
            if self.more()? == 0 {
                return Err(ReadError::CutOff(place));
            }
        };
        let line = self.unused()[..length].to_vec();
        self.used += length + 1;
        let text = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect::<String>();
        match line.strip_suffix(b"\r") {
            Some(line) if !line.iter().any(|b| *b == b'\r' || *b == 0) => Ok(text(line)),
            _ => Err(malformed(format!("line {:?} {place}", text(&line)))),
        }
    }

    pub(crate) fn take(
        &mut self,
        count: u64,
        into: &mut Vec<u8>,
        place: &'static str,
    ) -> Result<(), ReadError> {
        let mut missing = usize::try_from(count).map_err(|_| malformed(format!("{count} bytes {place}")))?;
        while missing > 0 {
            let available = self.unused().len().min(missing);
            into.extend_from_slice(&self.buffer[self.used..self.used + available]);
            self.used += available;
            missing -= available;
            if missing > 0 && self.more()? == 0 {
                return Err(ReadError::CutOff(place));
            }
        }
        Ok(())
    }

    pub(crate) fn take_all(&mut self, into: &mut Vec<u8>) -> Result<(), ReadError> {
        loop {
            into.extend_from_slice(&self.buffer[self.used..]);
            self.used = self.buffer.len();
            if self.more()? == 0 {
                return Ok(());
            }
        }
    }

    fn more(&mut self) -> Result<usize, ReadError> {
        if self.used == self.buffer.len() {
            (self.used, self.buffer) = (0, Vec::new());
        }
        let remaining = self.remaining().ok_or(ReadError::Timeout)?;
        self.transport.socket().set_read_timeout(Some(remaining)).map_err(ReadError::Broken)?;
        let mut block = [0; 16 * 1024];
        match self.transport.read(&mut block) {
            Ok(count) => {
                self.buffer.extend_from_slice(&block[..count]);
                Ok(count)
            }
            Err(error) if is_timeout(&error) => Err(ReadError::Timeout),
            Err(error) => Err(ReadError::Broken(error)),
        }
    }

    fn remaining(&self) -> Option<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        (!remaining.is_zero()).then_some(remaining)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
