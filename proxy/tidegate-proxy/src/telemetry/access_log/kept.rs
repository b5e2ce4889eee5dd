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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    parts: [u64; 3],
    /// Where it is kept, for which is looked once for all parts of a line.
    place: usize,
}

impl Key {
    /// Of these numbers.
    #[inline]
    pub(crate) fn new(parts: [u64; 3]) -> Self {
        let [first, second, third] = parts;
        let spread = first.wrapping_mul(31).wrapping_add(second).wrapping_mul(31).wrapping_add(third);
        Self { parts, place: spread as usize % PLACES }
    }
}

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
    pub(crate) fn of(&self, same: Same) -> Option<&Key> {
        match same {
            Same::Connection => self.connection.as_ref(),
            Same::Plain => None,
            Same::Way => self.way.as_ref(),
        }
    }
}

/// The last ones of a part, by their keys.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<Place>>);

/// See [`Kept`].
#[derive(Clone)]
struct Place {
    key: [u64; 3],
    part: Part,
}

/// Bytes with zeros behind them: what is copied has a size that the compiler knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    chunks: Vec<[u8; 32]>,
    length: usize,
}

impl Part {
    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.chunks.as_flattened().get(..self.length).unwrap_or_default()
    }

    /// The same with what is behind it, and how long it is.
    #[inline]
    pub(crate) fn chunks(&self) -> (&[[u8; 32]], usize) {
        (&self.chunks, self.length)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.chunks.clear();
        self.chunks.resize(bytes.len().div_ceil(32), [0; 32]);
        self.chunks.as_flattened_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.length = bytes.len();
    }
}

/// Places; as many connections or ways take turns without one being written anew.
const PLACES: usize = 64;
/// What no key has.
const NONE: [u64; 3] = [u64::MAX; 3];

impl Kept {
    /// Hands the part with this key to `take`; none: it is not kept.
    #[inline]
    pub(crate) fn find<T>(&self, key: &Key, take: impl FnOnce(&Part) -> T) -> Option<T> {
        let places = self.0.borrow();
        let found = places.get(key.place)?;
        (found.key == key.parts).then(|| take(&found.part))
    }

    /// Keeps the part with this key.
    pub(crate) fn keep(&self, key: &Key, part: &[u8]) {
        let mut places = self.0.borrow_mut();
        if places.is_empty() {
            places.resize(PLACES, Place { key: NONE, part: Part::default() });
        }
        if let Some(found) = places.get_mut(key.place) {
            found.key = key.parts;
            found.part.put(part);
        }
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
            let key = Key::new(key);
            if kept.find(&key, |part| out.extend_from_slice(part.bytes())).is_none() {
                written += 1;
                let part = format!("<{}>", key.parts[2]);
                out.extend_from_slice(part.as_bytes());
                kept.keep(&key, part.as_bytes());
            }
        }
        assert_eq!(out, b"<1><1><2><1><65><1>");
        assert_eq!(written, 4);
    }
}
