//! Accepts connections on a worker's own socket, and shakes hands where TLS is spoken.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use crate::conn::stream;
use crate::conn::tcp::{self, Terms};
use crate::http::headers;
use crate::listen::bind::Listening;
use crate::listen::steer::{Course, steer};
use crate::listen::{bind, descriptors, handshake};
use crate::local::clients::{Entry, Exchanges};
use crate::local::{Client, Local, Session, Site};
use crate::shared::ListenerCounters;
use crate::transport::Transport;

/// The wait after there was no descriptor or no memory for a connection. A time, since nothing tells when one comes free, which
/// another worker, a file or the admin API may have had; trying at once would only spin.
const BREATH: Duration = Duration::from_millis(50);
/// How often at most that is told: it goes on for a while, and a log that grows by twenty lines a second is the next thing
/// that runs out.
const TOLD: Duration = Duration::from_secs(10);

/// A worker's socket for an address.
pub(crate) struct Door {
    /// Until it is closed.
    socket: RefCell<Option<(TcpListener, Arc<u32>)>>,
    /// A connection that waits until clients may have one more descriptor.
    waiting: RefCell<Option<(std::net::TcpStream, SocketAddr)>>,
}

impl Door {
    /// Listens there.
    pub(crate) fn new(Listening { socket, own }: Listening) -> io::Result<Self> {
        let socket = RefCell::new(Some((TcpListener::from_std(socket)?, own)));
        Ok(Self { socket, waiting: RefCell::default() })
    }

