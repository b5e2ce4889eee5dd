//! Servers that one choice is made among. Adding, removing and choosing take O(log n), and O(1) where all weights are
//! equal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::fenwick::Fenwick;
use super::random::Random;
use super::turns::Turns;
use crate::upstream::member::Member;

/// Servers that are drawn before all are looked at, where not every one will do.
const DRAWS: usize = 8;

struct Seat {
    member: Rc<Member>,
    weight: u32,
    /// It can be used.
    well: bool,
    /// Tells its turns from those of an earlier seat of the same server.
    ticket: usize,
}

/// See the module. Servers of weight 0 are not in it.
#[derive(Default)]
pub(super) struct Set {
    seats: Vec<Seat>,
    tickets: usize,
    /// By server: its place among the members.
    places: FxHashMap<usize, usize>,
    weights: Fenwick,
    /// The weight of those that can be used.
    well: u64,
    /// How many have which weight.
    kinds: FxHashMap<u32, usize>,
    /// Whose turn it is, where all weights are equal.
    next: Cell<usize>,
    /// Where they are not; empty until somebody asks.
    turns: RefCell<Turns>,
}

impl Set {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// One more.
    pub(super) fn add(&mut self, member: &Rc<Member>) {
        let weight = member.weight();
        if weight == 0 || self.places.contains_key(&member.id()) {
            return;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        self.places.insert(member.id(), self.seats.len());
        let well = member.is_well();
        self.seats.push(Seat { member: member.clone(), weight, well, ticket });
        self.well += if well { u64::from(weight) } else { 0 };
        self.weights.push(u64::from(weight));
        self.count(None, Some(weight));
        let turns = self.turns.get_mut();
        if !turns.is_empty() {
            turns.add((member.id(), ticket), weight);
        }
    }

    /// One has another weight.
    pub(super) fn weigh(&mut self, member: &Rc<Member>) {
        let after = member.weight();
        let Some(place) = self.places.get(&member.id()).copied() else { return };
        let Some(seat) = self.seats.get_mut(place) else { return };
        let before = std::mem::replace(&mut seat.weight, after);
        if seat.well {
            self.well = self.well - u64::from(before) + u64::from(after);
        }
        self.weights.change(place, u64::from(before), u64::from(after));
        self.count(Some(before), Some(after));
    }

    /// Whether one can be used has changed.
    pub(super) fn turned(&mut self, member: &Member) {
        let Some(seat) = self.places.get(&member.id()).and_then(|place| self.seats.get_mut(*place)) else {
            return;
        };
        let (before, weight) = (std::mem::replace(&mut seat.well, member.is_well()), u64::from(seat.weight));
        match (before, seat.well) {
            (false, true) => self.well += weight,
            (true, false) => self.well -= weight,
            _ => {}
        }
    }

    /// The weight of all.
    pub(super) fn total(&self) -> u64 {
        self.weights.total()
    }

    /// The weight of those that can be used.
    pub(super) fn well(&self) -> u64 {
        self.well
    }

    /// That as a share of all; of none, none.
    pub(super) fn share_well(&self) -> f64 {
        match self.weights.total() {
            0 => 0.0,
            total if total == self.well => 1.0,
            total => self.well as f64 / total as f64,
        }
    }

    /// Whether one is among these.
    pub(super) fn has(&self, member: &Member) -> bool {
        self.places.contains_key(&member.id())
    }

    /// One less.
    pub(super) fn remove(&mut self, member: &Member) {
        let Some(place) = self.places.remove(&member.id()) else { return };
        let Some(last) = self.seats.last().map(|seat| seat.weight) else { return };
        let Seat { weight, well, .. } = self.seats.swap_remove(place);
        self.well -= if well { u64::from(weight) } else { 0 };
        self.weights.change(place, u64::from(weight), u64::from(last));
        self.weights.change(self.seats.len(), u64::from(last), 0);
        self.weights.pop();
        if let Some(moved) = self.seats.get(place) {
            self.places.insert(moved.member.id(), place);
        }
        self.count(Some(weight), None);
    }

    fn count(&mut self, less: Option<u32>, more: Option<u32>) {
        if let Some(weight) = more {
            *self.kinds.entry(weight).or_default() += 1;
        }
        if let Some(weight) = less
            && let Some(count) = self.kinds.get_mut(&weight)
        {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&weight);
            }
        }
    }

    fn is_even(&self) -> bool {
        self.kinds.len() <= 1
    }

    /// One by weight, among those that are wanted.
    pub(super) fn draw(&self, random: &Random, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        if self.seats.is_empty() {
            return None;
        }
        for _ in 0..DRAWS {
            let drawn = match self.is_even() {
                true => random.below(self.seats.len() as u64) as usize,
                false => self.weights.find(random.below(self.weights.total())),
            };
            if let Some(seat) = self.seats.get(drawn)
                && wanted(&seat.member)
            {
                return Some(&seat.member);
            }
        }
        self.look(random.next(), wanted)
    }

    /// The one whose turn it is, among those that are wanted; the turns of others pass.
    pub(super) fn next_turn(&self, random: &Random, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        for _ in 0..DRAWS.min(self.seats.len()) {
            let member = match self.is_even() {
                true => &self.seats.get(self.turn())?.member,
                false => self.weighted_turn()?,
            };
            if wanted(member) {
                return Some(member);
            }
        }
        self.look(random.next(), wanted)
    }

    fn turn(&self) -> usize {
        let turn = self.next.get();
        let turn = if turn < self.seats.len() { turn } else { 0 };
        self.next.set(turn + 1);
        turn
    }

    fn weighted_turn(&self) -> Option<&Rc<Member>> {
        let mut turns = self.turns.borrow_mut();
        if turns.is_empty() {
            self.seats.iter().for_each(|seat| turns.add((seat.member.id(), seat.ticket), seat.weight));
        }
        let of = |id: usize| self.places.get(&id).and_then(|place| self.seats.get(*place));
        let weight = |(id, ticket)| of(id).filter(|seat| seat.ticket == ticket).map(|seat| seat.weight);
        let (id, _) = turns.next(weight)?;
        of(id).map(|seat| &seat.member)
    }

    /// The first that is wanted from somewhere on: for when most are not.
    #[cold]
    pub(super) fn look(&self, from: u64, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        let from = from.checked_rem(self.seats.len() as u64).unwrap_or(0) as usize;
        let (before, after) = self.seats.split_at_checked(from)?;
        after.iter().chain(before).map(|seat| &seat.member).find(|member| wanted(member))
    }
}
