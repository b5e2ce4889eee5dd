//! Requests signed by a shared secret: HTTP message signatures (RFC 9421) with `hmac-sha256`, a strict part of that
//! standard. Components have no parameters, and what is signed is the request as the gateway passes it on: its path in
//! the canonical form.

mod input;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};
use tidegate_sdk::limit::{self, Ask, Limit};
use tidegate_sdk::units::{Size, Span};
use tidegate_sdk::{Body, ConfigError, Error, log, time};

use crate::Request;
use crate::bytes;
use crate::crypto::{Algorithm, verify_mac};
use crate::identity::Identity;
use crate::place::Place;
use crate::verdict::{Challenge, Refusal, Verdict};
use input::Input;

pub(super) const KIND: &str = "hmac";

/// Requests signed by a shared secret.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// The known keys.
    keys: Vec<KeyDocument>,
    /// What each signature must cover at least: names of headers in lower case, `@method`, `@authority`, `@scheme`,
    /// `@path`, `@query`, `@request-target`, `@target-uri`.
    #[serde(default = "covered")]
    covers: Vec<String>,
    /// How far `created` of a signature may be from now, before or after.
    #[serde(default = "window")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    window: Span,
    /// Accepts each signature once only.
    #[serde(default = "yes")]
    once: bool,
    /// Demands that the signature of a request with a body covers `content-digest`, and that it is the body's.
    #[serde(default)]
    body: bool,
    /// The largest body that is looked at, at most `limits.heldBody` of the plugin. If nothing is said, 1MiB, or that if it
    /// is less.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    max_body: Option<Size>,
    /// Lets the upstream see the signature.
    #[serde(default)]
    forward: bool,
}

/// A known key.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyDocument {
    /// Its name, as in `keyid` of signatures.
    id: String,
    /// The secret, at least 32 bytes.
    secret: String,
    /// Whose it is; its name when it is left out.
    consumer: Option<String>,
    /// The groups of the consumer.
    #[serde(default)]
    groups: Vec<String>,
    /// What the key is for.
    #[serde(default)]
    scopes: Vec<String>,
}

impl std::fmt::Debug for KeyDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyDocument").field("id", &self.id).finish_non_exhaustive()
    }
}

fn covered() -> Vec<String> {
    ["@method", "@authority", "@path", "@query"].map(str::to_owned).to_vec()
}

fn window() -> Span {
    Span::seconds(300)
}

fn yes() -> bool {
    true
}

/// Bytes of a body that is looked at if nothing is said.
const MAX_BODY: usize = 1 << 20;

/// The known keys, and what is demanded of signatures.
pub(crate) struct Signatures {
    keys: BTreeMap<String, Key>,
    covers: Vec<String>,
    window: Duration,
    once: Option<Limit>,
    body: bool,
    body_bytes: usize,
    places: Vec<Place>,
    challenge: String,
}

struct Key {
    secret: Vec<u8>,
    identity: Rc<Identity>,
}

impl Signatures {
    pub(crate) fn build(document: Document, path: &str, held: Option<usize>) -> Result<Self, ConfigError> {
        let at = |key: &str, message: String| ConfigError::at(format!("{path}.{key}"), message);
        let mut keys = BTreeMap::new();
        for (number, key) in document.keys.into_iter().enumerate() {
            let here = format!("keys[{number}]");
            let secret = key.secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
            if secret.len() < 32 {
                let message = format!("has {} bytes; 32 are needed", secret.len());
                return Err(at(&format!("{here}.secret"), message));
            }
            let identity = Identity {
                groups: key.groups,
                scopes: key.scopes,
                ..Identity::new(KIND, key.consumer.unwrap_or_else(|| key.id.clone()))
            };
            if keys.insert(key.id.clone(), Key { secret, identity: Rc::new(identity) }).is_some() {
                return Err(at(&format!("{here}.id"), format!("\"{}\" is listed before", key.id)));
            }
        }
        if keys.is_empty() {
            return Err(at("keys", "no key is listed, so every request would be refused".to_owned()));
        }
        if let Some(wrong) = document.covers.iter().find(|name| !input::is_component(name)) {
            let message =
                format!("\"{wrong}\" is neither a header's name in lower case nor one of the @ names");
            return Err(at("covers", message));
        }
        let window = document.window.0;
        if window.is_zero() {
            return Err(at("window", "must be longer than nothing".to_owned()));
        }
        let body_bytes = match document.max_body {
            Some(asked) => super::at_most(asked, held).map_err(|message| at("maxBody", message))?,
            None => held.map_or(MAX_BODY, |held| MAX_BODY.min(held)),
        };
        let challenge = format!("Signature covers=\"{}\"", document.covers.join(" "));
        let names = if document.forward { vec![] } else { vec!["signature", "signature-input"] };
        Ok(Signatures {
            keys,
            covers: document.covers,
            window,
            // What is made for the end of the window is accepted until another window has passed.
            once: document.once.then(|| Limit::sliding(1, window.saturating_mul(2))),
            body: document.body,
            body_bytes,
            places: names.into_iter().map(|name| Place::Header(name.to_owned())).collect(),
            challenge,
        })
    }

