//! Lists of name-value pairs as they cross the border: a count, the lengths of each pair, then
//! each name and value followed by a zero byte. All numbers are 32 bits, little endian.

use alloc::vec::Vec;
use core::fmt;

/// Most pairs that a list may have.
pub const MAX_PAIRS: usize = 1024;

/// Most bytes that an encoded list may have.
pub const MAX_PAIRS_BYTES: usize = 1 << 20;

/// Why bytes are not a list of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairsError {
    /// More than [`MAX_PAIRS_BYTES`].
    TooManyBytes(usize),
    /// More than [`MAX_PAIRS`].
    TooManyPairs(usize),
    /// The lengths do not add up to the size, or a zero byte is missing.
    Malformed,
}

impl fmt::Display for PairsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyBytes(n) => write!(f, "{n} bytes of pairs, at most {MAX_PAIRS_BYTES} are allowed"),
            Self::TooManyPairs(n) => write!(f, "{n} pairs, at most {MAX_PAIRS} are allowed"),
            Self::Malformed => f.write_str("lengths of the pairs do not match the bytes"),
        }
    }
}

impl core::error::Error for PairsError {}

/// How many bytes [`encode_pairs`] will write for pairs with these lengths in total.
#[must_use]
pub const fn encoded_len(pairs: usize, name_and_value_bytes: usize) -> usize {
    4 + pairs * 10 + name_and_value_bytes
}

/// Appends the encoding of `pairs`, which is walked twice and must give the same both times, to
/// `out`. Nothing is written for no pairs, which is how an empty list crosses the border.
pub fn encode_pairs<'a, I>(pairs: impl Fn() -> I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (&'a [u8], &'a [u8])>,
{
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count: u32 = 0;
    for (name, value) in pairs() {
        count += 1;
        out.extend_from_slice(&length(name));
        out.extend_from_slice(&length(value));
    }
    if count == 0 {
        out.truncate(start);
        return;
    }
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&count.to_le_bytes());
    }
    for (name, value) in pairs() {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Walks an encoded list that was checked as a whole.
#[derive(Debug, Clone)]
pub struct PairsReader<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> PairsReader<'a> {
    /// Checks `encoded` completely, so that walking it cannot fail. Less than four bytes stand
    /// for an empty list, as guests send them.
    ///
    /// # Errors
    /// When a limit is exceeded or the lengths do not match.
    pub fn check(encoded: &'a [u8]) -> Result<Self, PairsError> {
        if encoded.len() > MAX_PAIRS_BYTES {
            return Err(PairsError::TooManyBytes(encoded.len()));
        }
        let Some((head, rest)) = encoded.split_first_chunk::<4>() else {
            return Ok(Self { lengths: &[], bytes: &[] });
        };
        let count = u32::from_le_bytes(*head) as usize;
        if count > MAX_PAIRS {
            return Err(PairsError::TooManyPairs(count));
        }
        let (lengths, bytes) = rest.split_at_checked(count * 8).ok_or(PairsError::Malformed)?;
        let reader = Self { lengths, bytes };
        let mut walk = reader.clone();
        for _ in 0..count {
            walk.step().ok_or(PairsError::Malformed)?;
        }
        if walk.bytes.is_empty() { Ok(reader) } else { Err(PairsError::Malformed) }
    }

    /// How many pairs are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len() / 8
    }

    /// Whether no pair is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn step(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, rest) = self.lengths.split_first_chunk::<4>()?;
        let (value, lengths) = rest.split_first_chunk::<4>()?;
        let (name, rest) = terminated(self.bytes, u32::from_le_bytes(*name) as usize)?;
        let (value, bytes) = terminated(rest, u32::from_le_bytes(*value) as usize)?;
        (self.lengths, self.bytes) = (lengths, bytes);
        Some((name, value))
    }
}

impl<'a> Iterator for PairsReader<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

/// Splits off `len` bytes and the zero byte behind them.
fn terminated(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (part, rest) = bytes.split_at_checked(len)?;
    match rest.split_first() {
        Some((0, rest)) => Some((part, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_pairs(|| pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())), &mut out);
        out
    }

    #[test]
    fn pairs_survive_the_way() {
        let encoded = encode(&[("a", "1"), ("", ""), ("name", "a longer value")]);
        assert_eq!(encoded.len(), encoded_len(3, 1 + 1 + 4 + 14));
        let read: Vec<_> = PairsReader::check(&encoded).unwrap().collect();
        let want: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"", b""), (b"name", b"a longer value")];
        assert_eq!(read, want);
    }

    #[test]
    fn nothing_is_empty() {
        assert!(encode(&[]).is_empty());
        for empty in [&[][..], &[0], &[0, 0, 0, 0]] {
            assert!(PairsReader::check(empty).unwrap().is_empty());
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let good = encode(&[("a", "1")]);
        let mut long = good.clone();
        long.push(0);
        let mut unterminated = good.clone();
        *unterminated.last_mut().unwrap() = 1;
        let mut wild = good.clone();
        wild[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        for bad in [&good[..good.len() - 1], &long, &unterminated, &wild] {
            assert_eq!(PairsReader::check(bad).unwrap_err(), PairsError::Malformed);
        }
        let many = 1025_u32.to_le_bytes();
        assert_eq!(PairsReader::check(&many).unwrap_err(), PairsError::TooManyPairs(1025));
        let big = vec![0; MAX_PAIRS_BYTES + 1];
        assert_eq!(PairsReader::check(&big).unwrap_err(), PairsError::TooManyBytes(MAX_PAIRS_BYTES + 1));
    }
}
