//! Signatures as `sign` and `verify_signature` offer them: RSA (PKCS #1, v1.5) and ECDSA (ASN.1), with keys in DER
//! or PEM.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self as algorithm, EcdsaKeyPair, ParsedPublicKey, RsaKeyPair, VerificationAlgorithm},
};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Bytes that are signed or verified at once.
const TEXT_BYTES: usize = 8 << 20;

/// Why there is no signature, or not a valid one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key is none.
    Key,
    /// In words for the guest.
    Reason(String),
}

/// A key in one of two forms; exactly one must be there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Key<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) pem: &'a [u8],
}

impl Key<'_> {
    fn bytes(self) -> Result<Vec<u8>, Refusal> {
        match (self.der, self.pem) {
            (der, []) if !der.is_empty() => Ok(der.to_vec()),
            ([], pem) if !pem.is_empty() => from_pem(pem).ok_or(Refusal::Key),
            _ => Err(Refusal::Key),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn named(name: &[u8]) -> Result<Self, Refusal> {
        let known = [
            (&b"sha1"[..], Self::Sha1),
            (b"sha256", Self::Sha256),
            (b"sha384", Self::Sha384),
            (b"sha512", Self::Sha512),
        ];
        let found = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let unknown = || Refusal::Reason(format!("{} is not supported.", String::from_utf8_lossy(name)));
        found.map(|(_, hash)| hash).ok_or_else(unknown)
    }

    /// RSA first, then the curves.
    fn verifiers(self) -> &'static [&'static dyn VerificationAlgorithm] {
        match self {
            Self::Sha1 => &[
                &algorithm::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                &algorithm::ECDSA_P256_SHA1_ASN1,
                &algorithm::ECDSA_P521_SHA1_ASN1,
            ],
            Self::Sha256 => &[
                &algorithm::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                &algorithm::ECDSA_P256_SHA256_ASN1,
                &algorithm::ECDSA_P384_SHA256_ASN1,
                &algorithm::ECDSA_P521_SHA256_ASN1,
                &algorithm::ECDSA_P256K1_SHA256_ASN1,
            ],
            Self::Sha384 => &[
                &algorithm::RSA_PKCS1_2048_8192_SHA384,
                &algorithm::ECDSA_P256_SHA384_ASN1,
                &algorithm::ECDSA_P384_SHA384_ASN1,
                &algorithm::ECDSA_P521_SHA384_ASN1,
            ],
            Self::Sha512 => &[
                &algorithm::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                &algorithm::ECDSA_P256_SHA512_ASN1,
                &algorithm::ECDSA_P384_SHA512_ASN1,
                &algorithm::ECDSA_P521_SHA512_ASN1,
            ],
        }
    }

    fn rsa(self) -> Option<&'static algorithm::RsaSignatureEncoding> {
        match self {
            Self::Sha1 => None,
            Self::Sha256 => Some(&algorithm::RSA_PKCS1_SHA256),
            Self::Sha384 => Some(&algorithm::RSA_PKCS1_SHA384),
            Self::Sha512 => Some(&algorithm::RSA_PKCS1_SHA512),
        }
    }

    fn ecdsa(self) -> &'static [&'static algorithm::EcdsaSigningAlgorithm] {
        match self {
            Self::Sha1 => &[],
            Self::Sha256 => {
                &[&algorithm::ECDSA_P256_SHA256_ASN1_SIGNING, &algorithm::ECDSA_P521_SHA256_ASN1_SIGNING]
            }
            Self::Sha384 => {
                &[&algorithm::ECDSA_P384_SHA384_ASN1_SIGNING, &algorithm::ECDSA_P521_SHA384_ASN1_SIGNING]
            }
            Self::Sha512 => &[&algorithm::ECDSA_P521_SHA512_ASN1_SIGNING],
        }
    }
}

/// Whether `signature` is that of `text`, as the key's owner makes it.
pub(crate) fn verify(hash: &[u8], key: Key<'_>, signature: &[u8], text: &[u8]) -> Result<(), Refusal> {
    let key = key.bytes()?;
    if !Hash::Sha256.verifiers().iter().any(|algorithm| ParsedPublicKey::new(*algorithm, &key).is_ok()) {
        return Err(Refusal::Key);
    }
    let hash = Hash::named(hash)?;
    check_length(text)?;
    let known = hash.verifiers().iter().find_map(|algorithm| ParsedPublicKey::new(*algorithm, &key).ok());
    let unfit = || Refusal::Reason("the key does not go with this hash function".into());
    let wrong = |_| Refusal::Reason("Failed to verify digest. Error code: 0".into());
    known.ok_or_else(unfit)?.verify_sig(text, signature).map_err(wrong)
}

