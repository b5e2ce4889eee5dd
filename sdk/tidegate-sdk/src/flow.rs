//! What happens to a message after a handler is through with it.

use crate::{Failure, Reply};

/// A handler's decision.
///
/// ```no_run
/// use tidegate_sdk::{Flow, Reply, Request};
///
/// fn decide(request: &Request) -> Flow {
///     match request.path().as_str() {
///         "/old" => Reply::text(410, "gone").into(),
///         "/probe" => Flow::reset("probe"),
///         _ => Flow::Continue,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Flow {
    /// Pass it on.
    Continue,
    /// Answer the client now: the upstream does not see the request, or its response is dropped. A connection of bytes is
    /// closed.
    Reply(Box<Reply>),
    /// Break the exchange off without an answer, or close the connection.
    Close,
    /// As [`Flow::Close`], and say why in the gateway's access log, where the host is Tidegate.
    Reset(String),
}

impl Flow {
    /// Breaks the exchange off: the client's stream is reset (HTTP/2), or its connection closed without an answer
    /// (HTTP/1). `why` is one word for the access log.
    pub fn reset(why: impl Into<String>) -> Self {
        Flow::Reset(why.into())
    }
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Flow::Reply(Box::new(reply))
    }
}

/// What a handler may return: nothing (go on), a [`Flow`], a [`Reply`], an `Option<Reply>`, or a `Result` of these.
///
/// ```no_run
/// use tidegate_sdk::{Filter, NoConfig, Reply, Request, Response, filter};
///
/// struct Closed;
///
/// #[filter]
/// impl Filter for Closed {
///     fn new(_: NoConfig) -> Self {
///         Closed
///     }
///
///     async fn on_request(&self, request: &mut Request) -> Option<Reply> {
///         (request.method() == "TRACE").then(|| Reply::new(405))
///     }
///
///     async fn on_response(&self, response: &mut Response) {
///         response.headers().remove("server");
///     }
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns nothing, `Flow`, `Reply`, `Option<Reply>`, or `Result` of one of these",
    note = "the error of a `Result` is `Failure`, `Reply`, or whatever implements `std::error::Error`"
)]
pub trait IntoFlow {
    /// The decision, or why there is none.
    ///
    /// # Errors
    /// What the handler failed with.
    fn into_flow(self) -> Result<Flow, Failure>;
}

impl IntoFlow for Flow {
    fn into_flow(self) -> Result<Flow, Failure> {
        Ok(self)
    }
}

impl IntoFlow for () {
    fn into_flow(self) -> Result<Flow, Failure> {
        Ok(Flow::Continue)
    }
}

impl IntoFlow for Reply {
    fn into_flow(self) -> Result<Flow, Failure> {
        Ok(self.into())
    }
}

impl IntoFlow for Option<Reply> {
    fn into_flow(self) -> Result<Flow, Failure> {
        Ok(self.map_or(Flow::Continue, Flow::from))
    }
}

impl<T: IntoFlow, E: Into<Failure>> IntoFlow for Result<T, E> {
    fn into_flow(self) -> Result<Flow, Failure> {
        self.map_err(Into::into)?.into_flow()
    }
}
