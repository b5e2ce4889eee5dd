//! What only the workers know and tell when they are asked: clients' connections, requests in flight at servers. A worker
//! answers between two of its tasks; requests do nothing for it.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::gateway::{Gateway, ask};
use crate::local::clients::{ConnectionUse, ConnectionsWanted};
use crate::worker::{Look, Order};

/// A worker that has not answered by then is left out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Requests in flight at servers, by the number of their upstream's counters and their own.
#[derive(Debug, Clone, Default)]
pub struct Loads(FxHashMap<(u64, usize), u64>);

impl Loads {
    /// At one server.
    pub(super) fn at(&self, upstream: u64, server: usize) -> u64 {
        self.0.get(&(upstream, server)).copied().unwrap_or(0)
    }
}

impl Gateway {
    /// Clients' connections, of all workers together: the newest first, or the oldest.
    pub async fn connections(&self, wanted: &ConnectionsWanted) -> Vec<ConnectionUse> {
        let told = self.look(|told| Look::Connections(wanted.clone(), told)).await;
        let mut all: Vec<ConnectionUse> = told.into_iter().flatten().collect();
        all.sort_by(|one, other| {
            let by_age = one.age_seconds.total_cmp(&other.age_seconds);
            if wanted.oldest { by_age.reverse() } else { by_age }
        });
        all.truncate(wanted.limit);
        all
    }

    /// Requests in flight at the servers of the running configuration.
    pub async fn loads(&self) -> Loads {
        let mut loads = Loads::default();
        for (upstream, server, requests) in self.look(Look::Loads).await.into_iter().flatten() {
            *loads.0.entry((upstream, server)).or_default() += u64::from(requests);
        }
        loads
    }

    /// Asks all workers at once.
    async fn look<T>(&self, wanted: impl Fn(oneshot::Sender<T>) -> Look) -> Vec<T> {
        let mut coming = Vec::with_capacity(self.0.orders.len());
        for orders in &self.0.orders {
            let (told, hears) = oneshot::channel();
            // One that is too busy to be asked is as one that does not answer.
            if ask(orders, Order::Look(wanted(told))) {
                coming.push(hears);
            }
        }
        let mut answers = Vec::with_capacity(coming.len());
        let all = async {
            for hears in coming {
                answers.extend(hears.await);
            }
        };
        // What has come by then counts.
        drop(tokio::time::timeout(PATIENCE, all).await);
        answers
    }
}
