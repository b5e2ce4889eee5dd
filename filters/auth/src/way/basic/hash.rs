//! A password's hash as a line of the file has it.

use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::bcrypt::Bcrypt;
use crate::bytes::{equal, from_bare_base64};

/// A password's hash.
pub(super) enum Hash {
    Bcrypt(Bcrypt),
    Argon2(Box<Argon2id>),
}

/// One of the argon2 family (RFC 9106).
pub(super) struct Argon2id {
    function: Argon2<'static>,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Hash {
    /// Reads `$2y$…` or `$argon2id$…`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2") {
            let wrong = "the argon2 hash is not `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, with at most m=262144, t=16 and p=16";
            return argon2(text).map(|hash| Hash::Argon2(Box::new(hash))).ok_or_else(|| wrong.to_owned());
        }
        if text.starts_with("$2") {
            let wrong = "the bcrypt hash is not `$2y$COST$…`, with a cost of 4 to 16";
            return Bcrypt::read(text).map(Hash::Bcrypt).ok_or_else(|| wrong.to_owned());
        }
        Err("the hash is neither bcrypt nor argon2; `htpasswd -B` writes bcrypt".to_owned())
    }

    /// Whether it is this password's.
    pub(super) async fn is_of(&self, password: &str) -> bool {
        match self {
            Hash::Bcrypt(hash) => hash.is_of(password).await,
            Hash::Argon2(hash) => hash.is_of(password),
        }
    }
}

impl Argon2id {
    fn is_of(&self, password: &str) -> bool {
        let mut memory = vec![Block::default(); self.function.params().block_count()];
        let mut output = vec![0; self.output.len()];
        let done = self.function.hash_password_into_with_memory(
            password.as_bytes(),
            &self.salt,
            &mut output,
            &mut memory,
        );
        done.is_ok() && equal(&self.output, &output)
    }
}

/// As the reference implementation writes it.
fn argon2(text: &str) -> Option<Argon2id> {
    let mut parts = text.strip_prefix('$')?.split('$');
    let algorithm = match parts.next()? {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return None,
    };
    if parts.next()? != "v=19" {
        return None;
    }
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for pair in parts.next()?.split(',') {
        let (name, number) = pair.split_once('=')?;
        let number: u32 = number.parse().ok()?;
        match name {
            "m" if number <= 262_144 => memory = Some(number),
            "t" if number <= 16 => passes = Some(number),
            "p" if number <= 16 => lanes = Some(number),
            _ => return None,
        }
    }
    let salt = from_bare_base64(parts.next()?.as_bytes())?;
    let output = from_bare_base64(parts.next()?.as_bytes())?;
    if parts.next().is_some() || !(16..=64).contains(&output.len()) || !(8..=64).contains(&salt.len()) {
        return None;
    }
    let params = Params::new(memory?, passes?, lanes?, Some(output.len())).ok()?;
    Some(Argon2id { function: Argon2::new(algorithm, Version::V0x13, params), salt, output })
}
