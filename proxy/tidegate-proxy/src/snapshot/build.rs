//! Plan and assets -> snapshot. Everything that can be wrong with files shows here, before anything changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, StatusCode};
use tidegate_config::plan::{self, Plan};

use crate::filter::chain::{Rewrite, Step};
use crate::filter::entry::Plugin;
use crate::filter::version::Version;
use crate::http::headers::CompiledChanges;
use crate::route::{RouteTable, StreamTable};
use crate::shared::{PerWorker, PluginCounters, Rollout};
use crate::snapshot::logs::Logs;
use crate::snapshot::pushes::MetricsPush;
use crate::snapshot::rollouts::{Known, Releases};
use crate::snapshot::sessions::Sessions;
use crate::snapshot::traces::Tracing;
use crate::snapshot::{Action, Assets, Canary, Listener, Mirror, Redirect, Rule, Snapshot, Targets, tls};
use crate::telemetry::recorder::Recorder;
use crate::upstream::cluster::Cluster;
use crate::upstream::roster::{self, Roster};
use crate::upstream::server::Server;
use crate::upstream::session::{OwnKey, Session};

/// Why a plan cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file that the plan names was not fetched.
    #[error("{path}: not read")]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate, key or authority cannot be used.
    #[error("{path}: {problem}")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A server's name was not looked up.
    #[error("upstream \"{upstream}\": the name of server \"{server}\" was not looked up")]
    Address {
        /// Which upstream.
        upstream: String,
        /// Which server.
        server: String,
    },
    /// The plan holds something that its own check should have refused.
    #[error("{what}")]
    Plan {
        /// What.
        what: String,
    },
}

impl BuildError {
    pub(crate) fn plan(what: impl ToString) -> Self {
        Self::Plan { what: what.to_string() }
    }
}

/// Workers that counters are kept for; more than a machine has CPUs.
const WORKERS: usize = 64;

impl Snapshot {
    /// Builds what `plan` says out of `assets`, and takes over from `previous` what did not change.
    ///
    /// # Errors
    /// The first thing that cannot be built. Nothing is changed then.
    pub fn build(plan: Plan, assets: &Assets, previous: Option<&Arc<Self>>) -> Result<Self, BuildError> {
        let previous = previous.map(AsRef::as_ref);
        let mut listeners = Vec::with_capacity(plan.listeners.len());
        for (index, spec) in plan.listeners.iter().enumerate() {
            let made_of = spec.tls.as_ref().map_or_else(Vec::new, |tls| tls::files_of_server(tls, assets));
            let before = previous
                .and_then(|previous| previous.listeners.iter().find(|before| before.spec.name == spec.name));
            let counters =
                before.map_or_else(|| Arc::new(PerWorker::new(WORKERS)), |before| before.counters.clone());
            let before = before
                .filter(|before| before.spec.tls == spec.tls && before.made_of == made_of)
                .filter(|before| before.spec.protocol == spec.protocol);
            let (tls, names) = match (&spec.tls, before) {
                (None, _) => (None, None),
                (Some(_), Some(before)) => (before.tls.clone(), before.names.clone()),
                (Some(tls), None) => {
                    tls::server(tls, spec.protocol, assets).map(|(tls, names)| (Some(tls), Some(names)))?
                }
            };
            listeners.push(Listener {
                spec: spec.clone(),
                routes: RouteTable::build(&plan, index).map_err(BuildError::plan)?,
                streams: (!spec.protocol.is_http()).then(|| StreamTable::build(&plan, index)),
                tls,
                made_of,
                names,
                steps: steps(&spec.filters)?,
                counters,
            });
        }
        let mut clusters = Vec::with_capacity(plan.upstreams.len());
        let session_key = session_key(previous)?;
        for spec in &plan.upstreams {
            clusters.push(cluster((spec, &clusters), (assets, &session_key), previous)?);
        }
        let servers = plan.upstreams.iter().map(|spec| servers(spec, assets)).collect::<Result<_, _>>()?;
        let mut plugins: Vec<Plugin> = Vec::with_capacity(plan.plugins.len());
        for spec in &plan.plugins {
            let known = || plugins.iter().chain(previous.iter().flat_map(|p| &p.plugins));
            let (recorder, version) = (recorder(spec, assets, known())?, version(spec, assets, known()));
            let counters =
                known().find(|other| *other.name == *spec.name).map(|other| other.counters.clone());
            plugins.push(Plugin { recorder, version, ..plugin(spec, &plan, assets, counters) });
        }
        let known = Known::new(previous, WORKERS);
        let canaries = known.canaries(&plan, &plugins);
        let rules = rules(&plan, previous, &known.releases(&plan), (&clusters, &session_key))?;
        let rollouts = rollouts(&rules, &canaries);
        let tracing = Tracing::build(&plan, assets, previous.and_then(|previous| previous.tracing.as_ref()))?;
        let logs = Logs::build(&plan, assets, previous.map(|previous| &previous.logs))?;
        let push = MetricsPush::build(&plan, assets, previous.and_then(|previous| previous.push.as_ref()))?;
        Ok(Self {
            listeners,
            rules,
            clusters,
            servers,
            plugins,
            canaries,
            rollouts,
            logs,
            session_key,
            tracing,
            push,
            plan,
        })
    }
}

