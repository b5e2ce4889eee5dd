//! A copy of a head that has gone on, for guests that read it later. One block of bytes that is
//! used again for later requests: much cheaper to make than a second header map.

/// Fields one behind the other: lengths of name and value, then both.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    fields: usize,
}

/// Bytes that are not given back after a request with large headers.
const KEEP_BYTES: usize = 16 << 10;

/// Bytes of a field's two lengths.
const HEAD: usize = 8;

impl Kept {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes.shrink_to(KEEP_BYTES);
        }
        self.fields = 0;
    }

    /// Copies these fields behind those that are there.
    pub(crate) fn extend<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        for (name, value) in fields {
            let lengths = (name.len() as u64) | (value.len() as u64) << 32;
            self.bytes.reserve(HEAD + name.len() + value.len());
            self.bytes.extend_from_slice(&lengths.to_le_bytes());
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(value);
            self.fields += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fields
    }

    pub(crate) fn iter(&self) -> Fields<'_> {
        Fields(&self.bytes)
    }
}

#[derive(Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value) as usize)?;
        self.0 = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut kept = Kept::default();
        let fields_of_a_head: [(&[u8], &[u8]); 2] = [(b":path", b"/a"), (b"x", b"")];
        kept.extend(fields_of_a_head.into_iter());
        let fields: Vec<_> = kept.iter().collect();
        let want: [(&[u8], &[u8]); 2] = [(b":path", b"/a"), (b"x", b"")];
        assert_eq!((fields.as_slice(), kept.len()), (&want[..], 2));
        kept.clear();
        assert_eq!((kept.iter().next(), kept.len()), (None, 0));
    }
}
