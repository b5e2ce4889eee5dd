//! Servers by priority and zone, and which part of the requests is for which of them.
//!
//! Parts follow from how much of each priority and zone can be used. They are made anew when that has changed, in time
//! with the number of priorities and zones, and drawn from for each request.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::set::Set;
use crate::upstream::member::Member;

/// A priority takes all requests while this much of it can be used: the rest bears what is missing (1.4 times its load).
const ENOUGH: f64 = 1.4;

/// Servers of one priority.
struct Level {
    priority: u32,
    all: Set,
    /// Where zones count.
    zones: Vec<(Option<Arc<str>>, Set)>,
}

/// A part of the requests, and for which servers it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Of the whole, up to and with this part; the whole is 2^32.
    until: u64,
    level: usize,
    /// Of the level's zones.
    zone: Option<usize>,
    pub(super) priority: u32,
    /// It is the gateway's own zone, where zones count.
    pub(super) own_zone: Option<bool>,
    /// Too few can be used, so all are.
    pub(super) panic: bool,
    /// All of these servers can be used.
    pub(super) all_well: bool,
}

/// What decides about parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// The gateway's own zone.
    pub(super) zone: Option<Arc<str>>,
    /// In percent.
    pub(super) panic_threshold: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Group {
    levels: Vec<Level>,
    parts: RefCell<Vec<Part>>,
    stale: Cell<bool>,
}

impl Group {
    /// One more.
    pub(super) fn add(&mut self, member: &Rc<Member>, terms: &Terms) {
        let server = member.server();
        let at = self.levels.partition_point(|level| level.priority < server.priority);
        if self.levels.get(at).is_none_or(|level| level.priority != server.priority) {
            let level = Level { priority: server.priority, all: Set::default(), zones: Vec::new() };
            self.levels.insert(at, level);
        }
        self.stale.set(true);
        let Some(level) = self.levels.get_mut(at) else { return };
        level.all.add(member);
        if terms.zone.is_none() {
            return;
        }
        match level.zones.iter_mut().find(|(zone, _)| *zone == server.zone) {
            Some((_, set)) => set.add(member),
            None => {
                let mut set = Set::default();
                set.add(member);
                level.zones.push((server.zone.clone(), set));
            }
        }
    }

    /// One less.
    pub(super) fn remove(&mut self, member: &Member) {
        self.stale.set(true);
        for level in &mut self.levels {
            level.all.remove(member);
            level.zones.iter_mut().for_each(|(_, set)| set.remove(member));
            level.zones.retain(|(_, set)| set.len() > 0);
        }
        self.levels.retain(|level| level.all.len() > 0);
    }

    /// One has another weight.
    pub(super) fn weigh(&mut self, member: &Rc<Member>) {
        self.stale.set(true);
        self.each_set(|set| set.weigh(member));
    }

    /// Whether one can be used has changed.
    pub(super) fn turned(&mut self, member: &Member) {
        self.stale.set(true);
        self.each_set(|set| set.turned(member));
    }

    fn each_set(&mut self, mut change: impl FnMut(&mut Set)) {
        for level in &mut self.levels {
            change(&mut level.all);
            level.zones.iter_mut().for_each(|(_, set)| change(set));
        }
    }

    /// Whether requests may be for some of the servers only.
    pub(super) fn is_split(&self) -> bool {
        self.levels.len() > 1 || self.levels.iter().any(|level| level.zones.len() > 1)
    }

    /// The sets of all levels, first things first.
    pub(super) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.levels.iter().map(|level| &level.all)
    }

    /// The part of a request, by a number of 32 bits that it has or draws; and its servers.
    pub(super) fn part(&self, draw: impl FnOnce() -> u32, terms: &Terms) -> Option<(Part, &Set)> {
        if self.stale.replace(false) {
            self.parts.replace(self.split(terms));
        }
        let parts: Ref<'_, Vec<Part>> = self.parts.borrow();
        let part = match parts.as_slice() {
            [only] => *only,
            several => {
                let at = u64::from(draw());
                *several.iter().find(|part| at < part.until)?
            }
        };
        let level = self.levels.get(part.level)?;
        let set = match part.zone {
            Some(zone) => &level.zones.get(zone)?.1,
            None => &level.all,
        };
        Some((part, set))
    }

    #[cold]
    fn split(&self, terms: &Terms) -> Vec<Part> {
        let able: Vec<f64> = self.levels.iter().map(|l| (l.all.share_well() * ENOUGH).min(1.0)).collect();
        let sum: f64 = able.iter().sum();
        let mut parts = Vec::new();
        let mut left = 1.0;
        for (index, (level, able)) in self.levels.iter().zip(able).enumerate() {
            let share = if sum < 1.0 { able / sum.max(1e-9) } else { able.min(left) };
            left -= share;
            let too_few = level.all.share_well() * 100.0 < f64::from(terms.panic_threshold);
            // Where none can be used at all, the first ones are asked as if they could.
            let last_resort = sum <= 0.0 && parts.is_empty();
            let panic = last_resort || sum < 1.0 && too_few;
            if share > 1e-9 || last_resort {
                let share = if last_resort { 1.0 } else { share };
                level.parts(index, share, panic, terms, &mut parts);
            }
        }
        let mut until = 0.0;
        for part in &mut parts {
            until += f64::from_bits(part.until);
            // Not negative, and not more than 2^32 by much.
            part.until = (until * (1_u64 << 32) as f64) as u64;
        }
        if let Some(last) = parts.last_mut() {
            last.until = u64::MAX;
        }
        parts
    }
}

impl Level {
    /// The parts of a level that has this share; `until` has the bits of each one's own share.
    fn parts(&self, level: usize, share: f64, panic: bool, terms: &Terms, parts: &mut Vec<Part>) {
        let mut part = |zone: Option<usize>, own_zone, share: f64, set: &Set| {
            let (priority, until) = (self.priority, share.to_bits());
            let all_well = set.share_well() >= 1.0;
            parts.push(Part { until, level, zone, priority, own_zone, panic, all_well });
        };
        let own = self.zones.iter().position(|(zone, _)| zone.is_some() && *zone == terms.zone);
        let Some((own, (_, here))) = own.and_then(|own| Some((own, self.zones.get(own)?))) else {
            let elsewhere = self.zones.iter().any(|(zone, _)| zone.is_some());
            return part(None, elsewhere.then_some(false), share, &self.all);
        };
        let well = self.all.well() as f64;
        if panic || self.zones.len() < 2 || well == 0.0 {
            return part(None, Some(self.zones.len() < 2), share, &self.all);
        }
        // Gateways are taken to be spread evenly over the zones: each zone's requests are one of so many equal parts.
        let even = 1.0 / self.zones.len() as f64;
        let capacity = |set: &Set| set.well() as f64 / well;
        let stays = (capacity(here) / even).min(1.0);
        if stays > 0.0 {
            part(Some(own), Some(true), share * stays, here);
        }
        let others = || self.zones.iter().enumerate().filter(|(index, _)| *index != own);
        // What other zones have beyond their own part.
        let spare = |set: &Set| (capacity(set) - even).max(0.0);
        let spares: f64 = others().map(|(_, (_, set))| spare(set)).sum();
        if stays < 1.0 && spares > 0.0 {
            for (index, (_, set)) in others().filter(|(_, (_, set))| spare(set) > 0.0) {
                part(Some(index), Some(false), share * (1.0 - stays) * spare(set) / spares, set);
            }
        }
    }
}
