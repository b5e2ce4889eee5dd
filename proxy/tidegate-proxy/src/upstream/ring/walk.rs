//! The points of a ring in the order in which a key would have them.

use super::{PLACES, Ring};

/// From all of a key's places at once, the nearest point next, and from each place once around the ring: the slots of those
/// whose the points are.
pub(crate) struct Walk<'a> {
    ring: &'a Ring,
    heads: [Head; PLACES],
}

/// The next point from one place.
pub(super) struct Head {
    place: u64,
    bucket: usize,
    at: usize,
    slot: usize,
    /// How far it is from the place, give or take less than one.
    gap: u64,
    /// So many points are not behind it; 0: this head has none.
    left: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ring: &'a Ring, places: [u64; PLACES]) -> Self {
        Self { ring, heads: places.map(|place| Head::new(ring, place)) }
    }
}

impl Head {
    pub(super) fn new(ring: &Ring, place: u64) -> Self {
        let (bucket, rest) = ring.spot(place);
        let at = ring.seek((bucket, rest), place);
        let mut head = Self { place, bucket, at, slot: 0, gap: 0, left: ring.points };
        head.settle(ring);
        head
    }

    /// How far it is to its point, give or take less than one, and whose that is.
    pub(super) fn found(&self) -> Option<(u64, usize)> {
        (self.left > 0).then_some((self.gap, self.slot))
    }

    /// Goes to the next point, where it is not at one.
    fn settle(&mut self, ring: &Ring) {
        if self.left == 0 {
            return;
        }
        let point = loop {
            match ring.point(self.bucket, self.at) {
                Some(point) => break point,
                None => (self.bucket, self.at) = ((self.bucket + 1) % ring.buckets.len().max(1), 0),
            }
        };
        self.slot = ring.slot(point);
        let around = (ring.buckets.len() as u64) << (32 - ring.bits);
        let whole = |(bucket, rest): (usize, u32)| (bucket as u64) << (32 - ring.bits) | u64::from(rest);
        let (here, place) = (whole((self.bucket, point >> ring.bits)), whole(ring.spot(self.place)));
        let gap = if here < place { here + around - place } else { here - place };
        // One that is just before the place is the last one, although nothing of that is left in what is known of it.
        self.gap = if gap < self.gap { gap + around } else { gap };
    }

    /// Goes on.
    fn step(&mut self, ring: &Ring) {
        self.at += 1;
        self.left -= 1;
        self.settle(ring);
    }

    /// Whether its point is nearer than the other's.
    fn is_nearer(&self, other: &Self, ring: &Ring) -> bool {
        if self.left == 0 || other.left == 0 {
            return self.left > 0;
        }
        match self.gap.abs_diff(other.gap) {
            0 | 1 => self.exact_gap(ring) < other.exact_gap(ring),
            _ => self.gap < other.gap,
        }
    }

    #[cold]
    fn exact_gap(&self, ring: &Ring) -> u64 {
        let rest = ring.point(self.bucket, self.at).map_or(0, |point| point >> ring.bits);
        let (before, alike) = ring.alike((self.bucket, rest));
        alike.get(self.at - before).map_or(u64::MAX, |point| point.wrapping_sub(self.place))
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let ring = self.ring;
        let mut heads = self.heads.iter_mut();
        let mut best = heads.next()?;
        for head in heads {
            if head.is_nearer(best, ring) {
                best = head;
            }
        }
        (best.left > 0).then(|| {
            let slot = best.slot;
            best.step(ring);
            slot
        })
    }
}
