//! An answer that a filter gives in place of the upstream's.

/// An answer to the client, built step by step: `Reply::new(204).header("x-a", "b")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) details: String,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Vec::new(), details: String::new() }
    }

    /// An answer of one line of text.
    pub fn text(status: u16, text: &str) -> Self {
        Reply::new(status).header("content-type", "text/plain; charset=utf-8").body(format!("{text}\n"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body; the gateway adds the length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Why the filter answered, in one word, for the gateway's access log; the client does not see it.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}
