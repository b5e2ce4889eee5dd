//! bcrypt, which can be computed in slices: a call into a filter may take some milliseconds only, and its worker has other
//! requests to serve.

use std::fmt;

use blowfish::Blowfish;

use crate::hash::equal;

/// A password's hash by bcrypt.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bcrypt {
    rounds: u32,
    salt: [u8; 16],
    output: [u8; 23],
}

impl Bcrypt {
    /// Reads `$2y$10$`, 22 letters of salt, 31 letters of hash; `2a` and `2b` mean the same.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let rest = ["$2y$", "$2b$", "$2a$"].into_iter().find_map(|start| text.strip_prefix(start))?;
        let (cost, rest) = rest.split_once('$')?;
        let figures = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
        let cost: u32 = cost.parse().ok().filter(|_| figures)?;
        let (salt, output) = rest.split_at_checked(22)?;
        if !(4..=16).contains(&cost) || output.len() != 31 {
            return None;
        }
        let (salt, output) = (decode(salt)?.try_into().ok()?, decode(output)?.try_into().ok()?);
        Some(Bcrypt { rounds: 1 << cost, salt, output })
    }

    /// Begins to compute a password's hash. One with a zero byte in it is nobody's: programs differ in what it would mean.
    pub(crate) fn begin(&self, password: &[u8]) -> Rounds<'_> {
        let mut key = password.to_vec();
        let possible = !key.contains(&0);
        key.push(0);
        key.truncate(72);
        let mut state: Blowfish = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        Rounds { hash: self, key, state, possible, done: 0 }
    }
}

impl fmt::Debug for Bcrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bcrypt {}", self.rounds.ilog2())
    }
}

/// A hash on its way.
pub(crate) struct Rounds<'a> {
    hash: &'a Bcrypt,
    key: Vec<u8>,
    state: Blowfish,
    possible: bool,
    done: u32,
}

impl Rounds<'_> {
    pub(crate) fn hash(&self) -> &Bcrypt {
        self.hash
    }

    /// Some rounds; after the last one, whether the hash is the same.
    pub(crate) fn step(&mut self) -> Option<bool> {
        let end = self.hash.rounds.min(self.done + SLICE);
        for _ in self.done..end {
            self.state.bc_expand_key(&self.key);
            self.state.bc_expand_key(&self.hash.salt);
        }
        self.done = end;
        (end == self.hash.rounds).then(|| equal(&self.hash.output, &self.output()) && self.possible)
    }

    fn output(&self) -> Vec<u8> {
        let mut output = Vec::with_capacity(24);
        for [left, right] in TEXT {
            let mut halves = [left, right];
            for _ in 0..64 {
                halves = self.state.bc_encrypt(halves);
            }
            output.extend(halves.into_iter().flat_map(u32::to_be_bytes));
        }
        output.truncate(self.hash.output.len());
        output
    }
}

/// bcrypt's own base64. The bits that are left over are not looked at: programs write them differently.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'.' => 0,
            b'/' => 1,
            b'A'..=b'Z' => byte - b'A' + 2,
            b'a'..=b'z' => byte - b'a' + 28,
            b'0'..=b'9' => byte - b'0' + 54,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xfff;
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            out.push(byte);
        }
    }
    Some(out)
}

/// "OrpheanBeholderScryDoubt".
const TEXT: [[u32; 2]; 3] =
    [[0x4f72_7068, 0x6561_6e42], [0x6568_6f6c, 0x6465_7253], [0x6372_7944, 0x6f75_6274]];

/// Rounds of a step: some milliseconds in WebAssembly.
const SLICE: u32 = 64;
