//! What keeps a client at one server.

use std::fmt;
use std::time::Duration;

/// Requests of a client stay at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What a client is known by.
    pub carrier: SessionCarrier,
    /// It ends this long after it began.
    pub absolute_timeout: Option<Duration>,
    /// It ends after so long without a request.
    pub idle_timeout: Option<Duration>,
    /// What is sealed with, and after it what was before; none: a random key.
    pub keys: Vec<SessionKey>,
}

/// What brings a session back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie(SessionCookie),
    /// The header of this name, in lower case.
    Header(String),
}

impl fmt::Display for SessionCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(cookie) => write!(f, "the cookie {}", cookie.name),
            Self::Header(name) => write!(f, "the header {name}"),
        }
    }
}

/// A cookie that brings a session back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name.
    pub name: String,
    /// Clients keep it until the session's longest time is over, and not only until they are closed.
    pub permanent: bool,
    /// Below which path clients send it.
    pub path: String,
    /// With which requests of other sites clients send it.
    pub same_site: SameSite,
    /// Over TLS only; none: when it was set over TLS.
    pub secure: Option<bool>,
}

/// With which requests of other sites clients send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Where the user follows a link.
    Lax,
    /// None.
    Strict,
    /// All.
    None,
}

impl SameSite {
    /// As cookies have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// A secret. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey(pub String);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}
