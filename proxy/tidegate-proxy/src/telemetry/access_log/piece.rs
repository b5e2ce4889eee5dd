//! Bytes that are in many lines, as the names of fields, ready to be copied without a call.

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// The first of them, and then zeros: what is copied has a size that the compiler knows.
    short: [u8; SHORT],
    /// How many there are; of longer ones any number that is too many.
    length: u8,
}

/// Names of fields with what is around them are shorter.
const SHORT: usize = 32;

impl Piece {
    /// Of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        short.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self { short, length: u8::try_from(bytes.len()).unwrap_or(u8::MAX) }
    }

    /// The first bytes of an array, unless they are more.
    #[inline]
    pub(super) fn short(&self) -> Option<(&[u8; SHORT], usize)> {
        let length = usize::from(self.length);
        (length <= SHORT).then_some((&self.short, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_are_whole() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT, 256, 257] {
            let bytes: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
            let piece = Piece::new(&bytes);
            let short = piece.short().map(|(short, length)| &short[..length]);
            assert_eq!(short, (length <= SHORT).then_some(&bytes[..]), "{length}");
        }
    }
}
