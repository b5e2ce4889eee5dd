//! Runs a filter natively, for plain `cargo test`: a request in, decision and changed headers out.
//!
//! ```
//! # use std::rc::Rc;
//! # use tidegate_sdk::{Decision, Filter, NoConfig, Request};
//! use tidegate_sdk::testing::{Harness, TestRequest};
//!
//! # struct Tagger;
//! # impl Filter for Tagger {
//! #     type Config = NoConfig;
//! #     fn new(_: &Rc<NoConfig>) -> Self { Tagger }
//! #     fn on_request(&mut self, request: &mut Request) -> Decision {
//! #         request.headers.set("x-tag", "1");
//! #         Decision::Continue
//! #     }
//! # }
//! let gateway = Harness::<Tagger>::new("{}").unwrap();
//! let answer = gateway.send(TestRequest::get("/orders"));
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.upstream_header("x-tag"), Some("1"));
//! ```

use std::fmt;
use std::rc::Rc;

use log::LevelFilter;
use tidegate_abi::MetricKind;

use crate::host::memory;
use crate::{ConfigError, Filter, Reply, Request, Response, config, logger};

/// A gateway with one filter and an upstream that answers 200.
pub struct Harness<F: Filter> {
    config: Rc<F::Config>,
}

impl<F: Filter> fmt::Debug for Harness<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").finish_non_exhaustive()
    }
}

impl<F: Filter> Harness<F> {
    /// Configures the filter with the JSON that a plugin's `config` would be.
    pub fn new(config: &str) -> Result<Self, ConfigError> {
        Ok(Harness { config: Rc::new(config::read(config.as_bytes())?) })
    }

    /// Sends a request through the filter, to the upstream, and its answer back.
    pub fn send(&self, request: TestRequest) -> TestResponse {
        logger::install(LevelFilter::Trace);
        memory::with(|exchange| {
            *exchange = memory::Exchange {
                request: request.headers,
                response: request.response,
                properties: request.properties.into_iter().collect(),
                ..Default::default()
            };
        });
        let mut filter = F::new(&self.config);
        let mut head = Request::new(request.has_body);
        let mut reply = filter.on_request(&mut head).into_reply(head.headers.refusals());
        let upstream = reply.is_none().then(|| memory::with(|exchange| exchange.request.clone()));
        if reply.is_none() {
            let mut head = Response::new(true);
            reply = filter.on_response(&mut head).into_reply(head.headers.refusals());
        }
        filter.on_done();
        memory::with(|exchange| {
            let exchange = std::mem::take(exchange);
            TestResponse { reply, upstream, exchange }
        })
    }
}

/// A request to send through a filter.
#[derive(Debug, Clone)]
pub struct TestRequest {
    headers: Vec<(String, Vec<u8>)>,
    response: Vec<(String, Vec<u8>)>,
    properties: Vec<(String, Vec<u8>)>,
    has_body: bool,
}

impl TestRequest {
    /// A GET request for a path, from 127.0.0.1 to `example.com`.
    pub fn get(path: &str) -> Self {
        TestRequest::new("GET", path)
    }

    /// A request by any method; other than GET and HEAD it has a body.
    pub fn new(method: &str, path: &str) -> Self {
        let head = [(":method", method), (":path", path), (":authority", "example.com"), (":scheme", "http")];
        TestRequest {
            headers: head.map(|(name, value)| (name.to_owned(), value.into())).to_vec(),
            response: vec![(":status".to_owned(), b"200".to_vec())],
            properties: vec![("source.address".to_owned(), b"127.0.0.1:40000".to_vec())],
            has_body: !matches!(method, "GET" | "HEAD"),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds a header to the answer that the upstream will give.
    #[must_use]
    pub fn response_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.response.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets a property by its path, as `request.id`.
    #[must_use]
    pub fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.push((path.to_owned(), value.into()));
        self
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct TestResponse {
    reply: Option<Reply>,
    upstream: Option<Vec<(String, Vec<u8>)>>,
    exchange: memory::Exchange,
}

impl TestResponse {
    /// The status that the client sees.
    pub fn status(&self) -> u16 {
        match &self.reply {
            Some(reply) => reply.status,
            None => self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0),
        }
    }

    /// The first value of a header that the client sees; `None` also when it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        match &self.reply {
            Some(reply) => first(&reply.headers, name),
            None => first(&self.exchange.response, name),
        }
    }

    /// The answer that the filter gave, if it gave one.
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }

    /// Whether the upstream has seen the request.
    pub fn reached_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// The first value of a header of the request that the upstream has seen; `None` also when it is not UTF-8.
    pub fn upstream_header(&self, name: &str) -> Option<&str> {
        first(self.upstream.as_deref()?, name)
    }

    /// The lines that the filter has logged.
    pub fn logs(&self) -> impl Iterator<Item = &str> {
        self.exchange.logs.iter().map(|(_, line)| line.as_str())
    }

    /// By how much a counter or gauge was changed, or what was recorded last.
    pub fn metric(&self, name: &str) -> i64 {
        let id = memory::define_metric(MetricKind::Counter, name).ok();
        id.and_then(|id| self.exchange.metrics.get(&id).copied()).unwrap_or(0)
    }
}

fn first<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(value).ok()
}
