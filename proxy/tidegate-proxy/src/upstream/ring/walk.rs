//! The points of a ring in the order in which a key would have them.

use super::tier::Tier;
use super::{PLACES, TIER_BITS};

/// From all of a key's places at once, the nearest point next, and from each place once around the ring: the slots of those
/// whose the points are.
pub(crate) struct Walk<'a> {
    heads: Option<[Head<'a>; PLACES]>,
    /// Those of all tiers but the first.
    others: Vec<Head<'a>>,
}

/// The next point from one place in one tier.
pub(super) struct Head<'a> {
    tier: &'a Tier,
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
    pub(super) fn new(tiers: &'a [Tier], places: [u64; PLACES]) -> Self {
        let heads = |tier: &'a Tier| places.map(|place| Head::new(tier, place));
        let others = tiers.iter().skip(1).flat_map(heads).collect();
        Self { heads: tiers.first().map(heads), others }
    }
}

impl<'a> Head<'a> {
    pub(super) fn new(tier: &'a Tier, place: u64) -> Self {
        let (bucket, rest) = tier.spot(place);
        let at = tier.seek((bucket, rest), place);
        let mut head = Self { tier, place, bucket, at, slot: 0, gap: 0, left: tier.points() };
        head.settle();
        head
    }

    /// How far it is to its point, give or take less than one, and whose that is.
    pub(super) fn found(&self) -> Option<(u64, usize)> {
        (self.left > 0).then_some((self.gap, self.slot))
    }

    /// Goes to the next point, where it is not at one.
    fn settle(&mut self) {
        if self.left == 0 {
            return;
        }
        let tier = self.tier;
        let point = loop {
            match tier.point(self.bucket, self.at) {
                Some(point) => break point,
                None => (self.bucket, self.at) = (tier.bucket_after(self.bucket), 0),
            }
        };
        self.slot = tier.slot(point);
        let here = tier.way_to((self.bucket, tier.rest(point)));
        let place = tier.way_to(tier.spot(self.place));
        let gap = if here < place { here + tier.around() - place } else { here - place };
        // One that is just before the place is the last one, although nothing of that is left in what is known of it.
        self.gap = if gap < self.gap { gap + tier.around() } else { gap };
    }

    /// Goes on.
    fn step(&mut self) {
        self.at += 1;
        self.left -= 1;
        self.settle();
    }

    /// Whether its point is nearer than the other's.
    fn is_nearer(&self, other: &Self) -> bool {
        if self.left == 0 || other.left == 0 {
            return self.left > 0;
        }
        let (way, others) = (self.tier.way(self.gap), other.tier.way(other.gap));
        match way.1 < others.0 || others.1 < way.0 {
            true => way.0 < others.0,
            false => self.exact_way(other) < other.exact_way(self),
        }
    }

    /// How far its point is from its place, as it counts beside one of the other's tier.
    #[cold]
    fn exact_way(&self, beside: &Self) -> u128 {
        let rest = self.tier.point(self.bucket, self.at).map_or(0, |point| self.tier.rest(point));
        let (before, alike) = self.tier.alike((self.bucket, rest));
        let gap = alike.get(self.at - before).map_or(u64::MAX, |point| point.wrapping_sub(self.place));
        u128::from(gap) << (TIER_BITS * beside.tier.level())
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let mut heads = self.heads.iter_mut().flatten().chain(&mut self.others);
        let mut best = heads.next()?;
        for head in heads {
            if head.is_nearer(best) {
                best = head;
            }
        }
        (best.left > 0).then(|| {
            let slot = best.slot;
            best.step();
            slot
        })
    }
}
