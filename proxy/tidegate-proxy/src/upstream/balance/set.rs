//! Servers that one choice is made among, in classes of equal weight. Adding, removing and choosing take O(log n) of the
//! number of classes, which are mostly few, and O(1) of that of the servers.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::class::Class;
use super::fenwick::Fenwick;
use super::random::Random;
use super::turns::Turns;
use crate::upstream::member::Member;
use crate::upstream::server::mixed;

/// Servers that are drawn before all are looked at, where not every one will do.
const DRAWS: usize = 8;

/// Where a server is.
#[derive(Clone, Copy)]
struct Seat {
    class: usize,
    /// Among those of its class.
    place: usize,
    /// It can be used.
    well: bool,
}

/// See the module. Servers of weight 0 are not in it.
#[derive(Default)]
pub(super) struct Set {
    classes: Vec<Class>,
    /// By weight: its class.
    kinds: FxHashMap<u32, usize>,
    /// Classes without a server, to be used again.
    free: Vec<usize>,
    /// By server.
    seats: FxHashMap<usize, Seat>,
    /// Of classes.
    weights: Fenwick,
    /// The weight of those that can be used.
    well: u64,
    /// Which class has its turn; empty until somebody asks.
    turns: RefCell<Turns>,
    changes: u64,
}

impl Set {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// One more.
    pub(super) fn add(&mut self, member: &Rc<Member>) {
        let weight = member.weight();
        if weight == 0 || self.has(member) {
            return;
        }
        let (index, well) = (self.class_of(weight), member.is_well());
        let Some(class) = self.classes.get_mut(index) else { return };
        self.seats.insert(member.id(), Seat { class: index, place: class.members().len(), well });
        class.add(member.clone());
        self.well += if well { u64::from(weight) } else { 0 };
        self.reckon(index, 0, u64::from(weight));
    }

    /// One has another weight.
    pub(super) fn weigh(&mut self, member: &Rc<Member>) {
        let Some(seat) = self.seats.get(&member.id()).copied() else { return };
        let (index, weight) = (self.class_of(member.weight()), u64::from(member.weight()));
        if index == seat.class {
            return;
        }
        let before = self.leave(seat);
        if seat.well {
            self.well = self.well - before + weight;
        }
        let Some(class) = self.classes.get_mut(index) else { return };
        // Anywhere in the round: else one whose weight changes again and again would never have its turn, or always.
        self.changes += 1;
        let place = (mixed(self.changes) % (class.members().len() as u64 + 1)) as usize;
        self.seats.insert(member.id(), Seat { class: index, ..seat });
        class.insert(member.clone(), place, |member, at| moves(&mut self.seats, member, at));
        self.reckon(index, 0, weight);
    }

    /// Whether one can be used has changed.
    pub(super) fn turned(&mut self, member: &Member) {
        let Some(seat) = self.seats.get_mut(&member.id()) else { return };
        let weight = self.classes.get(seat.class).map_or(0, |class| u64::from(class.weight));
        match (std::mem::replace(&mut seat.well, member.is_well()), seat.well) {
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
        self.seats.contains_key(&member.id())
    }

    /// One less.
    pub(super) fn remove(&mut self, member: &Member) {
        let Some(seat) = self.seats.remove(&member.id()) else { return };
        let weight = self.leave(seat);
        self.well -= if seat.well { weight } else { 0 };
    }

    /// The class of a weight, which may be new.
    fn class_of(&mut self, weight: u32) -> usize {
        if let Some(class) = self.kinds.get(&weight) {
            return *class;
        }
        let new = self.free.pop().unwrap_or(self.classes.len());
        match self.classes.get_mut(new) {
            Some(class) => class.weight = weight,
            None => {
                self.classes.push(Class::new(weight));
                self.weights.push(0);
            }
        }
        self.kinds.insert(weight, new);
        new
    }

    /// A seat becomes empty; the weight that it had.
    fn leave(&mut self, seat: Seat) -> u64 {
        let Some(class) = self.classes.get_mut(seat.class) else { return 0 };
        let weight = class.weight;
        class.remove(seat.place, |member, at| moves(&mut self.seats, member, at));
        if class.members().is_empty() {
            self.kinds.remove(&weight);
            self.free.push(seat.class);
        }
        self.reckon(seat.class, u64::from(weight), 0);
        u64::from(weight)
    }

    /// A class has that much less weight, and that much more.
    fn reckon(&mut self, index: usize, less: u64, more: u64) {
        self.weights.change(index, less, more);
        let share = self.classes.get(index).map_or(0, Class::share);
        let turns = self.turns.get_mut();
        if !turns.is_empty() {
            turns.change(index, share);
        }
    }

    /// One by weight, among those that are wanted.
    pub(super) fn draw(&self, random: &Random, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        if self.seats.is_empty() {
            return None;
        }
        for _ in 0..DRAWS {
            let members = match self.classes.as_slice() {
                [only] => only.members(),
                several => several.get(self.weights.find(random.below(self.weights.total())))?.members(),
            };
            if let Some(member) = members.get(random.below(members.len() as u64) as usize)
                && wanted(member)
            {
                return Some(member);
            }
        }
        self.look(random.next(), wanted)
    }

    /// The one whose turn it is, among those that are wanted; the turns of others pass.
    pub(super) fn next_turn(&self, random: &Random, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        for _ in 0..DRAWS.min(self.seats.len()) {
            let class = match self.classes.as_slice() {
                [only] => only,
                several => several.get(self.class_in_turn()?)?,
            };
            let member = class.next_turn()?;
            if wanted(member) {
                return Some(member);
            }
        }
        self.look(random.next(), wanted)
    }

    fn class_in_turn(&self) -> Option<usize> {
        let mut turns = self.turns.borrow_mut();
        if turns.is_empty() {
            self.classes.iter().enumerate().for_each(|(index, class)| turns.change(index, class.share()));
        }
        turns.next()
    }

    /// The first that is wanted from somewhere on: for when most are not.
    #[cold]
    pub(super) fn look(&self, from: u64, wanted: impl Fn(&Member) -> bool) -> Option<&Rc<Member>> {
        let from = from.checked_rem(self.len() as u64)? as usize;
        let all = || self.classes.iter().flat_map(Class::members);
        all().skip(from).chain(all().take(from)).find(|member| wanted(member))
    }
}

fn moves(seats: &mut FxHashMap<usize, Seat>, member: &Member, place: usize) {
    if let Some(seat) = seats.get_mut(&member.id()) {
        seat.place = place;
    }
}
