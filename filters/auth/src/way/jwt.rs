//! JSON web tokens (RFC 7519, with the advice of RFC 8725): each issuer has its own keys and its own list of algorithms,
//! and what was verified once is remembered for as long as it holds.

mod issuer;
mod keys;
mod remote;
mod token;

use std::cell::RefCell;
use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::{ConfigError, join_all, units};

use crate::Request;
use crate::bytes;
use crate::cache::Cache;
use crate::identity::Identity;
use crate::place::Place;
use crate::verdict::{Challenge, Refusal, Verdict};

use issuer::{Issuer, IssuerDocument, Span};
pub(super) use keys::KeySet;
pub(super) use token::Token;

pub(super) const KIND: &str = "jwt";

/// JSON web tokens.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// Where a token may be, in the order in which it is looked for. In the header `authorization` it follows `Bearer`.
    #[serde(default = "places", rename = "in")]
    places: Vec<Place>,
    /// Whose tokens are accepted.
    issuers: Vec<IssuerDocument>,
    /// Lets the upstream see the token.
    #[serde(default)]
    forward: bool,
    /// Gets the token's claims, as they are in the token: JSON in base64 for URLs.
    payload_header: Option<String>,
    /// The largest token, in bytes.
    #[serde(default = "token_bytes")]
    #[cfg_attr(not(target_family = "wasm"), schemars(range(min = 128, max = 65536)))]
    max_token_bytes: usize,
    /// How many verified tokens each worker remembers; 0 for none.
    #[serde(default = "remembered")]
    #[cfg_attr(not(target_family = "wasm"), schemars(range(max = 65536)))]
    cache: usize,
}

fn places() -> Vec<Place> {
    vec![Place::Header("authorization".to_owned())]
}

fn token_bytes() -> usize {
    8 * 1024
}

fn remembered() -> usize {
    512
}

/// The accepted tokens.
pub(crate) struct Jwt {
    places: Vec<Place>,
    swept: bool,
    issuers: Vec<Issuer>,
    payload_header: Vec<String>,
    token_bytes: usize,
    cache: Option<RefCell<Cache<Box<[u8]>, Remembered>>>,
}

/// A token that was verified.
#[derive(Clone)]
struct Remembered {
    issuer: usize,
    generation: u64,
    span: Span,
    identity: Rc<Identity>,
}

impl Jwt {
    pub(crate) fn build(document: Document, path: &str) -> Result<Self, ConfigError> {
        let at = |key: &str, message: &str| ConfigError::at(format!("{path}.{key}"), message);
        if document.places.is_empty() {
            return Err(at("in", "no place is listed; leave it out for the header authorization"));
        }
        if document.issuers.is_empty() {
            return Err(at("issuers", "no issuer is listed, so every token would be refused"));
        }
        if !(128..=65536).contains(&document.max_token_bytes) {
            return Err(at("maxTokenBytes", "must be between 128 and 65536"));
        }
        if document.cache > 65536 {
            return Err(at("cache", "must be at most 65536"));
        }
        let mut issuers: Vec<Issuer> = Vec::with_capacity(document.issuers.len());
        for (number, issuer) in document.issuers.into_iter().enumerate() {
            let here = format!("{path}.issuers[{number}]");
            let issuer = Issuer::build(issuer, &here)?;
            if issuers.iter().any(|known| known.name() == issuer.name()) {
                let message = format!("\"{}\" is listed before", issuer.name());
                return Err(ConfigError::at(format!("{here}.issuer"), message));
            }
            issuers.push(issuer);
        }
        let payload_header = document.payload_header.as_deref().map(units::header_name).transpose();
        let payload_header = payload_header.map_err(|message| at("payloadHeader", &message))?;
        Ok(Jwt {
            places: document.places,
            swept: !document.forward,
            issuers,
            payload_header: payload_header.into_iter().collect(),
            token_bytes: document.max_token_bytes,
            cache: (document.cache > 0).then(|| RefCell::new(Cache::new(document.cache))),
        })
    }

    /// Keeps the issuers' keys fresh.
    pub(crate) async fn background(&self) {
        join_all(self.issuers.iter().map(Issuer::background)).await;
    }

    pub(crate) async fn check(&self, request: &Request) -> Verdict {
        let found = self.places.iter().find_map(|place| Some((place, place.read(request)?)));
        let presented = found.as_ref().and_then(|(place, value)| presented(place, value));
        let Some(token) = presented else { return Verdict::Nothing(Challenge::new("Bearer")) };
        let outcome = match self.remembered(token) {
            Some(outcome) => outcome,
            None => self.verify(token).await,
        };
        match outcome {
            Ok(identity) => Verdict::Known(identity),
            Err(mut refusal) => {
                refusal.challenge.get_or_insert_with(|| "Bearer error=\"invalid_token\"".to_owned());
                refusal.into()
            }
        }
    }

    /// Whose tokens are accepted, each with the claim that has the sender's name.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.issuers.iter().map(|issuer| (issuer.name(), issuer.naming()))
    }

    pub(crate) fn places(&self) -> &[Place] {
        if self.swept { &self.places } else { &[] }
    }

    pub(crate) fn headers(&self) -> &[String] {
        &self.payload_header
    }

    /// What was found out before, if the keys are still the same. Its time is looked at again.
    fn remembered(&self, token: &[u8]) -> Option<Result<Rc<Identity>, Refusal>> {
        let mut cache = self.cache.as_ref()?.borrow_mut();
        let known = cache.get(token)?;
        let issuer = self.issuers.get(known.issuer)?;
        if issuer.generation() != known.generation {
            cache.remove(token);
            return None;
        }
        let outcome = issuer.check_time(known.span);
        if outcome.is_err() {
            cache.remove(token);
        }
        Some(outcome.map(|()| known.identity))
    }

    async fn verify(&self, text: &[u8]) -> Result<Rc<Identity>, Refusal> {
        if text.len() > self.token_bytes {
            return Err(Refusal::new("jwt_too_large", "the token is too large"));
        }
        let token = Token::read(text)?;
        let name = token.claims.get("iss").and_then(|name| name.as_str());
        let issuer = self.issuers.iter().enumerate().find(|(_, issuer)| Some(issuer.name()) == name);
        let Some((number, issuer)) = issuer else {
            return Err(Refusal::new("jwt_issuer", "the token's issuer is not known"));
        };
        let mut believed = issuer.believe(token).await?;
        if let Some(name) = self.payload_header.first() {
            let payload = text.split(|byte| *byte == b'.').nth(1).unwrap_or_default();
            let payload = String::from_utf8_lossy(payload).into_owned();
            if let Some(identity) = Rc::get_mut(&mut believed.identity) {
                identity.headers.push((name.clone(), payload));
            }
        }
        if let Some(cache) = &self.cache {
            let remembered = Remembered {
                issuer: number,
                generation: believed.generation,
                span: believed.span,
                identity: Rc::clone(&believed.identity),
            };
            cache.borrow_mut().put(text.into(), remembered);
        }
        Ok(believed.identity)
    }
}

/// The token in a value: in `authorization` only behind `Bearer`, which it may follow elsewhere too.
fn presented<'a>(place: &Place, value: &'a [u8]) -> Option<&'a [u8]> {
    let bare = bytes::after_scheme(value.trim_ascii(), "bearer");
    match place {
        Place::Header(name) if name == "authorization" => bare,
        _ => bare.or(Some(value.trim_ascii())),
    }
}
