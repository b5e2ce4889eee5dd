//! The choice of a server. Pure: loads, times and random numbers come in.

mod class;
mod fenwick;
mod group;
pub(crate) mod key;
pub(crate) mod latency;
mod random;
mod set;
mod turns;
mod why;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::plan::{Balance, Balancing};

use crate::upstream::member::Member;
use crate::upstream::ring::Ring;
use crate::upstream::server::{Server, mixed};
use crate::upstream::table;
use group::{Group, Part, Terms};
pub(crate) use random::Random;
use set::Set;
pub(crate) use why::Why;

/// How often the next place of a table is looked at for a key, before any server is.
const PROBES: u64 = 32;
/// How many points of a ring are looked at for a key, before any server is.
const STEPS: usize = 4096;
/// The least share of its weight that a new server has.
const LEAST: f64 = 0.1;
/// How often a new server is passed over in a row.
const PASSED: usize = 4;

/// What a request wants of the server that is chosen for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Servers that it was at before.
    pub(crate) tried: &'a [usize],
    /// What it is known by, where a hash decides.
    pub(crate) key: Option<u64>,
    /// The server of its session.
    pub(crate) home: Option<u64>,
    /// The server that a filter has chosen for it.
    pub(crate) server: Option<SocketAddr>,
}

impl<'a> Wish<'a> {
    /// Any server but those, if there is another.
    pub(crate) fn other_than(tried: &'a [usize]) -> Self {
        Self { tried, ..Self::default() }
    }
}

/// What is true while a server is chosen.
pub(crate) struct Moment<'a> {
    /// The time.
    pub(crate) now: Duration,
    /// Requests in flight at all servers.
    pub(crate) requests: usize,
    /// Servers by the roster's slots.
    pub(crate) slots: &'a [Option<Rc<Member>>],
}

/// A server that was chosen.
pub(crate) struct Picked {
    pub(crate) member: Rc<Member>,
    /// It can be used, as far as is known.
    pub(crate) well: bool,
    pub(crate) why: Why,
}

/// Chooses among the servers of a cluster for one worker.
pub(crate) struct Balancer {
    method: Balance,
    rules: Balancing,
    terms: Terms,
    group: RefCell<Group>,
    ring: RefCell<Arc<Ring>>,
    table: RefCell<Arc<[u32]>>,
    random: Random,
    /// Servers that have not come to their whole share.
    young: Cell<usize>,
    /// Servers that cannot be used.
    unwell: RefCell<Vec<Rc<Member>>>,
}

impl Balancer {
    /// Without a server. `seed` makes workers differ from each other.
    pub(crate) fn new(method: Balance, rules: &Balancing, seed: u64) -> Self {
        let zone = rules.zone.as_deref().map(Arc::from);
        Self {
            method,
            terms: Terms { zone, panic_threshold: rules.panic_threshold },
            rules: rules.clone(),
            group: RefCell::default(),
            ring: RefCell::default(),
            table: RefCell::default(),
            random: Random::new(seed),
            young: Cell::default(),
            unwell: RefCell::default(),
        }
    }

    /// A server has come; `since` when it comes to its share bit by bit.
    pub(crate) fn add(&self, member: &Rc<Member>, since: Option<Duration>) {
        self.begins(member, since);
        if !member.is_well() {
            self.unwell.borrow_mut().push(member.clone());
        }
        if member.weight() > 0 {
            self.group.borrow_mut().add(member, &self.terms);
        }
    }

    /// What the list says of a server has changed.
    pub(crate) fn update(&self, member: &Rc<Member>, before: &Server) {
        let after = member.server();
        let in_place = before.weight > 0
            && after.weight > 0
            && (before.priority, &before.zone) == (after.priority, &after.zone);
        if !in_place {
            let since = member.young_since();
            self.remove(member);
            return self.add(member, since);
        }
        self.group.borrow_mut().weigh(member);
    }

    /// A server has gone.
    pub(crate) fn remove(&self, member: &Member) {
        self.begins(member, None);
        self.unwell.borrow_mut().retain(|known| known.id() != member.id());
        self.group.borrow_mut().remove(member);
    }

