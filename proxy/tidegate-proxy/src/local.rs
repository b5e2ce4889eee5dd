//! What a worker lends to its exchanges: the snapshot in this worker's form, connections to upstreams, plugin instances,
//! deadlines and counters.

pub(crate) mod clients;
pub(crate) mod tap;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion};
use tidegate_wasm::{Facts, StreamInfo, TlsDetails};
use tokio::sync::Notify;

use crate::filter::entry;
use crate::filter::isolated::Kept;
use crate::filter::leaving::Leaving;
use crate::filter::slot::Slot;
use crate::http::h1::Date;
use crate::http::interim::Passing;
use crate::http::{certificate, headers, sanitize};
use crate::shared::{Generation, ListenerCells, ListenerCounters, Shard};
use crate::snapshot::destinations::Reachable;
use crate::snapshot::logs::Outlets;
use crate::snapshot::tls::ByName;
use crate::snapshot::{Listener, Rule, Snapshot};
use crate::telemetry::access_log::batch::Gathering;
use crate::telemetry::access_log::noted::Spare;
use crate::time::{Clock, Deadlines};
use crate::upstream::balance::Random;
use crate::upstream::pool::Pool;
use clients::{Clients, Exchanges};
use tap::Taps;

/// A worker's own.
pub(crate) struct Local {
    pub(crate) clock: Clock,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) shard: Arc<Shard>,
    pub(crate) random: Random,
    pub(crate) request_ids: headers::RequestIds,
    /// How many workers share what is limited for the whole gateway.
    pub(crate) workers: usize,
    /// How long a connection without a request may wait for one once the gateway drains: its client knows nothing of that, and
    /// the request may be on its way. The answer tells it. And how long an answer may not go on whose client sends no more.
    pub(crate) grace: Duration,
    pub(crate) connections: Cell<u64>,
    /// Those that are open.
    pub(crate) clients: Clients,
    /// As answers say it.
    pub(crate) date: Date,
    /// Plugins on their way out.
    pub(crate) leaving: Rc<Leaving>,
    /// Who wants to see requests.
    pub(crate) taps: Taps,
    /// Lines of access logs that wait for others.
    pub(crate) gathering: Rc<Gathering>,
    /// Room for what they say of heads.
    pub(crate) spare: Spare,
    /// Memory is used up: what is new is refused.
    pub(crate) full: Cell<bool>,
    /// Clients' sockets have lower numbers, so that descriptors are left for others.
    pub(crate) ceiling: Cell<RawFd>,
}

/// A snapshot on one worker. Requests keep it to their end.
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) generation: Arc<Generation>,
    /// By the plan's upstreams.
    pub(crate) pools: Vec<Rc<Pool>>,
    /// By the plan's plugins.
    pub(crate) plugins: Vec<Rc<Slot>>,
    /// Of the rules, as guests read them; empty without plugins.
    pub(crate) names: Vec<Names>,
    /// What filters may choose, by listener; empty without plugins.
    destinations: Vec<Rc<Reachable>>,
    leaving: Rc<Leaving>,
    /// Of access logs.
    pub(crate) outlets: Outlets,
}

impl Drop for View {
    fn drop(&mut self) {
        self.leaving.view_gone(&self.plugins);
    }
}

/// The names of a rule.
pub(crate) struct Names {
    pub(crate) route: Rc<str>,
    pub(crate) rule: Rc<str>,
    /// The upstream of all of its requests, if it has but one.
    pub(crate) upstream: Option<Rc<str>>,
}

impl View {
    /// Takes over from `previous` the pools and instances of what did not change; starts the rest.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        local: &Local,
        previous: Option<&Self>,
        generation: Arc<Generation>,
    ) -> Rc<Self> {
        let pools: Vec<_> = snapshot
            .clusters
            .iter()
            .map(|cluster| {
                let same = |pool: &&Rc<Pool>| Arc::ptr_eq(&pool.cluster, cluster);
                previous.and_then(|view| view.pools.iter().find(same)).cloned().unwrap_or_else(|| {
                    Pool::new(
                        cluster.clone(),
                        local.workers,
                        &local.shard,
                        &local.deadlines,
                        local.random.next(),
                    )
                })
            })
            .collect();
        let names = |rule: &Rule| Names {
            route: (&*rule.route).into(),
            rule: (&*rule.name).into(),
            upstream: rule.action.upstream().and_then(|only| Some(pools.get(only)?.name.clone())),
        };
        let names =
            if snapshot.plugins.is_empty() { Vec::new() } else { snapshot.rules.iter().map(names).collect() };
        let plugins: Vec<_> = snapshot
            .plugins
            .iter()
            .map(|entry| {
                // In the background there is one instance, on the first worker.
                let elsewhere = entry.background && local.shard.worker != 0;
                let here = elsewhere.then(|| entry::Plugin { plugin: None, ..entry.clone() });
                let entry = here.as_ref().unwrap_or(entry);
                let lent: FxHashMap<_, _> = entry
                    .callable
                    .iter()
                    .filter_map(|(name, index)| Some((name.clone(), pools.get(*index)?.clone())))
                    .collect();
                let same = |slot: &&Rc<Slot>| entry::same(&slot.entry, entry) && slot.lends(&lent);
                previous.and_then(|view| view.plugins.iter().find(same)).cloned().unwrap_or_else(|| {
                    let workers = (local.shard.worker, local.workers);
                    let rest = (&local.deadlines, &local.leaving);
                    Slot::start(entry.clone(), workers, local.clock, rest, lent)
                })
            })
            .collect();
        let leaving = local.leaving.clone();
        let outlets = snapshot.logs.outlets(previous.map(|view| &view.outlets));
        let listeners = if snapshot.plugins.is_empty() { 0 } else { snapshot.listeners.len() };
        let destinations = (0..listeners).map(|index| Rc::new(Reachable::new(&snapshot, index))).collect();
        Rc::new(Self { destinations, snapshot, generation, pools, plugins, names, leaving, outlets })
    }

    /// Ends the instances that a later view did not take over: those in the background at once, others with this view,
    /// which requests may hold for long.
    pub(crate) fn retire(&self, next: &Self) {
        let kept = |slot: &Rc<Slot>| next.plugins.iter().any(|other| Rc::ptr_eq(slot, other));
        for slot in self.plugins.iter().filter(|slot| !kept(slot)) {
            if slot.entry.background { slot.retire() } else { self.leaving.add(slot) }
        }
    }

    /// A listener by its number.
    pub(crate) fn listener(&self, index: usize) -> Option<&Listener> {
        self.snapshot.listeners.get(index)
    }

    /// What filters may choose for the requests of a listener.
    pub(crate) fn destinations(&self, listener: usize) -> Option<&Rc<Reachable>> {
        self.destinations.get(listener)
    }

    /// A rule by its dense number.
    pub(crate) fn rule(&self, id: usize) -> Option<&Rule> {
        self.snapshot.rules.get(id)
    }
}

