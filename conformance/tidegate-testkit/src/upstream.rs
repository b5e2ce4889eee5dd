//! A server that follows a script and keeps what it was sent.
//!
//! Each connection has a thread. Every request is read by the strict reader, so a smuggled request shows as a
//! second one, and bytes with two readings show as [`State::Malformed`].

mod script;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use script::{Answer, Call, Gate, Step};

use crate::client::PATIENCE;
use crate::message::{Body, Fields, ReadError, RequestHead, read_body_into, read_request_head};
use crate::wire::{End, Transport, Wire};

/// How much of a request arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The head is there, the body is not (yet).
    Started,
    /// All of it, well formed.
    Complete,
    /// The connection ended inside it: no server takes that for a request.
    CutOff,
    /// Not a well-formed message, and why.
    Malformed(String),
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its head; none when that was malformed or cut off.
    pub head: Option<RequestHead>,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Fields,
    /// How much of it came.
    pub state: State,
}

impl Received {
    /// The request target; empty without a head.
    pub fn target(&self) -> &str {
        self.head.as_ref().map_or("", |head| head.target.as_str())
    }

    /// The only header field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.as_ref().and_then(|head| head.headers.get(name))
    }

    /// All header fields; empty without a head.
    pub fn headers(&self) -> Fields {
        self.head.as_ref().map(|head| head.headers.clone()).unwrap_or_default()
    }
}

/// One connection as it went.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// In order.
    pub requests: Vec<Received>,
    /// How the gateway ended it; none while it is open, or when the script ended it.
    pub end: Option<End>,
    /// The thread that serves it has returned.
    pub finished: bool,
    /// Bytes written by [`Step::Fill`].
    pub filled: u64,
    /// Bytes written by [`Step::Fill`] when nothing moved any more for the first time.
    pub stalled_at: Option<u64>,
    /// Bytes that came after [`Step::Echo`].
    pub echoed: Vec<u8>,
}

/// The server.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

