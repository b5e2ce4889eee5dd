//! Traces of requests: what came with a request, and the spans of what happened to it.
//!
//! A request that is not traced has none of this. One that is collects its spans on its worker, and hands them over when
//! it is over.

pub(crate) mod context;

use std::borrow::Cow;
use std::time::Duration;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Inside of the gateway.
    Internal,
    /// A request that came.
    Server,
    /// A request that was sent.
    Client,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(Cow<'static, str>),
    Whole(i64),
    Truth(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Duration> for Value {
    /// In microseconds.
    fn from(time: Duration) -> Self {
        Self::Whole(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Something that happened, from when to when; times are since the Unix epoch.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) id: u64,
    /// 0: it has none.
    pub(crate) parent: u64,
    pub(crate) kind: Kind,
    pub(crate) name: Cow<'static, str>,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) attributes: Vec<(Cow<'static, str>, Value)>,
    pub(crate) events: Vec<Happened>,
    /// It failed, for this reason.
    pub(crate) error: Option<Cow<'static, str>>,
}

/// Something that happened at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) name: &'static str,
    pub(crate) at: Duration,
    pub(crate) attributes: Vec<(Cow<'static, str>, Value)>,
}

impl Span {
    /// Not over yet.
    pub(crate) fn begin(id: u64, parent: u64, kind: Kind, began: Duration) -> Self {
        let (attributes, events, error) = (Vec::new(), Vec::new(), None);
        Self { id, parent, kind, name: "".into(), began, ended: began, attributes, events, error }
    }

    /// Is a request with this method.
    pub(crate) fn asks(&mut self, method: &str) {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
        // Whatever clients make up must not make names.
        if known.contains(&method) {
            self.name = method.to_owned().into();
            self.says("http.request.method", method.to_owned());
        } else {
            self.name = "HTTP".into();
            self.says("http.request.method", "_OTHER");
            self.says("http.request.method_original", method.to_owned());
        }
    }

    /// Is for a host, which may have a port.
    pub(crate) fn goes_to(&mut self, host: &str) {
        let parts = host.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = parts.map_or((host, None), |(host, port)| (host, Some(port)));
        self.says("server.address", host.trim_matches(['[', ']']).to_owned());
        if let Some(port) = port {
            self.says("server.port", u64::from(port));
        }
    }

    /// Says something more.
    pub(crate) fn says(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.attributes.push((name.into(), value.into()));
    }
}

/// All spans of one request.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) trace: u128,
    pub(crate) state: Option<String>,
    pub(crate) spans: Vec<Span>,
}
