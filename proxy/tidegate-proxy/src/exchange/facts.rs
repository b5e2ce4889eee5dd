//! What plugins learn of an exchange by properties. It is told before they are called on the way back and at the end,
//! and only where one of them uses properties.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use http::Version;
use tidegate_config::plan::PluginIndex;
use tidegate_wasm::{Destinations, Facts, Outcome, StreamInfo, UpstreamFacts};

use crate::exchange::finish::Record;
use crate::http::fail::Reason;
use crate::upstream::pool::Lease;

impl Record {
    /// What the plugins of the request share, for one that uses it.
    pub(crate) fn share_facts(&mut self, properties: bool) -> Option<Rc<Facts>> {
        if !properties {
            return None;
        }
        // Those of the connection's last request, if nobody reads them any more.
        let used =
            || self.client.facts.take().filter(|facts| Rc::strong_count(facts) == 1).unwrap_or_default();
        Some(self.facts.get_or_insert_with(used).clone())
    }

    /// They are left to the connection's next request.
    pub(crate) fn leave_facts(&mut self) {
        if let Some(facts) = self.facts.take()
            && Rc::strong_count(&facts) == 1
        {
            facts.renew();
            self.client.facts.set(Some(facts));
        }
    }

    /// What a guest may know of the request's surroundings: made once for a connection and the rule of its requests.
    pub(crate) fn stream_info(&self) -> Rc<StreamInfo> {
        let client = &self.client;
        let destinations = self.view.destinations(self.listener);
        let names = self.rule.and_then(|rule| self.view.names.get(rule));
        let mut shared = client.info.borrow_mut();
        if let Some(info) = &*shared {
            let same = match (&info.rule, names) {
                (Some(rule), Some(names)) => Rc::ptr_eq(rule, &names.rule),
                (None, None) => true,
                _ => false,
            };
            let here = match (&info.destinations, destinations) {
                (Some(one), Some(other)) => std::ptr::addr_eq(Rc::as_ptr(one), Rc::as_ptr(other)),
                _ => true,
            };
            if same && here && info.protocol == self.version && info.source == self.source() {
                return info.clone();
            }
        }
        let listener = self.view.listener(self.listener);
        let info = Rc::new(StreamInfo {
            route: names.map(|names| names.route.clone()),
            rule: names.map(|names| names.rule.clone()),
            upstream: names.and_then(|names| names.upstream.clone()),
            listener: listener.map(|listener| listener.spec.name.as_str().into()),
            peer: client.address,
            tls: client.secure,
            tls_details: client.tls_details(listener.and_then(|listener| listener.names.as_deref())),
            connection_id: client.id,
            destinations: destinations.map(|all| all.clone() as Rc<dyn Destinations>),
            ..StreamInfo::new(self.source(), client.here, self.version)
        });
        *shared = Some(info.clone());
        info
    }

    /// An attempt begins.
    pub(crate) fn note_attempt(&mut self) {
        let deadlines = &self.client.local.deadlines;
        self.sent_at = Some(if self.attempts > 1 {
            // Those of the attempt before are not its own.
            (self.waited, self.connection) = (None, None);
            deadlines.now()
        } else {
            // It follows at once what has read the time: the request's head, or a guest's call.
            deadlines.recent()
        });
    }

    /// The attempt has its connection, which it may have waited for.
    pub(crate) fn note_connection(&mut self, lease: &Lease, waited: bool) {
        if self.facts.is_some() || self.logs != 0 {
            let now = || self.client.local.deadlines.now();
            self.waited = match self.sent_at {
                Some(sent) if waited => Some(now().saturating_sub(sent)),
                sent => sent.and(Some(Duration::ZERO)),
            };
            self.connection = self.facts.is_some().then(|| lease.peer().details());
            if self.tap.is_some() {
                self.tap_connection(!waited);
            }
        }
    }

