//! The choice of a server. Pure: loads, times and random numbers come in.

mod fenwick;
mod random;
mod set;
mod turns;

use std::cell::RefCell;
use std::rc::Rc;

use tidegate_config::plan::Balance;

use crate::upstream::member::Member;
pub(crate) use random::Random;
use set::Set;

/// What a request wants of the server that is chosen for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Servers that it was at before.
    pub(crate) tried: &'a [usize],
}

impl<'a> Wish<'a> {
    /// Any server but those, if there is another.
    pub(crate) fn other_than(tried: &'a [usize]) -> Self {
        Self { tried }
    }
}

/// Chooses among the servers of a cluster for one worker.
pub(crate) struct Balancer {
    method: Balance,
    all: RefCell<Set>,
    random: Random,
}

impl Balancer {
    /// Without a server. `seed` makes workers differ from each other.
    pub(crate) fn new(method: Balance, seed: u64) -> Self {
        Self { method, all: RefCell::default(), random: Random::new(seed) }
    }

    /// A server has come.
    pub(crate) fn add(&self, member: &Rc<Member>) {
        self.all.borrow_mut().add(member);
    }

    /// What the list says of a server has changed.
    pub(crate) fn update(&self, member: &Rc<Member>) {
        self.all.borrow_mut().update(member);
    }

    /// A server has gone.
    pub(crate) fn remove(&self, member: &Member) {
        self.all.borrow_mut().remove(member);
    }

    /// A server that has a weight and was not tried. One that is `well` if there is one, which is told with it.
    pub(crate) fn pick(&self, wish: &Wish<'_>, well: impl Fn(&Member) -> bool) -> Option<(Rc<Member>, bool)> {
        let set = self.all.borrow();
        let other = |m: &Member| !wish.tried.contains(&m.id());
        if let Some(member) = self.pick_among(&set, |m| other(m) && well(m)) {
            return Some((member, true));
        }
        let member = self.pick_among(&set, other).or_else(|| self.pick_among(&set, |_| true))?;
        Some((member, false))
    }

    /// As [`Balancer::pick`] when all are well.
    pub(crate) fn pick_any(&self, wish: &Wish<'_>) -> Option<Rc<Member>> {
        if wish.tried.is_empty() {
            return self.pick_among(&self.all.borrow(), |_| true);
        }
        self.pick(wish, |_| true).map(|(member, _)| member)
    }

    fn pick_among(&self, set: &Set, wanted: impl Fn(&Member) -> bool) -> Option<Rc<Member>> {
        let picked = match self.method {
            Balance::RoundRobin => set.next_turn(&self.random, wanted),
            Balance::Random => set.draw(&self.random, wanted),
            Balance::LeastRequest => {
                let a = set.draw(&self.random, &wanted)?;
                // A different one, so that a stuck server is never both.
                let other = |m: &Member| m.id() != a.id() && wanted(m);
                let b = if set.len() > 1 { set.draw(&self.random, other) } else { None };
                let Some(b) = b else { return Some(a.clone()) };
                // Loads are compared per unit of weight, without dividing.
                let cost =
                    |one: &Member, other: &Member| u64::from(one.in_flight.get()) * u64::from(other.weight());
                Some(if cost(b, a) < cost(a, b) { b } else { a })
            }
        };
        picked.cloned()
    }
}

#[cfg(test)]
mod tests;
