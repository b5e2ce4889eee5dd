//! Sessions at the servers of a pool: which server one is with, and whether it can be used.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::upstream::balance::{Moment, Picked, Why, Wish, key};
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;
use crate::upstream::session::{Course, Refusal};

impl Pool {
    /// Requests may want to stay at their servers from now on.
    pub(crate) fn keep_sessions(&self) {
        if self.keeps.get() {
            return;
        }
        self.keeps.set(true);
        self.asks.set(true);
        self.members().iter().flatten().for_each(|member| self.is_home(member));
    }

    /// Whether it matters which request a server is for.
    #[inline]
    pub(crate) fn asks(&self) -> bool {
        self.asks.get()
    }

    /// A server has come.
    pub(super) fn is_home(&self, member: &Rc<Member>) {
        if self.keeps.get() {
            self.homes.borrow_mut().insert(key::of_server(&member.identity), member.clone());
        }
    }

    /// A server has gone.
    pub(super) fn is_no_home(&self, member: &Member) {
        if self.keeps.get() {
            self.homes.borrow_mut().remove(&key::of_server(&member.identity));
        }
    }

    /// The server of the session that a request has, where it has not failed it and takes requests at all.
    fn home(&self, wish: &Wish<'_>) -> Option<Rc<Member>> {
        let homes = self.homes.borrow();
        let member = homes.get(&wish.home?)?;
        (member.weight() > 0 && !wish.tried.contains(&member.id())).then(|| member.clone())
    }

    /// The server of the request's session, or another one where that one cannot be used.
    #[cold]
    pub(super) fn at_home(
        &self,
        wish: &Wish<'_>,
        moment: &Moment<'_>,
        allowed: impl Fn(&Member) -> bool,
    ) -> Option<Picked> {
        let home = self.home(wish);
        match &home {
            Some(member) if allowed(member) => {
                return Some(Picked { member: member.clone(), well: true, why: Why::session() });
            }
            _ => {}
        }
        let picked = self.balancer.pick(wish, moment, allowed)?;
        Some(match home {
            // Where nobody can be used as it should, a session has no reason to move.
            Some(member) if !picked.well => Picked { member, well: false, why: Why::session() },
            _ => Picked { why: picked.why.moved(), ..picked },
        })
    }

    /// The server that a filter has chosen, or another one where the upstream has no such server or cannot use it.
    #[cold]
    pub(super) fn at_server(
        &self,
        server: SocketAddr,
        wish: &Wish<'_>,
        moment: &Moment<'_>,
        allowed: impl Fn(&Member) -> bool,
    ) -> Option<Picked> {
        let usable = |member: &&Rc<Member>| {
            member.identity.address == server && !wish.tried.contains(&member.id()) && allowed(member)
        };
        match moment.slots.iter().flatten().find(usable) {
            Some(member) => Some(Picked { member: member.clone(), well: true, why: Why::filter() }),
            None if wish.home.is_some() => self.at_home(wish, moment, allowed),
            None => self.balancer.pick(wish, moment, allowed),
        }
    }

    /// Whether a session may go on at this server.
    pub(crate) fn has_home(&self, server: u64) -> bool {
        let now = self.deadlines.recent();
        self.homes.borrow().get(&server).is_some_and(|member| {
            member.weight() > 0 && member.identity.is_usable() && !member.ejection.leaves_out(now)
        })
    }

    /// How a session went on, and what was wrong with what its client brought.
    pub(crate) fn count_session(&self, course: Course, refusal: Option<Refusal>) {
        let cells = self.cluster.counters.of(self.shard);
        match course {
            Course::Began => cells.sessions.began.add(1),
            Course::Kept => cells.sessions.kept.add(1),
            Course::Moved => cells.sessions.moved.add(1),
        }
        match refusal {
            Some(Refusal::Forged) => cells.sessions.forged.add(1),
            Some(Refusal::Ended) => cells.sessions.ended.add(1),
            None => {}
        }
    }
}
