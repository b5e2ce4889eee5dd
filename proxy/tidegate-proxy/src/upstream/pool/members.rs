//! The servers of a pool: they come and go, one is chosen for each request, and how they fare is noted.

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::balance::Wish;
use crate::upstream::member::Member;
use crate::upstream::pool::{Place, Pool};
use crate::upstream::roster::Entry;

impl Pool {
    /// Takes the changes of the cluster's servers since the last time.
    pub(crate) fn catch_up(&self) {
        let (version, changes) = self.cluster.roster.since(self.version.get());
        self.version.set(version);
        for (slot, entry) in changes {
            self.change(slot, entry);
        }
    }

    fn change(&self, slot: usize, entry: Option<Entry>) {
        let mut members = self.members.borrow_mut();
        if members.len() <= slot {
            members.resize(slot + 1, None);
        }
        let Some(place) = members.get_mut(slot) else { return };
        match (&*place, &entry) {
            (Some(member), Some(entry)) if Arc::ptr_eq(&member.identity, &entry.identity) => {
                member.becomes(entry.server.clone());
                self.balancer.update(member);
            }
            _ => {
                self.goes(place);
                let compared = self.compares();
                *place = entry.map(|entry| Member::new(entry, compared));
                if let Some(member) = place {
                    self.servers.set(self.servers.get() + 1);
                    self.ejection.joins();
                    self.looks_again_for(member);
                    self.balancer.add(member);
                }
            }
        }
    }

    /// Whether servers are compared with each other.
    fn compares(&self) -> bool {
        self.cluster.spec.ejection.as_ref().is_some_and(|rule| rule.outliers.is_some())
    }

    fn goes(&self, place: &mut Option<Rc<Member>>) {
        let Some(member) = place.take() else { return };
        self.servers.set(self.servers.get() - 1);
        self.balancer.remove(&member);
        self.looks_again_for(&member);
        if self.ejection.leaves(&member.ejection) {
            member.identity.leave_out(false);
            self.left_out();
        }
        member.leave();
        // Its connections count no longer.
        self.room.for_connection.wake();
    }

    /// The number of servers that cannot be used is not what it was.
    fn looks_again_for(&self, member: &Member) {
        if !member.identity.is_usable() {
            self.health.set(u64::MAX);
        }
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.servers.get()
    }

    /// All servers, in slots that may be empty.
    pub(super) fn members(&self) -> Ref<'_, Vec<Option<Rc<Member>>>> {
        self.members.borrow()
    }

    /// The servers in the order in which they became known, which is that of the configuration at first.
    pub(crate) fn in_order(&self) -> Vec<Rc<Member>> {
        let mut members: Vec<_> = self.members.borrow().iter().flatten().cloned().collect();
        members.sort_by_key(|member| member.id());
        members
    }

    /// Chooses a server for a request.
    pub(crate) fn place(self: &Rc<Self>, wish: &Wish<'_>) -> Result<Place, Fail> {
        if self.requests.get() >= self.limits.requests {
            self.cluster.counters.of(self.shard).overflow.add(1);
            return Err(Fail::upstream(Reason::Overflow, Retry::Never));
        }
        if self.is_full() {
            self.cluster.counters.of(self.shard).overflow.add(1);
            return Err(Fail::upstream(Reason::Adaptive, Retry::Never));
        }
        let (member, trial) =
            self.choose(wish).ok_or_else(|| Fail::upstream(self.no_server(), Retry::Never))?;
        member.in_flight.set(member.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.cluster.counters.of(self.shard).requests.add(1);
        Ok(Place { pool: self.clone(), member, trial })
    }

    /// Why there is none to choose.
    #[cold]
    fn no_server(&self) -> Reason {
        match self.cluster.spec.discover.is_some() && self.version.get() == 0 {
            true => Reason::ServersUnknown,
            false => Reason::NoServer,
        }
    }

    /// A server that is well; when none of these is left, any. And whether it is tried with this request.
    fn choose(&self, wish: &Wish<'_>) -> Option<(Rc<Member>, bool)> {
        let health = self.cluster.roster.health();
        if self.ejection.out() == 0
            && (health == self.health.get() || !self.look(health))
            && self.unusable.get() == 0
        {
            return Some((self.balancer.pick_any(wish)?, false));
        }
        let now = self.deadlines.recent();
        let well = |m: &Member| m.identity.is_usable() && !m.ejection.leaves_out(now);
        let (member, is_well) = self.balancer.pick(wish, well)?;
        let trial = is_well && member.ejection.begins();
        if trial {
            member.identity.attempt(true);
        }
        Some((member, trial))
    }

    /// Some server's health has changed: whether one cannot be used.
    #[cold]
    fn look(&self, health: u64) -> bool {
        self.health.set(health);
        let unusable = self.members.borrow().iter().flatten().filter(|m| !m.identity.is_usable()).count();
        self.unusable.set(unusable);
        unusable > 0
    }

    /// A server answered with this status.
    pub(crate) fn answered(&self, member: &Member, status: StatusCode) {
        let bad =
            self.cluster.spec.ejection.as_ref().is_some_and(|rule| rule.statuses.contains(&status.as_u16()));
        if bad {
            self.failed(member);
        } else {
            self.took(member);
        }
    }

    /// A server took a request or a connection.
    pub(crate) fn took(&self, member: &Member) {
        if !member.is_gone() && self.ejection.succeeded(&member.ejection, || self.deadlines.now()) {
            member.identity.leave_out(false);
            self.left_out();
            tracing::info!(upstream = %self.name, server = %member.identity.address, "server is taken back");
        }
    }

    /// A server did not do what it should.
    pub(crate) fn failed(&self, member: &Member) {
        if member.is_gone() {
            return;
        }
        let was_out = member.ejection.is_out();
        let Some(time) = self.ejection.failed(&member.ejection, self.deadlines.now()) else { return };
        if !was_out {
            member.identity.leave_out(true);
        }
        self.cluster.counters.of(self.shard).ejections.add(1);
        self.left_out();
        let (server, seconds) = (member.identity.address, time.as_secs_f64());
        tracing::warn!(upstream = %self.name, %server, seconds, "server fails and is left out");
    }

    fn left_out(&self) {
        self.cluster.counters.of(self.shard).left_out.set(self.ejection.out() as u64);
    }
}
