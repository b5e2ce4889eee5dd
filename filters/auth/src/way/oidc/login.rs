//! The walk of a login: to the provider, back from it, out again; and whether a request is part of one.

use tidegate_sdk::{Reply, time};

use super::cookies::Presented;
use super::fault::Fault;
use super::form;
use super::provider::{Endpoints, NoTokens, Tokens};
use super::session::{Attempt, Session};
use super::url::{is_local, query, return_to};
use super::{Asked, Parts};
use crate::bytes::equal;

impl Parts {
    /// Sends a browser to the provider, with a cookie that binds the answer to it.
    pub(super) async fn begin(
        &self,
        asked: &Asked,
        to: String,
        presented: &Presented,
    ) -> Result<Reply, Fault> {
        let endpoints = self.provider.endpoints().await?;
        let now = time::now().as_secs();
        let attempt = Attempt::begin(to, now)?;
        let (redirect, challenge) = (self.redirect_uri(asked), attempt.challenge());
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", self.provider.client.id.as_str()),
            ("redirect_uri", &redirect),
            ("scope", &self.scope),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        fields.extend(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let name = self.jar.name_of_attempt(&attempt.state);
        let sealed = self.attempts.close(&written(&attempt), &name)?;
        let mut reply = Reply::redirect(302, endpoints.authorization.with_query(&form::encode(fields)))
            .header("cache-control", "no-store")
            .header("set-cookie", self.jar.set(&name, &sealed, self.login_time))
            .details("oidc_login_begun");
        if presented.attempts.len() >= MOST_ATTEMPTS {
            for (old, _) in &presented.attempts {
                reply = reply.header("set-cookie", self.jar.remove(old));
            }
        }
        for line in self.jar.remove_session(presented) {
            reply = reply.header("set-cookie", line);
        }
        Ok(reply)
    }

    /// A browser wants to log in, from a page that needs no login.
    pub(super) async fn log_in_at_will(&self, asked: &Asked, presented: &Presented) -> Reply {
        let to = form::find(query(&asked.path), "to").unwrap_or_default();
        let begun = self.begin(asked, return_to("GET", &to), presented).await;
        begun.unwrap_or_else(|fault| self.failed(&fault))
    }

    /// The provider has sent the browser back.
    pub(super) async fn come_back(&self, asked: &Asked, presented: &Presented) -> Reply {
        let query = query(&asked.path);
        let found = self.attempt(query, presented);
        let (name, attempt) = match found {
            Ok(found) => found,
            Err(fault) => return self.failed(&fault),
        };
        let reply = match self.log_in(&attempt, query, asked, presented).await {
            Ok(reply) => reply,
            Err(fault) => self.failed(&fault),
        };
        // Whatever became of it, an attempt is used once.
        reply.header("set-cookie", self.jar.remove(&name))
    }

    /// The login that began in this browser with the state that came back, and the name of its cookie.
    fn attempt(&self, query: &str, presented: &Presented) -> Result<(String, Attempt), Fault> {
        let state = form::find(query, "state").ok_or_else(|| Fault::unasked("no state came back"))?;
        let name = self.jar.name_of_attempt(&state);
        let cookie = presented.attempts.iter().find(|(known, _)| *known == name);
        let (_, sealed) = cookie.ok_or_else(|| Fault::unasked("the browser has no login with this state"))?;
        let plain = self.attempts.open(sealed.as_bytes(), &name);
        let attempt: Option<Attempt> = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        let attempt = attempt.ok_or_else(|| Fault::unasked("the login's cookie cannot be opened"))?;
        if !equal(attempt.state.as_bytes(), state.as_bytes()) {
            return Err(Fault::unasked("the state is another one"));
        }
        if time::now().as_secs() >= attempt.began.saturating_add(self.login_time) {
            return Err(Fault::unasked("the login took too long"));
        }
        Ok((name, attempt))
    }

    async fn log_in(
        &self,
        attempt: &Attempt,
        query: &str,
        asked: &Asked,
        presented: &Presented,
    ) -> Result<Reply, Fault> {
        // A provider that names itself must be the one that was asked (RFC 9207).
        if form::find(query, "iss").is_some_and(|issuer| issuer != self.provider.issuer) {
            return Err(Fault::unasked("another issuer has answered"));
        }
        if let Some(error) = form::find(query, "error") {
            let description = form::find(query, "error_description").unwrap_or_default();
            return Err(Fault::told(&error, &description));
        }
        let code = form::find(query, "code")
            .ok_or_else(|| Fault::unasked("neither a code nor an error came back"))?;
        let endpoints = self.provider.endpoints().await?;
        let redirect = self.redirect_uri(asked);
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", &redirect),
            ("code_verifier", &attempt.verifier),
        ];
        let tokens = self.provider.tokens(&endpoints, &grant).await.map_err(|none| match none {
            NoTokens::Refused => Fault::unasked("the provider does not take the code"),
            NoTokens::Fault(fault) => fault,
        })?;
        let session = self.new_session(&endpoints, attempt, tokens).await?;
        let now = time::now().as_secs();
        let sealed = self.sealed(&session)?;
        let lines = self.jar.set_session(&sealed, session.seconds_left(self.limits, now), presented);
        let lines = lines.map_err(|long| too_long(long.0))?;
        let to = if is_local(&attempt.to) { attempt.to.as_str() } else { "/" };
        let mut reply =
            Reply::redirect(303, to).header("cache-control", "no-store").details("oidc_logged_in");
        for line in lines {
            reply = reply.header("set-cookie", line);
        }
        Ok(reply)
    }

