//! A token taken apart (RFC 7515, section 7.1), nothing of it believed yet.

use serde_json::{Map, Value};

use crate::bytes::from_base64url;
use crate::crypto::Algorithm;
use crate::json;
use crate::verdict::Refusal;

/// The parts of a token.
pub(in crate::way) struct Token<'a> {
    pub(in crate::way) algorithm: Algorithm,
    /// Which of the issuer's keys has signed it, as it says.
    pub(in crate::way) key: Option<String>,
    /// What kind of token it is, as it says.
    pub(in crate::way) kind: Option<String>,
    pub(in crate::way) claims: Map<String, Value>,
    /// What is signed.
    pub(in crate::way) text: &'a [u8],
    pub(in crate::way) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token apart. Keys that it brings along (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
    pub(in crate::way) fn read(token: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = || Refusal::new("jwt_malformed", "this is not a well-formed token");
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let text = token.get(..head.len() + 1 + claims.len()).ok_or_else(malformed)?;
        let head = from_base64url(head).and_then(|head| json::object(&head)).ok_or_else(malformed)?;
        let text_of = |name: &str| match head.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= NAME_BYTES => Ok(Some(text.clone())),
            Some(_) => Err(malformed()),
        };
        if head.contains_key("crit") {
            return Err(Refusal::new("jwt_critical", "the token demands an extension that is not known"));
        }
        let algorithm = text_of("alg")?.ok_or_else(malformed)?;
        let algorithm = Algorithm::named(&algorithm)
            .ok_or_else(|| Refusal::new("jwt_algorithm", "the token's algorithm is not accepted"))?;
        let (key, kind) = (text_of("kid")?, text_of("typ")?);
        let claims = from_base64url(claims).and_then(|claims| json::object(&claims)).ok_or_else(malformed)?;
        let signature = from_base64url(signature).ok_or_else(malformed)?;
        Ok(Token { algorithm, key, kind, claims, text, signature })
    }
}

/// The longest name of a key or kind.
const NAME_BYTES: usize = 512;
