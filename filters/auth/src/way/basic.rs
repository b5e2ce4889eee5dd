//! Names and passwords (RFC 7617), whose hashes are lines of a file as `htpasswd` writes it.
//!
//! Hashes of passwords are slow on purpose, so what was right once is remembered for a while, by a digest with a secret
//! that only this instance knows; and no more than a few are computed at the same time. The host computes them where it can,
//! off its workers; elsewhere the filter does it itself.

mod turns;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tidegate_password::Hash;
use tidegate_sdk::units::Span;
use tidegate_sdk::{ConfigError, Error, foreign, log, random, time};

use crate::Request;
use crate::bytes;
use crate::cache::Cache;
use crate::identity::Identity;
use crate::place::Place;
use crate::verdict::{Challenge, Refusal, Verdict};
use turns::Turns;

pub(super) const KIND: &str = "basic";

/// Names and passwords.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// Lines of `name:hash`, mostly `${file:htpasswd}`: bcrypt as `htpasswd -B` writes it, or argon2.
    users: String,
    /// What the browser shows.
    #[serde(default = "realm")]
    realm: String,
    /// Groups by user.
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    /// How long a password that was right is remembered, by each worker; `0s` for not at all.
    #[serde(default = "remembered")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    remember: Span,
    /// Lets the upstream see name and password.
    #[serde(default)]
    forward: bool,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("realm", &self.realm).finish_non_exhaustive()
    }
}

fn realm() -> String {
    "restricted".to_owned()
}

fn remembered() -> Span {
    Span::seconds(300)
}

/// The known users.
pub(crate) struct Users {
    known: BTreeMap<String, User>,
    challenge: String,
    remember: Duration,
    places: Vec<Place>,
    /// Digests of what was right, each with when it is forgotten.
    right: RefCell<Cache<[u8; 32], Duration>>,
    secret: OnceCell<Option<[u8; 32]>>,
    turns: Turns,
    /// Whether the host computes hashes, once that is known.
    hosted: OnceCell<bool>,
}

struct User {
    /// The hash as it is written.
    line: String,
    hash: Hash,
    identity: Rc<Identity>,
}