/// Each new version once.
fn rollouts(rules: &[Rule], canaries: &[Option<Canary>]) -> Vec<Arc<Rollout>> {
    let of_rules = rules.iter().filter_map(|rule| match &rule.action {
        Action::Forward(targets) => targets.release.as_ref().map(|(_, rollout)| rollout),
        _ => None,
    });
    let mut all: Vec<Arc<Rollout>> = Vec::new();
    for rollout in of_rules.chain(canaries.iter().flatten().map(|canary| &canary.rollout)) {
        if all.iter().all(|known| !Arc::ptr_eq(known, rollout)) {
            all.push(rollout.clone());
        }
    }
    all
}

/// The key that the first snapshot has drawn.
fn session_key(previous: Option<&Snapshot>) -> Result<OwnKey, BuildError> {
    let mut key = OwnKey::default();
    match previous {
        Some(previous) => key = previous.session_key,
        None => getrandom::fill(&mut key).map_err(BuildError::plan)?,
    }
    Ok(key)
}

fn rules(
    plan: &Plan,
    previous: Option<&Snapshot>,
    releases: &Releases,
    sessions: (&[Arc<Cluster>], &OwnKey),
) -> Result<Vec<Rule>, BuildError> {
    let known: HashMap<&str, _> =
        previous.iter().flat_map(|p| &p.rules).map(|rule| (&*rule.route, &rule.counters)).collect();
    let named = |rule: &'_ Rule| (rule.route.clone(), rule.name.clone());
    let before: HashMap<_, _> =
        previous.iter().flat_map(|p| &p.rules).map(|rule| (named(rule), rule)).collect();
    let mut rules = Vec::new();
    for route in &plan.routes {
        let name: Arc<str> = route.name.as_str().into();
        let counters =
            known.get(route.name.as_str()).map_or_else(|| Arc::new(PerWorker::new(WORKERS)), |&c| c.clone());
        for rule in &route.rules {
            let own: Arc<str> = rule.name.as_str().into();
            let before = before.get(&(name.clone(), own.clone())).copied();
            let release = releases.of(&route.name, rule);
            let mirrored = format!("{}/{}", route.name, rule.name);
            let mirrors = before.map_or(&[][..], |before| &before.mirrors);
            let mirrors = Mirror::all(plan, (&mirrored, &rule.split.mirrors), mirrors, WORKERS);
            rules.push(Rule {
                route: name.clone(),
                name: own,
                steps: steps(&rule.filters)?,
                action: action(rule, before.map(|before| &before.action), release, sessions)?,
                mirrors,
                timeouts: rule.timeouts,
                retries: rule.retries.clone(),
                counters: counters.clone(),
            });
        }
    }
    Ok(rules)
}

