//! Parts of lines that are the same for many exchanges of a worker, kept as they were written: those of a connection, those of the way
//! to a server.

use std::cell::RefCell;
use std::time::Duration;

/// What a part is the same for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Same {
    /// A client's connection.
    Connection,
    /// All exchanges with which nothing out of the way happened: of them it says nothing at all.
    Plain,
    /// A rule, and a server of an upstream that was picked for the same reason.
    Way,
}

/// What tells one from another.
pub(crate) type Key = [u64; 3];

/// By what the parts of an exchange's lines are the same; none: they are written anew.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The time of their end, which is the same in all of them.
    pub(crate) moment: Option<Duration>,
    pub(crate) connection: Option<Key>,
    /// It says nothing where [`Same::Plain`] is.
    pub(crate) plain: bool,
    pub(crate) way: Option<Key>,
}

impl Keys {
    /// That of one kind.
    #[inline]
    pub(crate) fn of(&self, same: Same) -> Option<Key> {
        match same {
            Same::Connection => self.connection,
            Same::Plain => None,
            Same::Way => self.way,
        }
    }
}

/// The last ones of a part, by their keys.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<(Key, Vec<u8>)>>);

/// Places; as many connections or ways take turns without one being written anew.
const PLACES: usize = 64;
/// A key that none has.
const NONE: Key = [u64::MAX; 3];

impl Kept {
    /// Hands the part with this key to `take`; none: it is not kept.
    #[inline]
    pub(crate) fn find<T>(&self, key: Key, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let places = self.0.borrow();
        let (known, bytes) = places.get(place(key))?;
        (*known == key).then(|| take(bytes))
    }

    /// Keeps the part with this key.
    pub(crate) fn keep(&self, key: Key, part: &[u8]) {
        let mut places = self.0.borrow_mut();
        if places.is_empty() {
            places.resize(PLACES, (NONE, Vec::new()));
        }
        if let Some((known, bytes)) = places.get_mut(place(key)) {
            *known = key;
            bytes.clear();
            bytes.extend_from_slice(part);
        }
    }
}

fn place(key: Key) -> usize {
    let spread = key.iter().fold(0, |sum: u64, part| sum.wrapping_mul(31).wrapping_add(*part));
    spread as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_written_once_for_each_key() {
        let (kept, mut out, mut written) = (Kept::default(), Vec::new(), 0);
        // The last two share a place.
        for key in [[0, 0, 1], [0, 0, 1], [0, 0, 2], [0, 0, 1], [0, 0, 65], [0, 0, 1]] {
            if kept.find(key, |part| out.extend_from_slice(part)).is_none() {
                written += 1;
                let part = format!("<{}>", key[2]);
                out.extend_from_slice(part.as_bytes());
                kept.keep(key, part.as_bytes());
            }
        }
        assert_eq!(out, b"<1><1><2><1><65><1>");
        assert_eq!(written, 4);
    }
}
