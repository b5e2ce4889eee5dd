//! The only state that instances on different workers share: data, queues, metrics and limiters of each
//! plugin. All of it is bounded. Locks are held for a look-up or a copy, never across a call into
//! a guest; metrics are defined under a lock and counted without one.

mod data;
mod limiters;
mod metrics;
mod queues;

pub(crate) use limiters::Lease;
pub use limiters::LimiterCounts;

pub(crate) use metrics::Cell;
pub use metrics::{Metric, MetricValue};
use queues::{Listener, Queues};

use bytes::Bytes;
use data::Data;
use limiters::Limiters;
use metrics::Metrics;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidegate_abi::Status;
use tidegate_limiter::{Moment, wire::Question};

/// What all instances of a process share. One for a gateway, made once.
#[derive(Default)]
pub struct Shared {
    spaces: Mutex<HashMap<String, Arc<SpaceState>>>,
    queues: Mutex<Queues>,
}

/// What belongs to one plugin's name.
#[derive(Default)]
struct SpaceState {
    data: Mutex<Data>,
    metrics: Mutex<Metrics>,
    limiters: Limiters,
}

impl Shared {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn space(&self, name: &str) -> Arc<SpaceState> {
        lock(&self.spaces).entry(name.to_owned()).or_default().clone()
    }

    /// A value of the shared data that plugins with this name or VM id have.
    #[must_use]
    pub fn value(&self, vm: &str, key: &[u8]) -> Option<Bytes> {
        let space = lock(&self.spaces).get(vm).cloned()?;
        let value = lock(&space.data).value(key);
        value.map(|(value, _)| value)
    }

    /// Sets a value of the shared data that plugins with this name or VM id have; false when there is no room for it.
    pub fn set_value(&self, vm: &str, key: &[u8], value: &[u8]) -> bool {
        lock(&self.space(vm).data).set(key, value, 0).is_ok()
    }

    /// All metrics that guests have defined, by plugin and name.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let spaces: Vec<_> =
            lock(&self.spaces).iter().map(|(name, space)| (name.clone(), space.clone())).collect();
        let mut all: Vec<Metric> =
            spaces.iter().flat_map(|(plugin, space)| lock(&space.metrics).list(plugin)).collect();
        all.sort_by(|a, b| (&a.plugin, &a.name).cmp(&(&b.plugin, &b.name)));
        all
    }

    /// What the limiters of each plugin that has used them hold, by the plugin's name.
    #[must_use]
    pub fn limiters(&self) -> Vec<(String, LimiterCounts)> {
        let spaces: Vec<_> =
            lock(&self.spaces).iter().map(|(name, space)| (name.clone(), space.clone())).collect();
        let mut all: Vec<_> =
            spaces.into_iter().filter_map(|(name, space)| Some((name, space.limiters.counts()?))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("plugins", &lock(&self.spaces).len()).finish_non_exhaustive()
    }
}

/// A plugin's way to what is shared.
pub(crate) struct Space {
    shared: Arc<Shared>,
    plugin: String,
    /// Whose queues these are.
    owner: String,
    state: Arc<SpaceState>,
    /// Whose values by key these are.
    vm: Arc<SpaceState>,
}

impl Space {
    /// The space of this plugin's name: what an older version of the plugin left is still there.
    /// Values by key, and queues, are those of a name that several plugins may have in common; an empty one is the
    /// plugin's own.
    pub(crate) fn open(shared: Arc<Shared>, plugin: &str, vm: &str) -> Self {
        let state = shared.space(plugin);
        let owner = if vm.is_empty() { plugin } else { vm }.to_owned();
        let vm = if vm.is_empty() { state.clone() } else { shared.space(vm) };
        Self { shared, plugin: plugin.to_owned(), owner, state, vm }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        lock(&self.vm.data).value(key)
    }

    /// Sets a value. A `cas` that is not zero must be the one of the value there is, if there is one.
    pub(crate) fn set_value(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        lock(&self.vm.data).set(key, value, cas)
    }

    pub(crate) fn register_queue(&self, name: &[u8]) -> Result<u32, Status> {
        lock(&self.shared.queues).register(&self.owner, &self.plugin, name)
    }

    /// A queue of this VM or plugin, or of another.
    pub(crate) fn find_queue(&self, owner: &[u8], name: &[u8]) -> Option<u32> {
        let owner = if owner.is_empty() { self.owner.as_bytes() } else { owner };
        lock(&self.shared.queues).find(owner, name)
    }

    /// Has this called for each entry of a queue, those that wait there included.
    pub(crate) fn listen(&self, queue: u32, listener: Listener) {
        let waiting = lock(&self.shared.queues).listen(queue, listener.clone());
        (0..waiting).for_each(|_| listener());
    }

