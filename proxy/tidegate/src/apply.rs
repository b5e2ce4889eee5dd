//! From the latest document to what runs: plan -> assets -> plugins -> snapshot -> publish.
//!
//! Everything that can fail is done off the workers and before anything changes. Whatever fails, the last good
//! configuration keeps running; the problems are logged once and shown by the admin API.

mod admin_tls;
mod lines;
mod places;
mod plugins;
mod selftest;
mod source;
#[cfg(test)]
mod tests;
mod workshop;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::plan::{Admin, Plan};
use tidegate_config::{Loaded, Places, Problem, Severity};
use tidegate_proxy::{Assets, BuildError, Snapshot};

use crate::assets::{self, Digest, FileBytes, Reporter};
use crate::discover::{Addresses, NameFailure};
use crate::fetch::Wanted;
use crate::files::{Files, Stamps};
use crate::provider::{self, FileSecrets};
pub(crate) use admin_tls::AdminTls;
pub(crate) use plugins::Plugins;
pub(crate) use workshop::{EPOCH_TICK, Workshop};

/// A configuration that is ready to be published, or was.
pub(crate) struct Ready {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The document without its secrets.
    pub(crate) document: serde_json::Value,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) plugins: Plugins,
    pub(crate) addresses: Addresses,
    pub(crate) admin_tls: AdminTls,
    /// Names that could not be looked up.
    pub(crate) name_failures: Vec<NameFailure>,
    files: HashMap<PathBuf, Digest>,
}

/// What became of a try to load the configuration.
pub(crate) struct Attempt {
    /// The files that matter, each as it was before it was read.
    pub(crate) stamps: Stamps,
    pub(crate) outcome: Outcome,
}

/// How a try ended.
pub(crate) enum Outcome {
    /// A new configuration.
    Ready(Box<Ready>),
    /// The one that runs already.
    Unchanged,
    /// Refused for these problems.
    Refused(Vec<Problem>),
}

/// What the new configuration comes after; decides what a plugin that fails means.
#[derive(Clone)]
pub(crate) enum Before {
    /// Nothing is going to run: every problem counts.
    Check,
    /// Nothing runs yet: a plugin that fails costs only the routes that use it.
    Start,
    /// This runs: a plugin that fails must not take the place of one that works.
    Live(Arc<Ready>),
}

impl Before {
    fn live(&self) -> Option<&Ready> {
        match self {
            Before::Live(live) => Some(live),
            Before::Check | Before::Start => None,
        }
    }

    /// Whether a configuration is accepted although this plugin fails.
    fn tolerates(&self, key: &str) -> bool {
        match self {
            Before::Check => false,
            Before::Start => true,
            // It has failed all along: refusing would keep every other change out until it is mended.
            Before::Live(live) => {
                live.plugins.failed().contains_key(key) || live.plugins.loading().contains_key(key)
            }
        }
    }

    /// Whether a configuration is accepted although this server's name has no address; until it has one, the server
    /// takes no requests.
    fn tolerates_name(&self, server: &str) -> bool {
        match self {
            Before::Check => false,
            // A name server that is late must not keep the other upstreams down.
            Before::Start => true,
            Before::Live(live) => live.addresses.contains_key(server),
        }
    }
}

/// Reads the configuration and builds everything that it needs. Blocks: on files, on name servers, on compilation.
pub(crate) fn prepare(main: &Path, workshop: &Workshop, before: &Before) -> Attempt {
    let mut files = Files::default();
    let outcome = match load(main, &mut files) {
        Ok(loaded) => {
            let places = Arc::clone(&loaded.places);
            build(main, loaded, workshop, before, &mut files).with_lines(&places)
        }
        Err(problems) => Outcome::Refused(problems),
    };
    Attempt { stamps: files.into_stamps(), outcome }
}

/// Reads the document and checks it.
pub(crate) fn load(main: &Path, files: &mut Files) -> Result<Loaded, Vec<Problem>> {
    let documents = provider::read(main, files).map_err(|error| {
        vec![problem(main, String::new(), format!("cannot read the configuration: {error}"))]
    })?;
    let secrets = FileSecrets::new(files);
    tidegate_config::load(&documents.sources, &documents.base, &secrets)
        .map_err(|problems| problems.into_iter().collect())
}

