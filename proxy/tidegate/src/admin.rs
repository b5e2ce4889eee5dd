//! The admin API: health, readiness, metrics, the running configuration. It only shows, but for shared data of plugins that the
//! configuration names, and for releases where that says so.

mod answer;
mod metrics;
mod releases;
mod shared;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_proxy::Gateway;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_local};
use tracing::{debug, info, warn};

use crate::apply::Workshop;
use crate::status::Status;
use answer::answer;

/// The admin API's server; it follows the configuration's address.
pub(crate) struct Admin {
    shown: Rc<Shown>,
    bound: Option<Bound>,
}

/// What the admin API shows.
pub(crate) struct Shown {
    pub(crate) status: Rc<Status>,
    pub(crate) gateway: Gateway,
    pub(crate) workshop: Arc<Workshop>,
}

struct Bound {
    /// As configured; the port may be 0.
    configured: SocketAddr,
    actual: SocketAddr,
    accepting: AbortHandle,
}

/// What a new configuration means for the admin API's socket.
pub(crate) enum AdminChange {
    /// The address is the same.
    Keep,
    /// There is none any more.
    Close,
    /// A new one, bound already.
    Open(SocketAddr, TcpListener),
}

impl Admin {
    /// Listens nowhere yet.
    pub(crate) fn new(status: Rc<Status>, gateway: Gateway, workshop: Arc<Workshop>) -> Self {
        Self { shown: Rc::new(Shown { status, gateway, workshop }), bound: None }
    }

    /// Binds the address, if it is another one; nothing changes yet.
    pub(crate) fn prepare(&self, address: Option<SocketAddr>) -> Result<AdminChange> {
        let Some(address) = address else { return Ok(AdminChange::Close) };
        if self.bound.as_ref().is_some_and(|bound| bound.configured == address) {
            return Ok(AdminChange::Keep);
        }
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .with_context(|| format!("cannot listen on {address} for the admin API"))?;
        Ok(AdminChange::Open(address, listener))
    }

    /// Makes a prepared change. Answers that are on their way are finished.
    pub(crate) fn switch(&mut self, change: AdminChange) {
        if matches!(change, AdminChange::Keep) {
            return;
        }
        if let Some(bound) = self.bound.take() {
            bound.accepting.abort();
        }
        let AdminChange::Open(configured, listener) = change else { return };
        let actual = listener.local_addr().unwrap_or(configured);
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                info!(address = %actual, "admin API listening");
                let accepting = spawn_local(accept(listener, Rc::clone(&self.shown))).abort_handle();
                self.bound = Some(Bound { configured, actual, accepting });
            }
            Err(error) => warn!(address = %actual, %error, "the admin API cannot accept connections"),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.bound.as_ref().map(|bound| bound.actual)
    }
}

async fn accept(listener: tokio::net::TcpListener, shown: Rc<Shown>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shown = Rc::clone(&shown);
                spawn_local(async move {
                    serve(stream, shown).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "the admin API cannot accept a connection");
                // Out of file descriptors, usually: trying again at once would only burn the CPU.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shown: Rc<Shown>) {
    let service = service_fn(move |request| {
        let shown = Rc::clone(&shown);
        async move {
            let path = request.uri().path();
            Ok::<_, Infallible>(match (shared::has(path), releases::has(path)) {
                (true, _) => shared::answer(request, &shown).await,
                (false, true) => releases::answer(&request, &shown),
                (false, false) => answer(&request, &shown),
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "admin connection");
    }
}

/// Open connections to the admin API; more wait to be accepted.
const MOST_CONNECTIONS: usize = 64;

/// Longest time without a whole request head, idle connections included.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

const LARGEST_HEAD: usize = 16 << 10;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
