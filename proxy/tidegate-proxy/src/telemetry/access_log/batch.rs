//! Lines that gather on a worker and are handed to their writer together: so a line costs its worker no allocation, no message
//! and no wake-up of its own, and the writer copies nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Lines, WAITING, WAITING_BYTES};

/// Bytes from which on lines do not wait for others: each time, the writer is woken, looks whether its file is still there, and
/// writes.
const TOGETHER: usize = 60 * 1024;
/// Room for them and the last line.
const ROOM: usize = 64 * 1024;
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
        if count >= WAITING || self.bytes.borrow().len() >= WAITING_BYTES {
            return false;
        }
        // Taken out meanwhile: what a line says is told by code that knows nothing of this.
        let mut bytes = self.bytes.take();
        if bytes.capacity() == 0 {
            bytes.reserve(ROOM);
        }
        let mut bytes = put(bytes);
        bytes.push(b'\n');
        let is_much = bytes.len() >= TOGETHER;
        self.bytes.replace(bytes);
        self.count.set(count + 1);
        if !self.gathers.replace(true) {
            gathering.begins(self);
        }
        if is_much {
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

    /// Hands the last lines to the writer, even to one that is behind.
    fn end(&self) {
        let count = self.count.take();
        if count > 0 {
            self.lines.send_last(self.bytes.take(), count as u64);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.end();
    }
}

/// A worker's batches that have lines.
#[derive(Default)]
pub(crate) struct Gathering {
    begun: RefCell<Vec<Rc<Batch>>>,
    first: Notify,
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

    /// Hands the last lines over: the worker has ended.
    pub(crate) fn end(&self) {
        self.begun.take().iter().for_each(|batch| batch.end());
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
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::telemetry::access_log::{HANDED_OVER, Message};

    fn take(batch: &Rc<Batch>, gathering: &Gathering, length: usize) -> bool {
        batch.take(gathering, |mut bytes| {
            bytes.resize(bytes.len() + length, b'x');
            bytes
        })
    }

    /// Bytes and lines of the batches that were handed over.
    fn handed_over(messages: &Receiver<Message>) -> Vec<(usize, u64)> {
        let count = |message| match message {
            Message::Batch(bytes, lines) => (bytes.len(), lines),
            _ => (0, 0),
        };
        messages.try_iter().map(count).collect()
    }

    /// As if as much waited as may.
    fn fall_behind(batch: &Batch) {
        batch.lines.shared.waiting.store(HANDED_OVER, Ordering::Relaxed);
    }

    #[test]
    fn lines_gather_until_they_are_many_and_those_over_the_limit_are_lost() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        assert!(take(&batch, &gathering, 9) && take(&batch, &gathering, 99));
        assert!(handed_over(&messages).is_empty(), "they wait for others");
        gathering.hand_over();
        assert_eq!(handed_over(&messages), [(110, 2)]);
        assert_eq!(gathering.begun.borrow().len(), 0);

        fall_behind(&batch);
        assert!((0..WAITING).all(|_| take(&batch, &gathering, 1)));
        assert!(!take(&batch, &gathering, 1), "one too many");
        gathering.hand_over();
        assert_eq!((handed_over(&messages).len(), gathering.begun.borrow().len()), (0, 1));
        batch.lines.shared.waiting.store(0, Ordering::Relaxed);
        gathering.hand_over();
        assert_eq!(handed_over(&messages), [(2 * WAITING, WAITING as u64)]);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        let taken = (0..WAITING).filter(|_| take(&batch, &gathering, 50_000)).count();
        let waiting = batch.bytes.borrow().len();
        assert!((WAITING_BYTES..WAITING_BYTES + 50_001).contains(&waiting), "{waiting}");
        let handed_over: usize = handed_over(&messages).iter().map(|(bytes, _)| bytes).sum();
        assert!(handed_over < HANDED_OVER + 50_001, "{handed_over}");
        assert_eq!(taken * 50_001, waiting + handed_over);
    }

    #[test]
    fn the_last_lines_are_handed_over_together_even_to_a_writer_that_is_behind() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines.clone()), Gathering::default());
        fall_behind(&batch);
        assert!((0..99).all(|_| take(&batch, &gathering, 1)));
        gathering.end();
        assert_eq!(handed_over(&messages), [(198, 99)]);

        assert!(take(&batch, &gathering, 1));
        drop((batch, gathering));
        assert_eq!(handed_over(&messages), [(2, 1)], "one that came later");
        assert_eq!(lines.shared.lost.load(Ordering::Relaxed), 0);
    }
}
