//! One issuer: whose tokens are believed, and what must be in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tidegate_sdk::{ConfigError, time, units};

use super::keys::KeySet;
use super::remote::{Remote, RemoteDocument};
use super::token::Token;
use crate::crypto::Algorithm;
use crate::identity::{Identity, find, has_value, words};
use crate::verdict::Refusal;

/// An issuer of tokens.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssuerDocument {
    /// The issuer's name, which `iss` of a token must equal.
    issuer: String,
    /// One of them must be in `aud` of a token. An empty list means that tokens for everyone are accepted.
    #[serde(default)]
    audiences: Vec<String>,
    /// The algorithms that are accepted; all those with public keys when it is left out. `HS256` and the like are
    /// accepted only where they are listed.
    #[serde(default = "public")]
    algorithms: Vec<Algorithm>,
    /// What its signatures are verified with.
    keys: KeysDocument,
    /// By how much its clock and ours may differ.
    #[serde(default = "skew")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    clock_skew: units::Span,
    /// Accepts tokens without `exp`, which never end.
    #[serde(default)]
    allow_without_expiry: bool,
    /// What `typ` in a token's head must be, as `at+jwt`; anything when it is left out.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Claims that must be there, each with the values that are accepted: `{ email_verified: ["true"] }`. Of a list one
    /// item must be among them. An empty list accepts any value.
    #[serde(default)]
    require: BTreeMap<String, Vec<String>>,
    /// Scopes that must all be in `scope` or `scp`.
    #[serde(default)]
    scopes: Vec<String>,
    /// The claim with the sender's name, a path with dots.
    #[serde(default = "subject")]
    subject: String,
    /// The claim with the sender's groups, a path with dots.
    #[serde(default = "groups")]
    groups: String,
}

/// What signatures are verified with.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum KeysDocument {
    /// A JWK set as text, mostly `${file:jwks.json}`.
    Jwks(String),
    /// A JWK set that the issuer publishes.
    Remote(RemoteDocument),
    /// A secret for `HS256` and the like, at least as long as the hash function's result: 32, 48 or 64 bytes.
    Secret(String),
}

impl std::fmt::Debug for KeysDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeysDocument")
    }
}

fn public() -> Vec<Algorithm> {
    Algorithm::PUBLIC.to_vec()
}

fn skew() -> units::Span {
    units::Span::seconds(60)
}

fn subject() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

/// An issuer, with its keys.
pub(super) struct Issuer {
    document: IssuerDocument,
    /// Its name, as identities have it.
    shared_name: Rc<str>,
    keys: RefCell<Rc<KeySet>>,
    remote: Option<Remote>,
}

/// What a token that was believed says, and how long that is so, in seconds since 1970.
pub(super) struct Believed {
    pub(super) identity: Rc<Identity>,
    pub(super) span: Span,
    /// The set of keys that has verified it.
    pub(super) generation: u64,
}

/// A span of time, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    from: Option<f64>,
    until: Option<f64>,
}

impl Issuer {
    pub(super) fn build(mut document: IssuerDocument, path: &str) -> Result<Self, ConfigError> {
        let at = |key: &str, message: String| ConfigError::at(format!("{path}.{key}"), message);
        if document.issuer.is_empty() {
            return Err(at("issuer", "is empty; it must be what `iss` of the tokens is".to_owned()));
        }
        if document.algorithms.is_empty() {
            return Err(at(
                "algorithms",
                "no algorithm is accepted; leave it out for all public ones".to_owned(),
            ));
        }
        let (mut keys, mut remote) = (KeySet::default(), None);
        match std::mem::replace(&mut document.keys, KeysDocument::Secret(String::new())) {
            KeysDocument::Jwks(text) => {
                keys = KeySet::read(text.as_bytes(), 0)
                    .map_err(|problem| at("keys.jwks", format!("the set {problem}")))?;
            }
            KeysDocument::Remote(source) => {
                if !source.path.starts_with('/') {
                    return Err(at(
                        "keys.remote.path",
                        format!("\"{}\" must begin with a slash", source.path),
                    ));
                }
                remote = Some(Remote::new(source, &document.issuer));
            }
            KeysDocument::Secret(secret) => {
                let secret = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
                if let Some(algorithm) = document.algorithms.iter().find(|algorithm| !algorithm.is_secret()) {
                    let name = algorithm.name();
                    let message = format!(
                        "{name} needs a public key, but `keys` has a secret; list HS256, HS384 or HS512"
                    );
                    return Err(at("algorithms", message));
                }
                let needed =
                    document.algorithms.iter().map(|algorithm| algorithm.hash_size()).max().unwrap_or(0);
                if secret.len() < needed {
                    let message =
                        format!("has {} bytes; {needed} are needed for these algorithms", secret.len());
                    return Err(at("keys.secret", message));
                }
                keys = KeySet::of_secret(secret);
            }
        }
        let shared_name = document.issuer.as_str().into();
        Ok(Issuer { document, shared_name, keys: RefCell::new(Rc::new(keys)), remote })
    }

    pub(super) fn name(&self) -> &str {
        &self.document.issuer
    }

    /// The claim with the sender's name.
    pub(super) fn naming(&self) -> &str {
        &self.document.subject
    }

    /// The set of keys in use.
    pub(super) fn generation(&self) -> u64 {
        self.keys.borrow().generation
    }

    /// Keeps the keys fresh.
    pub(super) async fn background(&self) {
        let Some(remote) = &self.remote else { return };
        loop {
            if remote.due_in().is_zero() {
                remote.fetch().await;
            }
            self.adopt(remote);
            time::sleep(remote.due_in().clamp(LEAST_SLEEP, MOST_SLEEP)).await;
        }
    }

