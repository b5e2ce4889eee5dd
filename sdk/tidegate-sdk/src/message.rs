//! The request and the response as a filter sees them.

use tidegate_abi::MapKind;

use crate::{Headers, host};

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    /// Its headers; changes are seen by the filters that follow and by the upstream.
    pub headers: Headers,
    has_body: bool,
}

impl Request {
    pub(crate) fn new(has_body: bool) -> Self {
        Request { headers: Headers::new(MapKind::RequestHeaders), has_body }
    }

    /// The method, as `GET`.
    pub fn method(&self) -> String {
        self.pseudo(":method")
    }

    /// The path with its query, as `/orders?x=1`.
    pub fn path(&self) -> String {
        self.pseudo(":path")
    }

    /// The host with its port, if one was given, as `shop.example.com:8080`.
    pub fn authority(&self) -> String {
        self.pseudo(":authority")
    }

    /// Changes the path with its query.
    pub fn set_path(&mut self, path: &str) {
        self.headers.set(":path", path);
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// The client's address with its port.
    pub fn source_address(&self) -> Option<String> {
        String::from_utf8(self.property(&["source", "address"])?).ok()
    }

    /// A property of the exchange by its path, as `["request", "id"]`; numbers are little endian.
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        host::property(path)
    }

    fn pseudo(&self, name: &str) -> String {
        self.headers.get_str(name).unwrap_or_default()
    }
}

/// The head of a response.
#[derive(Debug)]
pub struct Response {
    /// Its headers; changes are seen by the filters that follow and by the client.
    pub headers: Headers,
    has_body: bool,
}

impl Response {
    pub(crate) fn new(has_body: bool) -> Self {
        Response { headers: Headers::new(MapKind::ResponseHeaders), has_body }
    }

    /// The status code; 0 when the host does not tell it.
    pub fn status(&self) -> u16 {
        self.headers.get_str(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.has_body
    }
}

/// The first change of headers that was not possible.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Option<String>);

impl Refusals {
    pub(crate) fn note(&mut self, refusal: String) {
        self.0.get_or_insert(refusal);
    }

    pub(crate) fn first(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