type Script = dyn Fn(&Call<'_>) -> Answer + Send + Sync;

struct Shared {
    state: Mutex<Book>,
    changed: Condvar,
    script: Box<Script>,
    tls: Option<Arc<ServerConfig>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Book {
    connections: Vec<Connection>,
    sockets: Vec<Option<TcpStream>>,
    total: usize,
    stopped: bool,
}

impl ScriptedUpstream {
    /// Starts a server that asks `script` for the answer to each request once its head is there.
    pub fn start(script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(any(), Box::new(script), None)
    }

    /// The same at an address of before: a server that comes back.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, Box::new(script), None)
    }

    /// The same over TLS.
    pub fn start_tls(
        config: ServerConfig,
        script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(any(), Box::new(script), Some(Arc::new(config)))
    }

    /// Answers everything with 200, the body `ok` and the request's target in `x-target`.
    pub fn plain() -> Self {
        Self::plain_at(any())
    }

    /// [`ScriptedUpstream::plain`] at an address of before.
    pub fn plain_at(address: SocketAddr) -> Self {
        Self::start_at(address, |call| {
            let target = call.head.target.clone();
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        })
    }

    fn listen(address: SocketAddr, script: Box<Script>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).expect("loopback has the port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), script, tls });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All connections so far, in the order in which they were accepted.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.book().connections.clone()
    }

    /// All requests so far, connection by connection.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.book().connections.iter().flat_map(|c| c.requests.clone()).collect()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.book().connections.iter().filter(|c| !c.finished).count()
    }

    /// Forgets the requests of all connections.
    pub fn forget(&self) {
        self.shared.book().connections.iter_mut().for_each(|c| c.requests.clear());
    }

    /// Closes all open connections from this side, in order.
    pub fn close_all(&self) {
        self.shared.book().sockets.iter().flatten().for_each(|socket| {
            socket.shutdown(Shutdown::Both).ok();
        });
    }

    /// Waits until `condition` holds for the connections.
    ///
    /// # Panics
    /// If it does not before the test's patience ends.
    pub fn wait(&self, what: &str, condition: impl Fn(&[Connection]) -> bool) {
        self.wait_within(PATIENCE, what, condition);
    }

    /// The same with a patience of its own.
    ///
    /// # Panics
    /// If it does not before that ends.
    pub fn wait_within(&self, patience: Duration, what: &str, condition: impl Fn(&[Connection]) -> bool) {
        let reached = self.reaches(patience, condition);
        assert!(reached, "waited in vain for {what}: {:?}", self.shared.book().connections);
    }

    /// Waits until `condition` holds for the connections; false when it does not before the patience ends.
    #[must_use]
    pub fn reaches(&self, patience: Duration, condition: impl Fn(&[Connection]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut book = self.shared.book();
        while !condition(&book.connections) {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(book, remaining);
            book = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// A port that the system chooses.
fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.shared.book().stopped = true;
        self.close_all();
        // Wakes the accept loop, which then sees that it is over.
        TcpStream::connect(self.address).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        change(&mut self.book());
        self.changed.notify_all();
    }

    fn note(&self, connection: usize, change: impl FnOnce(&mut Connection)) {
        self.change(|book| change(&mut book.connections[connection]));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept() {
        let mut connection = 0;
        let mut stopped = false;
        shared.change(|book| {
            stopped = book.stopped;
            connection = book.connections.len();
            book.connections.push(Connection::default());
            book.sockets.push(socket.try_clone().ok());
        });
        if stopped {
            return;
        }
        let serving = Arc::clone(shared);
        std::thread::spawn(move || {
            let session = Session { connection, shared: &serving };
            if let Ok(transport) = session.handshake(socket) {
                session.serve(Wire::new(transport, PATIENCE));
            }
            serving.change(|book| {
                book.connections[connection].finished = true;
                book.sockets[connection] = None;
            });
        });
    }
}

struct Session<'a> {
    connection: usize,
    shared: &'a Shared,
}

/// What happens to the connection after an answer.
enum After {
    Next,
    End,
    Reset,
}

impl Session<'_> {
    fn handshake(&self, mut socket: TcpStream) -> io::Result<Transport> {
        let Some(config) = &self.shared.tls else { return Ok(Transport::Plain(socket)) };
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Transport::Server(Box::new(StreamOwned::new(session, socket))))
    }

    fn serve(&self, mut wire: Wire) {
        for nth in 0.. {
            // An idle connection stays open for as long as the test runs.
            wire.renew(PATIENCE * 6);
            match wire.readable() {
                Ok(true) => {}
                Ok(false) => return self.end(End::Closed),
                Err(_) => return self.end(End::Open),
            }
            wire.renew(PATIENCE);
            let (head, framing) = match read_request_head(&mut wire) {
                Ok(read) => read,
                Err(error) => {
                    self.begin(None);
                    self.settle(&error);
                    self.end(if matches!(error, ReadError::Broken(_)) { End::Broken } else { End::Closed });
                    return;
                }
            };
            self.begin(Some(head.clone()));
            let mut overall = 0;
            self.shared.change(|book| {
                overall = book.total;
                book.total += 1;
            });
            let call = Call { connection: self.connection, nth, overall, head: &head };
            let answer = (self.shared.script)(&call);
            let mut body = Some(framing);
            for step in answer.steps {
                match self.step(step, &mut wire, &mut body) {
                    Ok(After::Next) => {}
                    Ok(After::End) => return,
                    Ok(After::Reset) => return wire.reset(),
                    Err(error) => return self.broke(&error),
                }
            }
            if let Err(error) = self.read_body(&mut wire, &mut body) {
                return self.broke(&error);
            }
        }
    }

    fn step(
        &self,
        step: Step,
        wire: &mut Wire,
        body: &mut Option<crate::message::Framing>,
    ) -> Result<After, ReadError> {
        wire.renew(PATIENCE);
        match step {
            Step::Send(bytes) => wire.send(&bytes).map_err(ReadError::Broken)?,
            Step::ReadBody => self.read_body(wire, body)?,
            Step::Wait(gate) => gate.wait(),
            Step::Fill(total) => {
                let stalled = |at| {
                    self.shared.note(self.connection, |c| c.stalled_at = c.stalled_at.or(Some(at)));
                    true
                };
                // A stall is what such a step is for: the gateway decides how long it lasts.
                wire.renew(PATIENCE * 6);
                let written = wire.fill(total, QUIET, stalled).map_err(ReadError::Broken)?;
                self.shared.note(self.connection, |c| c.filled += written);
            }
            Step::Echo => loop {
                let bytes = wire.some()?;
                if bytes.is_empty() {
                    self.end(End::Closed);
                    return Ok(After::End);
                }
                wire.send(&bytes).map_err(ReadError::Broken)?;
                self.shared.note(self.connection, |c| c.echoed.extend_from_slice(&bytes));
            },
            Step::UntilClosed => {
                let (_, end) = wire.drain();
                self.settle(&ReadError::CutOff("while stalled"));
                self.end(end);
                return Ok(After::End);
            }
            Step::HalfClose => wire.half_close(),
            Step::Close => {
                wire.half_close();
                return Ok(After::End);
            }
            Step::Reset => return Ok(After::Reset),
        }
        Ok(After::Next)
    }

    fn read_body(
        &self,
        wire: &mut Wire,
        framing: &mut Option<crate::message::Framing>,
    ) -> Result<(), ReadError> {
        let Some(framing) = framing.take() else { return Ok(()) };
        let mut body = Body::default();
        let read = read_body_into(wire, framing, &mut body);
        self.current(|received| {
            received.body = body.bytes;
            received.trailers = body.trailers;
            if read.is_ok() {
                received.state = State::Complete;
            }
        });
        read
    }

    fn begin(&self, head: Option<RequestHead>) {
        let received =
            Received { head, body: Vec::new(), trailers: Fields::default(), state: State::Started };
        self.shared.note(self.connection, |c| c.requests.push(received));
    }

    fn current(&self, change: impl FnOnce(&mut Received)) {
        self.shared.note(self.connection, |c| {
            if let Some(received) = c.requests.last_mut() {
                change(received);
            }
        });
    }

    fn settle(&self, error: &ReadError) {
        let state = match error {
            ReadError::Malformed(what) => State::Malformed(what.clone()),
            _ => State::CutOff,
        };
        self.current(|received| {
            if received.state == State::Started {
                received.state = state;
            }
        });
    }

    fn broke(&self, error: &ReadError) {
        self.settle(error);
        self.end(if matches!(error, ReadError::Broken(_)) { End::Broken } else { End::Closed });
    }

    fn end(&self, end: End) {
        self.shared.note(self.connection, |c| c.end = Some(end));
    }
}

/// Nothing written for so long is a stall: long beside the gateway's reaction, short beside the test.
const QUIET: Duration = Duration::from_millis(300);
