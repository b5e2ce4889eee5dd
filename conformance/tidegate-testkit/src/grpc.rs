//! A gRPC server on real HTTP/2, which follows a script and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
pub use h2::Reason as GrpcReason;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::client::PATIENCE;

/// What the server does with a call, in order.
#[derive(Debug, Clone)]
pub enum GrpcStep {
    /// The head of the answer with these fields besides gRPC's own.
    Head(Vec<(&'static str, &'static str)>),
    /// One message.
    Message(Vec<u8>),
    /// Sends back every message as it comes, until the call's side of the stream ends.
    Echo,
    /// Waits for the next message.
    Receive,
    /// Waits for the next message and sends what the function makes of it.
    Reply(fn(&[u8]) -> Vec<u8>),
    /// Bytes as they stand on the wire.
    Raw(Vec<u8>),
    /// The end: these trailers.
    Trailers(Vec<(&'static str, &'static str)>),
    /// The whole answer in its head: this HTTP status and these fields.
    Only(u16, Vec<(&'static str, &'static str)>),
    /// Takes messages, then nothing, until the other side resets the stream.
    Wait,
    /// Resets the stream.
    Reset(h2::Reason),
}

/// One call as it arrived.
#[derive(Debug, Clone)]
pub struct GrpcReceived {
    /// `/service/method`.
    pub path: String,
    /// Its head.
    pub headers: HeaderMap,
    /// Its messages so far, without their prefixes.
    pub messages: Vec<Vec<u8>>,
    /// The other side has ended its messages.
    pub ended: bool,
    /// The reason for which it was reset.
    pub reset: Option<h2::Reason>,
}

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct GrpcUpstream {
    address: SocketAddr,
    book: Arc<Book>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    calls: Mutex<Vec<GrpcReceived>>,
    changed: Condvar,
}

type Script = dyn Fn(&str) -> Vec<GrpcStep> + Send + Sync;

