//! API keys, known by their SHA-256 only: the configuration may hold digests in place of keys, and what a client presents
//! is looked up by its digest, so the time that takes tells nothing about a key. Those that were right not long ago are
//! remembered and compared byte by byte to their end.

mod recent;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tidegate_sdk::{ConfigError, units};

use crate::Request;
use crate::bytes;
use crate::identity::Identity;
use crate::place::Place;
use crate::verdict::{Challenge, Refusal, Verdict};
use recent::Recent;

pub(super) const KIND: &str = "key";

/// API keys.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// Where a key may be, in the order in which it is looked for. In the header `authorization` it follows `Bearer` or
    /// `ApiKey`.
    #[serde(default = "places", rename = "in")]
    places: Vec<Place>,
    /// The known keys.
    keys: Vec<KeyDocument>,
    /// Lets the upstream see the key.
    #[serde(default)]
    forward: bool,
    /// Headers by metadata: `x-plan: plan` sets the header `x-plan` to the key's `plan`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A known key, or several of one consumer.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyDocument {
    /// The key, or `sha256:` and the 64 hexadecimal figures of its SHA-256; several stand on lines of their own.
    key: String,
    /// Whose it is.
    consumer: String,
    /// The groups of the consumer.
    #[serde(default)]
    groups: Vec<String>,
    /// What the key is for.
    #[serde(default)]
    scopes: Vec<String>,
    /// What else is known of the key: its claims.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl std::fmt::Debug for KeyDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyDocument").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// The known keys.
pub(crate) struct Keys {
    places: Vec<Place>,
    swept: bool,
    /// By digest.
    known: BTreeMap<[u8; 32], usize>,
    recent: RefCell<Recent>,
    identities: Vec<Rc<Identity>>,
    headers: Vec<String>,
    challenge: String,
}

impl Keys {
    pub(crate) fn build(document: Document, path: &str) -> Result<Self, ConfigError> {
        let at = |key: &str, message: String| ConfigError::at(format!("{path}.{key}"), message);
        if document.places.is_empty() {
            return Err(at("in", "no place is listed; leave it out for the header x-api-key".to_owned()));
        }
        let mut headers = Vec::new();
        for name in document.headers.keys() {
            headers.push(units::header_name(name).map_err(|message| at("headers", message))?);
        }
        let claims: Vec<&String> = document.headers.values().collect();
        let (mut known, mut identities) = (BTreeMap::new(), Vec::with_capacity(document.keys.len()));
        for (number, key) in document.keys.into_iter().enumerate() {
            let here = format!("keys[{number}]");
            if key.consumer.is_empty() || key.consumer.contains(char::is_control) {
                return Err(at(&here, "consumer: is empty or has a control character in it".to_owned()));
            }
            for line in key.key.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let digest = digest_of(line).map_err(|message| at(&format!("{here}.key"), message))?;
                if known.insert(digest, identities.len()).is_some() {
                    return Err(at(&format!("{here}.key"), "repeats an earlier key".to_owned()));
                }
            }
            let tells =
                |(name, claim): (&String, &&String)| Some((name.clone(), key.metadata.get(*claim)?.clone()));
            let told: Vec<(String, String)> = headers.iter().zip(&claims).filter_map(tells).collect();
            if told.iter().any(|(_, value)| value.contains(char::is_control)) {
                return Err(at(&here, "metadata: has a control character in what a header tells".to_owned()));
            }
            identities.push(Rc::new(Identity {
                groups: key.groups,
                scopes: key.scopes,
                headers: told,
                claims: key
                    .metadata
                    .into_iter()
                    .map(|(name, value)| (name, Value::String(value)))
                    .collect::<Map<_, _>>(),
                ..Identity::new(KIND, key.consumer)
            }));
        }
        if known.is_empty() {
            return Err(at("keys", "no key is listed, so every request would be refused".to_owned()));
        }
        let challenge = challenge(&document.places);
        Ok(Keys {
            places: document.places,
            swept: !document.forward,
            known,
            recent: RefCell::new(Recent::new()),
            identities,
            headers,
            challenge,
        })
    }

    pub(crate) fn check(&self, request: &Request) -> Verdict {
        let found = self.places.iter().find_map(|place| {
            let value = place.read(request)?;
            presented(place, &value).map(|key| self.find(key))
        });
        match found.map(|at| at.and_then(|at| self.identities.get(at))) {
            None => Verdict::Nothing(Challenge::new(&self.challenge)),
            Some(Some(identity)) => identity.into(),
            Some(None) => {
                Refusal::new("key_unknown", "this API key is not known").challenge(&self.challenge).into()
            }
        }
    }

    /// Whose key it is.
    fn find(&self, key: &[u8]) -> Option<usize> {
        if let Some(at) = self.recent.borrow().get(key) {
            return Some(at);
        }
        let digest: [u8; 32] = Sha256::digest(key).into();
        let at = *self.known.get(&digest)?;
        self.recent.borrow_mut().put(key, at);
        Some(at)
    }

    pub(crate) fn places(&self) -> &[Place] {
        if self.swept { &self.places } else { &[] }
    }

    pub(crate) fn headers(&self) -> &[String] {
        &self.headers
    }
}

fn places() -> Vec<Place> {
    vec![Place::Header("x-api-key".to_owned())]
}

fn challenge(places: &[Place]) -> String {
    match places.first() {
        Some(Place::Header(name)) if name == "authorization" => "Bearer".to_owned(),
        Some(Place::Header(name)) => format!("ApiKey header=\"{name}\""),
        Some(Place::Query(_)) => "ApiKey in=\"query\"".to_owned(),
        _ => "ApiKey in=\"cookie\"".to_owned(),
    }
}

/// The key in a value; in `authorization` only behind its scheme, since others use that header too.
fn presented<'a>(place: &Place, value: &'a [u8]) -> Option<&'a [u8]> {
    let value = value.trim_ascii();
    match place {
        Place::Header(name) if name == "authorization" => {
            ["bearer", "apikey"].into_iter().find_map(|scheme| bytes::after_scheme(value, scheme))
        }
        _ => Some(value),
    }
}

/// The digest of a key as the configuration has it.
fn digest_of(key: &str) -> Result<[u8; 32], String> {
    let Some(figures) = key.strip_prefix("sha256:") else { return Ok(Sha256::digest(key).into()) };
    let digest = bytes::from_hex(figures.trim().as_bytes()).and_then(|bytes| bytes.try_into().ok());
    digest.ok_or_else(|| {
        "`sha256:` must be followed by 64 hexadecimal figures, as `sha256sum` writes them".to_owned()
    })
}