    /// The next connection; none: the door is closed.
    async fn next(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        poll_fn(|cx| match &*self.socket.borrow() {
            Some((listener, _)) => listener.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    /// Where another process listens at the same address, new connections are its own from now on. Those that clients
    /// have begun to make come here all the same, so that it goes on accepting.
    pub(crate) fn hand_over(&self) {
        if let Some((listener, own)) = &*self.socket.borrow() {
            steer(listener, **own, Course::ToAllOthers);
        }
    }

    /// Closes the socket. Connections that the system has made already are served: their clients know nothing of a
    /// close, and would be reset.
    pub(crate) fn close(&self, local: &Rc<Local>, site: &Rc<Site>) {
        let Some((listener, own)) = self.socket.take() else { return };
        self.let_in(local, site);
        let Ok(listener) = listener.into_std() else { return };
        steer(&listener, *own, Course::ToOneOther);
        Self::empty(&listener, local, site);
        bind::turn_away(&listener);
        Self::empty(&listener, local, site);
        Self::leave(&listener, own);
    }

    /// Whoever closes the last one gives the kernel its choice back: what it was told stays with the address as long as
    /// anyone listens there.
    fn leave(listener: &impl AsFd, own: Arc<u32>) {
        if let Some(own) = Arc::into_inner(own) {
            steer(listener, own, Course::Free);
        }
    }

    /// Gives the connection that waits a descriptor that clients may have; false: there is none.
    fn has_room(&self, ceiling: RawFd) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some((stream, _)) = &mut *waiting else { return true };
        match stream.as_fd().try_clone_to_owned() {
            Ok(lower) if lower.as_raw_fd() < ceiling => *stream = lower.into(),
            _ => return false,
        }
        true
    }

    /// Serves the connection that waits.
    fn let_in(&self, local: &Rc<Local>, site: &Rc<Site>) {
        if let Some((stream, address)) = self.waiting.take()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            take(local, site, stream, address);
        }
    }

    /// Serves what waits in the system.
    fn empty(listener: &std::net::TcpListener, local: &Rc<Local>, site: &Rc<Site>) {
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    stream.into_iter().for_each(|stream| take(local, site, stream, address));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }
}

/// A process that is cut off closes nothing in order, but it may have begun to.
impl Drop for Door {
    fn drop(&mut self) {
        if let Some((listener, own)) = self.socket.take() {
            Self::leave(&listener, own);
        }
    }
}

/// Accepts until the door is closed or the task is aborted.
pub(crate) async fn accept(local: Rc<Local>, site: Rc<Site>, door: Rc<Door>) {
    let mut failures = Failures::default();
    while let Some(accepted) = door.next().await {
        match accepted {
            Ok((stream, address)) if stream.as_raw_fd() < local.ceiling.get() => {
                take(&local, &site, stream, address);
            }
            Ok((stream, address)) => {
                door.waiting.replace(stream.into_std().ok().map(|stream| (stream, address)));
                while !door.has_room(local.ceiling.get()) {
                    failures.add(&local, &site, &descriptors::few());
                    tokio::time::sleep(BREATH).await;
                }
                door.let_in(&local, &site);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                failures.add(&local, &site, &error);
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// What one socket could not accept.
#[derive(Default)]
struct Failures {
    told: Option<Duration>,
    /// Since then.
    count: u64,
}

impl Failures {
    /// Counts one; tells it, and how many were not told, where none was for a while.
    #[cold]
    fn add(&mut self, local: &Local, site: &Site, error: &io::Error) {
        let view = site.view.borrow().clone();
        let Some(listener) = view.listener(site.listener.get()) else { return };
        listener.counters.of(local.shard.worker).unaccepted.add(1);
        self.count += 1;
        let now = local.deadlines.now();
        if self.told.is_none_or(|told| now.saturating_sub(told) >= TOLD) {
            let (listener, failures) = (&*listener.spec.name, self.count);
            tracing::warn!(listener, failures, %error, "connections cannot be accepted");
            (self.told, self.count) = (Some(now), 0);
        }
    }
}

/// A connection that was gone before it was accepted says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn take(local: &Rc<Local>, site: &Rc<Site>, socket: TcpStream, address: SocketAddr) {
    let view = site.view.borrow().clone();
    let Some(listener) = view.listener(site.listener.get()) else { return };
    let limit = listener.spec.limits.connections.div_ceil(local.workers);
    let (is_http, secure) = (listener.spec.protocol.is_http(), listener.tls.is_some());
    // Requests are told why they are refused. Bytes can only be cut off, and to tell it by TLS would take a handshake and
    // the memory that there is none of.
    if site.open.get() >= limit || (local.full.get() && (secure || !is_http)) {
        listener.counters.of(local.shard.worker).refused.add(1);
        return;
    }
    let (Ok(()), Ok(here)) = (socket.set_nodelay(true), socket.local_addr()) else { return };
    let cells = listener.counters.of(local.shard.worker);
    cells.accepted.add(1);
    cells.open.add(1);
    site.open.set(site.open.get() + 1);
    local.connections.set(local.connections.get() + 1);
    let (id, opened) = (local.connections.get(), local.deadlines.now());
    let entry = Entry { id, address, site: site.clone(), tls: secure, opened, speaks: None };
    let entry = local.clients.enter(entry);
    let client = Client {
        local: local.clone(),
        site: site.clone(),
        address,
        here,
        secure,
        id,
        entry,
        forwarded: headers::Client::new(address.ip(), secure),
        server_name: None,
        info: RefCell::new(None),
        facts: Cell::new(None),
        session: None,
        tls_details: OnceCell::new(),
        counters: listener.counters.clone(),
        exchanges: Exchanges::default(),
        patience: Cell::new(Duration::ZERO),
        kept: Default::default(),
        passing: Default::default(),
    };
    let terms = Terms { timeouts: listener.spec.timeouts, limits: listener.spec.limits };
    let acceptor = listener.tls.clone().map(TlsAcceptor::from);
    let counters = listener.counters.clone();
    let open = Open { local: local.clone(), site: site.clone(), counters, entry };
    match acceptor {
        None if !is_http => {
            let serving = stream::serve(Rc::new(client), Transport::Plain(socket));
            spawn_local(async move {
                serving.await;
                drop(open);
            });
        }
        None => {
            let begun = Box::pin(tcp::begin(Rc::new(client), Transport::Plain(socket), None, terms));
            spawn_local(tcp::serve(begun, open));
        }
        Some(acceptor) if is_http => {
            let begun = Box::pin(async move {
                let (client, transport, http2) = shake(client, acceptor, socket, terms).await?;
                tcp::begin(client, transport, Some(http2), terms).await
            });
            spawn_local(tcp::serve(begun, open));
        }
        Some(acceptor) => {
            let shaken = Box::pin(shake(client, acceptor, socket, terms));
            spawn_local(async move {
                if let Some((client, transport, _)) = shaken.await {
                    Box::pin(stream::serve(client, transport)).await;
                }
                drop(open);
            });
        }
    }
}

/// Shakes hands; true: the client speaks HTTP/2.
async fn shake(
    mut client: Client,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    terms: Terms,
) -> Option<(Rc<Client>, Transport, bool)> {
    let shaking = tokio::time::timeout(terms.timeouts.handshake, acceptor.accept(stream));
    let stream = match shaking.await {
        Ok(Ok(stream)) => stream,
        failed => {
            let error = failed.ok().and_then(Result::err);
            handshake::count_failure(client.cells(), error.as_ref());
            return None;
        }
    };
    let session = stream.get_ref().1;
    handshake::count(client.cells(), session);
    let http2 = session.alpn_protocol() == Some(b"h2");
    client.server_name = session.server_name().map(str::to_owned);
    client.session = Some(Session {
        version: session.protocol_version(),
        suite: session.negotiated_cipher_suite().map(|suite| suite.suite()),
        certificate: session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| leaf.clone().into_owned()),
    });
    Some((Rc::new(client), Transport::Server(Box::new(stream)), http2))
}

/// Counts an open connection while it lives.
struct Open {
    local: Rc<Local>,
    site: Rc<Site>,
    counters: Arc<ListenerCounters>,
    /// Its place among the worker's connections.
    entry: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.local.clients.leave(self.entry);
        self.counters.of(self.local.shard.worker).open.subtract(1);
        let open = self.site.open.get() - 1;
        self.site.open.set(open);
        if open == 0 {
            self.site.emptied.notify_one();
        }
    }
}
