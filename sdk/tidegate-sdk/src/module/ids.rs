//! A table by numbers that the host gives. The standard library's would be a good part of a small filter, once for each
//! type of value.

/// Values by number: places in a ring, each value at the first free one from where its number points.
pub(super) struct Ids<T> {
    /// None, or a power of two of them, of which some are free.
    places: Vec<Option<(u32, T)>>,
    count: usize,
}

impl<T> Ids<T> {
    pub(super) const fn new() -> Self {
        Ids { places: Vec::new(), count: 0 }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        let found = self.places.get(self.find(id)?)?;
        found.as_ref().map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, id: u32, value: T) {
        if let Some(known) = self.find(id).and_then(|at| self.places.get_mut(at)) {
            *known = Some((id, value));
            return;
        }
        if (self.count + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.count += 1;
        self.put(id, value);
    }

    #[inline]
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let free = self.find(id)?;
        let (_, value) = self.places.get_mut(free)?.take()?;
        self.count -= 1;
        self.close_gap(free);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().flatten().map(|(id, value)| (*id, value))
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        let mut at = self.home(id);
        loop {
            match self.places.get(at)? {
                Some((known, _)) if *known == id => return Some(at),
                Some(_) => at = self.after(at),
                None => return None,
            }
        }
    }

    /// Puts a new value into a free place, of which there are some.
    fn put(&mut self, id: u32, value: T) {
        let mut at = self.home(id);
        while let Some(Some(_)) = self.places.get(at) {
            at = self.after(at);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some((id, value));
        }
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(8);
        let old = std::mem::take(&mut self.places);
        self.places.resize_with(size, || None);
        for (id, value) in old.into_iter().flatten() {
            self.put(id, value);
        }
    }

    /// Moves values behind a place that has become free towards it, where a search for them would end there.
    fn close_gap(&mut self, mut free: usize) {
        let ring = self.places.len().wrapping_sub(1);
        let mut at = free;
        loop {
            at = self.after(at);
            let Some(Some((id, _))) = self.places.get(at) else { break };
            let way = at.wrapping_sub(self.home(*id)) & ring;
            if way >= at.wrapping_sub(free) & ring {
                self.places.swap(free, at);
                free = at;
            }
        }
    }

    /// Where a number points: consecutive ones are spread over the ring.
    #[inline]
    fn home(&self, id: u32) -> usize {
        let spread = id.wrapping_mul(0x9e37_79b9);
        (spread ^ spread >> 16) as usize & self.places.len().wrapping_sub(1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & self.places.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Ids;

    /// A generator of Marsaglia's, enough to mix operations.
    fn next(state: &mut u32) -> u32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state
    }

    #[test]
    fn it_holds_what_a_tree_holds() {
        // Few numbers collide often; consecutive ones are what hosts give.
        for (numbers, first) in [(16, 0), (64, u32::MAX - 20), (3000, 7)] {
            let (mut ids, mut tree, mut state) = (Ids::new(), BTreeMap::new(), 2_463_534_242);
            for step in 0..30_000_u32 {
                let id = first.wrapping_add(next(&mut state) % numbers);
                match next(&mut state) % 3 {
                    0 => assert_eq!(ids.remove(id), tree.remove(&id)),
                    1 => assert_eq!(ids.get(id), tree.get(&id)),
                    _ => {
                        ids.insert(id, step);
                        tree.insert(id, step);
                    }
                }
            }
            let mut all: Vec<(u32, u32)> = ids.iter().map(|(id, value)| (id, *value)).collect();
            all.sort_unstable();
            assert_eq!(all, tree.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn streams_that_come_and_go_take_no_more_places() {
        let mut ids = Ids::new();
        for id in 0..100_000_u32 {
            ids.insert(id, ());
            assert_eq!(ids.remove(id.wrapping_sub(5)).is_some(), id >= 5);
        }
        assert_eq!((ids.count, ids.places.len()), (5, 8));
    }
}
