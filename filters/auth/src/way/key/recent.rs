//! Keys that were found by their digest not long ago, so that those who ask again and again are not digested each time.

use crate::bytes::equal;

/// A few keys, each in the only place that it can have.
#[derive(Debug)]
pub(super) struct Recent {
    places: Vec<Option<Found>>,
}

/// A key, and what was found by it.
struct Found {
    key: Box<[u8]>,
    at: usize,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        Recent { places: std::iter::repeat_with(|| None).take(PLACES).collect() }
    }

    /// What was found by this key. The time it takes tells no more of another one than its length.
    pub(super) fn get(&self, key: &[u8]) -> Option<usize> {
        let found = self.places.get(place(key))?.as_ref()?;
        equal(&found.key, key).then_some(found.at)
    }

    /// Keeps what was found, in place of what was there.
    pub(super) fn put(&mut self, key: &[u8], at: usize) {
        if let Some(place) = self.places.get_mut(place(key)).filter(|_| key.len() <= LONGEST) {
            *place = Some(Found { key: key.into(), at });
        }
    }
}

/// FNV-1a.
fn place(key: &[u8]) -> usize {
    let hash =
        key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    usize::try_from(hash ^ hash >> 15).unwrap_or(0) % PLACES
}

const PLACES: usize = 256;

/// Longer keys are digested each time.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_was_put_for_and_no_other_is() {
        let mut recent = Recent::new();
        for at in 0..10_000_usize {
            let key = format!("key-{at}").into_bytes();
            assert_eq!(recent.get(&key), None, "{at}");
            recent.put(&key, at);
            assert_eq!(recent.get(&key), Some(at));
        }
        assert!(recent.places.len() == PLACES && recent.places.iter().flatten().count() == PLACES);
        let long = vec![b'x'; LONGEST + 1];
        recent.put(&long, 1);
        assert_eq!(recent.get(&long), None);
        assert_eq!(recent.get(b""), None);
    }
}
