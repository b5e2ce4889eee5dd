//! What a cookie holds: a session after a login, and a login that has begun.

use serde::{Deserialize, Serialize};
use tidegate_sdk::{Outcome, random};

use super::form;

/// A session: who it is, the provider's tokens, and until when it lasts. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Its name, which nobody else knows.
    #[serde(rename = "n")]
    pub(super) name: String,
    /// How often its tokens were refreshed.
    #[serde(rename = "c")]
    pub(super) count: u32,
    /// When the login was.
    #[serde(rename = "b")]
    pub(super) began: u64,
    /// When it was last used, as far as the cookie knows.
    #[serde(rename = "u")]
    pub(super) used: u64,
    /// Until when the tokens are good.
    #[serde(rename = "e")]
    pub(super) expires: u64,
    /// The ID token, which was checked before it came here.
    #[serde(rename = "i")]
    pub(super) id_token: String,
    /// The access token, where the upstream gets it.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) access_token: Option<String>,
    /// The refresh token, where the provider gives one.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
}

/// How long sessions last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// After the login.
    pub(super) lifetime: u64,
    /// Without a request; 0 for no limit.
    pub(super) idle: u64,
    /// How long before the tokens' end they are refreshed.
    pub(super) early: u64,
}

/// What is to be done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is good.
    Good,
    /// It is good, and the cookie should say that it was used.
    Used,
    /// Its tokens are to be refreshed; `good` says whether they may be used meanwhile.
    Refresh {
        /// Whether the tokens have not ended yet.
        good: bool,
    },
    /// It is over.
    Over,
}

impl Session {
    /// What is to be done with it now.
    pub(super) fn standing(&self, limits: Limits, now: u64) -> Standing {
        let idle_end = self.used.saturating_add(if limits.idle == 0 { u64::MAX } else { limits.idle });
        if now >= self.began.saturating_add(limits.lifetime) || now >= idle_end {
            return Standing::Over;
        }
        let good = now < self.expires;
        if self.refresh_token.is_some() && now.saturating_add(limits.early) >= self.expires {
            return Standing::Refresh { good };
        }
        // The cookie is written anew only now and then: it costs a decision of the browser and a header.
        let fresh = limits.idle == 0 || now < self.used.saturating_add((limits.idle / 10).clamp(1, 60));
        match (good, fresh) {
            (false, _) => Standing::Over,
            (true, true) => Standing::Good,
            (true, false) => Standing::Used,
        }
    }

    /// How long a browser should keep its cookie.
    pub(super) fn seconds_left(&self, limits: Limits, now: u64) -> u64 {
        self.began.saturating_add(limits.lifetime).saturating_sub(now)
    }

    /// The name of its next refresh, which only those have who hold the same tokens.
    pub(super) fn turn(&self) -> String {
        format!("{}.{}", self.name, self.count)
    }
}

/// A login that has begun: kept in the browser until the provider sends it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Comes back with the answer, and so binds it to this browser.
    #[serde(rename = "s")]
    pub(super) state: String,
    /// Comes back in the ID token, and so binds that to this login.
    #[serde(rename = "n")]
    pub(super) nonce: String,
    /// The secret of which the provider knows the digest (RFC 7636).
    #[serde(rename = "v")]
    pub(super) verifier: String,
    /// Where to go afterwards.
    #[serde(rename = "t")]
    pub(super) to: String,
    /// When it began.
    #[serde(rename = "b")]
    pub(super) began: u64,
}

impl Attempt {
    pub(super) fn begin(to: String, now: u64) -> Outcome<Self> {
        let (state, nonce): ([u8; 16], [u8; 16]) = (random::bytes()?, random::bytes()?);
        let verifier: [u8; 32] = random::bytes()?;
        let [state, nonce] = [state, nonce].map(|bytes| form::base64(&bytes));
        Ok(Attempt { state, nonce, verifier: form::base64(&verifier), to, began: now })
    }

    /// The digest of the verifier, method `S256` (RFC 7636, section 4.2).
    pub(super) fn challenge(&self) -> String {
        challenge(&self.verifier)
    }
}

fn challenge(verifier: &str) -> String {
    use sha2::{Digest, Sha256};
    form::base64(&Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { lifetime: 1000, idle: 100, early: 10 };

    fn session() -> Session {
        Session {
            name: "n".into(),
            count: 0,
            began: 5000,
            used: 5000,
            expires: 5300,
            id_token: "i".into(),
            access_token: None,
            refresh_token: None,
        }
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_session_stands_or_falls_with_the_time() {
        let at = |used, now| Session { used, ..session() }.standing(LIMITS, now);
        assert_eq!(at(5000, 5009), Standing::Good);
        assert_eq!(at(5000, 5010), Standing::Used);
        assert_eq!(at(5000, 5099), Standing::Used);
        assert_eq!(at(5000, 5100), Standing::Over, "idle");
        assert_eq!(at(5290, 5299), Standing::Good);
        assert_eq!(at(5290, 5300), Standing::Over, "the tokens have ended");
        let endless = Limits { idle: 0, ..LIMITS };
        assert_eq!(session().standing(endless, 5299), Standing::Good);
    }

    #[test]
    fn tokens_are_refreshed_until_the_session_is_over() {
        let refreshable = Session { refresh_token: Some("r".into()), used: 5280, ..session() };
        assert_eq!(refreshable.standing(LIMITS, 5289), Standing::Good);
        assert_eq!(refreshable.standing(LIMITS, 5290), Standing::Refresh { good: true });
        assert_eq!(refreshable.standing(LIMITS, 5300), Standing::Refresh { good: false });
        let old = Session { expires: 9000, used: 5999, ..refreshable };
        assert_eq!(old.standing(LIMITS, 5999), Standing::Good);
        assert_eq!(old.standing(LIMITS, 6000), Standing::Over, "its lifetime");
        assert_eq!(old.seconds_left(LIMITS, 5999), 1);
    }
}
