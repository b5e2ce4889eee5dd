//! What the plugins of one request share: what the gateway has learnt on the way, and the state that plugins set for
//! each other. Made only for requests that meet a plugin which uses properties.

use crate::{CertificateDetails, TlsDetails, limits::PROPERTY_BYTES};
use bytes::Bytes;
use std::{
    borrow::Cow,
    cell::{Cell, Ref, RefCell},
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tidegate_abi::Status;

/// What plugins set with `proxy_set_property`, by name, is filter state with this before its name.
pub(crate) const PREFIX: &[u8] = b"wasm.";

/// What is known of a request besides its heads. The gateway tells it as it comes.
#[derive(Default)]
pub struct Facts {
    upstream: RefCell<UpstreamFacts>,
    /// Whether that was told of this request, and not of one before.
    gone: Cell<bool>,
    outcome: RefCell<Outcome>,
    /// Few, so a list.
    state: RefCell<Vec<(Box<[u8]>, Bytes)>>,
    state_bytes: Cell<usize>,
}

/// Where a request has gone.
#[derive(Debug, Clone, Default)]
pub struct UpstreamFacts {
    /// The upstream's name.
    pub name: Option<Rc<str>>,
    /// The server of the last attempt.
    pub address: Option<SocketAddr>,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last connection did not come about.
    pub failure: Option<String>,
    /// How many servers the upstream has.
    pub servers: usize,
    /// How long the last attempt waited for its connection.
    pub waited: Option<Duration>,
    /// The connection of the last attempt.
    pub connection: Option<Rc<UpstreamConnection>>,
    /// The certificate that the gateway has for it.
    pub identity: Option<Arc<CertificateDetails>>,
}

/// What is known of a connection to a server.
#[derive(Debug, Clone, Default)]
pub struct UpstreamConnection {
    /// The gateway's end.
    pub local: Option<SocketAddr>,
    /// Its TLS; the peer is the server.
    pub tls: Option<TlsDetails>,
}

/// What became of a request.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Where the answer comes from, in a word.
    pub details: Option<Cow<'static, str>>,
    /// Bits for what went wrong, numbered as in Envoy.
    pub flags: u64,
    /// From the last byte sent to the server to the head of its answer.
    pub latency: Option<Duration>,
    /// Why the client's connection is over with the request, in a word; none: it is not.
    pub ends: Option<&'static str>,
}

impl Facts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes what one request has left behind that of the next one. What is still true of where it goes need not be told
    /// again, see [`Facts::goes_again`].
    pub fn renew(&self) {
        self.gone.set(false);
        *self.outcome.borrow_mut() = Outcome::default();
        if self.state_bytes.replace(0) > 0 {
            self.state.borrow_mut().clear();
        }
    }

    /// The request goes there.
    pub fn set_upstream(&self, upstream: UpstreamFacts) {
        *self.upstream.borrow_mut() = upstream;
        self.gone.set(true);
    }

    /// The request goes where was told last, for this one or the one before it: the same upstream, named by the same text,
    /// and the same connection of it. False: it is another one, or there was a failure, and all has to be told.
    #[must_use]
    #[inline]
    pub fn goes_again(
        &self,
        name: &Rc<str>,
        connection: Option<&Rc<UpstreamConnection>>,
        attempts: u32,
        waited: Option<Duration>,
        servers: usize,
    ) -> bool {
        let upstream = &mut *self.upstream.borrow_mut();
        let (Some(known), Some(last), Some(connection)) = (&upstream.name, &upstream.connection, connection)
        else {
            return false;
        };
        if !Rc::ptr_eq(known, name) || !Rc::ptr_eq(last, connection) || upstream.failure.is_some() {
            return false;
        }
        (upstream.attempts, upstream.waited, upstream.servers) = (attempts, waited, servers);
        self.gone.set(true);
        true
    }

    /// This became of it.
    pub fn set_outcome(&self, outcome: Outcome) {
        *self.outcome.borrow_mut() = outcome;
    }

    /// None as long as it has gone nowhere.
    pub(crate) fn upstream(&self) -> Option<Ref<'_, UpstreamFacts>> {
        self.gone.get().then(|| self.upstream.borrow())
    }

    pub(crate) fn outcome(&self) -> Ref<'_, Outcome> {
        self.outcome.borrow()
    }

    /// Filter state by key.
    pub(crate) fn state(&self, key: &[u8]) -> Option<Bytes> {
        self.state.borrow().iter().find(|(known, _)| **known == *key).map(|(_, value)| value.clone())
    }

    /// Sets filter state, within the limit for one request.
    pub(crate) fn set_state(&self, key: &[u8], value: &[u8]) -> Result<(), Status> {
        let mut state = self.state.borrow_mut();
        let old = state.iter().position(|(known, _)| **known == *key);
        let freed = old.and_then(|at| state.get(at)).map_or(0, |(known, value)| known.len() + value.len());
        let bytes = self.state_bytes.get() - freed + key.len() + value.len();
        if bytes > PROPERTY_BYTES {
            return Err(Status::InternalFailure);
        }
        if let Some(at) = old {
            state.swap_remove(at);
        }
        self.state_bytes.set(bytes);
        state.push((key.into(), Bytes::copy_from_slice(value)));
        Ok(())
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("upstream", &self.upstream)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_bounded_and_replaced() {
        let facts = Facts::new();
        let half = vec![0; PROPERTY_BYTES / 2];
        assert_eq!(facts.set_state(b"a", &half), Ok(()));
        assert_eq!(facts.set_state(b"b", &half), Err(Status::InternalFailure));
        assert_eq!(facts.set_state(b"a", b"1"), Ok(()));
        assert_eq!(facts.set_state(b"b", &half), Ok(()));
        assert_eq!(facts.state(b"a").as_deref(), Some(&b"1"[..]));
        assert_eq!(facts.state(b"c"), None);
    }

    #[test]
    fn the_next_request_learns_nothing_of_the_one_before() {
        let facts = Facts::new();
        let (name, connection) = (Rc::<str>::from("u"), Rc::new(UpstreamConnection::default()));
        let told = UpstreamFacts {
            name: Some(name.clone()),
            attempts: 3,
            waited: Some(Duration::from_secs(1)),
            connection: Some(connection.clone()),
            ..UpstreamFacts::default()
        };
        facts.set_upstream(told);
        facts.set_outcome(Outcome { flags: 4, ..Outcome::default() });
        assert_eq!(facts.set_state(b"a", b""), Ok(()));
        facts.renew();
        assert!(facts.upstream().is_none());
        assert_eq!((facts.outcome().flags, facts.state(b"a")), (0, None));
        assert!(
            !facts.goes_again(&"u".into(), Some(&connection), 1, None, 1),
            "another upstream of that name"
        );
        assert!(!facts.goes_again(&name, Some(&Rc::default()), 1, None, 1), "another connection");
        assert!(!facts.goes_again(&name, None, 1, None, 1), "no connection");
        assert!(facts.upstream().is_none());
        assert!(facts.goes_again(&name, Some(&connection), 1, None, 2));
        let seen = facts.upstream().map(|seen| (seen.attempts, seen.waited, seen.servers));
        assert_eq!(seen, Some((1, None, 2)));
        let failure = Some("refused".to_owned());
        facts.set_upstream(UpstreamFacts {
            failure,
            connection: Some(connection.clone()),
            ..UpstreamFacts::default()
        });
        assert!(!facts.goes_again(&name, Some(&connection), 1, None, 2), "there was a failure");
    }
}
