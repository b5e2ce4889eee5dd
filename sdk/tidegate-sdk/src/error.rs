//! What can go wrong in a filter: [`Error`] is what the SDK's functions return, [`Failure`] what a handler ends with.

use std::fmt;

use crate::Reply;
use crate::host::Refusal;

/// Why something that a filter wanted was not possible.
///
/// ```no_run
/// use tidegate_sdk::{Error, Flow, Reply, Request, Result, http};
///
/// async fn ask(request: &Request) -> Result<Flow> {
///     match http::get("/allowed").to("auth").await {
///         Ok(answer) if answer.is_success() => Ok(Flow::Continue),
///         Ok(_) => Ok(Reply::text(403, "no").into()),
///         Err(Error::NoAnswer { .. } | Error::TimedOut) => Ok(Reply::text(503, "later").into()),
///         Err(other) => Err(other.into()),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host refused; its status is a number of the ABI (2: bad argument, or not possible at this point of the exchange).
    Refused {
        /// What was asked for, as "set header x-a".
        what: String,
        /// The status.
        status: u32,
    },
    /// A header's name or value could be read as two headers or messages.
    BadHeader {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The head has gone on, so it can no longer be changed, nor the length that it announced.
    HeadIsGone,
    /// A body is larger than the filter wants to hold.
    TooLarge {
        /// The limit that was given.
        limit: usize,
    },
    /// There is nothing left that could be changed: the body has gone on.
    BodyIsGone,
    /// A call got no answer: no such upstream, no connection, not in time, or it broke off. Hosts other than Tidegate make
    /// an answer of their own where there is no connection or no time, mostly 503 or 504.
    NoAnswer {
        /// What is known of it.
        why: String,
    },
    /// A gRPC call ended with this status; 0 is not among them.
    Grpc {
        /// The status.
        status: u32,
        /// The server's message.
        message: String,
    },
    /// Something took longer than it may.
    TimedOut,
}

/// What the SDK's functions return.
///
/// ```no_run
/// use tidegate_sdk::{Outcome, shared};
///
/// fn is_known(client: &str) -> Outcome<bool> {
///     Ok(shared::get(client)?.is_some())
/// }
/// ```
pub type Outcome<T> = std::result::Result<T, Error>;

/// What handlers return that may fail: `Result<Flow>`, or `Result<()>` to go on.
///
/// ```no_run
/// use tidegate_sdk::{Request, Response, Result};
///
/// fn mark(response: &Response) -> Result<()> {
///     response.headers().try_set("x-checked", "yes")?;
///     Ok(())
/// }
/// ```
pub type Result<T = crate::Flow, E = Failure> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn refused(what: impl Into<String>, refusal: Refusal) -> Self {
        Error::Refused { what: what.into(), status: refusal.0 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused { what, status } => {
                write!(f, "cannot {what}: the host answered {}", Refusal(*status))
            }
            Error::BadHeader { name, problem } => write!(f, "header {name:?}: {problem}"),
            Error::HeadIsGone => f.write_str("the head has gone on, so neither it nor its length can change"),
            Error::TooLarge { limit } => write!(f, "the body has more than {limit} bytes"),
            Error::BodyIsGone => f.write_str("the body has gone on"),
            Error::NoAnswer { why } => write!(f, "no answer: {why}"),
            Error::Grpc { status, message } => {
                write!(f, "gRPC status {status}: {}", message.as_bytes().escape_ascii())
            }
            Error::TimedOut => f.write_str("it took too long"),
        }
    }
}

impl std::error::Error for Error {}

/// What a handler ends with when it cannot go on: any error, or an answer to the client.
///
/// `?` makes one of every error type and of a [`Reply`], so a function that checks something can return
/// `Result<User, Reply>`. What then happens to the request is decided by [`Filter::on_error`](crate::Filter::on_error).
///
/// ```no_run
/// use tidegate_sdk::{Failure, Reply, Request};
///
/// fn tenant(request: &Request) -> Result<String, Failure> {
///     let tenant = request.headers().get_str("x-tenant");
///     let tenant = tenant.ok_or_else(|| Reply::text(400, "which tenant?"))?;
///     let number: u32 = tenant.parse()?;
///     if number == 0 {
///         return Err(Failure::new("there is no tenant 0"));
///     }
///     Ok(tenant)
/// }
/// ```
pub struct Failure(Kind);

enum Kind {
    Reply(Box<Reply>),
    Error(Box<dyn std::error::Error>),
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Failure(Kind::Error(message.into().into()))
    }

    /// The SDK's error, if it is one.
    pub fn error(&self) -> Option<&Error> {
        match &self.0 {
            Kind::Error(error) => error.downcast_ref(),
            Kind::Reply(_) => None,
        }
    }

    /// The answer that it carries, or itself.
    pub(crate) fn into_reply(self) -> std::result::Result<Reply, Self> {
        match self.0 {
            Kind::Reply(reply) => Ok(*reply),
            Kind::Error(_) => Err(self),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(Kind::Error(Box::new(error)))
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Self {
        Failure(Kind::Reply(Box::new(reply)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Reply(reply) => write!(f, "answered {}", reply.status),
            Kind::Error(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
