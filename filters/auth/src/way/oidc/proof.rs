//! Whether an ID token proves who the user is (OpenID Connect Core 1.0, section 3.1.3.7).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_sdk::{http, log, time};

use super::Parts;
use super::fault::Fault;
use super::provider::Target;
use crate::bytes::equal;
use crate::crypto::Algorithm;
use crate::way::jwt::{KeySet, Token};

/// What ID tokens are checked by.
pub(super) struct Proof {
    pub(super) algorithms: Vec<Algorithm>,
    /// Seconds by which the provider's clock may be wrong.
    pub(super) skew: u64,
    /// The client's secret, which signs where the algorithm says so.
    pub(super) secret: Option<KeySet>,
    pub(super) keys: RefCell<Option<Fetched>>,
}

/// The provider's keys and when they were fetched.
#[derive(Clone)]
pub(super) struct Fetched {
    keys: Rc<KeySet>,
    at: Duration,
}

impl Parts {
    /// The claims of an ID token, if it proves who the user is.
    pub(super) async fn verified(
        &self,
        keys: &Target,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<Map<String, Value>, Fault> {
        let token = Token::read(token.as_bytes()).map_err(|refusal| {
            Fault::unproven(format!("the ID token is not well formed: {}", refusal.reason))
        })?;
        if !self.proof.algorithms.contains(&token.algorithm) {
            let name = token.algorithm.name();
            return Err(Fault::unproven(format!(
                "the ID token is signed by {name}, which is not among `algorithms`"
            )));
        }
        let id = token.key.as_deref();
        let signed = |keys: &KeySet| {
            keys.candidates(id, token.algorithm)
                .any(|key| key.verify(token.algorithm, token.text, &token.signature))
        };
        let good = match (&self.proof.secret, token.algorithm.is_secret()) {
            (Some(secret), true) => signed(secret),
            (None, true) => false,
            (_, false) => signed(&*self.keys(keys, id, token.algorithm).await?),
        };
        if !good {
            return Err(Fault::unproven("the ID token's signature is not the provider's".into()));
        }
        self.proof.claims(&token.claims, &self.provider.issuer, &self.provider.client.id, nonce)?;
        Ok(token.claims)
    }

    /// The provider's keys, fetched anew when the one that is wanted is not among them, but not all the time.
    async fn keys(
        &self,
        target: &Target,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Rc<KeySet>, Fault> {
        let (known, now) = (self.proof.keys.borrow().clone(), time::now());
        if let Some(known) = &known {
            let age = now.saturating_sub(known.at);
            let wait = if known.keys.has(id, algorithm) { FRESH } else { AGAIN };
            if age < wait {
                return Ok(known.keys.clone());
            }
        }
        match (self.fetch(target).await, known) {
            (Ok(keys), _) => {
                let keys = Rc::new(keys);
                self.proof.keys.replace(Some(Fetched { keys: keys.clone(), at: now }));
                Ok(keys)
            }
            (Err(fault), Some(known)) => {
                log::warn!("the provider's last keys are used on: {}", fault.why());
                Ok(known.keys)
            }
            (Err(fault), None) => Err(fault),
        }
    }

    async fn fetch(&self, target: &Target) -> Result<KeySet, Fault> {
        let call = http::get(target.url.path.as_str()).to(&target.upstream).authority(&target.url.authority);
        let call = call.header("accept", "application/json").timeout(self.provider.timeout);
        let answer = call.await.map_err(|error| Fault::away("the place of the keys", error))?;
        if answer.status() != 200 {
            return Err(Fault::status("the place of the keys", answer.status()));
        }
        KeySet::read(answer.body(), 0).map_err(|why| Fault::broken(format!("the set of keys {why}")))
    }
}

impl Proof {
    fn claims(
        &self,
        claims: &Map<String, Value>,
        issuer: &str,
        client: &str,
        nonce: Option<&str>,
    ) -> Result<(), Fault> {
        let now = time::now().as_secs();
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let (early, late) = (now.saturating_sub(self.skew) as f64, now.saturating_add(self.skew) as f64);
        let (is_audience, alone) = match claims.get("aud") {
            Some(Value::String(audience)) => (audience == client, true),
            Some(Value::Array(list)) => {
                (list.iter().any(|one| one.as_str() == Some(client)), list.len() == 1)
            }
            _ => (false, true),
        };
        let party = claims.get("azp");
        let problem = if text("iss") != Some(issuer) {
            "is of another issuer"
        } else if !is_audience {
            "is for another client"
        } else if party.is_some_and(|party| party.as_str() != Some(client)) || !alone && party.is_none() {
            "was given to another client (azp)"
        } else if !seconds("exp").is_some_and(|end| end > early) {
            "has ended, or has no end"
        } else if seconds("nbf").is_some_and(|begin| begin > late)
            || seconds("iat").is_some_and(|at| at > late)
        {
            "is from the future"
        } else if text("sub").is_none_or(str::is_empty) {
            "has no subject"
        } else if nonce
            .is_some_and(|nonce| !text("nonce").is_some_and(|told| equal(told.as_bytes(), nonce.as_bytes())))
        {
            "is for another login (nonce)"
        } else {
            return Ok(());
        };
        Err(Fault::unproven(format!("the ID token {problem}")))
    }
}

/// How long keys are used before they are fetched anew.
const FRESH: Duration = Duration::from_secs(3600);

/// How soon keys are fetched anew for one that is not among them.
const AGAIN: Duration = Duration::from_secs(10);
