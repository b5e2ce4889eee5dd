//! The only state that workers share: counters. Each worker writes its own cells, the control thread reads them all.

mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use turns::Turns;

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Only its own worker calls this, so that a load and a store are enough.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// As [`Counter::add`], down.
    pub(crate) fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// As [`Counter::add`], to a value.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One `T` for each worker, on cache lines of its own.
#[derive(Debug)]
pub(crate) struct PerWorker<T>(Vec<Padded<T>>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// For this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Padded::default()).collect())
    }

    /// The worker's own; the first one for a number that does not exist.
    pub(crate) fn of(&self, worker: usize) -> &T {
        let cell = self.0.get(worker).or_else(|| self.0.first());
        &cell.expect("there is at least one worker").0
    }

    /// The sum of a counter over all workers.
    pub(crate) fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.0.iter().map(|cell| counter(&cell.0).value()).fold(0, u64::wrapping_add)
    }
}

/// Says from any thread that something waits, and how often that was said.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    count: AtomicU64,
    notify: Notify,
}

impl Signal {
    /// One more.
    pub(crate) fn raise(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until there is something, then takes the number.
    pub(crate) async fn taken(&self) -> u64 {
        loop {
            match self.count.swap(0, Ordering::Acquire) {
                0 => self.notify.notified().await,
                count => return count,
            }
        }
    }
}

/// Counters of an upstream.
#[derive(Debug, Default)]
pub(crate) struct UpstreamCells {
    /// Attempts.
    pub(crate) requests: Counter,
    /// Attempts after the first.
    pub(crate) retries: Counter,
    /// Connections opened.
    pub(crate) connections: Counter,
    /// Connections that did not come about.
    pub(crate) connect_failures: Counter,
    /// Requests refused by a limit.
    pub(crate) overflow: Counter,
    /// How often a server was left out because it failed.
    pub(crate) ejections: Counter,
    /// Servers that are left out now.
    pub(crate) left_out: Counter,
    /// Requests that had to wait because of a limit.
    pub(crate) waits: Counter,
    /// Those that wait now.
    pub(crate) pending: Counter,
}

/// Counters of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteCells {
    /// Answers by class: 1xx to 5xx.
    pub(crate) classes: [Counter; 5],
    /// Connections, of a route for these.
    pub(crate) connections: Counter,
}

/// Ways in which a forwarded connection can end other than by both sides' wish.
pub(crate) const TCP_ENDS: [&str; 21] = [
    "client_reset",
    "upstream_reset",
    "idle",
    "stopped",
    "no_route",
    "no_upstream",
    "no_server",
    "overflow",
    "upstream_connect",
    "upstream_timeout",
    "too_large",
    "plugin_missing",
    "plugin_trap",
    "plugin_timeout",
    "plugin_memory",
    "plugin_host_calls",
    "plugin_request_host_calls",
    "plugin_copied_bytes",
    "plugin_busy",
    "plugin_closed",
    "internal",
];

/// What a worker counts of forwarded connections.
#[derive(Debug, Default)]
pub(crate) struct TcpCells {
    /// Connections begun.
    pub(crate) connections: Counter,
    /// Connections now.
    pub(crate) active: Counter,
    /// Bytes from clients.
    pub(crate) received: Counter,
    /// Bytes to clients.
    pub(crate) sent: Counter,
    /// By [`TCP_ENDS`].
    pub(crate) ends: [Counter; TCP_ENDS.len()],
}

/// Counters of a plugin.
#[derive(Debug, Default)]
pub(crate) struct PluginCells {
    /// Requests that passed it.
    pub(crate) streams: Counter,
    /// Answers it gave.
    pub(crate) replies: Counter,
    /// Traps.
    pub(crate) traps: Counter,
    /// Calls that used up their time.
    pub(crate) timeouts: Counter,
    /// Instances started.
    pub(crate) starts: Counter,
    /// Instances replaced because their memory had grown.
    pub(crate) rebuilds: Counter,
    /// Instances of connections or requests now.
    pub(crate) isolated: Counter,
    /// How many of them were started.
    pub(crate) isolated_starts: Counter,
    /// Nanoseconds that their starts took together.
    pub(crate) isolated_start_time: Counter,
    /// Calls of host functions that were refused.
    pub(crate) refused: Counter,
    /// Requests that were recorded.
    pub(crate) recorded: Counter,
    /// Requests that were to be recorded, and the writer was behind.
    pub(crate) unrecorded: Counter,
}

/// Per upstream.
pub(crate) type UpstreamCounters = PerWorker<UpstreamCells>;
/// Per route.
pub(crate) type RouteCounters = PerWorker<RouteCells>;
/// Per plugin.
pub(crate) type PluginCounters = PerWorker<PluginCells>;

/// Upper bounds of the latency histogram's buckets, in microseconds; one more bucket has the rest.
pub(crate) const BUCKETS: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// How many reasons a failure may have; `http/fail.rs` has them.
pub(crate) const REASONS: usize = 32;

/// Everything else that one worker counts.
#[derive(Debug)]
pub(crate) struct Shard {
    /// The worker's number.
    pub(crate) worker: usize,
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections open now.
    pub(crate) open: Counter,
    /// Connections refused by a limit.
    pub(crate) refused: Counter,
    /// TLS handshakes that failed.
    pub(crate) handshake_failures: Counter,
    /// Requests begun.
    pub(crate) started: Counter,
    /// Requests in flight now.
    pub(crate) active: Counter,
    /// Failures by reason.
    pub(crate) fails: [Counter; REASONS],
    /// Requests by duration; not cumulative.
    pub(crate) durations: [Counter; BUCKETS.len() + 1],
    /// Sum of all durations in microseconds.
    pub(crate) duration_sum: Counter,
    /// Log lines that were dropped because the writer is behind.
    pub(crate) log_dropped: Counter,
    /// Of forwarded connections.
    pub(crate) tcp: TcpCells,
    /// Generation that the worker serves.
    pub(crate) generation: AtomicU64,
}

impl Shard {
    /// All zero.
    pub(crate) fn new(worker: usize) -> Arc<Self> {
        Arc::new(Self {
            worker,
            accepted: Counter::default(),
            open: Counter::default(),
            refused: Counter::default(),
            handshake_failures: Counter::default(),
            started: Counter::default(),
            active: Counter::default(),
            fails: Default::default(),
            durations: Default::default(),
            duration_sum: Counter::default(),
            log_dropped: Counter::default(),
            tcp: TcpCells::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// One request took this long.
    pub(crate) fn took(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|&bound| micros <= bound).unwrap_or(BUCKETS.len());
        if let Some(counter) = self.durations.get(bucket) {
            counter.add(1);
        }
        self.duration_sum.add(micros);
    }
}

/// A published snapshot's number. Everything that uses the snapshot holds it, so that its count tells who still does.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// When it was published, since the Unix epoch.
    pub(crate) since: Duration,
    /// Requests and forwarded connections that began with it and are not over.
    pub(crate) requests: PerWorker<Counter>,
}
