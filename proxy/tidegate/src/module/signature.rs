//! Signatures of modules.
//!
//! A signature is a custom section `tidegate.signature`: one byte of version (1), eight bytes that name the key (the
//! first of the SHA-256 of the raw public key), 64 bytes of ed25519. What is signed is the text
//! `tidegate.signature.v1`, a zero byte, and the SHA-256 of the module without all sections of that name. So a module
//! can have several signatures, and each stays valid when another one comes or goes. Keys are PEM files, as
//! `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::sections;
use crate::assets::digest;

/// The section that holds a signature.
const SECTION: &str = "tidegate.signature";

/// Names a key: the first bytes of its digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that modules are trusted by.
pub(crate) struct PublicKey([u8; 32]);

/// A key that modules are signed with.
pub(crate) struct PrivateKey(Ed25519KeyPair);

/// A new pair of keys, each in PEM.
pub(crate) struct NewKeys {
    pub(crate) private: String,
    pub(crate) public: String,
    pub(crate) id: KeyId,
}

impl PublicKey {
    /// All keys of a PEM file; at least one.
    pub(crate) fn read_all(pem: &[u8]) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let key = key.map_err(|error| format!("it is not a PEM file: {error}"))?;
            let raw = key.as_ref().strip_prefix(&SPKI_PREFIX).and_then(|raw| raw.try_into().ok());
            keys.push(Self(raw.ok_or("it has a key that is not one of ed25519")?));
        }
        match keys.is_empty() {
            true => Err("it has no public key; wanted: -----BEGIN PUBLIC KEY-----".to_owned()),
            false => Ok(keys),
        }
    }

    /// Its name.
    pub(crate) fn id(&self) -> KeyId {
        id(&self.0)
    }
}

impl PrivateKey {
    /// The key of a PEM file.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| "it has no private key; wanted: -----BEGIN PRIVATE KEY-----".to_owned())?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| "its key is not one of ed25519".to_owned())
    }

    /// Its name.
    pub(crate) fn id(&self) -> KeyId {
        id(self.0.public_key().as_ref())
    }

    /// The module with a signature of this key, in the place of an earlier one of it.
    pub(crate) fn sign(&self, module: &[u8]) -> Result<Vec<u8>, String> {
        let plain = sections::without(module, SECTION)?;
        let mut signed = plain.clone();
        for other in sections::custom(module, SECTION)? {
            if parse(other).is_none_or(|(id, _)| id != self.id()) {
                signed = sections::with(&signed, SECTION, other);
            }
        }
        let signature = self.0.try_sign(&message(&plain)).map_err(|_| "the key cannot sign".to_owned())?;
        let mut data = vec![VERSION];
        data.extend(self.id().0);
        data.extend(signature.as_ref());
        Ok(sections::with(&signed, SECTION, &data))
    }
}

/// Makes a pair of keys.
pub(crate) fn keygen() -> Result<NewKeys, String> {
    let failed = |_| "a key cannot be made".to_owned();
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let raw = pair.public_key().as_ref();
    Ok(NewKeys {
        private: pem("PRIVATE KEY", private.as_ref()),
        public: pem("PUBLIC KEY", &[&SPKI_PREFIX[..], raw].concat()),
        id: id(raw),
    })
}

/// Checks that one of the keys has signed the module as it is; which one.
pub(crate) fn verify(module: &[u8], keys: &[PublicKey]) -> Result<KeyId, String> {
    let signatures = sections::custom(module, SECTION)?;
    if signatures.is_empty() {
        return Err("the module is not signed; `tidegate filter sign` signs it".to_owned());
    }
    let message = message(&sections::without(module, SECTION)?);
    let mut broken = None;
    for (id, signature) in signatures.iter().filter_map(|data| parse(data)) {
        for key in keys.iter().filter(|key| key.id() == id) {
            if UnparsedPublicKey::new(&ED25519, &key.0).verify(&message, signature).is_ok() {
                return Ok(id);
            }
            broken = Some(id);
        }
    }
    let known: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
    let known = known.join(", ");
    Err(match broken {
        Some(id) => {
            format!("the signature of key {id} does not fit: the module was changed after it was signed")
        }
        None => match signers(module)?.as_slice() {
            [] => "the module's signature is not understood: it was made for another version".to_owned(),
            found => {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                format!(
                    "the module is signed by the key {}, and the trusted one is {known}",
                    found.join(", ")
                )
            }
        },
    })
}

