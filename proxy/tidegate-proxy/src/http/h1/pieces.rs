//! For the tests of both sides: messages that come in pieces, and damaged ones.

use http::HeaderMap;

/// The fields of a message as tests write them.
pub(crate) fn list(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// One of them.
pub(crate) fn field(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

/// Reads a message whole, cut in two at each place, and byte by byte: `same` says what is the same then.
pub(crate) fn read_all_ways<T>(
    bytes: &[u8],
    read: impl Fn(&[&[u8]]) -> T,
    same: impl Fn(&T, &T) -> bool,
) -> T {
    let whole = read(&[bytes]);
    for at in 0..bytes.len() {
        let (before, behind) = bytes.split_at(at);
        assert!(same(&read(&[before, behind]), &whole), "{} cut at {at}", bytes.escape_ascii());
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert!(same(&read(&single), &whole), "{} byte by byte", bytes.escape_ascii());
    whole
}

/// Random changes of a message, the same in every run.
pub(crate) struct Damage(u64);

impl Damage {
    pub(crate) fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit
    }

    /// The message with up to three bytes changed, added or left out.
    pub(crate) fn of(&mut self, good: &[u8]) -> Vec<u8> {
        const BYTES: &[u8] = b"\r\n\0 \t:;,#%0123aHTP/.\x7f\xff";
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(3) {
            let (at, byte) = (self.below(bytes.len()), BYTES[self.below(BYTES.len())]);
            match self.below(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    }
}
