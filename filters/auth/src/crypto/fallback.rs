//! Signatures verified in the guest, for hosts without a function for it.

use p256::ecdsa::signature::Verifier;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::rsa::{PublicKey, is_pkcs1, is_pss};
use super::{Algorithm, Material};

/// Whether the signature is the key owner's. The algorithm is one for such keys.
pub(super) fn verify(key: &Material, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
    let valid = match key {
        Material::Rsa(der) => by_rsa(der, algorithm, text, signature),
        Material::P256(point) => by_p256(point, text, signature),
        Material::P384(point) => by_p384(point, text, signature),
        Material::Ed25519(key) => by_ed25519(key, text, signature),
        Material::Secret(_) => None,
    };
    valid.unwrap_or(false)
}

fn by_rsa(der: &[u8], algorithm: Algorithm, text: &[u8], signature: &[u8]) -> Option<bool> {
    let key = PublicKey::from_der(der)?;
    let encoded = key.open(signature)?;
    Some(match algorithm {
        Algorithm::RS256 => is_pkcs1(&encoded, &SHA256, &Sha256::digest(text)),
        Algorithm::RS384 => is_pkcs1(&encoded, &SHA384, &Sha384::digest(text)),
        Algorithm::RS512 => is_pkcs1(&encoded, &SHA512, &Sha512::digest(text)),
        Algorithm::PS256 => is_pss::<Sha256>(&encoded, key.bits(), text),
        Algorithm::PS384 => is_pss::<Sha384>(&encoded, key.bits(), text),
        Algorithm::PS512 => is_pss::<Sha512>(&encoded, key.bits(), text),
        _ => false,
    })
}

fn by_p256(point: &[u8], text: &[u8], signature: &[u8]) -> Option<bool> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
    Some(key.verify(text, &signature).is_ok())
}

fn by_p384(point: &[u8], text: &[u8], signature: &[u8]) -> Option<bool> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    let signature = p384::ecdsa::Signature::from_slice(signature).ok()?;
    Some(key.verify(text, &signature).is_ok())
}

fn by_ed25519(key: &[u8; 32], text: &[u8], signature: &[u8]) -> Option<bool> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).ok()?;
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    Some(key.verify_strict(text, &signature).is_ok())
}

/// The beginnings of a `DigestInfo` in DER (RFC 8017, section 9.2, note 1).
const SHA256: [u8; 19] = [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
const SHA384: [u8; 19] = [0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 0x30];
const SHA512: [u8; 19] = [0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 0x40];