/// A listener's place on this worker: which view its requests see.
pub(crate) struct Site {
    /// The view and the listener's number in it. A listener that is gone keeps its last view.
    pub(crate) view: RefCell<Rc<View>>,
    pub(crate) listener: Cell<usize>,
    /// Open connections.
    pub(crate) open: Cell<usize>,
    /// Told when the last of them has ended.
    pub(crate) emptied: Notify,
    pub(crate) drain: crate::drain::Drain,
}

impl Site {
    /// The listener's name.
    pub(crate) fn name(&self) -> String {
        let view = self.view.borrow();
        view.listener(self.listener.get()).map_or_else(String::new, |listener| listener.spec.name.clone())
    }

    /// Whether the listener has this name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let view = self.view.borrow();
        view.listener(self.listener.get()).is_some_and(|listener| listener.spec.name == name)
    }
}

/// A client's connection, as its exchanges see it.
pub(crate) struct Client {
    pub(crate) local: Rc<Local>,
    pub(crate) site: Rc<Site>,
    pub(crate) address: SocketAddr,
    pub(crate) here: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) id: u64,
    pub(crate) forwarded: headers::Client,
    /// The name that the client asked for by TLS.
    pub(crate) server_name: Option<String>,
    /// What guests are told of a request that came last.
    pub(crate) info: RefCell<Option<Rc<StreamInfo>>>,
    /// What guests shared of a request that is over, to be used again.
    pub(crate) facts: Cell<Option<Rc<Facts>>>,
    /// What else was agreed on by TLS.
    pub(crate) session: Option<Session>,
    /// The same as guests read it, put together for the first one that asks.
    pub(crate) tls_details: OnceCell<Rc<TlsDetails>>,
    /// Of the listener that it came to.
    pub(crate) counters: Arc<ListenerCounters>,
    /// How many there have been and are.
    pub(crate) exchanges: Exchanges,
    /// Its place among the worker's connections.
    pub(crate) entry: usize,
    /// The longest that the rules of its exchanges have named; see [`Client::patience`].
    pub(crate) patience: Cell<Duration>,
    /// Plugin instances of the connection.
    pub(crate) kept: Kept,
    /// Interim answers on their way to it.
    pub(crate) passing: Passing,
}

/// What a client's TLS session was made with.
pub(crate) struct Session {
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) suite: Option<CipherSuite>,
    /// The client's certificate.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// The wait where no rule has said another one.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// What this worker counts of the listener.
    #[inline]
    pub(crate) fn cells(&self) -> &ListenerCells {
        self.counters.of(self.local.shard.worker)
    }

    /// The longest wait without a byte that an exchange of the connection may have.
    pub(crate) fn patience(&self) -> Duration {
        if self.patience.get().is_zero() { PATIENCE } else { self.patience.get() }
    }

    /// The client's TLS as guests read it; `names` are those of the listener's certificates.
    pub(crate) fn tls_details(&self, names: Option<&ByName>) -> Option<Rc<TlsDetails>> {
        let session = self.session.as_ref()?;
        let details = self.tls_details.get_or_init(|| {
            let local = names.and_then(|names| names.leaf(self.server_name.as_deref()));
            let read = |certificate: Option<&CertificateDer<'_>>| {
                certificate.map(|der| certificate::details(der)).unwrap_or_default()
            };
            Rc::new(TlsDetails {
                server_name: self.server_name.clone().unwrap_or_default(),
                version: certificate::version(session.version).into(),
                client_authenticated: session.certificate.is_some(),
                local: read(local),
                peer: read(session.certificate.as_ref()),
            })
        });
        Some(details.clone())
    }

    /// Whether this connection may carry requests for `host`: with several certificates, only for those of the
    /// certificate that the client was shown (RFC 9110, 7.4).
    pub(crate) fn may_ask_for(&self, listener: &Listener, host: &[u8]) -> bool {
        let (Some(asked), Some(names)) = (&self.server_name, &listener.names) else { return true };
        if !names.is_many() {
            return true;
        }
        let host = sanitize::host(host);
        asked.as_bytes().eq_ignore_ascii_case(host)
            || std::str::from_utf8(host).is_ok_and(|host| names.index(host) == names.index(asked))
    }
}
