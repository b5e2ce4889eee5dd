//! The admin API with its dashboard: health, readiness, metrics, the running configuration, what a request would meet. It
//! follows the configuration's address and socket.

mod access;
mod answer;
mod api;
mod assets;
mod candidate;
mod connections;
mod levels;
mod metrics;
mod peers;
mod places;
mod profile;
mod push;
mod releases;
mod servers;
mod shared;
mod sockets;
mod stats;
mod tap;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_config::plan;
use tidegate_proxy::{CertificateUse, Gateway, MetricsPush, ServerSide};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use crate::apply::{AdminTls, Workshop};
use crate::discover::Book;
use crate::status::Status;
use access::{Access, Way};
pub(crate) use candidate::Asked;
pub(crate) use levels::Levels;
use peers::Peers;
use places::Place;
use push::Pushing;
use sockets::{Change, Sockets};

/// The admin API's server.
pub(crate) struct Admin {
    shown: Rc<Shown>,
    pushing: Pushing,
    sockets: Sockets,
}

/// What the admin API shows.
pub(crate) struct Shown {
    pub(crate) status: Rc<Status>,
    pub(crate) gateway: Gateway,
    pub(crate) workshop: Arc<Workshop>,
    /// The configuration's file or folder, to which a candidate's paths are relative.
    main: PathBuf,
    access: RefCell<Access>,
    tls: RefCell<Option<Arc<ServerSide>>>,
    peers: Peers,
    profiling: profile::Turn,
    pub(crate) sources: Rc<Book>,
}

/// What a new configuration means for the admin API; nothing has changed yet.
pub(crate) struct AdminChange {
    sockets: Change,
    access: Access,
    settings: plan::Admin,
    tls: AdminTls,
}

impl Admin {
    /// Listens nowhere yet.
    pub(crate) fn new(
        main: PathBuf,
        status: Rc<Status>,
        gateway: Gateway,
        workshop: Arc<Workshop>,
        sources: Rc<Book>,
    ) -> Self {
        let (access, tls, peers) = (RefCell::default(), RefCell::default(), Peers::default());
        let profiling = profile::Turn::default();
        let shown = Shown { status, gateway, workshop, main, access, tls, peers, profiling, sources };
        Self { shown: Rc::new(shown), pushing: Pushing::default(), sockets: Sockets::default() }
    }

    /// Binds the address and the socket, where they are other ones.
    pub(crate) fn prepare(&self, settings: Option<&plan::Admin>, tls: &AdminTls) -> Result<AdminChange> {
        let settings = settings.cloned().unwrap_or_default();
        let sockets = self.sockets.prepare(&settings)?;
        Ok(AdminChange { sockets, access: Access::of(&settings), settings, tls: tls.clone() })
    }

    /// Makes a prepared change. Answers that are on their way are finished.
    pub(crate) fn switch(&mut self, change: AdminChange) {
        *self.shown.access.borrow_mut() = change.access;
        self.shown.peers.follow(&change.settings, change.tls.push(), &self.shown);
        let server = change.tls.server();
        self.shown.tls.borrow_mut().clone_from(&server);
        self.sockets.speak(server.map(|server| Arc::clone(&server.config)));
        self.sockets.switch(change.sockets, &self.shown);
    }

    /// Pushes the metrics that it shows where this configuration says so.
    pub(crate) fn push(&self, push: Option<&MetricsPush>) {
        self.pushing.follow(push, &self.shown);
    }

    /// Pushes them once more, now.
    pub(crate) fn push_now(&self, push: &MetricsPush) {
        push::once(push, &self.shown);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.sockets.address()
    }
}

impl Shown {
    /// The certificates that clients are shown, those of the admin API too.
    pub(crate) fn certificates(&self) -> Vec<CertificateUse> {
        let mut all = self.gateway.certificates();
        all.extend(self.tls.borrow().iter().flat_map(|server| server.certificates.clone()));
        all
    }
}

/// Serves one connection, until what it came in by is `over`: then it ends with the answer that is on its way.
async fn serve<S>(stream: S, way: Way, over: impl Future<Output = ()>, shown: Rc<Shown>, place: &Rc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        place.asked();
        let long = matches!(request.uri().path(), "/tap" | "/profile");
        let shown = Rc::clone(&shown);
        async move {
            let answer = api::answer(request, way, &shown).await;
            // Only for who may ask for it.
            if long && answer.status().is_success() {
                place.keep();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = over => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "admin connection");
    }
}

/// Longest time without a whole request head, idle connections included.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

const LARGEST_HEAD: usize = 16 << 10;