    /// Whether a server can be used has changed.
    pub(crate) fn turned(&self, member: &Rc<Member>, now: Duration) {
        self.unwell.borrow_mut().retain(|known| known.id() != member.id());
        if member.is_well() {
            self.begins(member, Some(now));
        } else {
            self.unwell.borrow_mut().push(member.clone());
        }
        self.group.borrow_mut().turned(member);
    }

    /// The places of keys, where a table decides.
    pub(crate) fn set_table(&self, table: Arc<[u32]>) {
        *self.table.borrow_mut() = table;
    }

    /// The same where a ring does.
    pub(crate) fn set_ring(&self, ring: Arc<Ring>) {
        *self.ring.borrow_mut() = ring;
    }

    fn begins(&self, member: &Member, since: Option<Duration>) {
        let since = since.filter(|_| self.rules.slow_start.is_some());
        let young = self.young.get() + usize::from(since.is_some());
        self.young.set(young - usize::from(member.set_young(since).is_some()));
    }

    /// A server for a request: where there is one, one that was not tried and is `allowed`.
    pub(crate) fn pick(
        &self,
        wish: &Wish<'_>,
        moment: &Moment<'_>,
        allowed: impl Fn(&Member) -> bool,
    ) -> Option<Picked> {
        let group = self.group.borrow();
        let draw = || match wish.key {
            // The same key leads to the same part.
            Some(key) => (mixed(key) >> 32) as u32,
            None => (self.random.next() >> 32) as u32,
        };
        let (part, set) = group.part(draw, &self.terms)?;
        let other = |m: &Member| !wish.tried.contains(&m.id());
        let split = group.is_split();
        if split && let Some(member) = self.due(&group, moment.now, other) {
            return Some(Picked { member, well: true, why: Why::of(wish, &part) });
        }
        let why = Why::of(wish, &part);
        let found = match (wish.tried.is_empty(), part.all_well || part.panic) {
            (true, true) => self.pick_among(set, wish, (moment, split), |_| true),
            (false, true) => self.pick_among(set, wish, (moment, split), other),
            (_, false) => self.pick_among(set, wish, (moment, split), |m| other(m) && allowed(m)),
        };
        if let Some(member) = found {
            return Some(Picked { member, well: !part.panic, why });
        }
        self.pick_elsewhere(&group, wish, other, allowed, why)
    }

    /// A server that is to be tried again, which no part of the requests is for before it was.
    fn due(&self, group: &Group, now: Duration, other: impl Fn(&Member) -> bool) -> Option<Rc<Member>> {
        let unwell = self.unwell.borrow();
        let due = |m: &&Rc<Member>| {
            m.identity.is_usable()
                && !m.ejection.leaves_out(now)
                && other(m)
                && group.sets().any(|set| set.has(m))
        };
        unwell.iter().find(due).cloned()
    }

    /// Whoever is left: of any priority and zone, then one that cannot be used, then one that was tried.
    #[cold]
    fn pick_elsewhere(
        &self,
        group: &Group,
        wish: &Wish<'_>,
        other: impl Fn(&Member) -> bool,
        allowed: impl Fn(&Member) -> bool,
        why: Why,
    ) -> Option<Picked> {
        let draw =
            |wanted: &dyn Fn(&Member) -> bool| group.sets().find_map(|set| set.draw(&self.random, wanted));
        let well = draw(&|m| other(m) && allowed(m));
        let member =
            well.or_else(|| draw(&other)).or_else(|| draw(&|m| allowed(m))).or_else(|| draw(&|_| true))?;
        let why = if wish.tried.is_empty() { why.anyone() } else { why };
        Some(Picked { member: member.clone(), well: well.is_some(), why })
    }

