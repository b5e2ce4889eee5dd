//! Why an exchange failed: where it was noticed, the reason, and whether another attempt is safe.
//!
//! A failure becomes a response in `reply.rs` only.

use std::error::Error;

use crate::shared::REASONS;

/// Whose doing a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The client sent something that cannot be served.
    Client,
    /// The gateway decided or could not.
    Gateway,
    /// The upstream failed.
    Upstream,
    /// A filter failed.
    Filter,
}

/// What went wrong; each has one status, one log word and one metric label in `reply.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The request could be read in more than one way.
    Framing,
    /// Host or authority is missing, doubled or malformed.
    Host,
    /// The path cannot be brought into one canonical form.
    Path,
    /// A method that the gateway does not pass on.
    Method,
    /// A header that cannot be passed on.
    Header,
    /// More header fields or bytes than the listener allows.
    HeadTooLarge,
    /// A target that is too long for a head, or for any.
    TargetTooLong,
    /// What came is not HTTP/1.0 or 1.1.
    Malformed,
    /// The request's authority is not one that this connection may ask for.
    Misdirected,
    /// No route has the host and the path.
    NoRoute,
    /// The rule forwards to nothing.
    NoUpstream,
    /// The upstream has no server that can be used.
    NoServer,
    /// The source of the upstream's servers has not answered yet.
    ServersUnknown,
    /// A limit towards the upstream is reached.
    Overflow,
    /// The limit towards the upstream that follows latency is reached.
    Adaptive,
    /// The gateway's memory is used up.
    Memory,
    /// No connection to the server.
    Connect,
    /// The connection was lost before the head of the answer.
    Reset,
    /// What the server sent is not HTTP.
    Garbage,
    /// An attempt or the whole request took too long.
    Timeout,
    /// The client was too slow with its request head.
    HeadTimeout,
    /// The client was too slow with its request body.
    ClientTimeout,
    /// A body is larger than what a filter may buffer.
    TooLarge,
    /// The plugin is not there.
    PluginMissing,
    /// The guest trapped.
    PluginTrap,
    /// A call into the guest used up its time.
    PluginTimeout,
    /// All calls of the request used up their time.
    PluginRequestTime,
    /// The guest broke off because it may not have more memory.
    PluginMemory,
    /// The guest called host functions too often in one call.
    PluginHostCalls,
    /// The guest called host functions too often for one request.
    PluginRequestHostCalls,
    /// The guest had too many bytes copied.
    PluginCopiedBytes,
    /// The guest broke the exchange off.
    PluginReset,
    /// All instances that the plugin may have are in use.
    PluginBusy,
    /// The client went away.
    ClientGone,
    /// A fault of the gateway itself.
    Internal,
}

/// Whether another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing of the request was seen by a server: its connection had ended before.
    Stale,
    /// No server has acted on the request.
    Safe,
    /// A server may have acted on it: only for idempotent methods.
    Idempotent,
    /// Never.
    Never,
}

impl Retry {
    /// Whether no server has looked at the request.
    pub(crate) fn is_of_unseen(self) -> bool {
        matches!(self, Self::Stale | Self::Safe)
    }
}

/// A failed exchange.
#[derive(Debug)]
pub(crate) struct Fail {
    /// Whose doing.
    pub(crate) origin: Origin,
    /// What.
    pub(crate) reason: Reason,
    /// Whether to try again.
    pub(crate) retry: Retry,
    /// For the log, never for the client.
    pub(crate) source: Option<Box<dyn Error>>,
}

impl Fail {
    /// The request is refused.
    pub(crate) fn client(reason: Reason) -> Self {
        Self { origin: Origin::Client, reason, retry: Retry::Never, source: None }
    }

    /// The gateway cannot serve the request.
    pub(crate) fn gateway(reason: Reason) -> Self {
        Self { origin: Origin::Gateway, reason, retry: Retry::Never, source: None }
    }

    /// A filter failed.
    pub(crate) fn filter(reason: Reason) -> Self {
        Self { origin: Origin::Filter, reason, retry: Retry::Never, source: None }
    }

    /// The upstream failed.
    pub(crate) fn upstream(reason: Reason, retry: Retry) -> Self {
        Self { origin: Origin::Upstream, reason, retry, source: None }
    }

    /// The same with what was underneath.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same on a connection that was `reused` or not: a new one had not ended before.
    pub(crate) fn on_connection(mut self, reused: bool) -> Self {
        if self.retry == Retry::Stale && !reused {
            self.retry = Retry::Safe;
        }
        self
    }

    /// Whether the server had the request and did not do what it should.
    pub(crate) fn blames_server(&self) -> bool {
        let broke = matches!(self.reason, Reason::Reset | Reason::Garbage | Reason::Timeout);
        self.origin == Origin::Upstream && broke
    }
}

impl Reason {
    /// Whether a guest was away, broke off, or met a limit.
    pub(crate) fn is_of_guest(self) -> bool {
        matches!(
            self,
            Self::PluginMissing
                | Self::PluginTrap
                | Self::PluginTimeout
                | Self::PluginRequestTime
                | Self::PluginMemory
                | Self::PluginHostCalls
                | Self::PluginRequestHostCalls
                | Self::PluginCopiedBytes
        )
    }

    /// Whether the client did not send all of what it began, or something else than that.
    pub(crate) fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::ClientGone | Self::ClientTimeout | Self::Framing | Self::Malformed | Self::HeadTooLarge
        )
    }

    /// Whether nothing may follow it on a connection of HTTP/1: what could be read in two ways must not be followed by
    /// anything, and CONNECT may be followed by bytes of a tunnel that there is not.
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Self::Framing
                | Self::Malformed
                | Self::Host
                | Self::HeadTooLarge
                | Self::TargetTooLong
                | Self::Header
                | Self::Method
        )
    }

    /// Whether a connection of HTTP/1 is over with it, by an answer that says so or without one.
    pub(crate) fn ends_connection(self) -> bool {
        let broken =
            matches!(self, Self::HeadTimeout | Self::ClientTimeout | Self::ClientGone | Self::PluginReset);
        broken || self.closes()
    }

    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; REASONS] = [
        Self::Framing,
        Self::Host,
        Self::Path,
        Self::Method,
        Self::Header,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::Malformed,
        Self::Misdirected,
        Self::NoRoute,
        Self::NoUpstream,
        Self::NoServer,
        Self::ServersUnknown,
        Self::Overflow,
        Self::Adaptive,
        Self::Memory,
        Self::Connect,
        Self::Reset,
        Self::Garbage,
        Self::Timeout,
        Self::HeadTimeout,
        Self::ClientTimeout,
        Self::TooLarge,
        Self::PluginMissing,
        Self::PluginTrap,
        Self::PluginTimeout,
        Self::PluginRequestTime,
        Self::PluginMemory,
        Self::PluginHostCalls,
        Self::PluginRequestHostCalls,
        Self::PluginCopiedBytes,
        Self::PluginReset,
        Self::PluginBusy,
        Self::ClientGone,
        Self::Internal,
    ];
}
