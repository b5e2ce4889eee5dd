//! Which versions a request has had, of those that are on their way to take over, and what became of it there.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::plan::PluginIndex;

use crate::exchange::finish::Record;
use crate::http::fail::Reason;
use crate::shared::{Arm, Rollout};
use crate::telemetry::access_log::line::Value;

/// A request has had this version.
pub(crate) struct Taken {
    rollout: Arc<Rollout>,
    arm: Arm,
    /// The plugin, where it is a plugin's version.
    plugin: Option<PluginIndex>,
    /// The head of its answer was on its way, and was counted.
    counted: bool,
}

impl Taken {
    /// Whether it is a version of this.
    fn is_of(&self, rollout: &Arc<Rollout>) -> bool {
        Arc::ptr_eq(&self.rollout, rollout)
    }

    /// Its request waits no longer.
    fn count(&mut self, worker: usize, time: Duration) {
        if !self.counted {
            self.counted = true;
            let cells = self.rollout.of(self.arm, worker);
            cells.requests.add(1);
            cells.times.add(time);
        }
    }
}

impl Record {
    /// The request has this version from here on; which plugin that is, where it is one's.
    #[cold]
    pub(crate) fn take_arm(&mut self, rollout: &Arc<Rollout>, arm: Arm, plugin: Option<PluginIndex>) {
        rollout.of(arm, self.client.local.shard.worker).begun.add(1);
        self.arms.push(Taken { rollout: rollout.clone(), arm, plugin, counted: false });
    }

    /// The version that it has already of these two.
    pub(crate) fn taken_arm(&self, rollout: &Arc<Rollout>) -> Option<Arm> {
        self.arms.iter().find(|taken| taken.is_of(rollout)).map(|taken| taken.arm)
    }

    /// The new version of a plugin has no instance at this moment: the request passes the old one. That counts as a failure
    /// unless it was so `before`: one guest that breaks off would count for each request that comes until the next starts.
    #[cold]
    pub(crate) fn canary_is_away(&mut self, plugin: PluginIndex, instead: PluginIndex, before: bool) {
        let worker = self.client.local.shard.worker;
        let unnoticed = self.unnoticed(plugin);
        for taken in self.arms.iter_mut().filter(|taken| taken.plugin == Some(plugin)) {
            let new = taken.rollout.of(Arm::New, worker);
            new.failures.add(u64::from(!before) + unnoticed);
            new.begun.subtract(1);
            taken.rollout.of(Arm::Old, worker).begun.add(1);
            (taken.arm, taken.plugin) = (Arm::Old, Some(instead));
        }
    }

    /// The head of the answer is on its way: the request counts, since an answer may go on for ever.
    #[cold]
    pub(crate) fn count_heads(&mut self, took: Duration) {
        let worker = self.client.local.shard.worker;
        self.arms.iter_mut().for_each(|taken| taken.count(worker, took));
    }

    /// The request is over: what became of it counts for each version that it has had.
    #[cold]
    pub(crate) fn count_arms(&mut self, took: Duration) {
        self.count_heads(self.answered_at.map_or(took, |at| at.saturating_sub(self.start)));
        let worker = self.client.local.shard.worker;
        let failed = self.has_failed();
        for taken in &self.arms {
            let cells = taken.rollout.of(taken.arm, worker);
            let broke = |plugin| u64::from(self.broke_in(plugin)) + self.unnoticed(plugin);
            cells.errors.add(u64::from(failed));
            cells.failures.add(taken.plugin.map_or(0, broke));
        }
    }

    /// Whether the gateway or what is behind it did not do what it should.
    fn has_failed(&self) -> bool {
        let by_client = matches!(self.reason, Some(Reason::ClientGone | Reason::ClientTimeout));
        let broke = self.reason.is_some() && !by_client;
        match self.status {
            Some(status) if status.is_server_error() => !by_client,
            // A refusal is an answer, whatever its reason; what breaks off after a good status is not.
            Some(status) => broke && status.is_success(),
            None => broke,
        }
    }

    /// How often a plugin broke off since a request was last over, without one that failed for it.
    fn unnoticed(&self, plugin: PluginIndex) -> u64 {
        self.view.plugins.get(plugin).map_or(0, |slot| slot.take_unnoticed())
    }

    /// Whether the request's stream in a plugin broke off.
    fn broke_in(&self, plugin: PluginIndex) -> bool {
        self.guests.iter().any(|passed| passed.plugin == plugin && passed.guest.has_failed())
    }

    /// Tells the access log.
    #[cold]
    pub(crate) fn write_arms(&self, value: &mut Value<'_>) {
        let mut text = String::new();
        for taken in &self.arms {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&taken.rollout.id);
            text.push('=');
            text.push_str(taken.arm.word());
            let slot = taken.plugin.and_then(|plugin| self.view.plugins.get(plugin));
            if let Some(version) = slot.and_then(|slot| slot.entry.version.as_ref()) {
                text.push('@');
                text.push_str(version.name());
            }
        }
        value.text(text.as_bytes());
    }
}
