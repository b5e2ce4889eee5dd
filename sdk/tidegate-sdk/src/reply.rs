//! An answer that a filter gives in place of the upstream's.

use crate::fields::{Fields, Value};
use crate::headers::problem_with;
use crate::host;

/// An answer to the client, built step by step.
///
/// ```
/// use tidegate_sdk::Reply;
///
/// let reply = Reply::text(429, "too many requests").header("retry-after", "60").details("rate_limited");
/// assert_eq!(reply.status(), 429);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) details: String,
    pub(crate) grpc_status: Option<u32>,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Reply { status, headers: Fields::new(), body: Vec::new(), details: String::new(), grpc_status: None }
    }

    /// An answer of one line of text.
    pub fn text(status: u16, text: impl AsRef<str>) -> Self {
        let mut body = text.as_ref().to_owned();
        body.push('\n');
        Reply::new(status).header("content-type", "text/plain; charset=utf-8").body(body)
    }

    /// An answer of JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON: a map whose keys are no strings, or its own `Serialize` says so.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(value)?;
        Ok(Reply::new(status).header("content-type", "application/json").body(body))
    }

    /// Sends the client to another place; `status` is 301, 302, 303, 307 or 308.
    pub fn redirect(status: u16, location: impl Into<Value>) -> Self {
        Reply::new(status).header("location", location)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.add(name, value);
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

    /// The status that a client which speaks gRPC gets.
    #[must_use]
    pub fn grpc_status(mut self, status: u32) -> Self {
        self.grpc_status = Some(status);
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Its headers.
    pub fn headers(&self) -> &Fields {
        &self.headers
    }

    /// Sends the answer; a malformed one, or one that the host does not take, becomes a plain 500, since the request
    /// must neither pass nor hang.
    pub(crate) fn send(&self) {
        let malformed = self.headers.iter().find_map(|(name, value)| problem_with(name, value.as_bytes()));
        let outcome = match malformed {
            Some(problem) => Err(problem.to_owned()),
            None if !(200..=599).contains(&self.status) => Err(format!("{} is no final status", self.status)),
            None => self.hand_over().map_err(|refusal| refusal.to_string()),
        };
        if let Err(problem) = outcome {
            log::error!("answering 500, because the filter's answer cannot be sent: {problem}");
            if let Err(refusal) =
                Reply::text(500, "filter failed").details("filter_reply_refused").hand_over()
            {
                log::error!("the answer 500 cannot be sent either: {refusal}");
            }
        }
    }

    fn hand_over(&self) -> Result<(), host::Refusal> {
        let grpc = self.grpc_status.and_then(|status| i32::try_from(status).ok()).unwrap_or(NO_GRPC_STATUS);
        host::send_reply(self.status, &self.details, &self.body, &self.headers.to_pairs(), grpc)
    }
}

const NO_GRPC_STATUS: i32 = -1;
