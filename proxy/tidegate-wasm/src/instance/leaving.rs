//! The end of an instance: the plugin itself is told, may ask for some more time, and is forgotten.

use super::Instance;
use crate::{Now, stream::table::ROOT};

impl Instance {
    /// Tells the guest that this is the end, after its last stream. True: it is over. False: the guest has answered that
    /// it is not done; then [`Effect::Done`](crate::Effect::Done) comes when it is, and whoever has no more patience
    /// calls [`Instance::delete`]. Never fails: a guest that breaks off here only leaves a poisoned instance.
    pub fn shut_down(&mut self, now: Now) -> bool {
        let done = self.call_root(now, |exports, store| match &exports.done {
            Some(done) => done.call(store, ROOT),
            None => Ok(1),
        });
        if done.is_ok_and(|done| done == 0) {
            self.store.data_mut().parting = true;
            return false;
        }
        self.delete(now);
        true
    }

    /// Has the guest forget the plugin itself; it is called for nothing more.
    pub fn delete(&mut self, now: Now) {
        if std::mem::replace(&mut self.over, true) || self.poisoned.is_some() {
            return;
        }
        self.store.data_mut().parting = false;
        // The trap, if there is one, is kept in `poisoned`.
        let _ = self.call_root(now, |exports, store| match &exports.delete {
            Some(delete) => delete.call(store, ROOT),
            None => Ok(()),
        });
    }
}
