//! The checker: one for the process, on the control thread. It knows which servers there are, checks each when it is due,
//! so many at once, and tells all workers what came of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::time::Clock;
use crate::upstream::balance::Random;
use crate::upstream::cluster::Cluster;
use crate::upstream::health::probe;
use crate::upstream::health::watch::Watch;
use crate::upstream::server::{Cause, Identity};

/// How the checks of a server went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckState {
    /// Checks with a good result.
    pub good: u64,
    /// Checks with a bad one.
    pub bad: u64,
    /// When the last one ended, since the Unix epoch.
    pub last: Option<Duration>,
    /// How long it took.
    pub took: Duration,
    /// Why it was bad; none: it was good.
    pub why: Option<String>,
}

/// What is known of checks, for whoever shows it: by upstream and server.
#[derive(Debug, Default)]
pub(super) struct Checked(Mutex<HashMap<(String, usize), CheckState>>);

impl Checked {
    /// Of one server.
    pub(super) fn of(&self, upstream: &str, server: usize) -> Option<CheckState> {
        self.lock().get(&(upstream.to_owned(), server)).cloned()
    }

    /// The checks of an upstream, good and bad ones.
    pub(super) fn sum(&self, upstream: &str) -> (u64, u64) {
        let all = self.lock();
        let own = all.iter().filter(|((name, _), _)| name == upstream);
        own.fold((0, 0), |(good, bad), (_, state)| (good + state.good, bad + state.bad))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, usize), CheckState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server by its upstream's name and its number there.
type Key = (Arc<str>, usize);

/// A server that is checked.
struct Entry {
    cluster: Arc<Cluster>,
    identity: Arc<Identity>,
    watch: Watch,
}

/// What came of a check.
struct Outcome {
    key: Key,
    took: Duration,
    /// None: the server could not be asked, which is no fault of its own.
    result: Option<Result<(), String>>,
}

struct Checker {
    gateway: Gateway,
    clock: Clock,
    random: Random,
    /// What was looked at last: each cluster's address and its roster's version.
    seen: Vec<(usize, u64)>,
    servers: HashMap<Key, Entry>,
    /// Whether each entry is in it exactly once: while it is not being checked.
    due: BinaryHeap<Reverse<(Instant, Key)>>,
    running: usize,
    done: mpsc::Sender<Outcome>,
}

impl Gateway {
    /// Checks servers as the upstreams' `health` says, and compares them as their `ejection` does, for as long as the
    /// future lives. It needs a `LocalSet`, and belongs on a thread that serves no requests.
    pub async fn watch_servers(self) {
        tokio::join!(self.clone().check_servers(), self.compare_servers());
    }