fn steps(filters: &[plan::Filter]) -> Result<Vec<Step>, BuildError> {
    filters
        .iter()
        .map(|filter| {
            Ok(match filter {
                plan::Filter::Plugin(index) => Step::Wasm(*index),
                plan::Filter::RequestHeaders(changes) => {
                    Step::RequestHeaders(CompiledChanges::build(changes).map_err(BuildError::plan)?)
                }
                plan::Filter::ResponseHeaders(changes) => {
                    Step::ResponseHeaders(CompiledChanges::build(changes).map_err(BuildError::plan)?)
                }
                plan::Filter::Rewrite(rewrite) => Step::Rewrite(Rewrite {
                    hostname: rewrite
                        .hostname
                        .as_deref()
                        .map(HeaderValue::from_str)
                        .transpose()
                        .map_err(BuildError::plan)?,
                    path: rewrite.path.clone(),
                }),
            })
        })
        .collect()
}

fn action(
    rule: &plan::Rule,
    before: Option<&Action>,
    release: Option<(plan::UpstreamIndex, Arc<Rollout>)>,
    (clusters, session_key): (&[Arc<Cluster>], &OwnKey),
) -> Result<Action, BuildError> {
    Ok(match &rule.action {
        plan::Action::Forward(upstreams) => {
            let before = match before {
                Some(Action::Forward(before)) => Some(before),
                _ => None,
            };
            let to = release.as_ref().map(|(to, _)| *to);
            let others: Vec<_> =
                upstreams.iter().filter(|target| Some(target.upstream) != to).copied().collect();
            let targets = Targets::new(&others, WORKERS, before);
            let session = rule.split.session.as_ref();
            let session = session.map(|session| Session::build(session, session_key)).transpose();
            let session = session.map_err(BuildError::plan)?.map(Arc::new);
            let named = upstreams.iter();
            let named = named.filter_map(|target| Some((target.upstream, clusters.get(target.upstream)?)));
            let sessions = Sessions::new(session, named);
            Action::Forward(targets.with(rule.split.sticky.clone(), release, sessions))
        }
        plan::Action::Redirect(redirect) => Action::Redirect(Redirect {
            scheme: redirect.scheme.as_deref().map(Scheme::from_str).transpose().map_err(BuildError::plan)?,
            hostname: redirect.hostname.clone(),
            port: redirect.port,
            path: redirect.path.clone(),
            status: StatusCode::from_u16(redirect.status).map_err(BuildError::plan)?,
        }),
        plan::Action::Respond(respond) => {
            let mut headers = HeaderMap::with_capacity(respond.headers.len());
            for (name, value) in &respond.headers {
                headers.append(
                    HeaderName::from_str(name).map_err(BuildError::plan)?,
                    HeaderValue::from_str(value).map_err(BuildError::plan)?,
                );
            }
            Action::Respond {
                status: StatusCode::from_u16(respond.status).map_err(BuildError::plan)?,
                headers,
                body: respond.body.clone().into(),
            }
        }
    })
}

/// `counters` are those of its name, which all of its configurations and versions share.
fn plugin(
    spec: &plan::Plugin,
    plan: &Plan,
    assets: &Assets,
    counters: Option<Arc<PluginCounters>>,
) -> Plugin {
    let counters = counters.unwrap_or_else(|| Arc::new(PerWorker::new(WORKERS)));
    let callable = spec
        .callable
        .iter()
        .filter_map(|&index| plan.upstreams.get(index).map(|upstream| (upstream.name.clone(), index)))
        .collect();
    Plugin {
        name: spec.name.as_str().into(),
        plugin: assets.plugins.get(&spec.key).cloned(),
        on_failure: spec.on_failure,
        isolation: spec.isolation,
        instances: spec.limits.instances,
        callable,
        counters,
        version: None,
        background: spec.background,
        recorder: None,
    }
}

/// What records the requests of a plugin: with the same settings it is the one that does so already.
fn recorder<'a>(
    spec: &plan::Plugin,
    assets: &Assets,
    mut others: impl Iterator<Item = &'a Plugin>,
) -> Result<Option<Recorder>, BuildError> {
    if let Some(sink) = &assets.records {
        let same = others.find(|other| *other.name == *spec.name).and_then(|other| other.recorder.clone());
        return Ok(same.or_else(|| Some(Recorder::to(sink.clone()))));
    }
    let Some(settings) = &spec.record else { return Ok(None) };
    let same = others.filter_map(|other| other.recorder.as_ref()).find(|known| known.is_of(settings));
    match same {
        Some(known) => Ok(Some(known.clone())),
        None => Recorder::start(settings).map(Some).map_err(BuildError::plan),
    }
}

