//! The end of a worker's own instance: when no snapshot has its plugin any more, or another instance took over. A guest that
//! answers its end with false has some time to finish.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::filter::host::Host;
use crate::filter::rebuild::Life;
use crate::filter::slot::Slot;

/// How long a guest may take to be done. It is looked at once a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A worker's plugins that are on their way out.
#[derive(Default)]
pub(crate) struct Leaving {
    /// Those that only requests in flight still know.
    slots: RefCell<Vec<Rc<Slot>>>,
    /// Instances that are not done.
    parting: RefCell<Vec<Parting>>,
    emptied: Notify,
}

struct Parting {
    host: Rc<Host>,
    /// Lends the guest what it calls meanwhile.
    _slot: Option<Rc<Slot>>,
    until: Duration,
}

impl Leaving {
    /// The snapshot that is served now does not have the plugin as it is here.
    pub(crate) fn add(&self, slot: &Rc<Slot>) {
        self.slots.borrow_mut().push(slot.clone());
    }

    /// A view is gone; its plugins that no other view has end.
    pub(crate) fn view_gone(&self, slots: &[Rc<Slot>]) {
        // Known to that view and here.
        let last =
            |slot: &Rc<Slot>| slots.iter().any(|own| Rc::ptr_eq(own, slot)) && Rc::strong_count(slot) == 2;
        let gone: Vec<_> = self.slots.borrow_mut().extract_if(.., |slot| last(slot)).collect();
        gone.iter().for_each(|slot| slot.retire());
    }

    /// Ends instances that are not done in time.
    pub(crate) fn sweep(&self, now: Duration) {
        let late: Vec<_> = self
            .parting
            .borrow_mut()
            .extract_if(.., |parting| parting.until <= now || parting.host.life.get() == Life::Ended)
            .collect();
        // One that broke off meanwhile has said so.
        for Parting { host, .. } in late.into_iter().filter(|late| late.host.life.get() == Life::Parting) {
            tracing::warn!(plugin = host.plugin().name(), limit = ?PATIENCE, "the plugin answered its end with false and never called proxy_done; ended");
            host.forget();
        }
        self.tell_if_empty();
    }

    /// Waits until all are done, or were ended.
    pub(crate) async fn emptied(&self) {
        while !self.parting.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    fn tell_if_empty(&self) {
        if self.parting.borrow().is_empty() {
            self.emptied.notify_waiters();
        }
    }
}

impl Host {
    /// Tells the guest that this is the end. It goes on as it is until it is done.
    pub(crate) fn part(self: &Rc<Self>, leaving: &Leaving, now: Duration) {
        self.life.set(Life::Parting);
        let at = self.now();
        let over = self.with(|instance| instance.shut_down(at));
        self.perform();
        if over || self.life.get() == Life::Ended {
            self.forget();
            return;
        }
        self.tick_every(self.with(|instance| instance.tick_period()));
        let parting = Parting { host: self.clone(), _slot: self.slot(), until: now + PATIENCE };
        leaving.parting.borrow_mut().push(parting);
    }

    /// The guest says that it is done.
    pub(crate) fn done(self: &Rc<Self>, leaving: &Leaving) {
        self.forget();
        let mine = |parting: &mut Parting| Rc::ptr_eq(&parting.host, self);
        let done: Vec<_> = leaving.parting.borrow_mut().extract_if(.., mine).collect();
        drop(done);
        leaving.tell_if_empty();
    }

    /// Nothing of the guest runs from here on.
    fn forget(self: &Rc<Self>) {
        self.life.set(Life::Ended);
        self.silence();
        let now = self.now();
        let trap = self.with(|instance| {
            instance.delete(now);
            instance.poisoned().cloned()
        });
        self.perform();
        if let Some(trap) = trap {
            tracing::warn!(plugin = self.plugin().name(), %trap, "the plugin broke off at its end, which hurts nobody");
        }
        self.grpc.cancel_all();
        self.foreign.cancel_all();
    }
}

/// Told of by [`Slot::retire`] before the last view is gone.
impl Slot {
    /// Ends the instance, whoever still holds the slot.
    pub(crate) fn retire(&self) {
        let Some(host) = self.give_up() else { return };
        host.part(&self.leaving, self.clock.now());
    }
}
