//! bcrypt, computed in slices with pauses between them: a call into the filter may take some milliseconds only, and the
//! worker has other requests to serve.

use std::time::Duration;

use blowfish::Blowfish;
use tidegate_sdk::time;

use crate::bytes::equal;

/// A password's hash by bcrypt.
pub(super) struct Bcrypt {
    rounds: u32,
    salt: [u8; 16],
    output: [u8; 23],
}

impl Bcrypt {
    /// Reads `$2y$10$`, 22 letters of salt, 31 letters of hash; `2a` and `2b` mean the same.
    pub(super) fn read(text: &str) -> Option<Self> {
        let rest = ["$2y$", "$2b$", "$2a$"].into_iter().find_map(|start| text.strip_prefix(start))?;
        let (cost, rest) = rest.split_once('$')?;
        let cost: u32 = cost.parse().ok().filter(|_| cost.len() == 2)?;
        let (salt, output) = rest.split_at_checked(22)?;
        if !(4..=16).contains(&cost) || output.len() != 31 {
            return None;
        }
        let (salt, output) = (decode(salt)?.try_into().ok()?, decode(output)?.try_into().ok()?);
        Some(Bcrypt { rounds: 1 << cost, salt, output })
    }

    /// Whether it is this password's. The password has no zero byte in it.
    pub(super) async fn is_of(&self, password: &str) -> bool {
        let mut key = password.as_bytes().to_vec();
        key.push(0);
        key.truncate(72);
        let mut state: Blowfish = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        for round in 1..=self.rounds {
            state.bc_expand_key(&key);
            state.bc_expand_key(&self.salt);
            if round % SLICE == 0 && round != self.rounds {
                time::sleep(PAUSE).await;
            }
        }
        let mut output = Vec::with_capacity(24);
        for [left, right] in TEXT {
            let mut halves = [left, right];
            for _ in 0..64 {
                halves = state.bc_encrypt(halves);
            }
            output.extend(halves.into_iter().flat_map(u32::to_be_bytes));
        }
        output.truncate(self.output.len());
        equal(&self.output, &output)
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

/// Rounds between two pauses: some milliseconds in WebAssembly.
const SLICE: u32 = 64;

const PAUSE: Duration = Duration::from_millis(1);
