//! The argon2 family (RFC 9106).

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding};

use crate::hash::equal;

/// A hash with its parameters.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Argon {
    algorithm: Algorithm,
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Argon {
    /// As the reference implementation writes it.
    pub(crate) fn read(text: &str) -> Option<Self> {
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
                "m" if number <= MEMORY => memory = Some(number),
                "t" if number <= PASSES => passes = Some(number),
                "p" if number <= LANES => lanes = Some(number),
                _ => return None,
            }
        }
        let (memory, passes, lanes) = (memory?, passes?, lanes?);
        let salt = Base64Unpadded::decode_vec(parts.next()?).ok()?;
        let output = Base64Unpadded::decode_vec(parts.next()?).ok()?;
        let sizes = (16..=64).contains(&output.len()) && (8..=64).contains(&salt.len());
        if parts.next().is_some() || !sizes || memory * passes > WORK {
            return None;
        }
        let hash = Argon { algorithm, memory, passes, lanes, salt, output };
        hash.params().map(|_| hash)
    }

    fn params(&self) -> Option<Params> {
        Params::new(self.memory, self.passes, self.lanes, Some(self.output.len())).ok()
    }

    /// Bytes that computing takes.
    pub(crate) fn memory(&self) -> usize {
        (self.memory as usize) << 10
    }

    pub(crate) fn is_of(&self, password: &[u8]) -> bool {
        let Some(params) = self.params() else { return false };
        let mut memory = vec![Block::default(); params.block_count()];
        let mut output = vec![0; self.output.len()];
        let function = Argon2::new(self.algorithm, Version::V0x13, params);
        let done = function.hash_password_into_with_memory(password, &self.salt, &mut output, &mut memory);
        done.is_ok() && equal(&self.output, &output)
    }
}

impl fmt::Debug for Argon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Argon { algorithm, memory, passes, lanes, .. } = self;
        write!(f, "{} m={memory},t={passes},p={lanes}", algorithm.as_str())
    }
}

/// KiB: a quarter of a GiB.
const MEMORY: u32 = 262_144;

const PASSES: u32 = 16;

const LANES: u32 = 16;

/// KiB times passes: about a second of one processor.
const WORK: u32 = 1 << 20;
