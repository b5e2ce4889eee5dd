//! The servers of a pool: they come and go, one is chosen for each request, and how they fare is noted.

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tidegate_config::plan::Balance;

use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::balance::{Moment, Picked, Why, Wish};
use crate::upstream::failure::Failure;
use crate::upstream::member::Member;
use crate::upstream::pool::{Place, Pool};
use crate::upstream::roster::Entry;

impl Pool {
    /// Takes the changes of the cluster's servers since the last time.
    pub(crate) fn catch_up(&self) {
        let (version, changes) = self.cluster.roster.since(self.version.get());
        // Those that are there from the start have nobody who could take their share.
        let since = (self.version.replace(version) > 0 && !changes.is_empty()).then(|| self.deadlines.now());
        for (slot, entry) in changes {
            self.change(slot, entry.filter(|entry| self.cluster.has(&entry.server)), since);
        }
        if let Some(table) = &self.cluster.table {
            self.balancer.set_table(table.places());
        }
        if let Some(ring) = &self.cluster.ring {
            self.balancer.set_ring(ring.ring());
        }
    }

    fn change(&self, slot: usize, entry: Option<Entry>, since: Option<Duration>) {
        let mut members = self.members.borrow_mut();
        if members.len() <= slot {
            members.resize(slot + 1, None);
        }
        let Some(place) = members.get_mut(slot) else { return };
        match (&*place, &entry) {
            (Some(member), Some(entry)) if Arc::ptr_eq(&member.identity, &entry.identity) => {
                let before = member.becomes(entry.server.clone());
                self.balancer.update(member, &before);
            }
            _ => {
                self.goes(place);
                let compared = self.compares();
                *place = entry.map(|entry| Member::new(entry, compared));
                if let Some(member) = place {
                    self.servers.set(self.servers.get() + 1);
                    self.ejection.joins();
                    self.balancer.add(member, since);
                    self.is_home(member);
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
        self.is_no_home(&member);
        if self.ejection.leaves(&member.ejection) {
            member.identity.leave_out(false);
            self.left_out();
        }
        member.leave();
        // Its connections count no longer.
        self.room.for_connection.wake();
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.servers.get()
    }

    /// All servers, in slots that may be empty.
    pub(super) fn members(&self) -> Ref<'_, Vec<Option<Rc<Member>>>> {
        self.members.borrow()
    }

    /// Servers with requests in flight: the number of the upstream's counters, the server's, and how many.
    pub(crate) fn loads(&self) -> Vec<(u64, usize, u32)> {
        if self.requests.get() == 0 {
            return Vec::new();
        }
        let members = self.members.borrow();
        let load = |member: &Rc<Member>| (self.cluster.counters.id(), member.id(), member.in_flight.get());
        members.iter().flatten().map(load).filter(|(_, _, requests)| *requests > 0).collect()
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
        let (member, trial, why) =
            self.choose(wish).ok_or_else(|| Fail::upstream(self.no_server(), Retry::Never))?;
        member.in_flight.set(member.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.cluster.counters.of(self.shard).requests.add(1);
        Ok(Place { pool: self.clone(), member, trial, why })
    }

    /// Why there is none to choose.
    #[cold]
    fn no_server(&self) -> Reason {
        match self.cluster.spec.discover.is_some() && self.version.get() == 0 {
            true => Reason::ServersUnknown,
            false => Reason::NoServer,
        }
    }

    /// A server, whether it is tried with this request, and why it is this one.
    fn choose(&self, wish: &Wish<'_>) -> Option<(Rc<Member>, bool, Why)> {
        let health = self.cluster.roster.health();
        if health != self.health.get() {
            self.look(health);
        }
        let now = self.deadlines.recent();
        let slots = self.members.borrow();
        let moment = Moment { now, requests: self.requests.get(), slots: &slots };
        let allowed = |m: &Member| m.identity.is_usable() && !m.ejection.leaves_out(now);
        let picked = match (wish.server, wish.home) {
            (None, None) => self.balancer.pick(wish, &moment, allowed)?,
            (None, Some(_)) => self.at_home(wish, &moment, allowed)?,
            (Some(server), _) => self.at_server(server, wish, &moment, allowed)?,
        };
        let Picked { member, well, why } = picked;
        let trial = self.ejection.out() > 0 && well && member.ejection.begins();
        if trial {
            member.identity.attempt(true);
        }
        Some((member, trial, why))
    }

    /// Some server's health has changed.
    #[cold]
    fn look(&self, health: u64) {
        self.health.set(health);
        self.members.borrow().iter().flatten().for_each(|member| self.looks_at(member));
    }

    pub(super) fn looks_at(&self, member: &Rc<Member>) {
        if member.looks_well() {
            self.balancer.turned(member, self.deadlines.now());
        }
    }

    /// An attempt at a server is over: how long the head of its answer took, or none came.
    #[inline]
    pub(crate) fn attempted(&self, member: &Member, took: Option<Duration>) {
        if self.cluster.spec.balance == Balance::PeakEwma {
            member.latency.note(took, self.deadlines.recent(), self.cluster.spec.balancing.decay);
        }
    }

    /// A server answered with this status.
    pub(crate) fn answered(&self, member: &Rc<Member>, status: StatusCode) {
        let bad =
            self.cluster.spec.ejection.as_ref().is_some_and(|rule| rule.statuses.contains(&status.as_u16()));
        if bad {
            self.failed(member, Failure::Status(status.as_u16()));
        } else {
            self.took(member);
        }
    }

    /// A server took a request.
    pub(crate) fn took(&self, member: &Rc<Member>) {
        if !member.is_gone() && self.ejection.succeeded(&member.ejection, || self.deadlines.now()) {
            member.identity.leave_out(false);
            self.left_out();
            self.looks_at(member);
            tracing::info!(upstream = %self.name, server = %member.identity.address, "server is taken back");
        }
    }

    /// A server did not do what it should.
    pub(crate) fn failed(&self, member: &Rc<Member>, why: Failure) {
        if member.is_gone() {
            return;
        }
        let was_out = member.ejection.is_out();
        let Some(time) = self.ejection.failed(&member.ejection, self.deadlines.now()) else { return };
        member.identity.failure.set(why);
        if !was_out {
            member.identity.leave_out(true);
        }
        self.cluster.counters.of(self.shard).ejections.add(1);
        self.left_out();
        self.looks_at(member);
        let (server, seconds) = (member.identity.address, time.as_secs_f64());
        tracing::warn!(upstream = %self.name, %server, seconds, %why, "server fails and is left out");
    }

    pub(super) fn left_out(&self) {
        self.cluster.counters.of(self.shard).left_out.set(self.ejection.out() as u64);
    }
}
