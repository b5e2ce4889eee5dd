//! What is known, to collectors by OTLP: spans, metrics, records of logs. Each kind has a thread for each collector, and workers
//! never wait for it: what does not fit into its queue is dropped and counted. What a collector cannot take now is sent
//! again, each time after a longer wait.

mod backoff;
mod client;
pub mod messages;
pub(crate) mod metrics;
pub(crate) mod records;
mod resource;
pub(crate) mod spans;
mod throttle;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::plan::Otlp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use backoff::Waits;
use client::{Client, Failure};
use messages::Resource;

/// How long something waits for others.
const GATHER: Duration = Duration::from_millis(200);

/// What is sent.
pub(crate) trait Signal: Sized + Send + 'static {
    /// Where and how.
    const WAY: Way;
    /// So many may wait; more are dropped.
    const WAITING: usize;
    /// So many are sent together at most.
    const TOGETHER: usize;

    /// What is known from one request to the next.
    type State: Default;

    /// How many it stands for where they are counted.
    fn count(&self) -> u64;

    /// What they are in one request.
    fn request(state: &mut Self::State, resource: &Resource, batch: Vec<Self>) -> Vec<u8>;
}

/// Where a signal goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The name of the thread, and of the signal.
    pub(crate) name: &'static str,
    /// Behind the path of the endpoint.
    pub(crate) http: &'static str,
    /// The method of gRPC.
    pub(crate) grpc: &'static str,
}

/// Hands a signal to the thread that sends it. Cheap to clone; the thread ends with the last one, when all is sent.
pub(crate) struct Exporter<S> {
    sender: mpsc::Sender<S>,
    /// Who wants to know when all that was handed over is sent or given up.
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    shared: Arc<Shared>,
}

impl<S> Clone for Exporter<S> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), flushes: self.flushes.clone(), shared: self.shared.clone() }
    }
}

struct Shared {
    otlp: Otlp,
    tls: Option<Secured>,
    sent: AtomicU64,
    lost: AtomicU64,
    retries: AtomicU64,
}

/// How a collector is spoken to by TLS.
pub(crate) struct Secured {
    pub(crate) config: Arc<ClientConfig>,
    /// Who it must be.
    pub(crate) name: ServerName<'static>,
    /// The files that this was made of: with other ones it is another one.
    pub(crate) made_of: Vec<Arc<[u8]>>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The collector took them.
    pub(crate) sent: u64,
    /// It did not, or they did not fit into the queue.
    pub(crate) lost: u64,
    /// Requests that were sent again.
    pub(crate) retries: u64,
}

impl<S: Signal> Exporter<S> {
    /// Starts the thread; it connects when there is something to send.
    pub(crate) fn start(otlp: &Otlp, tls: Option<Secured>) -> io::Result<Self> {
        let (sender, waiting) = mpsc::channel(S::WAITING);
        let (flushes, flushed) = mpsc::channel(1);
        let [sent, lost, retries] = [(); 3].map(|()| AtomicU64::new(0));
        let shared = Arc::new(Shared { otlp: otlp.clone(), tls, sent, lost, retries });
        let of_thread = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name(S::WAY.name.into())
            .spawn(move || LocalSet::new().block_on(&runtime, run::<S>(waiting, flushed, &of_thread)))?;
        Ok(Self { sender, flushes, shared })
    }

    /// Whether it sends there, with what these files say.
    pub(crate) fn is_of(&self, otlp: &Otlp, made_of: &[Arc<[u8]>]) -> bool {
        let own = self.shared.tls.as_ref().map_or(&[][..], |tls| &tls.made_of);
        self.shared.otlp == *otlp && own == made_of
    }

    /// Whether both hand over to the same thread.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Hands something over; false: the thread is behind and it is gone.
    pub(crate) fn offer(&self, signal: S) -> bool {
        self.sender.try_send(signal).is_ok()
    }

