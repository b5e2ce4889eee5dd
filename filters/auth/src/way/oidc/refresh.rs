//! Refreshes a session's tokens: one request does, the others of the session wait for it.

use std::rc::Rc;

use serde_json::Value;
use tidegate_sdk::{log, spawn, time};

use super::Parts;
use super::fault::Fault;
use super::opened::Opened;
use super::provider::{Endpoints, NoTokens, Tokens};
use super::session::Session;
use super::turn::{End, Turn};

/// What a refresh has led to.
pub(super) enum Refreshed {
    /// There are new tokens, in a session whose cookie is to be written.
    Anew(Rc<Opened>, String),
    /// The old ones are good for a while.
    Later,
    /// The provider has ended the session.
    Over,
}

impl Parts {
    /// Refreshes, or waits for another request that does. `good` says that the old tokens may be used meanwhile.
    pub(super) async fn refresh(
        self: &Rc<Self>,
        opened: &Rc<Opened>,
        good: bool,
    ) -> Result<Refreshed, Fault> {
        let (name, lease) = (opened.session.turn(), self.provider.timeout.saturating_mul(CALLS));
        let deadline = time::now().saturating_add(lease);
        let mut mine = false;
        loop {
            let now = time::now();
            match self.turns.take(&name, now, lease)? {
                Turn::Done(End::Renewed(sealed)) => {
                    let opened = self.opened(sealed.as_bytes());
                    let opened =
                        opened.ok_or_else(|| Fault::own("a refreshed session cannot be opened".into()))?;
                    return Ok(Refreshed::Anew(opened, sealed));
                }
                Turn::Done(End::Over) => return Ok(Refreshed::Over),
                Turn::Done(End::Away) if good => return Ok(Refreshed::Later),
                Turn::Wait if good && !mine => return Ok(Refreshed::Later),
                Turn::Done(End::Away) => return Err(Fault::status("the token endpoint", 503)),
                Turn::Wait if now >= deadline => return Err(Fault::status("the token endpoint", 503)),
                Turn::Wait => {}
                Turn::Mine => {
                    mine = true;
                    // A task of its own: a client that goes away must not lose tokens that the provider gives once.
                    let (parts, opened, name) = (self.clone(), opened.clone(), name.clone());
                    spawn(async move { parts.refresh_now(&opened, &name).await });
                }
            }
            self.turns.wait(&name).await;
        }
    }

    async fn refresh_now(&self, opened: &Opened, name: &str) {
        let end = match self.renewed(opened).await {
            Ok(sealed) => End::Renewed(sealed),
            Err(NoTokens::Refused) => End::Over,
            Err(NoTokens::Fault(fault)) => {
                log::warn!("a session's tokens are not refreshed: {}", fault.why());
                End::Away
            }
        };
        if let Err(error) = self.turns.end(name, time::now(), &end) {
            log::error!("the others are not told of a refresh: {error}");
        }
    }

    async fn renewed(&self, opened: &Opened) -> Result<String, NoTokens> {
        let old = &opened.session;
        let endpoints = self.provider.endpoints().await.map_err(NoTokens::Fault)?;
        let token = old.refresh_token.as_deref().unwrap_or_default();
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let tokens = self.provider.tokens(&endpoints, &grant).await?;
        let session = self.renew(&endpoints, opened, tokens).await.map_err(NoTokens::Fault)?;
        self.sealed(&session).map_err(NoTokens::Fault)
    }

    /// The session with new tokens. A provider need not give a new ID token, nor a new refresh token.
    async fn renew(&self, endpoints: &Endpoints, opened: &Opened, tokens: Tokens) -> Result<Session, Fault> {
        let (old, now) = (&opened.session, time::now().as_secs());
        let (id_token, claims) = match tokens.id_token {
            None => (old.id_token.clone(), None),
            Some(token) => {
                let claims = self.verified(&endpoints.keys, &token, None).await?;
                // OpenID Connect Core 1.0, section 12.2.
                if claims.get("sub").and_then(Value::as_str) != Some(opened.identity.subject.as_str()) {
                    return Err(Fault::unproven("a refreshed ID token is of another user".into()));
                }
                (token, Some(claims))
            }
        };
        let expires = match &claims {
            Some(claims) => self.end_of(tokens.expires_in, claims, now),
            // The old ID token's end is past or near; without any other it says nothing of the new tokens.
            None => now.saturating_add(tokens.expires_in.unwrap_or(UNTOLD)),
        };
        Ok(Session {
            name: old.name.clone(),
            count: old.count.saturating_add(1),
            began: old.began,
            used: now,
            expires,
            id_token,
            access_token: tokens.access_token.filter(|_| self.forwards_access_token()),
            refresh_token: tokens.refresh_token.or_else(|| old.refresh_token.clone()),
        })
    }
}

/// Calls of a refresh at most: the discovery document, the tokens, the keys.
const CALLS: u32 = 3;

/// Seconds that tokens are taken to be good where the provider does not say.
const UNTOLD: u64 = 300;