    pub(crate) async fn check(&self, request: &Request, body: &mut Body) -> Verdict {
        if !request.headers().contains("signature") && !request.headers().contains("signature-input") {
            return Verdict::Nothing(Challenge::new(&self.challenge));
        }
        match self.verify(request, body).await {
            Ok(identity) => Verdict::Known(identity),
            Err(mut refusal) => {
                refusal.challenge.get_or_insert_with(|| self.challenge.clone());
                refusal.into()
            }
        }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    async fn verify(&self, request: &Request, body: &mut Body) -> Result<Rc<Identity>, Refusal> {
        let malformed = || Refusal::new("hmac_malformed", "this is not a well-formed signature");
        let joined = |name: &str| input::header(request, name).ok_or_else(malformed);
        let (inputs, signatures) = (joined("signature-input")?, joined("signature")?);
        let input = Input::read(&inputs).ok_or_else(malformed)?;
        let signature = input::signature(&signatures, input.label).ok_or_else(malformed)?;
        if input.algorithm.is_some_and(|name| name != "hmac-sha256") {
            return Err(Refusal::new("hmac_algorithm", "the signature's algorithm is not accepted"));
        }
        let missing = |name: &String| !input.components.contains(&name.as_str());
        if self.covers.iter().any(missing) {
            return Err(Refusal::new("hmac_coverage", "the signature does not cover enough"));
        }
        self.check_time(&input)?;
        let key = self.keys.get(input.key);
        let key = key.ok_or_else(|| Refusal::new("hmac_key_unknown", "the signature's key is not known"))?;
        let base = input.base(request).ok_or_else(malformed)?;
        if !verify_mac(Algorithm::HS256, &key.secret, base.as_bytes(), &signature) {
            return Err(Refusal::new("hmac_signature", "the signature is wrong"));
        }
        self.check_body(request, body, &input).await?;
        self.check_once(input.key, &signature)?;
        Ok(Rc::clone(&key.identity))
    }

    fn check_time(&self, input: &Input<'_>) -> Result<(), Refusal> {
        let now = time::now().as_secs();
        let created =
            input.created.ok_or_else(|| Refusal::new("hmac_expired", "the signature has no time"))?;
        if now.abs_diff(created) > self.window.as_secs() || input.expires.is_some_and(|end| now >= end) {
            return Err(Refusal::new("hmac_expired", "the signature is too old, or not valid yet"));
        }
        Ok(())
    }

    async fn check_body(&self, request: &Request, body: &mut Body, input: &Input<'_>) -> Result<(), Refusal> {
        if !self.body || !request.has_body() && !input.components.contains(&"content-digest") {
            return Ok(());
        }
        if !input.components.contains(&"content-digest") {
            return Err(Refusal::new("hmac_coverage", "the signature does not cover the body's digest"));
        }
        let text = match body.collect(self.body_bytes).await {
            Ok(text) => text,
            Err(Error::TooLarge { .. }) => {
                return Err(Refusal::new("hmac_body_too_large", "the body is too large").status(413));
            }
            Err(error) => {
                log::warn!("a signed body cannot be read: {error}");
                return Err(Refusal::new("hmac_body", "the body cannot be read").status(400));
            }
        };
        let digests = input::header(request, "content-digest").unwrap_or_default();
        let known =
            [("sha-256", Sha256::digest(&text).to_vec()), ("sha-512", Sha512::digest(&text).to_vec())];
        let mut compared = 0;
        for (name, digest) in known {
            let Some(told) = input::signature(&digests, name) else { continue };
            if !bytes::equal(&digest, &told) {
                return Err(Refusal::new("hmac_body", "the body is not the one that was signed"));
            }
            compared += 1;
        }
        match compared {
            0 => Err(Refusal::new("hmac_body", "the body's digest is neither sha-256 nor sha-512")),
            _ => Ok(()),
        }
    }

    /// The host counts for all workers.
    fn check_once(&self, key: &str, signature: &[u8]) -> Result<(), Refusal> {
        let Some(limit) = &self.once else { return Ok(()) };
        let name = [b"auth/hmac/", key.as_bytes(), b"/", signature].concat();
        match limit::take(&[Ask::new(limit, &name)]) {
            Ok(taken) if taken.allowed() => Ok(()),
            Ok(_) => Err(Refusal::new("hmac_replayed", "the signature was used before")),
            Err(error) => {
                log::error!("whether a signature was used before cannot be said: {error}");
                Err(Refusal::new("hmac_unavailable", "the signature cannot be verified now").status(503))
            }
        }
    }
}