    /// Appends to a queue and tells who listens; none does: gives the name of the plugin that registered it.
    pub(crate) fn enqueue(&self, queue: u32, value: &[u8]) -> Result<Option<String>, Status> {
        // Called without the lock: what it does is not ours.
        let (plugin, listener) = lock(&self.shared.queues).enqueue(queue, value)?;
        Ok(match listener {
            Some(listener) => {
                listener();
                None
            }
            None => Some(plugin),
        })
    }

    pub(crate) fn dequeue(&self, queue: u32) -> Result<Bytes, Status> {
        lock(&self.shared.queues).dequeue(queue)
    }

    /// Answers a question about limits. What it takes of those for things that go on at the same time is noted in
    /// `leases`; without a place for them none is taken.
    pub(crate) fn limit(
        &self,
        question: &Question<'_>,
        now: Moment,
        leases: Option<&mut Vec<Lease>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        limiters::answer(&self.state, question, now, leases, out)
    }

    pub(crate) fn define_metric(&self, kind: tidegate_abi::MetricKind, name: &[u8]) -> Arc<Cell> {
        lock(&self.state.metrics).define(kind, name)
    }
}

/// A panic elsewhere cannot leave these half-changed in a way that matters, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::DATA_BYTES;
    use tidegate_abi::MetricKind;

    #[test]
    fn values_are_compared_before_they_are_set() {
        let shared = Arc::new(Shared::new());
        let (one, other) = (Space::open(shared.clone(), "one", ""), Space::open(shared.clone(), "other", ""));
        assert_eq!(one.set_value(b"k", b"a", 77), Ok(()), "a new key ignores cas");
        let (value, cas) = one.value(b"k").unwrap();
        assert_eq!((&value[..], cas), (&b"a"[..], 1));
        assert_eq!(one.set_value(b"k", b"b", 9), Err(Status::CasMismatch));
        assert_eq!(one.set_value(b"k", b"b", cas), Ok(()));
        assert_eq!(one.set_value(b"k", b"c", 0), Ok(()));
        assert_eq!(Space::open(shared, "one", "").value(b"k").unwrap().1, 3);
        assert!(other.value(b"k").is_none());
    }

    #[test]
    fn plugins_of_one_vm_share_their_values() {
        let shared = Arc::new(Shared::new());
        let flag = Space::open(shared.clone(), "a", "flags");
        let (by_name, other) =
            (Space::open(shared.clone(), "flags", ""), Space::open(shared.clone(), "b", ""));
        assert!(shared.set_value("flags", b"k", b"green"));
        for space in [&flag, &by_name] {
            assert_eq!(space.value(b"k").map(|(value, _)| value).as_deref(), Some(&b"green"[..]));
        }
        assert_eq!(other.value(b"k"), None);
        assert_eq!(flag.set_value(b"k", b"blue", 0), Ok(()));
        assert_eq!(shared.value("flags", b"k").as_deref(), Some(&b"blue"[..]));
        assert_eq!(shared.value("nobody", b"k"), None);
    }

    #[test]
    fn plugins_of_one_vm_share_their_queues() {
        let shared = Arc::new(Shared::new());
        let (sender, receiver) =
            (Space::open(shared.clone(), "a", "jobs"), Space::open(shared.clone(), "b", "jobs"));
        let queue = receiver.register_queue(b"q").unwrap();
        assert_eq!(sender.find_queue(b"", b"q"), Some(queue));
        let stranger = Space::open(shared, "c", "");
        assert_eq!(stranger.find_queue(b"", b"q"), None);
        for owner in [&b"jobs"[..], b"b"] {
            assert_eq!(stranger.find_queue(owner, b"q"), Some(queue));
        }
    }

    #[test]
    fn data_is_bounded() {
        let space = Space::open(Arc::new(Shared::new()), "p", "");
        let half = vec![0; DATA_BYTES / 2];
        assert_eq!(space.set_value(b"a", &half, 0), Ok(()));
        assert_eq!(space.set_value(b"b", &half, 0), Err(Status::InternalFailure));
        assert_eq!(space.set_value(b"a", &half, 0), Ok(()), "replacing frees the old value");
        assert_eq!(space.set_value(b"a", b"", 0), Ok(()));
        assert_eq!(space.set_value(b"b", &half, 0), Ok(()));
    }

    #[test]
    fn metrics_are_listed_by_plugin_and_name() {
        let shared = Arc::new(Shared::new());
        let (b, a) = (Space::open(shared.clone(), "b", ""), Space::open(shared.clone(), "a", ""));
        b.define_metric(MetricKind::Counter, b"hits").record(2);
        a.define_metric(MetricKind::Gauge, b"depth").record(-3);
        b.define_metric(MetricKind::Counter, b"hits").record(1);
        let found: Vec<_> = shared.metrics().into_iter().map(|m| (m.plugin, m.name, m.value)).collect();
        let want = [
            ("a".to_owned(), "depth".to_owned(), MetricValue::Gauge(-3)),
            ("b".to_owned(), "hits".to_owned(), MetricValue::Counter(3)),
        ];
        assert_eq!(found, want);
    }
}