fn build(main: &Path, loaded: Loaded, workshop: &Workshop, before: &Before, files: &mut Files) -> Outcome {
    let plan = loaded.plan;
    let live = before.live();
    let source = main.display().to_string();
    let mut problems = Vec::new();
    let mut reporter = Reporter { source: &source, problems: &mut problems };

    let bytes = assets::read_files(&plan, files, &mut reporter);
    let (addresses, name_failures) = workshop.names.resolve(&plan, live.map(|live| &live.addresses));
    let refused = |failure: &&NameFailure| !failure.kept && !before.tolerates_name(&failure.server);
    for failure in name_failures.iter().filter(refused) {
        let NameFailure { upstream, server, why, .. } = failure;
        reporter.report(
            format!("upstreams.{upstream}.servers"),
            format!("\"{server}\" has no address: {why}"),
            None,
        );
    }
    let plugins = plugins(&plan, workshop, before, files);
    report_plugins(&plan, &plugins, (workshop, before), &loaded.places, &mut reporter);
    if !problems.is_empty() {
        return Outcome::Refused(problems);
    }

    let mut warnings = loaded.warnings;
    warnings.extend(places::misplaced(&plan, &plugins.ready()).into_iter().map(|found| Problem {
        hint: Some(found.hint.to_owned()),
        severity: Severity::Warning,
        ..problem(main, found.path, found.message)
    }));
    warnings.extend(plugins.warnings().iter().map(|(key, message)| Problem {
        severity: Severity::Warning,
        ..problem(main, lines::of_plugin(&plan, key), message.clone())
    }));
    let digests = bytes.iter().map(|(path, bytes)| (path.clone(), assets::digest(bytes))).collect();
    if live.is_some_and(|live| live.is_same(&plan, &digests, &plugins, &addresses)) {
        return Outcome::Unchanged;
    }
    let named =
        assets::named_files(&plan).into_iter().map(|(at, path)| (at, path.to_owned())).collect::<Vec<_>>();
    let admin_tls = match AdminTls::build(plan.admin.as_ref(), &bytes, live.map(|live| &live.admin_tls)) {
        Ok(admin_tls) => admin_tls,
        Err((place, error)) => {
            let place = lines::of_file(&named, &error).unwrap_or_else(|| place.to_owned());
            return Outcome::Refused(vec![problem(main, place, error.to_string())]);
        }
    };
    match snapshot(plan, workshop, bytes, (&plugins, &addresses), live) {
        Ok(snapshot) => Outcome::Ready(Box::new(Ready {
            snapshot,
            document: loaded.redacted,
            warnings,
            plugins,
            addresses,
            admin_tls,
            name_failures,
            files: digests,
        })),
        Err(error) => {
            let place = lines::of_file(&named, &error).unwrap_or_default();
            Outcome::Refused(vec![problem(main, place, error.to_string())])
        }
    }
}

/// Reports the plugins that are wanted and cannot be had.
fn report_plugins(
    plan: &Plan,
    plugins: &Plugins,
    (workshop, before): (&Workshop, &Before),
    places: &Places,
    reporter: &mut Reporter<'_>,
) {
    let tolerated = |key: &str| {
        // The version that is there serves on without it.
        before.tolerates(key) || plan.is_canary(key) && !matches!(before, Before::Check)
    };
    for (key, why) in plugins.failed().iter().filter(|(key, _)| !tolerated(key)) {
        let place = lines::of_setting(|place| places.has(place), lines::of_plugin(plan, key), why);
        reporter.report(place, why, None);
    }
    for (key, wanted) in plugins.loading().iter().filter(|_| matches!(before, Before::Check)) {
        let why = workshop.library.trouble(wanted).unwrap_or_else(|| format!("{wanted} did not come"));
        reporter.report(lines::of_plugin(plan, key), why, None);
    }
}

/// Builds the plugins under their time limits. The engine's time passes only when someone ticks it: the gateway, once
/// it runs.
fn plugins(plan: &Plan, workshop: &Workshop, before: &Before, files: &mut Files) -> Plugins {
    let patience = match before {
        Before::Live(live) => return Plugins::build(plan, workshop, Some(&live.plugins), files),
        _ if plan.plugins.is_empty() => return Plugins::default(),
        // Each attempt has a limit of its own.
        Before::Check => Duration::MAX,
        Before::Start => FIRST_ATTEMPT,
    };
    for wanted in plan.plugins.iter().filter_map(Wanted::of) {
        workshop.library.find(&wanted);
    }
    workshop.library.fetch_missing(patience);
    workshop.with_time(|| Plugins::build(plan, workshop, None, files))
}

fn snapshot(
    plan: Plan,
    workshop: &Workshop,
    files: FileBytes,
    (plugins, addresses): (&Plugins, &Addresses),
    live: Option<&Ready>,
) -> Result<Arc<Snapshot>, BuildError> {
    let (plugins, addresses, records) = (plugins.ready(), addresses.clone(), workshop.records.clone());
    let assets = Assets { files, plugins, addresses, records };
    Snapshot::build(plan, &assets, live.map(|live| &live.snapshot)).map(Arc::new)
}

impl Ready {
    fn is_same(
        &self,
        plan: &Plan,
        files: &HashMap<PathBuf, Digest>,
        plugins: &Plugins,
        addresses: &Addresses,
    ) -> bool {
        self.snapshot.plan() == plan
            && self.files == *files
            && self.plugins.is_same(plugins)
            && self.addresses == *addresses
    }

    /// The admin API's settings.
    pub(crate) fn admin(&self) -> Option<&Admin> {
        self.snapshot.plan().admin.as_ref()
    }
}

/// How long a start waits for modules that it has never seen: better a little later than with routes that refuse.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);

/// A problem of the configuration as a whole.
pub(crate) fn problem(main: &Path, path: String, message: String) -> Problem {
    let source = main.display().to_string();
    Problem { source, line: None, path, message, hint: None, severity: Severity::Error }
}