impl GrpcUpstream {
    /// Starts a server that asks `script` what to do with a call to this path.
    ///
    /// # Panics
    /// If the machine has no port or thread left.
    pub fn start(script: impl Fn(&str) -> Vec<GrpcStep> + Send + Sync + 'static) -> Self {
        Self::listen(Arc::new(script), None)
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// If the machine has no port or thread left.
    pub fn start_tls(
        config: ServerConfig,
        script: impl Fn(&str) -> Vec<GrpcStep> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Arc::new(script), Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn listen(script: Arc<Script>, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let book = Arc::new(Book::default());
        let (stop, stopped) = oneshot::channel();
        let kept = Arc::clone(&book);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime needs a few descriptors only"), async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
                tokio::select! {
                    () = accept(listener, tls, script, kept) => {}
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

    /// All calls so far.
    pub fn calls(&self) -> Vec<GrpcReceived> {
        self.book.calls().clone()
    }

    /// Waits until `condition` holds for the calls.
    ///
    /// # Panics
    /// If it does not before the test's patience ends.
    pub fn wait(&self, what: &str, condition: impl Fn(&[GrpcReceived]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut calls = self.book.calls();
        while !condition(&calls) {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let seen = || {
                calls.iter().map(|c| (c.path.clone(), c.messages.len(), c.ended, c.reset)).collect::<Vec<_>>()
            };
            assert!(!remaining.is_zero(), "waited in vain for {what}: {:?}", seen());
            let waited = self.book.changed.wait_timeout(calls, remaining);
            calls = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for GrpcUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Book {
    fn calls(&self) -> MutexGuard<'_, Vec<GrpcReceived>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: usize, change: impl FnOnce(&mut GrpcReceived)) {
        change(&mut self.calls()[call]);
        self.changed.notify_all();
    }

    fn begin(&self, request: &Request<RecvStream>) -> usize {
        let mut calls = self.calls();
        calls.push(GrpcReceived {
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
            messages: Vec::new(),
            ended: false,
            reset: None,
        });
        self.changed.notify_all();
        calls.len() - 1
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    script: Arc<Script>,
    book: Arc<Book>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (script, book, tls) = (Arc::clone(&script), Arc::clone(&book), tls.clone());
        tokio::task::spawn_local(async move {
            match tls {
                None => serve(socket, script, book).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve(socket, script, book).await;
                    }
                }
            }
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, script: Arc<Script>, book: Arc<Book>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let nth = book.begin(&request);
        let steps = script(request.uri().path());
        let book = Arc::clone(&book);
        tokio::task::spawn_local(async move {
            let mut call =
                Call { nth, book, respond, inbound: Inbound::new(request.into_body()), send: None };
            if let Err(error) = call.play(steps).await {
                call.book.note(nth, |call| call.reset = error.reason());
            }
        });
    }
}

struct Call {
    nth: usize,
    book: Arc<Book>,
    respond: SendResponse<Bytes>,
    inbound: Inbound,
    send: Option<SendStream<Bytes>>,
}

impl Call {
    async fn play(&mut self, steps: Vec<GrpcStep>) -> Result<(), h2::Error> {
        for step in steps {
            match step {
                GrpcStep::Head(fields) => {
                    let mut response = Response::new(());
                    *response.headers_mut() = map(&fields);
                    response
                        .headers_mut()
                        .insert("content-type", HeaderValue::from_static("application/grpc"));
                    self.send = Some(self.respond.send_response(response, false)?);
                }
                GrpcStep::Message(message) => self.send(&framed(&message))?,
                GrpcStep::Raw(bytes) => self.send(&bytes)?,
                GrpcStep::Receive => drop(self.receive().await?),
                GrpcStep::Reply(reply) => {
                    if let Some(message) = self.receive().await? {
                        self.send(&framed(&reply(&message)))?;
                    }
                }
                GrpcStep::Echo => {
                    while let Some(message) = self.receive().await? {
                        self.send(&framed(&message))?;
                    }
                }
                GrpcStep::Trailers(fields) => {
                    if let Some(send) = &mut self.send {
                        send.send_trailers(map(&fields))?;
                    }
                }
                GrpcStep::Only(status, fields) => {
                    let mut response = Response::new(());
                    *response.status_mut() =
                        http::StatusCode::from_u16(status).expect("the script has a status");
                    *response.headers_mut() = map(&fields);
                    self.respond.send_response(response, true)?;
                }
                GrpcStep::Wait => self.until_reset().await?,
                GrpcStep::Reset(reason) => self.respond.send_reset(reason),
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), h2::Error> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send.as_mut().map_or(Ok(()), |send| send.send_data(bytes, false))
    }

    async fn until_reset(&mut self) -> Result<(), h2::Error> {
        while self.receive().await?.is_some() {}
        let reason = std::future::poll_fn(|cx| match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        })
        .await?;
        self.book.note(self.nth, |call| call.reset = Some(reason));
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Vec<u8>>, h2::Error> {
        let message = self.inbound.next().await?;
        self.book.note(self.nth, |call| match &message {
            Some(message) => call.messages.push(message.clone()),
            None => call.ended = true,
        });
        Ok(message)
    }
}

/// Cuts what comes into messages.
struct Inbound {
    body: RecvStream,
    bytes: BytesMut,
}

impl Inbound {
    fn new(body: RecvStream) -> Self {
        Self { body, bytes: BytesMut::new() }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, h2::Error> {
        loop {
            if let Some([_, length @ ..]) = self.bytes.first_chunk::<5>() {
                let whole = 5 + u32::from_be_bytes(*length) as usize;
                if self.bytes.len() >= whole {
                    return Ok(Some(self.bytes.split_to(whole)[5..].to_vec()));
                }
            }
            let Some(data) = self.body.data().await else { return Ok(None) };
            let data = data?;
            self.body.flow_control().release_capacity(data.len())?;
            self.bytes.extend_from_slice(&data);
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("the script has short messages");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}