/// The version of a plugin's module; one that other entries or the snapshot before have is theirs.
fn version<'a>(
    spec: &plan::Plugin,
    assets: &Assets,
    others: impl Iterator<Item = &'a Plugin>,
) -> Option<Arc<Version>> {
    let digest = assets.plugins.get(&spec.key)?.module().digest();
    let mut versions = others.filter_map(|plugin| plugin.version.as_ref());
    let same = versions.find(|version| version.is(&spec.name, digest));
    Some(same.cloned().unwrap_or_else(|| Version::new(&spec.name, digest)))
}

/// The servers of the plan, one for each address that a server's name has unless these are one server.
fn servers(spec: &plan::Upstream, assets: &Assets) -> Result<Vec<Server>, BuildError> {
    let mut servers = Vec::with_capacity(spec.servers.len());
    for server in &spec.servers {
        let address = || BuildError::Address { upstream: spec.name.clone(), server: server.address.clone() };
        let addresses = match server.address.parse() {
            Ok(address) => vec![address],
            // None found is no error here: the server takes no requests until its name has an address.
            Err(_) => assets.addresses.get(&server.address).cloned().ok_or_else(address)?,
        };
        let host = server.address.rsplit_once(':').map_or(&*server.address, |(host, _)| host);
        let found = match spec.pool.one_server {
            true => Server::together(&addresses).into_iter().collect(),
            false => addresses.into_iter().map(Server::new).collect::<Vec<_>>(),
        };
        let host = Some(host.trim_matches(['[', ']']).to_owned());
        servers.extend(found.into_iter().map(|own| Server {
            host: host.clone(),
            weight: server.weight,
            zone: server.zone.as_deref().map(Arc::from),
            priority: server.priority,
            labels: server.labels.clone(),
            ..own
        }));
    }
    for server in &servers {
        roster::key(server, spec.tls.as_ref()).map_err(BuildError::plan)?;
    }
    Ok(servers)
}

fn cluster(
    (spec, others): (&plan::Upstream, &[Arc<Cluster>]),
    (assets, session_key): (&Assets, &OwnKey),
    previous: Option<&Snapshot>,
) -> Result<Arc<Cluster>, BuildError> {
    let spec = plan::Upstream { servers: Vec::new(), ..spec.clone() };
    let made_of = spec.tls.as_ref().map_or_else(Vec::new, |tls| tls::files_of_client(tls, assets));
    // Subsets come after what they are of.
    let whole =
        spec.subset.as_ref().and_then(|subset| others.get(subset.of)).map(|other| other.roster.clone());
    let before = previous.and_then(|previous| previous.clusters.iter().find(|c| c.spec.name == spec.name));
    if let Some(before) = before
        && before.spec == spec
        && whole.as_ref().is_none_or(|whole| Arc::ptr_eq(whole, &before.roster))
        && before.made_of == made_of
    {
        return Ok(before.clone());
    }
    let tls = spec.tls.as_ref().map(|tls| tls::client(tls, spec.protocol, assets)).transpose()?;
    let counters = before.map_or_else(|| Arc::new(PerWorker::new(WORKERS)), |before| before.counters.clone());
    let identity = spec.tls.as_ref().map(|tls| tls::identity(tls, assets)).transpose()?.flatten();
    let tls_for_bytes = tls.as_deref().map(tls::client_for_bytes);
    let roster = whole.unwrap_or_else(|| Arc::new(Roster::new(spec.health.as_ref())));
    let table = (spec.balance == plan::Balance::Maglev).then(Default::default);
    let ring = (spec.balance == plan::Balance::RingHash).then(Default::default);
    let session = spec.balancing.session.as_ref();
    let session = session.map(|session| Session::build(session, session_key)).transpose();
    let session = session.map_err(BuildError::plan)?.map(Arc::new);
    Ok(Arc::new(Cluster {
        spec,
        roster,
        table,
        ring,
        session,
        tls,
        tls_for_bytes,
        identity,
        made_of,
        counters,
    }))
}