    async fn new_session(
        &self,
        endpoints: &Endpoints,
        attempt: &Attempt,
        tokens: Tokens,
    ) -> Result<Session, Fault> {
        let Some(id_token) = tokens.id_token else {
            return Err(Fault::broken(
                "the token endpoint gives no ID token; is openid among the scopes?".into(),
            ));
        };
        let claims = self.verified(&endpoints.keys, &id_token, Some(&attempt.nonce)).await?;
        let now = time::now().as_secs();
        let name: [u8; 16] = tidegate_sdk::random::bytes()?;
        Ok(Session {
            name: form::base64(&name),
            count: 0,
            began: now,
            used: now,
            expires: self.end_of(tokens.expires_in, &claims, now),
            id_token,
            access_token: tokens.access_token.filter(|_| self.forwards_access_token()),
            refresh_token: tokens.refresh_token,
        })
    }

    /// Ends the session here, and at the provider where it can.
    pub(super) async fn log_out(&self, asked: &Asked, presented: &Presented) -> Reply {
        let session = presented.session.as_deref().and_then(|sealed| self.opened(sealed));
        let endpoints = self.provider.endpoints().await.ok();
        let provider = endpoints.as_ref().and_then(|endpoints| endpoints.end_session.as_ref());
        let after = self.after_logout.as_ref().map(|to| match is_local(to) {
            true => format!("{}{to}", self.origin(asked)),
            false => to.clone(),
        });
        let mut reply = match (provider, session, after) {
            // A user without a session is not logged out elsewhere: any page could send them here.
            (Some(url), Some(session), after) => {
                let mut fields = vec![
                    ("id_token_hint", session.session.id_token.as_str()),
                    ("client_id", &self.provider.client.id),
                ];
                fields.extend(after.as_deref().map(|after| ("post_logout_redirect_uri", after)));
                Reply::redirect(303, url.with_query(&form::encode(fields)))
            }
            (_, _, Some(after)) => Reply::redirect(303, after),
            (_, _, None) => Reply::text(200, "you are logged out"),
        };
        let attempts = presented.attempts.iter().map(|(name, _)| self.jar.remove(name));
        for line in self.jar.remove_session(presented).into_iter().chain(attempts) {
            reply = reply.header("set-cookie", line);
        }
        reply.header("cache-control", "no-store").details("oidc_logged_out")
    }

    /// Where the provider sends browsers back to.
    fn redirect_uri(&self, asked: &Asked) -> String {
        format!("{}{}", self.origin(asked), self.callback_path)
    }

    /// How browsers reach this gateway.
    fn origin(&self, asked: &Asked) -> String {
        match &self.external_url {
            Some(origin) => origin.clone(),
            None => format!("{}://{}", asked.scheme, asked.authority),
        }
    }
}

/// Whether a request is a browser's for a page, which can be sent to the provider. Others, as those of scripts, could
/// not follow, or would come back with a page in place of what they asked for.
pub(super) fn is_for_a_page(asked: &Asked) -> bool {
    matches!(asked.method.as_str(), "GET" | "HEAD")
        && asked.accept.to_ascii_lowercase().contains("text/html")
        && !asked.requested_with.eq_ignore_ascii_case("xmlhttprequest")
        && matches!(asked.fetch_destination.as_str(), "" | "document" | "iframe" | "frame")
}

pub(super) fn too_long(length: usize) -> Fault {
    Fault::own(format!(
        "the session takes {length} bytes, more than fit into cookies; ask the provider for fewer scopes or claims"
    ))
}

pub(super) fn written(value: &impl serde::Serialize) -> Vec<u8> {
    // Text and numbers only: there is nothing that could not be written.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Logins of one browser that are kept; when there are more, all old ones are dropped.
const MOST_ATTEMPTS: usize = 4;
