//! Signatures of tokens: verified by the host where it offers that, else in here.

#[cfg(feature = "fallback")]
mod fallback;
#[cfg(feature = "fallback")]
mod rsa;

use std::cell::Cell;

use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::{Sha256, Sha384, Sha512};
use tidegate_sdk::{Error, foreign, log};

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the standards' names say what they are")]
pub(crate) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Algorithm {
    /// Those whose keys for verifying are public.
    pub(crate) const PUBLIC: [Algorithm; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
    const SECRET: [Algorithm; 3] = [Self::HS256, Self::HS384, Self::HS512];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The algorithm of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::PUBLIC.into_iter().chain(Self::SECRET).find(|known| known.name() == name)
    }

    /// Whether the verifier needs the signer's secret.
    pub(crate) fn is_secret(self) -> bool {
        Self::SECRET.contains(&self)
    }

    /// The bytes of its hash function's result; a secret must not be shorter (RFC 7518, section 3.2).
    pub(crate) fn hash_size(self) -> usize {
        match self {
            Self::RS256 | Self::PS256 | Self::ES256 | Self::HS256 => 32,
            Self::RS384 | Self::PS384 | Self::ES384 | Self::HS384 => 48,
            _ => 64,
        }
    }
}

/// What signatures are verified with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// `RSAPublicKey` of RFC 8017 in DER.
    Rsa(Vec<u8>),
    /// A point of P-256, uncompressed (SEC 1, section 2.3.3).
    P256(Vec<u8>),
    /// A point of P-384.
    P384(Vec<u8>),
    Ed25519([u8; 32]),
    Secret(Vec<u8>),
}

impl Material {
    /// Whether the algorithm is one for keys of this type. A public key is never a secret.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::*;
        match self {
            Material::Rsa(_) => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Material::P256(_) => algorithm == ES256,
            Material::P384(_) => algorithm == ES384,
            Material::Ed25519(_) => algorithm == EdDSA,
            Material::Secret(secret) => algorithm.is_secret() && secret.len() >= algorithm.hash_size(),
        }
    }

    /// Whether the signature is the key owner's.
    pub(crate) fn verify(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let key: &[u8] = match self {
            Material::Secret(secret) => return verify_mac(algorithm, secret, text, signature),
            Material::Rsa(key) | Material::P256(key) | Material::P384(key) => key,
            Material::Ed25519(key) => key,
        };
        match by_host(algorithm, key, text, signature) {
            Some(valid) => valid,
            None => self.verify_here(algorithm, text, signature),
        }
    }

    #[cfg(feature = "fallback")]
    fn verify_here(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        fallback::verify(self, algorithm, text, signature)
    }

    #[cfg(not(feature = "fallback"))]
    fn verify_here(&self, _: Algorithm, _: &[u8], _: &[u8]) -> bool {
        log::error!("signatures cannot be verified: the host does not, and the filter was built without");
        false
    }
}

/// HMAC of a text, compared in constant time.
pub(crate) fn verify_mac(algorithm: Algorithm, secret: &[u8], text: &[u8], signature: &[u8]) -> bool {
    fn verified<M: Mac>(mac: Option<M>, text: &[u8], signature: &[u8]) -> bool {
        mac.is_some_and(|mac| mac.chain_update(text).verify_slice(signature).is_ok())
    }
    match algorithm {
        Algorithm::HS256 => verified(Hmac::<Sha256>::new_from_slice(secret).ok(), text, signature),
        Algorithm::HS384 => verified(Hmac::<Sha384>::new_from_slice(secret).ok(), text, signature),
        Algorithm::HS512 => verified(Hmac::<Sha512>::new_from_slice(secret).ok(), text, signature),
        _ => false,
    }
}

thread_local! {
    /// The host has said that it does not know the function.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// By the host's function `tidegate_verify`; nothing where there is none.
fn by_host(algorithm: Algorithm, key: &[u8], text: &[u8], signature: &[u8]) -> Option<bool> {
    if ALONE.get() {
        return None;
    }
    let parts = [algorithm.name().as_bytes(), key, signature, text];
    let mut message = Vec::with_capacity(parts.iter().map(|part| part.len() + 6).sum());
    for (part, number) in parts.into_iter().zip(1_u8..) {
        message.push(number << 3 | 2);
        let mut size = part.len();
        while size >= 0x80 {
            message.push(u8::try_from(size & 0x7f).unwrap_or_default() | 0x80);
            size >>= 7;
        }
        message.push(u8::try_from(size).unwrap_or_default());
        message.extend_from_slice(part);
    }
    match foreign::call("tidegate_verify", &message) {
        Ok(answer) => Some(answer == [1]),
        // A key that it cannot read, which others may.
        Err(Error::Refused { status: BAD_ARGUMENT, .. }) => None,
        Err(error) => {
            log::debug!("signatures are verified without the host: {error}");
            ALONE.set(true);
            None
        }
    }
}

const BAD_ARGUMENT: u32 = 2;
