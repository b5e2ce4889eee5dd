//! OIDC login: browsers log in at a provider (authorization code with PKCE, state and nonce) and then have a session in
//! an encrypted cookie.

mod cookies;
mod document;
mod fault;
mod form;
mod login;
mod opened;
mod proof;
mod provider;
mod refresh;
mod seal;
mod session;
mod turn;
mod url;

use std::rc::Rc;

use serde_json::{Map, Value};
use tidegate_sdk::log::Level;
use tidegate_sdk::{ConfigError, Reply, log, time};

use cookies::{Jar, Presented};
use fault::Fault;
use login::{is_for_a_page, too_long, written};
use opened::{Opened, Recent};
use proof::Proof;
use provider::Provider;
use refresh::Refreshed;
use seal::Seal;
use session::{Limits, Session, Standing};
use turn::Turns;
use url::return_to;

use crate::Request;
use crate::identity::{Identity, find, words};
use crate::place::Place;
use crate::verdict::{Challenge, Verdict};
pub(crate) use document::Document;

pub(super) const KIND: &str = "oidc";

/// The login at one provider.
pub(crate) struct Oidc(Rc<Parts>);

/// What a login is made of; tasks in the background hold it too.
struct Parts {
    provider: Provider,
    proof: Proof,
    scope: String,
    /// Further parameters of the authorization request.
    parameters: Vec<(String, String)>,
    external_url: Option<String>,
    callback_path: String,
    login_path: String,
    logout_path: String,
    after_logout: Option<String>,
    jar: Jar,
    sessions: Seal,
    attempts: Seal,
    limits: Limits,
    /// Seconds that a login may take.
    login_time: u64,
    access_token_header: Option<String>,
    groups_claim: String,
    turns: Turns,
    recent: Recent,
    /// The cookies that the upstream must not see.
    places: Vec<Place>,
}

/// What is looked at of a request.
#[derive(Debug, Default)]
struct Asked {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    accept: String,
    requested_with: String,
    fetch_destination: String,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let text = |name: &str| request.headers().get_str(name).unwrap_or_default();
        Asked {
            method: request.method(),
            scheme: request.scheme(),
            authority: request.authority(),
            path: request.path(),
            accept: text("accept"),
            requested_with: text("x-requested-with"),
            fetch_destination: text("sec-fetch-dest"),
        }
    }
}

impl Oidc {
    pub(crate) fn build(document: Document, path: &str) -> Result<Self, ConfigError> {
        document.build(path)
    }

    fn new(parts: Parts) -> Self {
        Oidc(Rc::new(parts))
    }

    /// Who knows the senders.
    pub(crate) fn issuer(&self) -> &str {
        &self.0.provider.issuer
    }

    /// The cookies that it reads.
    pub(crate) fn places(&self) -> &[Place] {
        &self.0.places
    }

    /// The header for the access token.
    pub(crate) fn headers(&self) -> &[String] {
        self.0.access_token_header.as_slice()
    }

    pub(crate) async fn check(&self, request: &Request) -> Verdict {
        let cookie = request.headers().get("cookie").unwrap_or_default();
        let presented = self.0.jar.read(&cookie);
        let path = request.path();
        match url::without_query(&path) {
            path if path == self.0.callback_path => {
                return Verdict::Reply(Box::new(self.0.come_back(&Asked::of(request), &presented).await));
            }
            path if path == self.0.login_path => {
                return Verdict::Reply(Box::new(
                    self.0.log_in_at_will(&Asked::of(request), &presented).await,
                ));
            }
            path if path == self.0.logout_path => {
                return Verdict::Reply(Box::new(self.0.log_out(&Asked::of(request), &presented).await));
            }
            _ => {}
        }
        self.0.session(request, &presented).await
    }
}

impl Parts {
    /// The session of a request, or what becomes of one without.
    async fn session(self: &Rc<Self>, request: &Request, presented: &Presented) -> Verdict {
        let Some(opened) = presented.session.as_deref().and_then(|sealed| self.opened(sealed)) else {
            return self.unknown(request, presented).await;
        };
        let now = time::now().as_secs();
        match opened.session.standing(self.limits, now) {
            Standing::Good => Verdict::Known(opened.identity.clone()),
            Standing::Over => self.unknown(request, presented).await,
            Standing::Used => {
                let used = Session { used: now, ..opened.session.clone() };
                match self.sealed(&used) {
                    Ok(sealed) => self.known_anew(request, &opened, &sealed, presented),
                    Err(fault) => self.stopped(&fault),
                }
            }
            Standing::Refresh { good } => match self.refresh(&opened, good).await {
                Ok(Refreshed::Anew(opened, sealed)) => self.known_anew(request, &opened, &sealed, presented),
                Ok(Refreshed::Later) => Verdict::Known(opened.identity.clone()),
                Ok(Refreshed::Over) => self.unknown(request, presented).await,
                Err(fault) => self.stopped(&fault),
            },
        }
    }

