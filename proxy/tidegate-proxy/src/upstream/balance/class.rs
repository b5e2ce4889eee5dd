//! Servers of one weight, which have their turns one after the other.

use std::cell::Cell;
use std::rc::Rc;

use crate::upstream::member::Member;

/// See the module. Adding and taking away take O(1), and change nobody else's turn in this round.
#[derive(Default)]
pub(super) struct Class {
    pub(super) weight: u32,
    members: Vec<Rc<Member>>,
    /// Whose turn it is; those before had theirs in this round.
    next: Cell<usize>,
}

impl Class {
    /// The class of a weight, without a server.
    pub(super) fn new(weight: u32) -> Self {
        Self { weight, ..Self::default() }
    }

    /// Its servers.
    pub(super) fn members(&self) -> &[Rc<Member>] {
        &self.members
    }

    /// The weight of all its servers.
    pub(super) fn share(&self) -> u64 {
        u64::from(self.weight) * self.members.len() as u64
    }

    /// One more, which is the last to have its turn in this round.
    pub(super) fn add(&mut self, member: Rc<Member>) {
        self.members.push(member);
    }

    /// One more, which has its turn at this place of a round or, where that has passed, not in this one. `moved` hears where
    /// others are now, and where this one is.
    pub(super) fn insert(&mut self, member: Rc<Member>, place: usize, mut moved: impl FnMut(&Member, usize)) {
        let last = self.members.len();
        let next = self.next.get().min(last);
        self.members.push(member);
        let place = place.min(last);
        // It is where the round is, or behind, and from there before it.
        let here = place.max(next);
        self.members.swap(here, last);
        if place < next {
            self.members.swap(here, place);
            self.next.set(next + 1);
        }
        for at in [last, here, place] {
            self.members.get(at).into_iter().for_each(|member| moved(member, at));
        }
    }

    /// One less. `moved` hears where others are now.
    pub(super) fn remove(&mut self, place: usize, mut moved: impl FnMut(&Member, usize)) {
        let next = self.next.get().min(self.members.len());
        let mut hole = place;
        if place < next {
            // Who takes its place had a turn in this round too.
            self.members.swap(place, next - 1);
            self.next.set(next - 1);
            hole = next - 1;
        }
        if hole < self.members.len() {
            self.members.swap_remove(hole);
        }
        for at in [place, hole] {
            self.members.get(at).into_iter().for_each(|member| moved(member, at));
        }
    }

    /// The one whose turn it is.
    pub(super) fn next_turn(&self) -> Option<&Rc<Member>> {
        let next = self.next.get();
        let next = if next < self.members.len() { next } else { 0 };
        let member = self.members.get(next)?;
        self.next.set(next + 1);
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::tests::members;
    use super::*;
    use crate::upstream::server::mixed;

    /// Each is where it is said to be, and before the turn if it had one in this round.
    fn is_right(class: &Class, places: &HashMap<usize, usize>, had: &HashSet<usize>, what: &str) {
        assert_eq!(class.members.len(), places.len(), "{what}");
        for (at, member) in class.members.iter().enumerate() {
            assert_eq!(places.get(&member.id()), Some(&at), "{what}");
            assert_eq!(at < class.next.get(), had.contains(&member.id()), "{what}: {}", member.id());
        }
    }

    #[test]
    fn in_a_round_nobody_misses_a_turn_or_has_two_whoever_comes_and_goes() {
        let servers = members(&[1; 12]);
        let mut class = Class::new(1);
        let (mut places, mut had) = (HashMap::new(), HashSet::new());
        for n in 0..20_000 {
            let (server, kind) = (&servers[(mixed(n) % 12) as usize], mixed(n) >> 60);
            let id = server.id();
            let what = match (kind, places.get(&id).copied()) {
                (0..4, Some(place)) => {
                    places.remove(&id);
                    had.remove(&id);
                    class.remove(place, |member, at| _ = places.insert(member.id(), at));
                    format!("{n}: {id} has gone from {place}")
                }
                (0..2, None) => {
                    places.insert(id, class.members.len());
                    class.add(server.clone());
                    format!("{n}: {id} has come")
                }
                (2..4, None) => {
                    let place = (mixed(n) >> 8) as usize % (class.members.len() + 1);
                    if place < class.next.get() {
                        had.insert(id);
                    }
                    class.insert(server.clone(), place, |member, at| _ = places.insert(member.id(), at));
                    format!("{n}: {id} has come in at {place}")
                }
                _ => {
                    if had.len() == places.len() {
                        had.clear();
                    }
                    if let Some(member) = class.next_turn() {
                        assert!(had.insert(member.id()), "{n}: {} has two turns", member.id());
                    }
                    format!("{n}: a turn")
                }
            };
            is_right(&class, &places, &had, &what);
        }
    }
}
