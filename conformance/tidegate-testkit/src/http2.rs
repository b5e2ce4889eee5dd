//! A server on real HTTP/2 that answers everything, allows as many streams as it is told, and goes away now and then.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{Request, Response};
use tokio::sync::{Notify, oneshot};

use crate::client::PATIENCE;

/// What the server does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2Options {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: Option<u32>,
    /// It sends GOAWAY after that many requests on a connection.
    pub requests: Option<usize>,
    /// Nothing is answered before [`Http2Upstream::answer`] is called.
    pub held: bool,
    /// Status and fields of interim answers, which are sent at once.
    pub interim: &'static [(u16, &'static [(&'static str, &'static str)])],
    /// Answers are whole before a request's body is asked for, of which nothing is taken as long as the client sends it.
    pub early: bool,
    /// Bytes of the body of `/large`.
    pub large: usize,
    /// Bytes of a field `x-long` of all answers; 0: there is none.
    pub long: usize,
}

/// One connection as it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2Connection {
    /// Requests so far.
    pub requests: usize,
    /// Those that are not answered.
    pub open: usize,
    /// The most of them at one time.
    pub most: usize,
    /// It is over.
    pub ended: bool,
}

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct Http2Upstream {
    address: SocketAddr,
    book: Arc<Book>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    connections: Mutex<Vec<Http2Connection>>,
    changed: Condvar,
    /// Set once answers are let go.
    answering: Mutex<bool>,
    answer: Notify,
}

impl Http2Upstream {
    /// Starts a server that answers with 200 and the body `ok`.
    ///
    /// # Panics
    /// If the machine has no port or thread left.
    pub fn start(options: Http2Options) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let book = Arc::new(Book { answering: Mutex::new(!options.held), ..Book::default() });
        let (stop, stopped) = oneshot::channel();
        let kept = Arc::clone(&book);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime needs a few descriptors only"), async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
                tokio::select! {
                    () = accept(listener, options, kept) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, book, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All connections so far.
    pub fn connections(&self) -> Vec<Http2Connection> {
        self.book.connections().clone()
    }

    /// Answers everything from here on, and what has waited.
    pub fn answer(&self) {
        *self.book.answering.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.book.answer.notify_waiters();
    }

    /// Waits until `condition` holds for the connections.
    ///
    /// # Panics
    /// If it does not before the test's patience ends.
    pub fn wait(&self, what: &str, condition: impl Fn(&[Http2Connection]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut connections = self.book.connections();
        while !condition(&connections) {
            let remaining = deadline.saturating_duration_since(Instant::now());
            assert!(!remaining.is_zero(), "waited in vain for {what}: {connections:?}");
            let waited = self.book.changed.wait_timeout(connections, remaining.min(Duration::from_secs(1)));
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Book {
    fn connections(&self) -> MutexGuard<'_, Vec<Http2Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, nth: usize, change: impl FnOnce(&mut Http2Connection)) {
        change(&mut self.connections()[nth]);
        self.changed.notify_all();
    }

    async fn may_answer(&self) {
        let told = self.answer.notified();
        let waits = !*self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        if waits {
            told.await;
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, options: Http2Options, book: Arc<Book>) {
    while let Ok((socket, _)) = listener.accept().await {
        let nth = {
            let mut connections = book.connections();
            connections.push(Http2Connection::default());
            connections.len() - 1
        };
        book.changed.notify_all();
        let book = Arc::clone(&book);
        tokio::task::spawn_local(async move {
            let mut builder = server::Builder::new();
            // What waits here is what a test wants to wait.
            builder.data_frame_budget(usize::MAX);
            if let Some(streams) = options.streams {
                builder.max_concurrent_streams(streams);
            }
            if let Ok(connection) = builder.handshake(socket).await {
                serve(connection, nth, options, &book).await;
            }
            book.note(nth, |connection| connection.ended = true);
        });
    }
}

async fn serve(
    mut connection: server::Connection<tokio::net::TcpStream, Bytes>,
    nth: usize,
    options: Http2Options,
    book: &Arc<Book>,
) {
    while let Some(Ok((request, respond))) = connection.accept().await {
        let mut requests = 0;
        book.note(nth, |own| {
            own.requests += 1;
            own.open += 1;
            own.most = own.most.max(own.open);
            requests = own.requests;
        });
        if options.requests == Some(requests) {
            connection.graceful_shutdown();
        }
        let book = Arc::clone(book);
        tokio::task::spawn_local(async move {
            let mut respond = respond;
            for (status, fields) in options.interim {
                let mut interim = Response::builder().status(*status);
                for (name, value) in *fields {
                    interim = interim.header(*name, *value);
                }
                let interim = interim.body(()).expect("a test's answer is one");
                // The gateway may have had enough of them.
                drop(respond.send_informational(interim));
            }
            book.may_answer().await;
            // A client that has gone away needs no answer.
            drop(reply(request, respond, options).await);
            book.note(nth, |own| own.open -= 1);
        });
    }
}

async fn reply(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    options: Http2Options,
) -> Result<(), h2::Error> {
    let answer = match request.uri().path() {
        "/large" => Bytes::from(vec![b'x'; options.large]),
        _ => Bytes::from_static(b"ok"),
    };
    let mut body = request.into_body();
    if !options.early {
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
    }
    let mut head = Response::new(());
    if options.long > 0 {
        let long = vec![b'x'; options.long];
        head.headers_mut().insert("x-long", long.try_into().expect("letters make a field"));
    }
    respond.send_response(head, false)?.send_data(answer, true)?;
    while options.early && body.data().await.transpose()?.is_some() {}
    Ok(())
}