    /// A request without a session: a browser is sent to log in, everything else is told that it must. A cookie that is
    /// no good, or not any more, is as none: users do not choose their cookies.
    async fn unknown(&self, request: &Request, presented: &Presented) -> Verdict {
        let mut challenge = Challenge::new("Cookie");
        let asked = Asked::of(request);
        if is_for_a_page(&asked) {
            let begun = self.begin(&asked, return_to(&asked.method, &asked.path), presented).await;
            challenge.reply = Some(Box::new(begun.unwrap_or_else(|fault| self.failed(&fault))));
        }
        Verdict::Nothing(challenge)
    }

    /// Whom a session is of.
    fn identity(&self, session: &Session) -> Option<Identity> {
        let claims = session.claims()?;
        let subject = claims.get("sub").and_then(Value::as_str)?.to_owned();
        let list = |path: &str| find(&claims, path).map(words).unwrap_or_default();
        let (groups, scopes) = (list(&self.groups_claim), list("scope"));
        let token = session.access_token.as_ref().zip(self.access_token_header.as_ref());
        let headers = token.map(|(token, name)| match name.as_str() {
            "authorization" => (name.clone(), format!("Bearer {token}")),
            _ => (name.clone(), token.clone()),
        });
        Some(Identity {
            issuer: Some(self.provider.issuer.as_str().into()),
            groups,
            scopes,
            headers: headers.into_iter().collect(),
            claims,
            ..Identity::new(KIND, subject)
        })
    }

    /// A session whose cookie is written anew.
    fn known_anew(&self, request: &Request, opened: &Opened, sealed: &str, presented: &Presented) -> Verdict {
        let left = opened.session.seconds_left(self.limits, time::now().as_secs());
        match self.jar.set_session(sealed, left, presented) {
            Ok(lines) => {
                let lines = lines.into_iter().map(|line| ("set-cookie".to_owned(), line.into()));
                request.state().added.borrow_mut().extend(lines);
                Verdict::Known(opened.identity.clone())
            }
            Err(long) => self.stopped(&too_long(long.0)),
        }
    }

    /// The session in a cookie's value.
    fn opened(&self, sealed: &[u8]) -> Option<Rc<Opened>> {
        if let Some(opened) = self.recent.get(sealed) {
            return Some(opened);
        }
        let plain = self.sessions.open(sealed, self.jar.name())?;
        let session: Session = serde_json::from_slice(&plain).ok()?;
        let identity = Rc::new(self.identity(&session)?);
        let opened = Rc::new(Opened { session, identity });
        self.recent.put(sealed, &opened);
        Some(opened)
    }

    /// A cookie's value for a session.
    fn sealed(&self, session: &Session) -> Result<String, Fault> {
        Ok(self.sessions.close(&written(session), self.jar.name())?)
    }

    fn failed(&self, fault: &Fault) -> Reply {
        // What a client alone can bring about must not fill the log.
        let level = if fault.is_clients() { Level::Info } else { Level::Warn };
        log::log!(level, "login at {}: {}: {}", self.provider.issuer, fault.word(), fault.why());
        fault.reply()
    }

    fn stopped(&self, fault: &Fault) -> Verdict {
        Verdict::Reply(Box::new(self.failed(fault)))
    }

    fn forwards_access_token(&self) -> bool {
        self.access_token_header.is_some()
    }

    /// Until when tokens are good: as long as the provider says, else as long as the ID token.
    fn end_of(&self, expires_in: Option<u64>, claims: &Map<String, Value>, now: u64) -> u64 {
        match expires_in {
            Some(seconds) => now.saturating_add(seconds),
            None => claims.get("exp").and_then(Value::as_f64).map_or(now, |exp| exp as u64),
        }
    }
}

#[cfg(test)]
mod tests;