    /// Takes over a newer set, which another instance may have fetched.
    fn adopt(&self, remote: &Remote) {
        if let Some(set) = remote.newer_than(self.generation()) {
            *self.keys.borrow_mut() = Rc::new(set);
        }
    }

    /// Verifies a token's signature, then what it says.
    pub(super) async fn believe(&self, token: Token<'_>) -> Result<Believed, Refusal> {
        if !self.document.algorithms.contains(&token.algorithm) {
            return Err(Refusal::new("jwt_algorithm", "the token's algorithm is not accepted"));
        }
        let keys = self.keys_for(&token).await?;
        let mut candidates = keys.candidates(token.key.as_deref(), token.algorithm);
        if !candidates.any(|key| key.verify(token.algorithm, token.text, &token.signature)) {
            return Err(Refusal::new("jwt_signature", "the token's signature is wrong"));
        }
        let span = self.span(&token)?;
        self.check_time(span)?;
        self.check_claims(&token)?;
        let Token { claims, .. } = token;
        let text = |path: &str| find(&claims, path).and_then(Value::as_str).map(str::to_owned);
        let list = |path: &str| find(&claims, path).map(words).unwrap_or_default();
        let mut scopes = list("scope");
        scopes.extend(list("scp"));
        let identity = Identity {
            kind: super::KIND,
            issuer: Some(Rc::clone(&self.shared_name)),
            subject: text(&self.document.subject).unwrap_or_default(),
            groups: list(&self.document.groups),
            scopes,
            headers: Vec::new(),
            claims,
        };
        Ok(Believed { identity: Rc::new(identity), span, generation: keys.generation })
    }

    /// Whether a span includes now.
    pub(super) fn check_time(&self, span: Span) -> Result<(), Refusal> {
        let (now, skew) = (time::now().as_secs_f64(), self.document.clock_skew.0.as_secs_f64());
        if span.until.is_some_and(|until| now >= until + skew) {
            return Err(Refusal::new("jwt_expired", "the token has expired"));
        }
        if span.from.is_some_and(|from| now < from - skew) {
            return Err(Refusal::new("jwt_not_yet_valid", "the token is not valid yet"));
        }
        Ok(())
    }

    async fn keys_for(&self, token: &Token<'_>) -> Result<Rc<KeySet>, Refusal> {
        let (id, algorithm) = (token.key.as_deref(), token.algorithm);
        let known =
            |issuer: &Self| Some(Rc::clone(&issuer.keys.borrow())).filter(|keys| keys.has(id, algorithm));
        if let Some(keys) = known(self) {
            return Ok(keys);
        }
        if let Some(remote) = &self.remote {
            self.adopt(remote);
            if let Some(keys) = known(self) {
                return Ok(keys);
            }
            remote.fetch().await;
            self.adopt(remote);
            if let Some(keys) = known(self) {
                return Ok(keys);
            }
            if self.keys.borrow().is_empty() {
                let refusal = Refusal::new("jwt_keys_unavailable", "the token cannot be verified now");
                return Err(refusal.status(503));
            }
        }
        Err(Refusal::new("jwt_key_unknown", "the token is signed by a key that is not known"))
    }

    fn span(&self, token: &Token<'_>) -> Result<Span, Refusal> {
        let time = |name: &str| match token.claims.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(Refusal::new("jwt_malformed", "this is not a well-formed token")),
        };
        let span = Span { from: time("nbf")?, until: time("exp")? };
        if span.until.is_none() && !self.document.allow_without_expiry {
            return Err(Refusal::new("jwt_expired", "the token has no end"));
        }
        Ok(span)
    }

    fn check_claims(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let document = &self.document;
        if document.kind.as_deref().is_some_and(|wanted| !is_kind(token.kind.as_deref(), wanted)) {
            return Err(Refusal::new("jwt_type", "this is another kind of token"));
        }
        let is_meant = |name: &str| document.audiences.iter().any(|known| known == name);
        let is_for_us = match token.claims.get("aud") {
            _ if document.audiences.is_empty() => true,
            Some(Value::String(name)) => is_meant(name),
            Some(Value::Array(names)) => {
                // A list with something else in it is no list of audiences.
                names.iter().all(Value::is_string) && names.iter().filter_map(Value::as_str).any(is_meant)
            }
            _ => false,
        };
        if !is_for_us {
            return Err(Refusal::new("jwt_audience", "the token is for somebody else"));
        }
        for (path, accepted) in &document.require {
            let accepts = |text: &str| accepted.is_empty() || accepted.iter().any(|known| known == text);
            if !find(&token.claims, path).is_some_and(|claim| has_value(claim, &accepts)) {
                return Err(Refusal::new("jwt_claims", "the token's claims do not suffice").status(403));
            }
        }
        let granted = ["scope", "scp"].into_iter().filter_map(|name| token.claims.get(name)).flat_map(words);
        let granted: Vec<String> = granted.collect();
        if document.scopes.iter().any(|needed| !granted.contains(needed)) {
            let challenge =
                format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", document.scopes.join(" "));
            let refusal = Refusal::new("jwt_scopes", "the token's scopes do not suffice");
            return Err(refusal.status(403).challenge(challenge));
        }
        Ok(())
    }
}

/// `application/` may be left out (RFC 7515, section 4.1.9).
fn is_kind(kind: Option<&str>, wanted: &str) -> bool {
    let bare = |kind: &str| kind.to_ascii_lowercase().trim_start_matches("application/").to_owned();
    kind.is_some_and(|kind| bare(kind) == bare(wanted))
}

const LEAST_SLEEP: Duration = Duration::from_secs(1);
const MOST_SLEEP: Duration = Duration::from_secs(3600);
