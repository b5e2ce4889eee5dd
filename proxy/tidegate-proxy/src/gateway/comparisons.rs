//! Compares the servers of each upstream by what all workers counted of them, and leaves those out that are worse than
//! the others. On the control thread, beside the checker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_config::plan::{Ejection, Outliers as Rule};

use crate::gateway::Gateway;
use crate::time::Clock;
use crate::upstream::cluster::Cluster;
use crate::upstream::outliers::tally::Counts;
use crate::upstream::outliers::{Ejected, Outliers, Why};
use crate::upstream::roster::Entry;
use crate::upstream::server::Cause;

/// What comparisons came to, for whoever shows it.
#[derive(Debug, Default)]
pub(super) struct Compared(Mutex<HashMap<String, Found>>);

/// Of one upstream.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// Times that a server was left out by its success rate.
    pub(super) by_success_rate: u64,
    /// Times that a server was left out by its latency.
    pub(super) by_latency: u64,
    /// Why a server is left out now, by its number.
    why: HashMap<usize, String>,
}

impl Compared {
    /// Why a server is left out.
    pub(super) fn why(&self, upstream: &str, server: usize) -> Option<String> {
        self.lock().get(upstream)?.why.get(&server).cloned()
    }

    /// Times that servers of an upstream were left out: by success rate, by latency.
    pub(super) fn counts(&self, upstream: &str) -> (u64, u64) {
        self.lock().get(upstream).map_or((0, 0), |found| (found.by_success_rate, found.by_latency))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one upstream.
struct Upstream {
    cluster: Arc<Cluster>,
    outliers: Outliers,
    /// Counts at the last comparison.
    before: HashMap<usize, Counts>,
    next: Duration,
}

impl Gateway {
    /// Compares servers as the upstreams' `ejection` says, for as long as the future lives.
    pub(super) async fn compare_servers(&self) {
        let clock = Clock::new();
        let mut known: HashMap<String, Upstream> = HashMap::new();
        loop {
            if let Some(snapshot) = self.snapshot() {
                let clusters = &snapshot.clusters;
                known.retain(|name, _| clusters.iter().any(|cluster| cluster.spec.name == *name));
                // A subset's servers are compared with all of the whole.
                for cluster in clusters.iter().filter(|cluster| cluster.spec.subset.is_none()) {
                    self.compare(&mut known, cluster, clock.now());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn compare(&self, known: &mut HashMap<String, Upstream>, cluster: &Arc<Cluster>, now: Duration) {
        let name = cluster.spec.name.as_str();
        let rule = cluster.spec.ejection.as_ref().and_then(|rule| Some((rule, rule.outliers?)));
        let Some((rule, outliers)) = rule else {
            if known.remove(name).is_some() {
                pardon(cluster);
            }
            return;
        };
        let fresh = || Upstream {
            cluster: cluster.clone(),
            outliers: Outliers::default(),
            before: HashMap::new(),
            next: now + outliers.interval,
        };
        let upstream = known.entry(name.to_owned()).or_insert_with(fresh);
        if !Arc::ptr_eq(&upstream.cluster, cluster) {
            // Its servers are others, with other numbers; what was marked has come along.
            pardon(cluster);
            *upstream = fresh();
        }
        let back = upstream.outliers.back(now);
        if back.is_empty() && now < upstream.next {
            return;
        }
        let entries = cluster.roster.entries();
        for id in back {
            self.takes_back(cluster, &entries, id);
        }
        if now >= upstream.next {
            self.judge(upstream, &entries, (rule, outliers), now);
        }
    }

    fn judge(&self, upstream: &mut Upstream, entries: &[Entry], rule: (&Ejection, Rule), now: Duration) {
        upstream.next = now + rule.1.interval;
        let mut counted = Vec::with_capacity(entries.len());
        let mut sums = HashMap::with_capacity(entries.len());
        for entry in entries {
            let (id, sum) = (entry.identity.id, entry.identity.tallies.sum());
            let since = upstream.before.get(&id).map_or_else(|| sum.clone(), |before| sum.since(before));
            counted.push((id, since));
            sums.insert(id, sum);
        }
        upstream.outliers.retain(|id| sums.contains_key(&id));
        upstream.before = sums;
        for Ejected { server: id, time, why } in upstream.outliers.judge(rule.0, &counted, now) {
            let Some(entry) = entries.iter().find(|entry| entry.identity.id == id) else { continue };
            upstream.cluster.roster.mark(&entry.identity, Cause::Outlier, true);
            let (name, server) = (upstream.cluster.spec.name.as_str(), entry.identity.address);
            let text = words(why);
            tracing::warn!(
                upstream = name, %server, seconds = time.as_secs_f64(),
                "server is worse than the others and is left out: {text}"
            );
            let mut all = self.0.compared.lock();
            let found = all.entry(name.to_owned()).or_default();
            match why {
                Why::SuccessRate(..) => found.by_success_rate += 1,
                Why::Latency(..) => found.by_latency += 1,
            }
            found.why.insert(id, text);
        }
    }

    fn takes_back(&self, cluster: &Cluster, entries: &[Entry], id: usize) {
        let name = cluster.spec.name.as_str();
        if let Some(found) = self.0.compared.lock().get_mut(name) {
            found.why.remove(&id);
        }
        if let Some(entry) = entries.iter().find(|entry| entry.identity.id == id)
            && cluster.roster.mark(&entry.identity, Cause::Outlier, false)
        {
            tracing::info!(upstream = name, server = %entry.identity.address, "server is taken back");
        }
    }
}

/// No server of it is left out by comparison any more.
fn pardon(cluster: &Cluster) {
    for entry in cluster.roster.entries() {
        cluster.roster.mark(&entry.identity, Cause::Outlier, false);
    }
}

fn words(why: Why) -> String {
    match why {
        Why::SuccessRate(rate, least) => {
            format!("{:.1} % of its requests succeed, at least {:.1} % should", rate * 100.0, least * 100.0)
        }
        Why::Latency(time, most) => format!("its answers take {time:.1?}, at most {most:.1?} would do"),
    }
}

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_millis(100);
