//! Parts of lines that are the same for many exchanges of a worker, kept as they were written: those of a connection, those of the way
//! to a server.

use std::cell::RefCell;

/// What a part is the same for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Same {
    /// A client's connection.
    Connection,
    /// All exchanges with which nothing out of the way happened: of them it says nothing.
    Plain,
    /// A rule, and a server of an upstream that was picked for the same reason.
    Way,
}

/// What tells one from another.
pub(crate) type Key = [u64; 3];

/// The last ones of a part, by their keys.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<(Key, Vec<u8>)>>);

/// Places; as many connections or ways take turns without one being written anew.
const PLACES: usize = 64;
/// A key that none has.
const NONE: Key = [u64::MAX; 3];

impl Kept {
    /// Appends the part with this key to `out`, as it is kept, or as `write` writes it.
    pub(crate) fn append(&self, key: Key, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut places = self.0.borrow_mut();
        if places.is_empty() {
            places.resize(PLACES, (NONE, Vec::new()));
        }
        let spread = key.iter().fold(0, |sum: u64, part| sum.wrapping_mul(31).wrapping_add(*part));
        let Some((known, bytes)) = places.get_mut(spread as usize % PLACES) else { return write(out) };
        if *known == key {
            return out.extend_from_slice(bytes);
        }
        let before = out.len();
        write(out);
        *known = key;
        bytes.clear();
        bytes.extend_from_slice(out.get(before..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_written_once_for_each_key() {
        let (kept, mut out, mut written) = (Kept::default(), Vec::new(), 0);
        // The last two share a place.
        for key in [[0, 0, 1], [0, 0, 1], [0, 0, 2], [0, 0, 1], [0, 0, 65], [0, 0, 1]] {
            kept.append(key, &mut out, |out| {
                written += 1;
                out.extend_from_slice(format!("<{}>", key[2]).as_bytes());
            });
        }
        assert_eq!(out, b"<1><1><2><1><65><1>");
        assert_eq!(written, 4);
    }
}
