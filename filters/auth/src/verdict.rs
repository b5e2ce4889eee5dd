//! What a way says of a request, and the answers that follow from it.

use std::rc::Rc;

use tidegate_sdk::Reply;

use crate::identity::Identity;

/// What a way says of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It knows who sends it.
    Known(Rc<Identity>),
    /// The request has no credentials of its kind.
    Nothing(Challenge),
    /// The request has credentials, which are no good.
    Refused(Box<Refusal>),
    /// The request is answered at once, whatever the other ways say: a step of the way's own, as the end of a login.
    Reply(Box<Reply>),
}

/// What a client without credentials is told.
#[derive(Debug, Default)]
pub(crate) struct Challenge {
    /// A value of `www-authenticate`.
    pub(crate) text: Option<String>,
    /// In place of 401, when no other way knows the sender or has refused: the beginning of a login.
    pub(crate) reply: Option<Box<Reply>>,
}

impl Challenge {
    /// One that names how to authenticate.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Challenge { text: Some(text.into()), reply: None }
    }

    /// The answer to a request in which no way has found credentials.
    pub(crate) fn into_reply(challenges: Vec<Challenge>) -> Reply {
        let mut reply = Reply::text(401, "credentials are needed").details("auth_missing");
        for challenge in challenges {
            if let Some(own) = challenge.reply {
                return *own;
            }
            if let Some(text) = challenge.text {
                reply = reply.header("www-authenticate", text);
            }
        }
        reply
    }
}

/// Why credentials are no good.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// One word for the access log, as `jwt_expired`.
    pub(crate) reason: &'static str,
    /// 401, or 403 where other credentials of the same sender would not help; 503 where nobody could be asked.
    pub(crate) status: u16,
    /// A value of `www-authenticate`.
    pub(crate) challenge: Option<String>,
    /// A sentence for the client that gives no secret away.
    pub(crate) text: &'static str,
}

impl Refusal {
    /// Credentials that are wrong: 401.
    pub(crate) fn new(reason: &'static str, text: &'static str) -> Self {
        Refusal { reason, status: 401, challenge: None, text }
    }

    /// With another status.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With a value of `www-authenticate`.
    pub(crate) fn challenge(mut self, challenge: impl Into<String>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    pub(crate) fn into_reply(self) -> Reply {
        let reply = Reply::text(self.status, self.text).details(self.reason);
        match self.challenge {
            Some(challenge) => reply.header("www-authenticate", challenge),
            None => reply,
        }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Verdict::Refused(Box::new(refusal))
    }
}

impl From<Identity> for Verdict {
    fn from(identity: Identity) -> Self {
        Verdict::Known(Rc::new(identity))
    }
}

impl From<&Rc<Identity>> for Verdict {
    fn from(identity: &Rc<Identity>) -> Self {
        Verdict::Known(Rc::clone(identity))
    }
}
