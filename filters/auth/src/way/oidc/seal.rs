//! Encrypts what is kept in cookies, by XChaCha20-Poly1305: its nonces are long enough to be drawn at random, and it is
//! fast and of constant time without instructions for AES, which WebAssembly has not.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use tidegate_sdk::{Outcome, random};

use super::form;

/// The keys of cookies for one purpose. The first one encrypts, all decrypt, so that keys can be exchanged while sessions
/// go on.
pub(super) struct Seal {
    ciphers: Vec<XChaCha20Poly1305>,
}

impl Seal {
    /// Keys from secrets. A purpose has keys of its own: a cookie for another purpose, or of another client of the
    /// provider, cannot be opened.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, purpose: &[&str]) -> Self {
        let key = |secret: &str| {
            let mut digest = Sha256::new();
            for part in [LABEL].iter().chain(purpose).copied().chain([secret]) {
                // Each with its length, so that no two lists of parts give the same bytes.
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part.as_bytes());
            }
            let digest: [u8; 32] = digest.finalize().into();
            XChaCha20Poly1305::new(&Key::from(digest))
        };
        Seal { ciphers: secrets.into_iter().map(key).collect() }
    }

    /// Encrypts, and writes the result in base64.
    pub(super) fn close(&self, plain: &[u8], place: &str) -> Outcome<String> {
        let nonce: [u8; NONCE] = random::bytes()?;
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        // Without a key, or with gigabytes of text, there is nothing that could be opened again.
        let sealed =
            self.ciphers.first().and_then(|cipher| cipher.encrypt(&XNonce::from(nonce), payload).ok());
        Ok(form::base64(&[nonce.as_slice(), sealed.unwrap_or_default().as_slice()].concat()))
    }

    /// Decrypts; nothing when no key fits, or anything was changed.
    pub(super) fn open(&self, sealed: &[u8], place: &str) -> Option<Vec<u8>> {
        let bytes = form::from_base64(sealed)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE>()?;
        let payload = || Payload { msg: text, aad: place.as_bytes() };
        self.ciphers.iter().find_map(|cipher| cipher.decrypt(&XNonce::from(*nonce), payload()).ok())
    }
}

const LABEL: &str = "tidegate auth oidc 1";
const NONCE: usize = 24;
