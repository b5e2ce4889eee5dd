//! Sets of keys (RFC 7517).

use serde_json::{Map, Value};

use crate::bytes::from_base64url;
use crate::crypto::{Algorithm, Material};

/// The keys of an issuer.
#[derive(Default)]
pub(in crate::way) struct KeySet {
    keys: Vec<Key>,
    /// Which of the sets of its source it is.
    pub(in crate::way) generation: u64,
}

struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
}

impl KeySet {
    /// Reads a JWK set, or a single key. Keys for other purposes or of unknown types are left out; a set without a
    /// usable key is an error.
    pub(in crate::way) fn read(text: &[u8], generation: u64) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        let list = match value {
            Value::Object(mut set) if set.contains_key("keys") => match set.remove("keys") {
                Some(Value::Array(list)) => list,
                _ => return Err("has `keys` that are no list".to_owned()),
            },
            Value::Object(key) => vec![Value::Object(key)],
            _ => return Err("is no JWK set, as { \"keys\": […] } is".to_owned()),
        };
        let keys: Vec<Key> = list.iter().filter_map(|key| Key::read(key.as_object()?)).take(KEYS).collect();
        match keys.is_empty() {
            true => Err("has no key that signatures could be verified with".to_owned()),
            false => Ok(KeySet { keys, generation }),
        }
    }

    /// A set of one secret.
    pub(in crate::way) fn of_secret(secret: Vec<u8>) -> Self {
        let key = Key { id: None, algorithm: None, material: Material::Secret(secret) };
        KeySet { keys: vec![key], generation: 0 }
    }

    /// Whether there is none.
    pub(in crate::way) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token of this algorithm and key's name may be signed by.
    pub(in crate::way) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Material> {
        let named = id.is_some_and(|id| self.keys.iter().any(|key| key.id.as_deref() == Some(id)));
        let is_meant = move |key: &&Key| match id {
            Some(id) if named => key.id.as_deref() == Some(id),
            // A key without a name may be any; one with another name is not meant.
            Some(_) => key.id.is_none(),
            None => true,
        };
        let fits = move |key: &&Key| {
            key.algorithm.is_none_or(|only| only == algorithm) && key.material.fits(algorithm)
        };
        self.keys.iter().filter(is_meant).filter(fits).map(|key| &key.material).take(TRIED)
    }

    /// Whether some key may have signed such a token.
    pub(in crate::way) fn has(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.candidates(id, algorithm).next().is_some()
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        if let Some(Value::Array(purposes)) = jwk.get("key_ops") {
            purposes.iter().find(|purpose| purpose.as_str() == Some("verify"))?;
        }
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let bytes = |name: &str| text(name).and_then(|text| from_base64url(text.as_bytes()));
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa(rsa(&bytes("n")?, &bytes("e")?)?),
            ("EC", Some("P-256")) => Material::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?.try_into().ok()?),
            ("oct", _) => Material::Secret(bytes("k")?),
            _ => return None,
        };
        Some(Key { id: text("kid").map(str::to_owned), algorithm, material })
    }
}

/// `RSAPublicKey` in DER, of a modulus of at least 2048 bits.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let significant = modulus.iter().position(|byte| *byte != 0).and_then(|at| modulus.get(at..))?;
    if !(256..=1024).contains(&significant.len()) || exponent.is_empty() || exponent.len() > 8 {
        return None;
    }
    let mut content = Vec::with_capacity(modulus.len() + 16);
    for number in [modulus, exponent] {
        let at = number.iter().position(|byte| *byte != 0)?;
        let number = number.get(at..)?;
        // A first bit that is set would make it negative.
        let sign: &[u8] = if number.first()? & 0x80 == 0 { &[] } else { &[0] };
        element(&mut content, 2, &[sign, number].concat());
    }
    let mut der = Vec::with_capacity(content.len() + 4);
    element(&mut der, 0x30, &content);
    Some(der)
}

fn element(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let [.., high, low] = content.len().to_be_bytes();
    match (high, low) {
        (0, ..0x80) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
}

fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [&[4], x, y].concat())
}

/// Keys that are kept of a set.
const KEYS: usize = 64;

/// Keys that are tried for one token.
const TRIED: usize = 8;
