//! New versions that are on their way, as a snapshot has them: what did not change goes on from where it is.

use std::sync::Arc;

use tidegate_config::plan::{self, Course, Plan, PluginIndex, Sticky, UpstreamIndex};

use crate::filter::entry::Plugin;
use crate::shared::Rollout;
use crate::snapshot::Snapshot;

/// Another version of a plugin.
pub(crate) struct Canary {
    /// The plugin with the other module.
    pub(crate) plugin: PluginIndex,
    /// Whether it could be loaded; if not, all requests pass the plugin itself.
    pub(crate) loaded: bool,
    /// What keeps a client with one version.
    pub(crate) sticky: Option<Sticky>,
    /// Which requests it gets. All entries of a plugin share it.
    pub(crate) rollout: Arc<Rollout>,
}

/// Finds those of the snapshot before.
pub(super) struct Known<'a> {
    previous: Option<&'a Snapshot>,
    workers: usize,
}

impl<'a> Known<'a> {
    pub(super) fn new(previous: Option<&'a Snapshot>, workers: usize) -> Self {
        Self { previous, workers }
    }

    fn rollout(&self, id: String, version: String, course: &Course) -> Arc<Rollout> {
        let known = self.previous.into_iter().flat_map(|previous| &previous.rollouts);
        match known.into_iter().find(|known| known.is(&id, &version, course)) {
            Some(known) => known.clone(),
            None => Rollout::new(id, version, course.clone(), self.workers),
        }
    }

    /// The upstream of a rule that takes over.
    pub(super) fn release(
        &self,
        plan: &Plan,
        (route, rule): (&str, &plan::Rule),
    ) -> Option<(UpstreamIndex, Arc<Rollout>)> {
        let release = rule.split.release.as_ref()?;
        let upstream = plan.upstreams.get(release.to)?;
        let id = format!("route/{route}/{}", rule.name);
        Some((release.to, self.rollout(id, upstream.name.clone(), &release.course)))
    }

    /// By plugin; empty where no plugin has one.
    pub(super) fn canaries(&self, plan: &Plan, plugins: &[Plugin]) -> Vec<Option<Canary>> {
        if plan.plugins.iter().all(|plugin| plugin.canary.is_none()) {
            return Vec::new();
        }
        let mut all: Vec<Option<Canary>> = Vec::with_capacity(plan.plugins.len());
        for own in &plan.plugins {
            let canary = own.canary.as_ref().map(|canary| {
                let id = format!("plugin/{}", own.name);
                let loaded = plugins.get(canary.plugin).is_some_and(|other| other.plugin.is_some());
                let same = all.iter().flatten().find(|other| other.rollout.id == id);
                let rollout = match same {
                    Some(same) => same.rollout.clone(),
                    None => self.rollout(id, version(plan, plugins, canary.plugin), &canary.course),
                };
                Canary { plugin: canary.plugin, loaded, sticky: canary.sticky.clone(), rollout }
            });
            all.push(canary);
        }
        all
    }
}

/// What a plugin's other version is: its module and what that is configured with.
fn version(plan: &Plan, plugins: &[Plugin], plugin: PluginIndex) -> String {
    let config = plan.plugins.get(plugin).map(|plugin| plugin.config.clone()).unwrap_or_default();
    let module = plugins.get(plugin).and_then(|plugin| plugin.version.as_ref());
    let module = module.map_or_else(String::new, |version| version.digest.clone());
    format!("{module} {}", String::from_utf8_lossy(&config))
}
