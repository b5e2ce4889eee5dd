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
    pub(crate) rollout: Arc<Rollout>,
    pub(crate) arm: Arm,
    /// The plugin, where it is a plugin's version.
    pub(crate) plugin: Option<PluginIndex>,
}

impl Taken {
    /// Whether it is a version of this.
    pub(crate) fn is_of(&self, rollout: &Arc<Rollout>) -> bool {
        Arc::ptr_eq(&self.rollout, rollout)
    }
}

impl Record {
    /// The new version of a plugin has no instance at this moment: the request passes the old one. That counts as a failure
    /// unless it was so `before`: one guest that breaks off would count for each request that comes until the next starts.
    #[cold]
    pub(crate) fn canary_is_away(&mut self, plugin: PluginIndex, instead: PluginIndex, before: bool) {
        let worker = self.client.local.shard.worker;
        for taken in self.arms.iter_mut().filter(|taken| taken.plugin == Some(plugin)) {
            taken.rollout.of(Arm::New, worker).failures.add(u64::from(!before));
            (taken.arm, taken.plugin) = (Arm::Old, Some(instead));
        }
    }

    /// The request is over: it counts for each version that it has had.
    #[cold]
    pub(crate) fn count_arms(&self, took: Duration) {
        let worker = self.client.local.shard.worker;
        let time = self.answered_at.map_or(took, |at| at.saturating_sub(self.start));
        let failed = self.has_failed();
        for taken in &self.arms {
            let cells = taken.rollout.of(taken.arm, worker);
            let broke = taken.plugin.is_some_and(|plugin| self.broke_in(plugin));
            cells.requests.add(1);
            cells.times.add(time);
            cells.errors.add(u64::from(failed));
            cells.failures.add(u64::from(broke));
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