    fn pick_among(
        &self,
        set: &Set,
        wish: &Wish<'_>,
        (moment, split): (&Moment<'_>, bool),
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<Rc<Member>> {
        if self.method.is_by_key() {
            let among = |m: &Member| wanted(m) && (!split || set.has(m));
            return self.by_key(set, wish, moment, among);
        }
        let mut picked = self.by_load(set, moment, &wanted)?;
        if self.young.get() > 0 {
            for _ in 0..PASSED {
                if self.is_grown(picked, moment.now) {
                    break;
                }
                picked = self.by_load(set, moment, &wanted)?;
            }
        }
        Some(picked.clone())
    }

    fn by_load<'a>(
        &self,
        set: &'a Set,
        moment: &Moment<'_>,
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<&'a Rc<Member>> {
        match self.method {
            Balance::RoundRobin => set.next_turn(&self.random, wanted),
            Balance::PeakEwma => {
                let decay = self.rules.decay;
                // Compared per unit of weight, without dividing.
                let cost = |one: &Member, other: &Member| {
                    one.latency.cost(one.in_flight.get(), moment.now, decay) * f64::from(other.weight())
                };
                self.best_of(set, 2, wanted, |a, b| cost(a, b) < cost(b, a))
            }
            Balance::LeastRequest => {
                let cost =
                    |one: &Member, other: &Member| u64::from(one.in_flight.get()) * u64::from(other.weight());
                self.best_of(set, self.rules.choices, wanted, |a, b| cost(a, b) < cost(b, a))
            }
            Balance::Random | Balance::RingHash | Balance::Maglev => set.draw(&self.random, wanted),
        }
    }

    fn best_of<'a>(
        &self,
        set: &'a Set,
        choices: usize,
        wanted: impl Fn(&Member) -> bool,
        better: impl Fn(&Member, &Member) -> bool,
    ) -> Option<&'a Rc<Member>> {
        let mut best = set.draw(&self.random, &wanted)?;
        if set.len() == 1 {
            return Some(best);
        }
        for _ in 1..choices {
            // A different one, so that a stuck server is never both.
            let other = |m: &Member| m.id() != best.id() && wanted(m);
            match set.draw(&self.random, other) {
                Some(next) if better(next, best) => best = next,
                Some(_) => {}
                None => break,
            }
        }
        Some(best)
    }

    /// Whose the key is, or the next one that is wanted and not above its bound.
    fn by_key(
        &self,
        set: &Set,
        wish: &Wish<'_>,
        moment: &Moment<'_>,
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<Rc<Member>> {
        let key = wish.key.unwrap_or_else(|| self.random.next());
        let bound = self.rules.bounded_load.map(|percent| (u64::from(percent), set.total()));
        let fits = |m: &Member| {
            bound.is_none_or(|(percent, total)| {
                let fair = u128::from(percent) * (moment.requests as u128 + 1) * u128::from(m.weight());
                // Rounded up: each may have one.
                u128::from(m.in_flight.get()) * 100 * u128::from(total) < fair
            })
        };
        let find = |wanted: &dyn Fn(&Member) -> bool| match self.method {
            Balance::RingHash => self.on_ring(key, moment.slots, wanted),
            _ => self.in_table(key, moment.slots, wanted),
        };
        let find = |wanted: &dyn Fn(&Member) -> bool| find(wanted).or_else(|| set.look(key, wanted).cloned());
        find(&|m| wanted(m) && fits(m)).or_else(|| find(&wanted))
    }

    fn on_ring(
        &self,
        key: u64,
        slots: &[Option<Rc<Member>>],
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<Rc<Member>> {
        let ring = self.ring.borrow();
        let member = |slot: usize| slots.get(slot)?.as_ref().filter(|member| wanted(member));
        let first = ring.nearest(key).and_then(member);
        first.or_else(|| ring.from(key).skip(1).take(STEPS).find_map(member)).cloned()
    }

    fn in_table(
        &self,
        key: u64,
        slots: &[Option<Rc<Member>>],
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<Rc<Member>> {
        let table = self.table.borrow();
        let mut key = key;
        for _ in 0..PROBES {
            let slot = *table.get(table::place(key))?;
            if let Some(Some(member)) = slots.get(slot as usize)
                && wanted(member)
            {
                return Some(member.clone());
            }
            key = mixed(key.wrapping_add(1));
        }
        None
    }

    /// Whether a server, which may be new, is to have this request.
    fn is_grown(&self, member: &Member, now: Duration) -> bool {
        let (Some(window), Some(since)) = (self.rules.slow_start, member.young_since()) else { return true };
        let age = now.saturating_sub(since);
        if age >= window {
            self.begins(member, None);
            return true;
        }
        let share = (age.as_secs_f64() / window.as_secs_f64()).max(LEAST);
        (self.random.next() >> 32) as f64 <= share * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
