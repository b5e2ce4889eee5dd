//! Steady traffic in the background, in which every failed request counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use crate::client::{PATIENCE, RawClient};
use crate::tls::Authority;

/// Who sends and how.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to.
    pub address: SocketAddr,
    /// Connections, each with a thread of its own.
    pub connections: usize,
    /// 0: HTTP/1.1; else HTTP/2 with that many requests at once on each connection.
    pub streams: usize,
    /// TLS: whom to trust. The server is asked for as `a.test`.
    pub authority: Option<Arc<Authority>>,
    /// Opens a new connection after that many requests; 0: never.
    pub reconnect: u64,
    /// A request's body.
    pub body: &'static str,
}

impl LoadOptions {
    /// Two HTTP/1.1 connections in clear text, used for ever, without bodies.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connections: 2, streams: 0, authority: None, reconnect: 0, body: "" }
    }
}

/// Traffic that runs until it is finished.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    fn failed(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < 20 {
            failures.push(what);
        }
    }

    fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Starts to send requests for `/load/…`; each must be answered with 200.
    pub fn start(options: &LoadOptions) -> Self {
        let tally = Arc::<Tally>::default();
        let threads = (0..options.connections)
            .map(|number| {
                let (options, tally) = (options.clone(), Arc::clone(&tally));
                std::thread::spawn(move || match options.streams {
                    0 => http1(&options, number, &tally),
                    _ => http2(&options, &tally),
                })
            })
            .collect();
        Self { tally, threads }
    }

    /// Requests that were answered so far.
    pub fn answered(&self) -> u64 {
        self.tally.answered.load(Ordering::Relaxed)
    }

    /// Waits until that many more requests are answered.
    ///
    /// # Panics
    /// If the traffic stands still.
    pub fn wait_for(&self, more: u64) {
        let goal = self.answered() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < goal {
            let failures = self.tally.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
            assert!(Instant::now() < deadline, "the traffic stands still: {failures:?}");
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// Ends the traffic; the number of answers, and what failed.
    pub fn finish(self) -> (u64, Vec<String>) {
        self.tally.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                self.tally.failed("a client panicked".to_owned());
            }
        }
        let failures = self.tally.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.tally.answered.load(Ordering::Relaxed), failures)
    }
}

fn http1(options: &LoadOptions, number: usize, tally: &Tally) {
    let connect = || match &options.authority {
        Some(authority) => RawClient::connect_tls(options.address, authority, "a.test", &["http/1.1"]),
        None => Ok(RawClient::connect(options.address)),
    };
    let mut client = None;
    let mut sent = 0u64;
    while tally.runs() {
        let open = match client.take().map_or_else(connect, Ok) {
            Ok(open) => open,
            Err(error) => {
                tally.failed(format!("connect: {error}"));
                continue;
            }
        };
        let open = client.insert(open);
        sent += 1;
        let target = format!("/load/{number}/{sent}");
        let (method, length) = match options.body.len() {
            0 => ("GET", String::new()),
            length => ("POST", format!("content-length: {length}\r\n")),
        };
        open.send(format!("{method} {target} HTTP/1.1\r\nhost: a.test\r\n{length}\r\n{}", options.body));
        let last = options.reconnect > 0 && sent.is_multiple_of(options.reconnect);
        match open.response(method) {
            Ok(response) => {
                let mine = response.header("x-target").is_none_or(|t| t == target);
                if response.status != 200 || !mine {
                    tally.failed(format!("{target}: {response:?}"));
                }
                tally.answered();
                if last || response.header("connection") == Some("close") {
                    client = None;
                }
            }
            Err(error) => {
                tally.failed(format!("{target} (request {sent}): {error}"));
                client = None;
            }
        }
    }
}

fn http2(options: &LoadOptions, tally: &Arc<Tally>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs a few descriptors only");
    let sending = async {
        while tally.runs() {
            let outcome = match &options.authority {
                None => match TcpStream::connect(options.address).await {
                    Ok(socket) => session(socket, options, tally).await,
                    Err(error) => Err(format!("connect: {error}")),
                },
                Some(authority) => match secure(options.address, authority).await {
                    Ok(socket) => session(socket, options, tally).await,
                    Err(error) => Err(format!("connect: {error}")),
                },
            };
            if let Err(error) = outcome {
                tally.failed(error);
            }
        }
    };
    LocalSet::new().block_on(&runtime, sending);
}

async fn secure(
    address: SocketAddr,
    authority: &Authority,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(authority.client_config(&["h2"])));
    let name = ServerName::try_from("a.test").expect("a valid name");
    connector.connect(name, TcpStream::connect(address).await?).await
}

/// One connection, until the traffic ends, the connection breaks, or it has had its share of requests.
async fn session<S>(socket: S, options: &LoadOptions, tally: &Arc<Tally>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) =
        h2::client::handshake(socket).await.map_err(|error| format!("handshake: {error}"))?;
    let driver = tokio::task::spawn_local(connection);
    let mut streams = JoinSet::new();
    for _ in 0..options.streams {
        let (sender, tally, options) = (sender.clone(), Arc::clone(tally), options.clone());
        streams.spawn_local(stream(sender, options, tally));
    }
    drop(sender);
    let mut outcome = Ok(());
    while let Some(ended) = streams.join_next().await {
        outcome = outcome.and(ended.unwrap_or_else(|error| Err(error.to_string())));
    }
    driver.abort();
    outcome
}

async fn stream(
    mut sender: SendRequest<Bytes>,
    options: LoadOptions,
    tally: Arc<Tally>,
) -> Result<(), String> {
    let mut sent = 0;
    while tally.runs() && (options.reconnect == 0 || sent < options.reconnect) {
        sent += 1;
        let status = tokio::time::timeout(PATIENCE, exchange(&mut sender, options.body)).await;
        match status.map_err(|_| "no answer in time".to_owned())? {
            Ok(200) => tally.answered(),
            Ok(status) => tally.failed(format!("status {status}")),
            Err(error) => return Err(format!("stream: {error}")),
        }
    }
    Ok(())
}

async fn exchange(sender: &mut SendRequest<Bytes>, body: &'static str) -> Result<u16, h2::Error> {
    std::future::poll_fn(|task| sender.poll_ready(task)).await?;
    let request = Request::builder().method(if body.is_empty() { "GET" } else { "POST" });
    let request = request.uri("http://a.test/load/h2").body(()).expect("the parts are valid");
    let (response, mut out) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        out.send_data(Bytes::from_static(body.as_bytes()), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    while let Some(part) = body.data().await {
        let length = part?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(head.status.as_u16())
}