/// Signs `text`.
pub(crate) fn sign(hash: &[u8], key: Key<'_>, text: &[u8]) -> Result<Vec<u8>, Refusal> {
    let key = key.bytes()?;
    let rsa = RsaKeyPair::from_pkcs8(&key).or_else(|_| RsaKeyPair::from_der(&key)).ok();
    if rsa.is_none() && !CURVES.iter().any(|curve| ec_key(curve, &key).is_some()) {
        return Err(Refusal::Key);
    }
    let hash = Hash::named(hash)?;
    check_length(text)?;
    let unfit = || Refusal::Reason("the key does not go with this hash function".into());
    let failed = |_| Refusal::Reason("Failed to create signature.".into());
    if let Some(rsa) = rsa {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(hash.rsa().ok_or_else(unfit)?, &SystemRandom::new(), text, &mut signature)
            .map_err(failed)?;
        return Ok(signature);
    }
    let pair = hash.ecdsa().iter().find_map(|curve| ec_key(curve, &key)).ok_or_else(unfit)?;
    Ok(pair.sign(&SystemRandom::new(), text).map_err(failed)?.as_ref().to_vec())
}

/// One algorithm of each curve.
const CURVES: [&algorithm::EcdsaSigningAlgorithm; 3] = [
    &algorithm::ECDSA_P256_SHA256_ASN1_SIGNING,
    &algorithm::ECDSA_P384_SHA384_ASN1_SIGNING,
    &algorithm::ECDSA_P521_SHA512_ASN1_SIGNING,
];

fn ec_key(curve: &'static algorithm::EcdsaSigningAlgorithm, key: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(curve, key).or_else(|_| EcdsaKeyPair::from_private_key_der(curve, key)).ok()
}

fn check_length(text: &[u8]) -> Result<(), Refusal> {
    let limit = || Refusal::Reason(format!("{} bytes of text, {TEXT_BYTES} are allowed", text.len()));
    if text.len() > TEXT_BYTES { Err(limit()) } else { Ok(()) }
}

/// The bytes between the first BEGIN line and the END line.
fn from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
    lines.next()?;
    let mut base64 = String::new();
    for line in lines {
        if line.starts_with("-----END ") {
            return from_base64(base64.as_bytes());
        }
        base64.push_str(line);
    }
    None
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    PEM.decode(text).ok()
}

/// As OpenSSL reads PEM: padded; what the last letter has more than is needed is not looked at.
const PEM: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::KeyPair;

    fn der(der: &[u8]) -> Key<'_> {
        Key { der, pem: b"" }
    }

    fn reason(text: &str) -> Refusal {
        Refusal::Reason(text.into())
    }

    #[test]
    fn what_is_signed_is_verified() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
        let mut rows = vec![("sha256", private.as_ref().to_vec(), public.as_ref().to_vec())];
        rows.push(("SHA512", rows[0].1.clone(), rows[0].2.clone()));
        rows.push(("sha384", rows[0].1.clone(), rows[0].2.clone()));
        for (hash, curve) in ["sha256", "sha384", "sha512"].into_iter().zip(CURVES) {
            let pair = EcdsaKeyPair::generate(curve).unwrap();
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            rows.push((hash, pair.to_pkcs8v1().unwrap().as_ref().to_vec(), public.as_ref().to_vec()));
        }
        for (hash, private, public) in rows {
            let hash = hash.as_bytes();
            let signature = sign(hash, der(&private), b"text").unwrap();
            assert_eq!(verify(hash, der(&public), &signature, b"text"), Ok(()));
            let wrong = Err(reason("Failed to verify digest. Error code: 0"));
            assert_eq!(verify(hash, der(&public), &signature, b"Text"), wrong);
            assert_eq!(verify(hash, der(&public), b"", b"text"), wrong);
            assert_eq!(
                verify(b"md5", der(&public), &signature, b"text"),
                Err(reason("md5 is not supported."))
            );
            assert_eq!(
                sign(b"sha1", der(&private), b""),
                Err(reason("the key does not go with this hash function"))
            );
            assert_eq!(sign(b"?", der(&private), b""), Err(reason("? is not supported.")));
        }
    }

    #[test]
    fn keys_are_der_or_pem_and_not_both() {
        let pair = EcdsaKeyPair::generate(CURVES[0]).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let pem = format!(
            "comment\n-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            PEM.encode(private.as_ref())
        );
        let pem = pem.as_bytes();
        assert!(sign(b"sha256", Key { der: b"", pem }, b"text").is_ok());
        for key in [
            Key::default(),
            Key { der: private.as_ref(), pem },
            der(b"no key"),
            Key { der: b"", pem: b"-----BEGIN PRIVATE KEY-----\nAAAA" },
            Key { der: b"", pem: &pem[..pem.len() - 30] },
        ] {
            assert_eq!(sign(b"sha256", key, b"text"), Err(Refusal::Key));
            assert_eq!(verify(b"sha256", key, b"", b"text"), Err(Refusal::Key));
        }
    }

    #[test]
    fn base64_is_read_strictly() {
        for plain in [&b""[..], b"a", b"ab", b"abc", b"abcd\xff"] {
            assert_eq!(from_base64(PEM.encode(plain).as_bytes()).as_deref(), Some(plain));
        }
        for text in ["a", "abc", "a===", "ab=c", "ab-_", "====", "ab==ab==", "abcd\n", " abc", "abcd===="] {
            assert_eq!(from_base64(text.as_bytes()), None, "{text}");
        }
    }
}
