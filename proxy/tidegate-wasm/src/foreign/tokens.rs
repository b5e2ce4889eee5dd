//! Signatures of tokens as `tidegate_verify` verifies them: the algorithms of RFC 7518 and 8037, by their names there.

use std::cell::RefCell;
use std::collections::HashMap;

use aws_lc_rs::signature::{self as algorithm, ParsedPublicKey, VerificationAlgorithm};

thread_local! {
    /// Keys that were read before, by algorithm and bytes. They are public, so all plugins of a worker may share them.
    static KEYS: RefCell<HashMap<Box<[u8]>, ParsedPublicKey>> = RefCell::new(HashMap::new());
}

/// Keys that are kept read; beyond, all are read anew.
const KEPT: usize = 256;

/// The longest key: RSA of 8192 bits has about 1 KiB.
const KEY_BYTES: usize = 4096;

/// Whether `signature` is that of `text` by this key: SPKI in DER, or the key alone, which is `RSAPublicKey` in DER, an
/// uncompressed point, or 32 bytes of Ed25519. Nothing when the algorithm is not known, or the key is none for it.
pub(crate) fn verify(name: &[u8], key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
    let algorithm = named(name)?;
    if key.len() > KEY_BYTES {
        return None;
    }
    // A name has no zero byte, so no other pair gives these bytes.
    let id = [name, b"\0", key].concat();
    KEYS.with_borrow_mut(|keys| {
        if let Some(known) = keys.get(id.as_slice()) {
            return Some(known.verify_sig(text, signature).is_ok());
        }
        let parsed = ParsedPublicKey::new(algorithm, key).ok()?;
        let valid = parsed.verify_sig(text, signature).is_ok();
        if keys.len() >= KEPT {
            keys.clear();
        }
        keys.insert(id.into(), parsed);
        Some(valid)
    })
}

fn named(name: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match name {
        b"RS256" => &algorithm::RSA_PKCS1_2048_8192_SHA256,
        b"RS384" => &algorithm::RSA_PKCS1_2048_8192_SHA384,
        b"RS512" => &algorithm::RSA_PKCS1_2048_8192_SHA512,
        b"PS256" => &algorithm::RSA_PSS_2048_8192_SHA256,
        b"PS384" => &algorithm::RSA_PSS_2048_8192_SHA384,
        b"PS512" => &algorithm::RSA_PSS_2048_8192_SHA512,
        b"ES256" => &algorithm::ECDSA_P256_SHA256_FIXED,
        b"ES384" => &algorithm::ECDSA_P384_SHA384_FIXED,
        b"ES512" => &algorithm::ECDSA_P521_SHA512_FIXED,
        b"EdDSA" => &algorithm::ED25519,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA512, RsaKeyPair,
    };

    #[test]
    fn signatures_are_verified_by_keys_in_both_forms() {
        let random = SystemRandom::new();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut of_rsa = [vec![0; 256], vec![0; 256]];
        rsa.sign(&RSA_PKCS1_SHA256, &random, b"text", &mut of_rsa[0]).unwrap();
        rsa.sign(&RSA_PSS_SHA512, &random, b"text", &mut of_rsa[1]).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let of_ec = ec.sign(&random, b"text").unwrap().as_ref().to_vec();
        let ed = Ed25519KeyPair::generate().unwrap();
        let of_ed = ed.sign(b"text").as_ref().to_vec();
        let rsa_der: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
        let ec_der: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
        let ed_der: PublicKeyX509Der<'_> = ed.public_key().as_der().unwrap();
        let [pkcs1, pss] = of_rsa;
        for (name, alone, der, signature) in [
            (&b"RS256"[..], rsa.public_key().as_ref(), rsa_der.as_ref(), pkcs1),
            (b"PS512", rsa.public_key().as_ref(), rsa_der.as_ref(), pss),
            (b"ES256", ec.public_key().as_ref(), ec_der.as_ref(), of_ec),
            (b"EdDSA", ed.public_key().as_ref(), ed_der.as_ref(), of_ed),
        ] {
            for key in [alone, der] {
                for _ in 0..2 {
                    assert_eq!(verify(name, key, &signature, b"text"), Some(true));
                    assert_eq!(verify(name, key, &signature, b"Text"), Some(false));
                    assert_eq!(verify(name, key, &signature[1..], b"text"), Some(false));
                    assert_eq!(verify(name, key, b"", b"text"), Some(false));
                }
            }
            assert_eq!(verify(name, b"no key", &signature, b"text"), None);
            assert_eq!(verify(b"ES384", alone, &signature, b"text"), None);
            assert_eq!(verify(b"none", alone, b"", b"text"), None);
        }
    }

    #[test]
    fn more_keys_than_are_kept_are_verified_as_well() {
        let ed = Ed25519KeyPair::generate().unwrap();
        for _ in 0..KEPT + 2 {
            let other = Ed25519KeyPair::generate().unwrap();
            let key = other.public_key().as_ref();
            assert_eq!(verify(b"EdDSA", key, ed.sign(b"text").as_ref(), b"text"), Some(false));
        }
        assert_eq!(
            verify(b"EdDSA", ed.public_key().as_ref(), ed.sign(b"text").as_ref(), b"text"),
            Some(true)
        );
    }
}
