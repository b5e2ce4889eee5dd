//! The only state that workers share: counters. Each worker writes its own cells, the control thread reads them all.

pub(crate) mod durations;
mod rollout;
pub(crate) mod traffic;
mod turns;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use durations::Durations;
pub(crate) use rollout::{Arm, Counts, Rollout};
use traffic::{Targets, Traffic};
pub(crate) use turns::Turns;

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

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

/// One `T` for each worker, on cache lines of its own; there is none before the worker counts the first time.
#[derive(Debug)]
pub(crate) struct PerWorker<T> {
    cells: Box<[OnceLock<Box<Padded<T>>>]>,
    id: u64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// For this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let cells = (0..workers.max(1)).map(|_| OnceLock::new()).collect();
        Self { cells, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The worker's own; the first one for a number that does not exist.
    #[inline]
    pub(crate) fn of(&self, worker: usize) -> &T {
        let cell = self.cells.get(worker).or_else(|| self.cells.first());
        &cell.expect("there is at least one worker").get_or_init(Box::default).0
    }
}

impl<T> PerWorker<T> {
    /// Differs from that of all others, and is not 0.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Those of workers that have counted something.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().filter_map(OnceLock::get).map(|cell| &cell.0)
    }

    /// The sum of a counter over all workers.
    pub(crate) fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.iter().map(|cell| counter(cell).value()).fold(0, u64::wrapping_add)
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
    /// Connections open now; as of the last second.
    pub(crate) open: Counter,
    /// Requests at its servers now; as of the last second.
    pub(crate) active: Counter,
    /// Attempts that are over: by the server's answer, until its head came.
    pub(crate) attempts: Traffic,
    /// Repetitions that the budget did not allow.
    pub(crate) repeats_over_budget: Counter,
    /// Repetitions that their limit did not allow.
    pub(crate) repeats_over_limit: Counter,
    /// Attempts beside one that took long.
    pub(crate) hedges: Counter,
    /// Of these, those whose answer was the first good one.
    pub(crate) hedges_won: Counter,
    /// The limit that follows latency, as it is now.
    pub(crate) concurrency: Counter,
    /// Of clients that stay at their servers.
    pub(crate) sessions: SessionCells,
}

/// Counters of requests with a session.
#[derive(Debug, Default)]
pub(crate) struct SessionCells {
    /// It began.
    pub(crate) began: Counter,
    /// It went on at its server.
    pub(crate) kept: Counter,
    /// It went on at another one.
    pub(crate) moved: Counter,
    /// What the client brought was broken, or none of ours.
    pub(crate) forged: Counter,
    /// Its time was over.
    pub(crate) ended: Counter,
}

/// Counters of copies of requests for one upstream.
#[derive(Debug, Default)]
pub(crate) struct MirrorCells {
    /// Copies that were sent, or were to be.
    pub(crate) copies: Counter,
    /// Copies on their way now.
    pub(crate) active: Counter,
    /// Copies that were not made, because too many were on their way.
    pub(crate) skipped: Counter,
    /// Copies that were given up: their body was too far behind.
    pub(crate) cut: Counter,
    /// Copies without an answer.
    pub(crate) failed: Counter,
    /// Copies that took too long.
    pub(crate) late: Counter,
    /// Answers with the status that the client got.
    pub(crate) same: Counter,
    /// Answers with another one.
    pub(crate) different: Counter,
    /// Times to the head of the answer, of requests that have one from both.
    pub(crate) times: Durations,
    /// The same of what the client got.
    pub(crate) main_times: Durations,
    /// Milliseconds of the worker's clock when the log was told of a difference last.
    pub(crate) told: Counter,
    /// Differences since then that the log was not told of.
    pub(crate) untold: Counter,
}

/// Counters of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteCells {
    /// Exchanges that are over.
    pub(crate) traffic: Traffic,
    /// Where they went.
    pub(crate) targets: Targets,
    /// Connections, of a route for these.
    pub(crate) connections: Counter,
}

/// What a client's connection speaks.
pub(crate) const PROTOCOLS: [&str; 3] = ["http1", "http2", "bytes"];

/// Versions of TLS.
pub(crate) const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Why a handshake failed.
pub(crate) const TLS_FAILURES: [&str; 8] =
    ["timeout", "closed", "alert", "no_certificate", "bad_certificate", "incompatible", "malformed", "other"];

/// Counters of a listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    /// Connections accepted.
    pub(crate) accepted: Counter,
    /// Connections open now.
    pub(crate) open: Counter,
    /// Connections refused by a limit.
    pub(crate) refused: Counter,
    /// Times that there was no descriptor or no memory for a connection that waits.
    pub(crate) unaccepted: Counter,
    /// Connections by [`PROTOCOLS`], once that is known.
    pub(crate) protocols: [Counter; PROTOCOLS.len()],
    /// Those that are open.
    pub(crate) speaking: [Counter; PROTOCOLS.len()],
    /// Handshakes by [`TLS_VERSIONS`].
    pub(crate) handshakes: [Counter; TLS_VERSIONS.len()],
    /// Those that went on with an earlier session.
    pub(crate) resumed: Counter,
    /// Failed ones by [`TLS_FAILURES`].
    pub(crate) handshake_failures: [Counter; TLS_FAILURES.len()],
    /// Requests begun.
    pub(crate) started: Counter,
    /// Requests in flight now.
    pub(crate) active: Counter,
    /// Those that are over.
    pub(crate) traffic: Traffic,
}

/// Ways in which a forwarded connection can end other than by both sides' wish.
pub(crate) const TCP_ENDS: [&str; 23] = [
    "client_reset",
    "upstream_reset",
    "idle",
    "stopped",
    "no_route",
    "no_upstream",
    "no_server",
    "servers_unknown",
    "overflow",
    "overflow_adaptive",
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
    /// Requests that it has nothing to do with, as it said.
    pub(crate) passed_over: Counter,
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
    /// Those that were used again instead.
    pub(crate) isolated_reused: Counter,
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
/// Per listener.
pub(crate) type ListenerCounters = PerWorker<ListenerCells>;
/// Per route.
pub(crate) type RouteCounters = PerWorker<RouteCells>;
/// Per plugin.
pub(crate) type PluginCounters = PerWorker<PluginCells>;

/// How many reasons a failure may have; `http/fail.rs` has them.
pub(crate) const REASONS: usize = 35;

/// Something for each reason.
#[derive(Debug, Clone)]
pub(crate) struct ByReason<T>([T; REASONS]);

impl<T: Default> Default for ByReason<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Deref for ByReason<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for ByReason<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// Everything else that one worker counts.
#[derive(Debug)]
pub(crate) struct Shard {
    /// The worker's number.
    pub(crate) worker: usize,
    /// Log lines that were dropped because the writer is behind.
    pub(crate) log_dropped: Counter,
    /// Of forwarded connections.
    pub(crate) tcp: TcpCells,
    /// How much later than asked for the worker came back to what it does once a second.
    pub(crate) lag: Durations,
    /// Generation that the worker serves.
    pub(crate) generation: AtomicU64,
    /// Changes of servers that it has taken; see [`crate::Gateway::put_servers`].
    pub(crate) changes: AtomicU64,
}

impl Shard {
    /// All zero.
    pub(crate) fn new(worker: usize) -> Arc<Self> {
        Arc::new(Self {
            worker,
            log_dropped: Counter::default(),
            tcp: TcpCells::default(),
            lag: Durations::default(),
            generation: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        })
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
