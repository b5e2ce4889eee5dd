//! What is answered when a login does not go on: a status and a text for the user, a word for the access log, and the
//! reason for the gateway's log.

use tidegate_sdk::{Error, Reply};

/// Something that went wrong at the provider's side or on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    status: u16,
    word: &'static str,
    text: &'static str,
    why: String,
}

impl Fault {
    /// The provider did not answer.
    pub(super) fn away(what: &str, error: Error) -> Self {
        let why = format!("{what} did not answer: {error}");
        Fault { status: 503, word: "oidc_provider_away", text: AWAY, why }
    }

    /// The provider answered that something is wrong with it.
    pub(super) fn status(what: &str, status: u16) -> Self {
        let why = format!("{what} answered {status}");
        match status {
            503 | 504 | 429 => Fault { status: 503, word: "oidc_provider_away", text: AWAY, why },
            _ => Fault::broken(why),
        }
    }

    /// The provider answered something that cannot be used.
    pub(super) fn broken(why: String) -> Self {
        let text = "the login service gave an answer that cannot be used";
        Fault { status: 502, word: "oidc_provider_failed", text, why }
    }

    /// The request is no part of a login that began here.
    pub(super) fn unasked(why: &str) -> Self {
        let text =
            "this login did not begin in this browser, was used already, or took too long; please try again";
        Fault { status: 400, word: "oidc_login_unknown", text, why: why.to_owned() }
    }

    /// The provider's tokens do not prove who the user is.
    pub(super) fn unproven(why: String) -> Self {
        let text = "the login service's answer does not prove who you are";
        Fault { status: 401, word: "oidc_token_invalid", text, why }
    }

    /// What the provider said in place of a code (RFC 6749, section 4.1.2.1).
    pub(super) fn told(error: &str, description: &str) -> Self {
        let why = format!("the provider sent the user back with {error:?} {description:?}");
        let (status, word, text) = match error {
            "access_denied" => (403, "oidc_access_denied", "the login service has denied access"),
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
                (401, "oidc_login_required", "the login service wants you to log in there first")
            }
            "temporarily_unavailable" => (503, "oidc_provider_away", AWAY),
            _ => (502, "oidc_provider_failed", "the login service has failed"),
        };
        Fault { status, word, text, why }
    }

    /// Something of our own failed.
    pub(super) fn own(why: String) -> Self {
        Fault { status: 500, word: "oidc_failed", text: "the login failed", why }
    }

    /// The reason, for the log.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Whether it is for the client to do something else.
    pub(super) fn is_clients(&self) -> bool {
        self.status < 500
    }

    /// Its word in the access log.
    pub(super) fn word(&self) -> &'static str {
        self.word
    }

    /// The answer to the client.
    pub(super) fn reply(&self) -> Reply {
        let reply =
            Reply::text(self.status, self.text).header("cache-control", "no-store").details(self.word);
        match self.status {
            503 => reply.header("retry-after", "5"),
            _ => reply,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::own(error.to_string())
    }
}

const AWAY: &str = "the login service cannot be reached; please try again in a moment";