    /// Tells what is known by now; the time was read just before.
    pub(crate) fn tell_facts(&mut self) {
        let Some(facts) = &self.facts else { return };
        if let (None, Some(sent), Some(_)) = (self.latency, self.sent_at, &self.upstream) {
            self.latency = Some(self.client.local.deadlines.recent().saturating_sub(sent));
        }
        let told = Told {
            reason: self.reason,
            replied: self.replied,
            attempts: self.upstream.as_ref().map(|_| self.attempts),
            latency: self.latency,
        };
        if self.told == Some(told) {
            return;
        }
        if let Some((upstream, server)) = &self.upstream
            && let Some(pool) = self.view.pools.get(*upstream)
        {
            let again = self.no_connection.is_none()
                && facts.goes_again(
                    &pool.name,
                    self.connection.as_ref(),
                    self.attempts,
                    self.waited,
                    pool.servers(),
                );
            if !again {
                facts.set_upstream(UpstreamFacts {
                    name: Some(pool.name.clone()),
                    address: Some(server.identity.address),
                    attempts: self.attempts,
                    failure: self.no_connection.clone(),
                    servers: pool.servers(),
                    waited: self.waited,
                    connection: self.connection.clone(),
                    identity: pool.cluster.identity.clone(),
                });
            }
        }
        self.told = Some(told);
        let latency = self.latency.filter(|_| self.reason.is_none());
        // A connection of HTTP/2 outlives its streams.
        let single = self.version < Version::HTTP_2;
        facts.set_outcome(Outcome {
            details: self.code_details(),
            flags: self.reason.map_or(0, flags),
            latency,
            ends: self.reason.filter(|reason| single && reason.ends_connection()).map(Reason::word),
        });
    }

    /// Where the answer comes from, in the words that filters know.
    fn code_details(&self) -> Option<Cow<'static, str>> {
        if self.replied.is_some() {
            return (!self.details.is_empty()).then(|| self.details.clone().into());
        }
        Some(Cow::Borrowed(match self.reason {
            None if self.upstream.is_some() => "via_upstream",
            None => "direct_response",
            Some(Reason::NoRoute) => "route_not_found",
            Some(Reason::NoServer | Reason::ServersUnknown) => "no_healthy_upstream",
            Some(Reason::Overflow | Reason::Adaptive) => "upstream_reset_before_response_started{overflow}",
            Some(Reason::Connect) => "upstream_reset_before_response_started{connection_failure}",
            Some(Reason::Reset) => "upstream_reset_before_response_started{connection_termination}",
            Some(Reason::Garbage) => "upstream_reset_before_response_started{protocol_error}",
            Some(Reason::Timeout) => "response_timeout",
            Some(Reason::ClientGone) => "downstream_remote_disconnect",
            Some(reason) if reason.is_of_guest() => "wasm_fail_stream",
            Some(other) => other.word(),
        }))
    }
}

/// What an outcome is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    reason: Option<Reason>,
    replied: Option<PluginIndex>,
    /// None: it went nowhere.
    attempts: Option<u32>,
    latency: Option<Duration>,
}

/// The bit of a failure, as filters for Envoy know them.
fn flags(reason: Reason) -> u64 {
    match reason {
        Reason::NoServer | Reason::ServersUnknown => 0x2,
        Reason::Timeout => 0x4,
        Reason::Connect => 0x20,
        Reason::Reset => 0x40,
        Reason::Overflow | Reason::Adaptive => 0x80,
        Reason::NoRoute => 0x100,
        Reason::ClientGone => 0x4000,
        Reason::HeadTimeout | Reason::ClientTimeout => 0x1_0000,
        Reason::Framing
        | Reason::Malformed
        | Reason::Header
        | Reason::Host
        | Reason::Path
        | Reason::TargetTooLong
        | Reason::HeadTooLarge => 0x4_0000,
        Reason::Garbage => 0x80_0000,
        Reason::NoUpstream => 0x100_0000,
        Reason::Memory => 0x200_0000,
        _ => 0,
    }
}
