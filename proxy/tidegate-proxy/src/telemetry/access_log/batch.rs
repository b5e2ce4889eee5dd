//! Lines that gather on a worker and are handed to their writer together: so a line costs its worker no allocation, no message
//! and no wake-up of its own, and the writer copies nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Lines, WAITING};

/// Bytes from which on lines do not wait for others.
const TOGETHER: usize = 32 * 1024;
/// How long lines wait for others at most.
const GATHER: Duration = Duration::from_millis(10);

/// A worker's lines for one place.
pub(crate) struct Batch {
    lines: Lines,
    bytes: RefCell<Vec<u8>>,
    /// How many they are.
    count: Cell<usize>,
    /// It is among those that are gathering.
    gathers: Cell<bool>,
}

impl Batch {
    /// Without a line.
    pub(crate) fn new(lines: Lines) -> Rc<Self> {
        Rc::new(Self { lines, bytes: RefCell::default(), count: Cell::default(), gathers: Cell::default() })
    }

    /// Whether it is for the same place.
    pub(crate) fn is_for(&self, lines: &Lines) -> bool {
        self.lines.is_same(lines)
    }

    /// Takes a line, which `put` appends; false: the writer is behind and the line is lost.
    pub(crate) fn take(self: &Rc<Self>, gathering: &Gathering, put: impl FnOnce(Vec<u8>) -> Vec<u8>) -> bool {
        let count = self.count.get();
        if count >= WAITING {
            return false;
        }
        // Taken out meanwhile: what a line says is told by code that knows nothing of this.
        let mut bytes = self.bytes.take();
        if bytes.capacity() == 0 {
            bytes.reserve(TOGETHER + TOGETHER / 16);
        }
        let mut bytes = put(bytes);
        bytes.push(b'\n');
        let is_much = bytes.len() >= TOGETHER;
        self.bytes.replace(bytes);
        self.count.set(count + 1);
        if !self.gathers.replace(true) {
            gathering.begins(self);
        }
        if is_much || gathering.over.get() {
            self.hand_over();
        }
        true
    }

    /// Hands the lines to the writer; false: it is behind.
    fn hand_over(&self) -> bool {
        let count = self.count.get();
        if count == 0 {
            return true;
        }
        match self.lines.send(self.bytes.take(), count as u64) {
            Ok(()) => {
                self.count.set(0);
                true
            }
            Err(bytes) => {
                self.bytes.replace(bytes);
                false
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.hand_over() {
            self.lines.lose(self.count.get() as u64);
        }
    }
}

/// A worker's batches that have lines.
#[derive(Default)]
pub(crate) struct Gathering {
    begun: RefCell<Vec<Rc<Batch>>>,
    first: Notify,
    /// Nothing waits any more: the worker ends.
    over: Cell<bool>,
}

impl Gathering {
    fn begins(&self, batch: &Rc<Batch>) {
        let mut begun = self.begun.borrow_mut();
        if begun.is_empty() {
            self.first.notify_one();
        }
        begun.push(batch.clone());
    }

    /// Hands lines over when they have waited for long enough, for ever.
    pub(crate) async fn drive(&self) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(GATHER).await;
            self.hand_over();
        }
    }

    /// From here on nothing waits.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.hand_over();
    }

    fn hand_over(&self) {
        let mut begun = self.begun.take();
        begun.retain(|batch| {
            batch.gathers.set(!batch.hand_over());
            batch.gathers.get()
        });
        if !begun.is_empty() {
            // Their writer is behind: once more, later.
            self.first.notify_one();
            self.begun.borrow_mut().append(&mut begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::{BATCHES, Message};

    fn take(batch: &Rc<Batch>, gathering: &Gathering, length: usize) -> bool {
        batch.take(gathering, |mut bytes| {
            bytes.resize(bytes.len() + length, b'x');
            bytes
        })
    }

    #[test]
    fn lines_gather_until_they_are_many_and_those_over_the_limit_are_lost() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        let count = |message: Message| match message {
            Message::Batch(bytes, lines) => (bytes.len(), lines),
            _ => (0, 0),
        };
        assert!(take(&batch, &gathering, 9) && take(&batch, &gathering, 99));
        assert!(messages.try_recv().is_err(), "they wait for others");
        gathering.hand_over();
        assert_eq!(messages.try_recv().map(count).ok(), Some((110, 2)));
        assert_eq!(gathering.begun.borrow().len(), 0);

        assert!((1..BATCHES).all(|_| take(&batch, &gathering, TOGETHER)));
        assert_eq!(messages.try_iter().map(count).map(|(_, lines)| lines).sum::<u64>(), BATCHES as u64 - 1);
        // The writer has not said that it took any.
        assert!((0..WAITING).all(|_| take(&batch, &gathering, 1)));
        assert!(!take(&batch, &gathering, 1), "one too many");
        gathering.hand_over();
        assert_eq!((messages.try_iter().count(), gathering.begun.borrow().len()), (0, 1));
        batch.lines.shared.waiting.store(0, std::sync::atomic::Ordering::Relaxed);
        gathering.hand_over();
        assert_eq!(messages.try_iter().map(count).map(|(_, lines)| lines).sum::<u64>(), WAITING as u64);
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        assert!(take(&batch, &gathering, 1));
        gathering.end();
        assert!(take(&batch, &gathering, 1));
        assert_eq!(messages.try_iter().count(), 2);
    }
}