/// The keys that a module says it is signed by; nothing is verified.
pub(crate) fn signers(module: &[u8]) -> Result<Vec<KeyId>, String> {
    let signatures = sections::custom(module, SECTION)?;
    Ok(signatures.iter().filter_map(|data| parse(data)).map(|(id, _)| id).collect())
}

fn id(raw: &[u8]) -> KeyId {
    let digest = digest(raw);
    let mut id = [0; 8];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    KeyId(id)
}

fn parse(data: &[u8]) -> Option<(KeyId, &[u8])> {
    let rest = data.strip_prefix(&[VERSION])?;
    let (id, signature) = rest.split_at_checked(8)?;
    (signature.len() == 64).then_some((KeyId(id.try_into().ok()?), signature))
}

fn message(plain: &[u8]) -> Vec<u8> {
    [&b"tidegate.signature.v1\0"[..], &digest(plain)].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The version of the section's form.
const VERSION: u8 = 1;

/// What stands before the 32 bytes of an ed25519 key in its usual wrapping (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair(PrivateKey, PublicKey);

    fn pair() -> Pair {
        let keys = keygen().expect("keys can be made");
        let private = PrivateKey::read(keys.private.as_bytes()).expect("its own form");
        let public = PublicKey::read_all(keys.public.as_bytes()).expect("its own form").remove(0);
        assert_eq!((private.id(), public.id()), (keys.id, keys.id));
        Pair(private, public)
    }

    fn module() -> Vec<u8> {
        wat::parse_str("(module (memory 1) (func (export \"f\")))").expect("a module")
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else() {
        let (one, two) = (pair(), pair());
        let module = module();
        let signed = one.0.sign(&module).expect("a module");
        assert_eq!(verify(&signed, std::slice::from_ref(&one.1)), Ok(one.1.id()));
        let why = verify(&module, std::slice::from_ref(&one.1)).expect_err("not signed");
        assert!(why.contains("not signed"), "{why}");
        let why = verify(&signed, std::slice::from_ref(&two.1)).expect_err("another key");
        assert!(why.contains(&one.1.id().to_string()) && why.contains(&two.1.id().to_string()), "{why}");
        let mut changed = signed.clone();
        changed[9] ^= 1;
        assert!(verify(&changed, std::slice::from_ref(&one.1)).is_err());
        let longer = sections::with(&signed, "other", b"data");
        let why = verify(&longer, std::slice::from_ref(&one.1)).expect_err("a section more");
        assert!(why.contains("changed"), "{why}");
    }

    #[test]
    fn several_keys_sign_one_module() {
        let (one, two) = (pair(), pair());
        let both = two.0.sign(&one.0.sign(&module()).expect("a module")).expect("a module");
        for key in [&one.1, &two.1] {
            assert_eq!(verify(&both, std::slice::from_ref(key)), Ok(key.id()));
        }
        let again = one.0.sign(&both).expect("a module");
        assert_eq!(signers(&again).map(|signers| signers.len()), Ok(2), "one signature of each key");
        assert!(verify(&again, &[one.1, two.1]).is_ok());
    }

    #[test]
    fn keys_of_openssl_are_read() {
        // RFC 8410, section 10.
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let (private, public) =
            (PrivateKey::read(private.as_bytes()), PublicKey::read_all(public.as_bytes()));
        let (private, public) = (private.expect("a key"), public.expect("a key"));
        assert_eq!(private.id(), public[0].id());
        assert!(PublicKey::read_all(b"").is_err() && PrivateKey::read(b"x").is_err());
    }
}
