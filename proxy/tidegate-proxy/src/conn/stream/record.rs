//! The record of a forwarded connection. It is dropped exactly once, on every path, and then counted and logged.

mod lines;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::plan::PluginIndex;
use tidegate_wasm::{Ended, Now, StreamInfo, TlsDetails};

use crate::filter::log;
use crate::http::certificate;
use crate::http::fail::{Fail, Reason};
use crate::local::{Client, View};
use crate::shared::TCP_ENDS;
use crate::snapshot::Rule;
use crate::transport::Stream;
use crate::upstream::member::Member;

/// All that is known of one connection.
pub(super) struct Record {
    pub(super) client: Rc<Client>,
    pub(super) view: Rc<View>,
    pub(super) listener: usize,
    pub(super) attempts: u32,
    start: Duration,
    rule: Option<usize>,
    /// The upstream and the server of the last attempt.
    upstream: Option<(usize, Rc<Member>)>,
    connected_at: Option<Duration>,
    /// From the client and to it.
    received: u64,
    sent: u64,
    /// Who ended first.
    pub(super) closed_by: Option<Party>,
    /// The plugin by which it failed.
    pub(super) failed_by: Option<PluginIndex>,
    end: End,
    /// Kept for plugins of the access log only.
    tls: Option<Rc<TlsDetails>>,
}

/// One of the two that talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    /// Who connected to the gateway.
    Client,
    /// Whom the gateway connected to.
    Server,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both directions to their ends.
    Closed,
    /// The client broke it off.
    ClientReset,
    /// The server did.
    ServerReset,
    /// No byte for too long.
    Idle,
    /// The gateway ended before it.
    Stopped,
    /// A plugin closed it.
    PluginClosed,
    /// As the reason says; see [`Reason::word`].
    Failed(Reason),
}

impl End {
    /// It failed for a reason that requests have too.
    pub(super) fn of(reason: Reason) -> Self {
        Self::Failed(reason)
    }

    /// Whether the other side must not take what it got for all there is.
    pub(super) fn is_abrupt(self) -> bool {
        !matches!(self, Self::Closed | Self::Idle | Self::Stopped | Self::PluginClosed)
    }

    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::ClientReset => Some("client_reset"),
            Self::ServerReset => Some("upstream_reset"),
            Self::Idle => Some("idle"),
            Self::Stopped => Some("stopped"),
            Self::PluginClosed => Some("plugin_closed"),
            Self::Failed(reason) => Some(reason.word()),
        }
    }
}

impl Record {
    /// A connection has come.
    pub(super) fn begin(client: Rc<Client>, stream: &Stream) -> Self {
        let local = &client.local;
        local.shard.tcp.connections.add(1);
        local.shard.tcp.active.add(1);
        let view = client.site.view.borrow().clone();
        view.generation.requests.of(local.shard.worker).add(1);
        let shown = !view.snapshot.logs.plugins.is_empty();
        let tls = shown.then(|| tls_details(&client, stream)).flatten();
        Self {
            tls,
            view,
            listener: client.site.listener.get(),
            start: local.deadlines.now(),
            rule: None,
            upstream: None,
            attempts: 0,
            connected_at: None,
            received: 0,
            sent: 0,
            closed_by: None,
            failed_by: None,
            end: End::Stopped,
            client,
        }
    }

    /// The rule is known.
    pub(super) fn routed(&mut self, id: usize, rule: &Rule) {
        self.rule = Some(id);
        rule.counters.of(self.client.local.shard.worker).connections.add(1);
    }

    /// A server is tried.
    pub(super) fn attempt(&mut self, upstream: usize, server: Rc<Member>) {
        self.attempts += 1;
        self.upstream = Some((upstream, server));
    }

    /// The server took the connection.
    pub(super) fn connected(&mut self) {
        self.connected_at = Some(self.client.local.deadlines.now());
        self.went(false);
    }

    /// Counts where the connection came from and went, once that is known: it may last for days.
    fn went(&self, failed: bool) {
        let Some(rule) = self.rule.and_then(|rule| self.view.rule(rule)) else { return };
        let pool = self.upstream.as_ref().and_then(|(upstream, _)| self.view.pools.get(*upstream));
        let upstream = pool.map_or(0, |pool| pool.cluster.counters.id());
        let cells = rule.counters.of(self.client.local.shard.worker);
        cells.targets.note(self.client.counters.id(), upstream, failed);
    }

