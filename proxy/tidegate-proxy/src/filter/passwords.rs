//! Passwords that guests have checked. A hash takes a processor up to a second or more and up to 256 MiB, so it is computed
//! off the workers: on half of the processors at most, in a bounded amount of memory, for all workers and plugins together.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use std::time::Duration;

use tidegate_wasm::PasswordCheck;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Whether the password is right; an error says why nobody knows.
pub(crate) async fn verify(check: PasswordCheck) -> Result<bool, &'static str> {
    POOL.verify(check, PATIENCE).await
}

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    Pool::new((processors / 2).clamp(1, 16))
});

struct Pool {
    processors: Arc<Semaphore>,
    /// In MiB.
    memory: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Pool {
    fn new(processors: usize) -> Self {
        Self {
            processors: Arc::new(Semaphore::new(processors)),
            memory: Arc::new(Semaphore::new(MEMORY)),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn verify(&self, check: PasswordCheck, patience: Duration) -> Result<bool, &'static str> {
        let share = {
            let _waiting = Waiting::begin(&self.waiting)?;
            let share = timeout(patience, self.share(check.memory())).await;
            share.map_err(|_| "other passwords took too long")??
        };
        // The share is the computation's own: a caller that has gone does not end it.
        let computed = spawn_blocking(move || {
            let right = check.is_right();
            drop(share);
            right
        });
        computed.await.map_err(|_| "the computation broke off")
    }

    /// A processor and memory.
    async fn share(&self, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], &'static str> {
        let closed = |_| "no hash is computed any more";
        let processor = self.processors.clone().acquire_owned().await.map_err(closed)?;
        let size = u32::try_from(bytes.div_ceil(1 << 20).clamp(1, MEMORY)).unwrap_or(u32::MAX);
        Ok([processor, self.memory.clone().acquire_many_owned(size).await.map_err(closed)?])
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Result<Self, &'static str> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(count);
        if before < QUEUE { Ok(waiting) } else { Err("too many passwords wait to be checked") }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// MiB that all computations take together; one takes as much at most.
const MEMORY: usize = 256;

/// Passwords that wait.
const QUEUE: usize = 256;

/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_queue_has_its_end() {
        let count = AtomicUsize::new(QUEUE - 1);
        let last = Waiting::begin(&count);
        assert!(last.is_ok());
        assert!(Waiting::begin(&count).is_err());
        drop(last);
        assert!(Waiting::begin(&count).is_ok());
        assert_eq!(count.into_inner(), QUEUE - 1);
    }

    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn processors_and_memory_have_an_end() {
        let pool = Pool::new(2);
        let large = at_once(pool.share(200 << 20)).unwrap();
        assert!(at_once(pool.share(57 << 20)).is_none(), "there is no memory for both");
        let small = at_once(pool.share(56 << 20)).unwrap();
        assert!(at_once(pool.share(0)).is_none(), "there are two processors");
        drop((large, small));
        assert!(at_once(pool.share(MEMORY << 20)).is_some_and(|share| share.is_ok()));
        assert_eq!((pool.processors.available_permits(), pool.memory.available_permits()), (2, MEMORY));
    }
}