    /// Hands something over, and counts what is gone.
    pub(crate) fn send(&self, signal: S) {
        let count = signal.count();
        if !self.offer(signal) {
            self.shared.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Waits until all that was handed over before is sent or given up.
    pub(crate) async fn flush(&self) {
        let (done, over) = oneshot::channel();
        if self.flushes.send(done).await.is_ok() {
            // A thread that has ended has nothing left to send.
            drop(over.await);
        }
    }

    /// What became of all so far.
    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { sent, lost, retries, .. } = &*self.shared;
        Counts { sent: read(sent), lost: read(lost), retries: read(retries) }
    }
}

async fn run<S: Signal>(
    mut waiting: mpsc::Receiver<S>,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    shared: &Shared,
) {
    let resource = resource::of(&shared.otlp);
    let mut client = Client::new(&shared.otlp, shared.tls.as_ref(), S::WAY);
    let mut waits = Waits::new(shared.otlp.retries);
    let (mut state, mut told) = (S::State::default(), false);
    let mut batch = Vec::with_capacity(S::TOGETHER);
    loop {
        let came = tokio::select! {
            biased;
            came = waiting.recv_many(&mut batch, S::TOGETHER) => came,
            Some(done) = flushes.recv() => {
                _ = done.send(());
                continue;
            }
        };
        if came == 0 {
            return;
        }
        if batch.len() < S::TOGETHER && !waiting.is_closed() {
            gather(&mut waiting, &mut batch).await;
        }
        let count = batch.iter().map(S::count).sum::<u64>();
        let request = Bytes::from(S::request(&mut state, &resource, std::mem::take(&mut batch)));
        match deliver(&mut client, &mut waits, request, shared).await {
            Ok(refused) => {
                told = false;
                let refused = refused.min(count);
                shared.sent.fetch_add(count - refused, Ordering::Relaxed);
                shared.lost.fetch_add(refused, Ordering::Relaxed);
            }
            Err(failure) => {
                shared.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut told, true) {
                    let signal = S::WAY.name;
                    tracing::warn!(collector = %shared.otlp.authority, error = %failure.why, "cannot send {signal}");
                }
            }
        }
    }
}

/// Sends a request, again where that may help; how many of its parts the collector refused.
async fn deliver(
    client: &mut Client<'_>,
    waits: &mut Waits,
    request: Bytes,
    shared: &Shared,
) -> Result<u64, Failure> {
    waits.begin();
    loop {
        let failure = match client.send(&request).await {
            Ok(refused) => return Ok(refused),
            Err(failure) => failure,
        };
        let Some(wait) = failure.again.and_then(|least| waits.next(least)) else { return Err(failure) };
        shared.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(wait).await;
    }
}

/// Waits a little for more. It sleeps meanwhile, since each one that came would wake it: the less comes, the longer.
async fn gather<S: Signal>(waiting: &mut mpsc::Receiver<S>, batch: &mut Vec<S>) {
    let (mut left, mut nap) = (GATHER, NAP);
    while !left.is_zero() {
        tokio::time::sleep(nap).await;
        left = left.saturating_sub(nap);
        let before = batch.len();
        while batch.len() < S::TOGETHER {
            match waiting.try_recv() {
                Ok(more) => batch.push(more),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
        if batch.len() >= S::TOGETHER {
            return;
        }
        // Twice as many would still be far from what may wait.
        if (batch.len() - before) * 8 <= S::WAITING {
            nap *= 2;
        }
        nap = nap.min(left);
    }
}

/// The first sleep while more may come.
const NAP: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use tidegate_config::plan::OtlpRetries;

    use super::records::Record;
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_nobody_waits() {
        // It takes connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let hour = Duration::from_secs(3600);
        let otlp = Otlp {
            authority: silent.local_addr().expect("it is bound").to_string(),
            tls: None,
            path: String::new(),
            grpc: false,
            headers: Vec::new(),
            timeout: hour,
            retries: OtlpRetries { attempts: 0, base: hour, max: hour },
            resource: Vec::new(),
        };
        let exporter = Exporter::<Record>::start(&otlp, None).expect("a thread");
        let fill = || (0..50_000).take_while(|_| exporter.offer(Record(Vec::new()))).count();
        let mut taken = fill();
        // What is on its way has left the queue, and there is room once more.
        let _connection = silent.accept().expect("it connects");
        taken += fill();
        assert!((Record::WAITING..=Record::WAITING + Record::TOGETHER).contains(&taken), "{taken}");
        exporter.send(Record(Vec::new()));
        assert_eq!(exporter.counts(), Counts { sent: 0, lost: 1, retries: 0 });
    }
}