    async fn check_servers(self) {
        let (done, mut outcomes) = mpsc::channel(AT_ONCE);
        let random = Random::new(super::seed(usize::MAX));
        let mut checker = Checker {
            gateway: self,
            clock: Clock::new(),
            random,
            seen: Vec::new(),
            servers: HashMap::new(),
            due: BinaryHeap::new(),
            running: 0,
            done,
        };
        loop {
            checker.look();
            let now = Instant::now();
            let next = checker.start_due(now).unwrap_or(now + LOOK).min(now + LOOK);
            tokio::select! {
                Some(outcome) = outcomes.recv() => checker.on_outcome(outcome),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }
}

impl Checker {
    /// Takes over which servers there are.
    fn look(&mut self) {
        let Some(snapshot) = self.gateway.snapshot() else { return };
        let version = |cluster: &Arc<Cluster>| (Arc::as_ptr(cluster).addr(), cluster.roster.version());
        let seen: Vec<_> = snapshot.clusters.iter().map(version).collect();
        if seen == self.seen {
            return;
        }
        let mut wanted = HashSet::new();
        // What is known of a server stays when its upstream was built anew.
        let known = |(key, entry): (&Key, &Entry)| ((key.0.clone(), who(&entry.identity)), entry.watch);
        let before: HashMap<_, Watch> = self.servers.iter().map(known).collect();
        for cluster in &snapshot.clusters {
            let name: Arc<str> = cluster.spec.name.as_str().into();
            for entry in cluster.roster.entries() {
                let key = (name.clone(), entry.identity.id);
                match &cluster.spec.health {
                    None => {
                        // It was checked until this configuration came.
                        cluster.roster.mark(&entry.identity, Cause::Check, false);
                    }
                    Some(_) => {
                        let known = before.get(&(name.clone(), who(&entry.identity)));
                        self.add(key.clone(), cluster, &entry.identity, known);
                        wanted.insert(key);
                    }
                }
            }
        }
        self.servers.retain(|key, _| wanted.contains(key));
        self.gateway
            .0
            .checked
            .lock()
            .retain(|(name, id), _| self.servers.contains_key(&(name.as_str().into(), *id)));
        self.seen = seen;
    }

    fn add(&mut self, key: Key, cluster: &Arc<Cluster>, identity: &Arc<Identity>, known: Option<&Watch>) {
        let Some(rule) = &cluster.spec.health else { return };
        if let Some(same) = self.servers.get_mut(&key)
            && Arc::ptr_eq(&same.identity, identity)
        {
            same.cluster = cluster.clone();
            return;
        }
        let watch = known.copied().unwrap_or_else(|| Watch::new(rule));
        cluster.roster.mark(identity, Cause::Check, !watch.is_healthy());
        // An entry of the same key that is in the heap or running is found not to be this one.
        let entry = Entry { cluster: cluster.clone(), identity: identity.clone(), watch };
        if self.servers.insert(key.clone(), entry).is_none() {
            self.due.push(Reverse((Instant::now(), key)));
        }
    }

    /// Starts the checks that are due, as many as may run at once. When the next one is.
    fn start_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, _))) = self.due.peek() {
            if *at > now {
                return Some(*at);
            }
            if self.running >= AT_ONCE {
                return None;
            }
            let Reverse((_, key)) = self.due.pop()?;
            let Some(entry) = self.servers.get(&key) else { continue };
            self.running += 1;
            spawn_local(check(key, entry.cluster.clone(), entry.identity.clone(), self.done.clone()));
        }
        None
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        self.running -= 1;
        let Outcome { key, took, result } = outcome;
        let Some(entry) = self.servers.get_mut(&key) else { return };
        let Some(rule) = &entry.cluster.spec.health else { return };
        let Some(result) = result else {
            let wait = entry.watch.wait(rule, self.random.next());
            self.due.push(Reverse((Instant::now() + wait, key)));
            return;
        };
        let good = result.is_ok();
        let (upstream, server) = (&key.0, entry.identity.address);
        let changed = entry.watch.on_result(rule, good);
        let healthy = entry.watch.is_healthy();
        entry.cluster.roster.mark(&entry.identity, Cause::Check, !healthy);
        if changed {
            match &result {
                Ok(()) => tracing::info!(%upstream, %server, "server is healthy"),
                Err(why) => tracing::warn!(%upstream, %server, why, "server is unhealthy"),
            }
        }
        {
            let mut all = self.gateway.0.checked.lock();
            let state = all.entry((upstream.to_string(), key.1)).or_default();
            state.good += u64::from(good);
            state.bad += u64::from(!good);
            (state.last, state.took, state.why) = (Some(self.clock.wall()), took, result.err());
        }
        let wait = entry.watch.wait(rule, self.random.next());
        self.due.push(Reverse((Instant::now() + wait, key)));
    }
}

/// What tells a server from others of its upstream, whatever list it is in.
fn who(identity: &Identity) -> (SocketAddr, Option<ServerName<'static>>) {
    (identity.address, identity.name.clone())
}

async fn check(key: Key, cluster: Arc<Cluster>, identity: Arc<Identity>, done: mpsc::Sender<Outcome>) {
    let Some(rule) = cluster.spec.health.as_ref() else { return };
    let begun = Instant::now();
    let checked = tokio::time::timeout(rule.timeout, probe::run(&cluster, &identity, rule)).await;
    let result = checked.unwrap_or_else(|_| Some(Err(format!("nothing within {:?}", rule.timeout))));
    // The checker is gone when the gateway ends.
    _ = done.send(Outcome { key, took: begun.elapsed(), result }).await;
}

/// Checks that run at one time.
const AT_ONCE: usize = 128;

/// How often it is looked which servers there are.
const LOOK: Duration = Duration::from_millis(100);
