//! What a test sends, and what its scripted servers answer.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_sdk::{Fields, Value};

use crate::machine::Properties;

/// A request to send through a filter, built step by step: `get("/orders").header("x-a", "b")`.
///
/// ```
/// use tidegate_sdk_test::{Reply, post};
///
/// let request = post("/orders")
///     .header("content-type", "application/json")
///     .body("{}")
///     .from("192.0.2.1:40000")
///     .answered(Reply::new(201));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    pub(crate) head: Fields,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailers: Fields,
    pub(crate) properties: Properties,
    pub(crate) answer: Option<Reply>,
}

/// A GET request from 127.0.0.1 to `example.com`.
pub fn get(path: &str) -> Request {
    Request::new("GET", path)
}

/// A POST request with an empty body, until it is given one.
pub fn post(path: &str) -> Request {
    Request::new("POST", path).body("")
}

impl Request {
    /// A request by any method, without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let head = [(":method", method), (":path", path), (":authority", "example.com"), (":scheme", "http")];
        let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        Request {
            head: Fields::from_iter(head),
            body: None,
            trailers: Fields::new(),
            properties: vec![
                text("source.address", "127.0.0.1:40000"),
                ("source.port".to_owned(), 40_000_i64.to_le_bytes().to_vec()),
                text("destination.address", "127.0.0.1:8080"),
                text("request.protocol", "HTTP/1.1"),
                text("request.id", "test"),
                ("connection.mtls".to_owned(), vec![0]),
            ],
            answer: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.head.add(name.to_ascii_lowercase(), value);
        self
    }

    /// Changes the host.
    pub fn host(mut self, host: &str) -> Self {
        self.head = self
            .head
            .iter()
            .map(|(name, value)| (name, if name == ":authority" { host.into() } else { value.clone() }))
            .collect();
        self
    }

    /// Gives it a body, whose length is announced.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.head.set("content-length", body.len().to_string());
        self.body = Some(body);
        self
    }

    /// Adds a trailer; the length of the body is then not announced.
    pub fn trailer(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.head.remove("content-length");
        self.body.get_or_insert_default();
        self.trailers.add(name.to_ascii_lowercase(), value);
        self
    }

    /// The client's address and port.
    pub fn from(mut self, address: &str) -> Self {
        come_from(&mut self.properties, address);
        self
    }

    /// Sets a property by its path, as `connection.requested_server_name`. Numbers are eight bytes, little endian.
    pub fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.push((path.to_owned(), value.into()));
        self
    }

    /// What the upstream answers to this request, whatever [`Gateway::upstream`](crate::Gateway::upstream) says.
    pub fn answered(mut self, answer: Reply) -> Self {
        self.answer = Some(answer);
        self
    }
}

/// What a scripted server answers.
///
/// ```
/// use std::time::Duration;
/// use tidegate_sdk_test::Reply;
///
/// let late = Reply::new(200).header("content-type", "text/plain").body("hello").after(Duration::from_secs(1));
/// let of_a_call = Reply::grpc(0, "").body("message");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    pub(crate) head: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) after: Duration,
    /// There is no answer at all.
    pub(crate) none: bool,
    pub(crate) grpc: Option<(u32, String)>,
}

impl Reply {
    /// An answer with this status.
    pub fn new(status: u16) -> Self {
        let mut head = Fields::new();
        head.add(":status", status.to_string());
        Reply {
            head,
            body: Vec::new(),
            trailers: Fields::new(),
            after: Duration::ZERO,
            none: false,
            grpc: None,
        }
    }

    /// No answer: no connection, or it broke off. In [hosts](crate::Ways::portable) that make one of their own where there is
    /// none it is a 503.
    pub fn none() -> Self {
        Reply { none: true, ..Reply::new(503) }
    }

    /// The end of a gRPC call; 0 after a message is what servers mostly send.
    pub fn grpc(status: u32, message: &str) -> Self {
        Reply { grpc: Some((status, message.to_owned())), ..Reply::new(200) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.head.add(name.to_ascii_lowercase(), value);
        self
    }

    /// Sets the body; of a gRPC call: the message.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.trailers.add(name.to_ascii_lowercase(), value);
        self
    }

    /// How long the server takes; a call that takes longer than its timeout gets no answer.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }
}

/// A request as a scripted server, or the upstream, has seen it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub(crate) upstream: String,
    pub(crate) head: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Seen {
    /// The name of the upstream that it went to; empty for the request's own.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.header(":method").unwrap_or_default()
    }

    /// The path with its query; of a gRPC call `/service/method`.
    pub fn path(&self) -> &str {
        self.header(":path").unwrap_or_default()
    }

    /// The first value of a header; `None` also when it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get_str(name)
    }

    /// Its headers, with the pseudo-headers.
    pub fn headers(&self) -> &Fields {
        &self.head
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its trailers.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }
}

/// A connection of bytes to send through a filter: `connect().sends("hello")`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Connect {
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
    pub(crate) properties: Properties,
}

/// A connection from 127.0.0.1.
pub fn connect() -> Connect {
    Connect { client: Vec::new(), server: Vec::new(), properties: get("/").properties }
}

impl Connect {
    /// What the client sends before it ends its side.
    pub fn sends(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.client = bytes.into();
        self
    }

    /// What the server answers, once it has got all that the client sent.
    pub fn answered(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.server = bytes.into();
        self
    }

    /// Sets a property by its path.
    pub fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.push((path.to_owned(), value.into()));
        self
    }

    /// The client's address and port.
    pub fn from(mut self, address: &str) -> Self {
        come_from(&mut self.properties, address);
        self
    }
}

/// Both properties that say where a client is; an address without a port leaves the port as it was.
fn come_from(properties: &mut Properties, address: &str) {
    properties.push(("source.address".to_owned(), address.into()));
    if let Ok(address) = address.parse::<SocketAddr>() {
        properties.push(("source.port".to_owned(), i64::from(address.port()).to_le_bytes().to_vec()));
    }
}
