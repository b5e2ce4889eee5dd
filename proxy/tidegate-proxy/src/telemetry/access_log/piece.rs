//! Bytes that are in many lines, as the names of fields, ready to be appended without a call.

/// See the module.
pub(crate) struct Piece {
    /// The first of them, and then zeros: what is copied has a size that the compiler knows.
    short: [u8; SHORT],
    length: usize,
    /// All, where they are more.
    long: Box<[u8]>,
}

/// Names of fields with what is around them are shorter.
const SHORT: usize = 32;

impl Piece {
    /// Of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        let is_short = bytes.len() <= SHORT;
        short.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self { short, length: bytes.len(), long: if is_short { Box::default() } else { bytes.into() } }
    }

    /// Appends all but the last `without`.
    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>, without: usize) {
        let end = out.len() + self.length.saturating_sub(without);
        if self.length <= SHORT {
            out.extend_from_slice(&self.short);
        } else {
            out.extend_from_slice(&self.long);
        }
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_appended_however_long_it_is() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT] {
            let bytes: Vec<u8> = (1..).take(length).collect();
            let mut out = b"before".to_vec();
            Piece::new(&bytes).append(&mut out, 0);
            assert_eq!(out, [b"before", &bytes[..]].concat(), "{length}");
            out.clear();
            Piece::new(&bytes).append(&mut out, 1);
            assert_eq!(out, &bytes[..length.saturating_sub(1)], "{length} but for one");
        }
    }
}