impl Users {
    pub(crate) fn build(mut document: Document, path: &str) -> Result<Self, ConfigError> {
        let at = |key: &str, message: String| ConfigError::at(format!("{path}.{key}"), message);
        let mut known = BTreeMap::new();
        for (number, line) in document.users.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |message: &str| at("users", format!("line {}: {message}", number + 1));
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("is not `name:hash`"))?;
            if name.is_empty() || name.contains(char::is_control) {
                return Err(wrong("the name is empty or has a control character in it"));
            }
            let (line, hash) =
                (hash.to_owned(), Hash::read(hash).map_err(|problem| wrong(&problem.to_string()))?);
            let groups = document.groups.remove(name).unwrap_or_default();
            let identity = Rc::new(Identity { groups, ..Identity::new(KIND, name) });
            if known.insert(name.to_owned(), User { line, hash, identity }).is_some() {
                return Err(wrong("the name is that of an earlier line"));
            }
        }
        if known.is_empty() {
            return Err(at("users", "no user is listed, so every request would be refused".to_owned()));
        }
        if let Some(name) = document.groups.keys().next() {
            return Err(at("groups", format!("\"{name}\" is not among the users")));
        }
        if document.realm.contains(|char: char| char.is_control() || char == '"' || char == '\\') {
            return Err(at("realm", "must not have quotation marks or control characters in it".to_owned()));
        }
        let places = if document.forward { vec![] } else { vec![Place::Header("authorization".to_owned())] };
        Ok(Users {
            known,
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", document.realm),
            remember: document.remember.0,
            places,
            right: RefCell::new(Cache::new(REMEMBERED)),
            secret: OnceCell::new(),
            turns: Turns::default(),
            hosted: OnceCell::new(),
        })
    }

    pub(crate) async fn check(&self, request: &Request) -> Verdict {
        let header = request.headers().get("authorization").unwrap_or_default();
        let Some(credentials) = bytes::after_scheme(header.trim_ascii(), "basic") else {
            return Verdict::Nothing(Challenge::new(&self.challenge));
        };
        match self.verify(credentials).await {
            Ok(identity) => Verdict::Known(identity),
            Err(mut refusal) => {
                refusal.challenge = Some(self.challenge.clone());
                refusal.into()
            }
        }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    async fn verify(&self, credentials: &[u8]) -> Result<Rc<Identity>, Refusal> {
        let malformed = || Refusal::new("basic_malformed", "these are no well-formed credentials");
        let text = bytes::from_base64(credentials).and_then(|text| String::from_utf8(text).ok());
        let text = text.ok_or_else(malformed)?;
        let (name, password) = text.split_once(':').ok_or_else(malformed)?;
        if password.len() > PASSWORD_BYTES || text.contains('\0') {
            return Err(malformed());
        }
        // Somebody unknown costs as much as somebody known, or the time would tell who is.
        let known = self.known.get(name);
        let user = known.or_else(|| self.known.values().next()).ok_or_else(malformed)?;
        let digest = self.digest(&text);
        let is_right = self.is_remembered(digest) || self.is_right(user, password, digest).await?;
        match known {
            Some(user) if is_right => {
                if let Some(digest) = digest {
                    self.remember(digest);
                }
                Ok(Rc::clone(&user.identity))
            }
            _ => Err(Refusal::new("basic_wrong", "name or password is wrong")),
        }
    }

    /// Has the hash computed, after others have theirs.
    async fn is_right(&self, user: &User, password: &str, digest: Option<[u8; 32]>) -> Result<bool, Refusal> {
        let hosted = *self.hosted.get_or_init(|| foreign::has(HOSTED));
        let at_once = if hosted { ASKED_AT_ONCE } else { COMPUTED_AT_ONCE };
        let turn = time::timeout(PATIENCE, self.turns.next(at_once)).await;
        let _turn = turn.map_err(|_| busy())?;
        // Others may have come with the same password.
        if self.is_remembered(digest) {
            return Ok(true);
        }
        if hosted {
            return ask(&user.line, password).await.map_err(|error| {
                log::warn!("no password is checked: {error}");
                busy()
            });
        }
        let mut check = user.hash.check(password.as_bytes());
        loop {
            if let Some(right) = check.step() {
                return Ok(right);
            }
            time::sleep(PAUSE).await;
        }
    }

    fn is_remembered(&self, digest: Option<[u8; 32]>) -> bool {
        let until = digest.and_then(|digest| self.right.borrow_mut().get(&digest));
        until.is_some_and(|until| time::now() < until)
    }

    /// Being asked again does not make it last longer.
    fn remember(&self, digest: [u8; 32]) {
        if !self.is_remembered(Some(digest)) {
            self.right.borrow_mut().put(digest, time::now().saturating_add(self.remember));
        }
    }

    fn digest(&self, credentials: &str) -> Option<[u8; 32]> {
        if self.remember.is_zero() {
            return None;
        }
        // Drawn when it is first needed: instances that are made of one image must not share it.
        let secret = self.secret.get_or_init(|| random::bytes().ok());
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_ref()?).ok()?;
        Some(mac.chain_update(credentials).finalize().into_bytes().into())
    }
}

/// Has the host compute a hash.
async fn ask(hash: &str, password: &str) -> Result<bool, Error> {
    let length = u16::try_from(password.len()).unwrap_or(u16::MAX);
    let argument = [&length.to_le_bytes(), password.as_bytes(), hash.as_bytes()].concat();
    let answer = foreign::call_later(HOSTED, argument).await?;
    Ok(answer == [1])
}

fn busy() -> Refusal {
    Refusal::new("basic_busy", "too many passwords are being checked").status(503)
}

/// What the host computes hashes by.
const HOSTED: &str = "tidegate_verify_password";

/// Digests that are remembered.
const REMEMBERED: usize = 4096;

/// The longest password; no hash looks at more than a part of a longer one, or would be quick with it.
const PASSWORD_BYTES: usize = 1024;

/// Hashes that are computed in here at the same time.
const COMPUTED_AT_ONCE: usize = 2;

/// Hashes that the host is asked for at the same time.
const ASKED_AT_ONCE: usize = 16;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two slices of a hash, for other requests.
const PAUSE: Duration = Duration::from_millis(1);
