//! New versions that are on their way, as a snapshot has them: what did not change goes on from where it is.

use std::collections::HashMap;
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

    /// Those of a plan's rules.
    pub(super) fn releases(&self, plan: &Plan) -> Releases {
        let mut all = HashMap::new();
        for route in &plan.routes {
            let mut before = self.of_route(&route.name);
            let mut wanted: Vec<_> =
                Place::all(route).filter_map(|place| Wanted::of(plan, route, place)).collect();
            for same in [Place::is_named_as, Place::matches_as, Place::is_where] {
                for wanted in wanted.iter_mut().filter(|wanted| wanted.known.is_none()) {
                    let at = before.iter().position(|(place, known)| {
                        same(&wanted.place, place) && known.is(wanted.version, wanted.course)
                    });
                    wanted.known = at.map(|at| before.remove(at).1.named(&wanted.id));
                }
            }
            for Wanted { id, to, version, course, known, .. } in wanted {
                let begin = || Rollout::new(id.clone(), version.to_owned(), course.clone(), self.workers);
                let rollout = known.unwrap_or_else(begin);
                all.insert(id, (to, rollout));
            }
        }
        Releases(all)
    }

    /// Those of a route of the snapshot before, with their rules.
    fn of_route(&self, name: &str) -> Vec<(Place<'a>, &'a Arc<Rollout>)> {
        let Some(previous) = self.previous else { return Vec::new() };
        let route = previous.plan.routes.iter().find(|route| route.name == name);
        let known = |place: Place<'a>| {
            let id = id(name, place.rule);
            let rollout = previous.rollouts.iter().find(|known| known.id == id)?;
            place.rule.split.release.is_some().then_some((place, rollout))
        };
        route.into_iter().flat_map(Place::all).filter_map(known).collect()
    }

    fn rollout(&self, id: String, version: String, course: &Course) -> Arc<Rollout> {
        let mut known = self.previous.into_iter().flat_map(|previous| &previous.rollouts);
        match known.find(|known| known.id == id && known.is(&version, course)) {
            Some(known) => known.clone(),
            None => Rollout::new(id, version, course.clone(), self.workers),
        }
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
                    None => {
                        let version = version(plan, plugins, canary.plugin);
                        self.rollout(id, version, &canary.course).loaded(loaded)
                    }
                };
                Canary { plugin: canary.plugin, loaded, sticky: canary.sticky.clone(), rollout }
            });
            all.push(canary);
        }
        all
    }
}

/// The releases of rules by id, each with the upstream that takes over.
pub(super) struct Releases(HashMap<String, (UpstreamIndex, Arc<Rollout>)>);

impl Releases {
    /// That of a rule.
    pub(super) fn of(&self, route: &str, rule: &plan::Rule) -> Option<(UpstreamIndex, Arc<Rollout>)> {
        self.0.get(&id(route, rule)).cloned()
    }
}

/// A rule, and where in its route it is: that is the name of one that has none, and changes when others come and go.
#[derive(Clone, Copy)]
struct Place<'a> {
    index: usize,
    rule: &'a plan::Rule,
}

impl<'a> Place<'a> {
    fn all(route: &'a plan::Route) -> impl Iterator<Item = Self> {
        route.rules.iter().enumerate().map(|(index, rule)| Self { index, rule })
    }

    fn has_name(&self) -> bool {
        self.rule.name != self.index.to_string()
    }

    fn is_named_as(&self, other: &Self) -> bool {
        self.has_name() && other.has_name() && self.rule.name == other.rule.name
    }

    fn matches_as(&self, other: &Self) -> bool {
        self.rule.matches == other.rule.matches
    }

    fn is_where(&self, other: &Self) -> bool {
        !self.has_name() && self.rule.name == other.rule.name
    }
}

fn id(route: &str, rule: &plan::Rule) -> String {
    format!("route/{route}/{}", rule.name)
}

/// The release of a rule, to be found among those that there were.
struct Wanted<'a> {
    place: Place<'a>,
    id: String,
    to: UpstreamIndex,
    version: &'a str,
    course: &'a Course,
    known: Option<Arc<Rollout>>,
}

impl<'a> Wanted<'a> {
    fn of(plan: &'a Plan, route: &plan::Route, place: Place<'a>) -> Option<Self> {
        let release = place.rule.split.release.as_ref()?;
        let version = &plan.upstreams.get(release.to)?.name;
        let id = id(&route.name, place.rule);
        Some(Self { place, id, to: release.to, version, course: &release.course, known: None })
    }
}

/// What a plugin's other version is: its module and what that is configured with.
fn version(plan: &Plan, plugins: &[Plugin], plugin: PluginIndex) -> String {
    let config = plan.plugins.get(plugin).map(|plugin| plugin.config.clone()).unwrap_or_default();
    let module = plugins.get(plugin).and_then(|plugin| plugin.version.as_ref());
    let module = module.map_or_else(String::new, |version| version.digest.clone());
    format!("{module} {}", String::from_utf8_lossy(&config))
}