    /// The upstream's name and the server's address.
    pub(super) fn server(&self) -> Option<(Rc<str>, SocketAddr)> {
        let (upstream, server) = self.upstream.as_ref()?;
        let pool = self.view.pools.get(*upstream)?;
        Some((pool.name.clone(), server.identity.address))
    }

    /// What a guest may know of the connection's surroundings.
    pub(super) fn stream_info(&self, stream: &Stream) -> StreamInfo {
        StreamInfo { tls_details: tls_details(&self.client, stream), ..self.surroundings() }
    }

    fn surroundings(&self) -> StreamInfo {
        let client = &self.client;
        let names = self.rule.and_then(|rule| self.view.names.get(rule));
        let listener = self.view.listener(self.listener).map(|listener| listener.spec.name.as_str().into());
        StreamInfo {
            listener,
            route: names.map(|names| names.route.clone()),
            rule: names.map(|names| names.rule.clone()),
            tls: client.secure,
            connection_id: client.id,
            ..StreamInfo::new(client.address, client.here, http::Version::HTTP_11)
        }
    }

    /// Bytes came from a party.
    pub(super) fn came(&mut self, from: Party, bytes: usize) {
        let tcp = &self.client.local.shard.tcp;
        let bytes = bytes as u64;
        match from {
            Party::Client => {
                self.received += bytes;
                tcp.received.add(bytes);
            }
            Party::Server => {
                self.sent += bytes;
                tcp.sent.add(bytes);
            }
        }
    }

    /// A party has said that it is done; the first one counts.
    pub(super) fn closed(&mut self, by: Party) {
        self.closed_by.get_or_insert(by);
    }

    /// The end of a connection that came to nothing.
    pub(super) fn failed(&self, fail: &Fail) -> End {
        if let Some(source) = &fail.source {
            tracing::debug!(origin = ?fail.origin, reason = fail.reason.word(), error = %source, "connection failed");
        }
        End::of(fail.reason)
    }

    /// It is over.
    pub(super) fn ended(mut self, end: End) {
        self.end = end;
    }
}

fn tls_details(client: &Client, stream: &Stream) -> Option<Rc<TlsDetails>> {
    let session = stream.server_session()?;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "",
    };
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    Some(Rc::new(TlsDetails {
        server_name: client.server_name.clone().unwrap_or_default(),
        version: version.to_owned(),
        client_authenticated: session.peer_certificates().is_some(),
        peer: peer.map(|leaf| certificate::details(leaf)).unwrap_or_default(),
        ..TlsDetails::default()
    }))
}

impl Record {
    /// Shows plugins of the access log a connection that is over.
    #[cold]
    fn tell(&self, plugins: &[PluginIndex], took: Duration) {
        let server = self.server();
        let info = StreamInfo {
            tls_details: self.tls.clone(),
            upstream_address: server.as_ref().map(|(_, address)| *address),
            upstream: server.map(|(name, _)| name),
            ..self.surroundings()
        };
        let wall = self.client.local.clock.wall().saturating_sub(took);
        let ended = Ended {
            opened: Now::new(self.start, wall),
            details: self.end.word().unwrap_or_default(),
            received: self.received,
            sent: self.sent,
            of_bytes: true,
            ..Ended::default()
        };
        log::tell(&self.view.plugins, plugins, &info, &ended);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let local = self.client.local.clone();
        let shard = &local.shard;
        shard.tcp.active.subtract(1);
        self.view.generation.requests.of(shard.worker).subtract(1);
        if let Some(word) = self.end.word() {
            let place = TCP_ENDS.iter().position(|known| *known == word);
            if let Some(counter) = place.and_then(|place| shard.tcp.ends.get(place)) {
                counter.add(1);
            }
        }
        if self.connected_at.is_none() {
            self.went(true);
        }
        let view = self.view.clone();
        self.client.cells().traffic.bytes(self.received, self.sent);
        if let Some(rule) = self.rule.and_then(|rule| view.rule(rule)) {
            rule.counters.of(shard.worker).traffic.bytes(self.received, self.sent);
        }
        if let Some(pool) = self.upstream.as_ref().and_then(|(upstream, _)| view.pools.get(*upstream)) {
            pool.cluster.counters.of(shard.worker).attempts.bytes(self.received, self.sent);
        }
        let logs = &view.snapshot.logs;
        if !logs.is_empty() {
            let took = local.deadlines.now().saturating_sub(self.start);
            if !logs.plugins.is_empty() {
                self.tell(&logs.plugins, took);
            }
            lines::write(self, took);
        }
    }
}
