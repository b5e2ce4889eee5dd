//! Lines that gather on a worker and are handed to their writer together: so a line costs its worker no allocation, no message
//! and no wake-up of its own, and the writer copies nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::Notify;

use super::pad::Pad;
use super::{Lines, WAITING, WAITING_BYTES};

/// Bytes from which on lines do not wait for others: each time, the writer is woken, looks whether its file is still there, and
/// writes.
const TOGETHER: usize = 480 * 1024;
/// Room for lines at first; it grows where they are more, and shrinks when they are few.
const ROOM: usize = 64 * 1024;
/// How long lines wait for others at most.
const GATHER: Duration = Duration::from_millis(10);
/// Pads that come back from the writer and are kept.
const SPARE: usize = 2;

/// A worker's lines for one place.
pub(crate) struct Batch {
    lines: Lines,
    pad: RefCell<Pad>,
    /// How many they are.
    count: Cell<usize>,
    /// It is among those that are gathering.
    gathers: Cell<bool>,
    /// By which the writer gives pads back, so that their memory need not be looked for and made zeros again.
    giver: SyncSender<Pad>,
    given: Receiver<Pad>,
}

impl Batch {
    /// Without a line.
    pub(crate) fn new(lines: Lines) -> Rc<Self> {
        let (giver, given) = sync_channel(SPARE);
        let (pad, count, gathers) = Default::default();
        Rc::new(Self { lines, pad, count, gathers, giver, given })
    }

    /// Whether it is for the same place.
    pub(crate) fn is_for(&self, lines: &Lines) -> bool {
        self.lines.is_same(lines)
    }

    /// Takes a line, which `put` writes; false: the writer is behind and the line is lost.
    #[inline]
    pub(crate) fn take(self: &Rc<Self>, gathering: &Gathering, put: impl FnOnce(&mut Pad)) -> bool {
        let count = self.count.get();
        // Taken out meanwhile: what a line says is told by code that knows nothing of this.
        let mut pad = self.pad.take();
        let is_taken = count < WAITING && pad.len() < WAITING_BYTES;
        if is_taken {
            if pad.capacity() == 0 {
                pad = self.given.try_recv().unwrap_or_else(|_| Pad::new(ROOM));
            }
            put(&mut pad);
            pad.end_line();
            self.count.set(count + 1);
        }
        let is_much = pad.len() >= TOGETHER;
        self.pad.replace(pad);
        if is_taken && !self.gathers.replace(true) {
            gathering.begins(self);
        }
        if is_taken && is_much {
            self.hand_over();
        }
        is_taken
    }

    /// Hands the lines to the writer; false: it is behind.
    fn hand_over(&self) -> bool {
        let count = self.count.get();
        if count == 0 {
            return true;
        }
        let pad = self.pad.take();
        // Of one that is much too large for them the memory is freed.
        let is_right = pad.capacity() <= ROOM || pad.len() > pad.capacity() / 64;
        let giver = is_right.then(|| self.giver.clone());
        match self.lines.send(pad, count as u64, giver) {
            Ok(()) => {
                self.count.set(0);
                true
            }
            Err(pad) => {
                self.pad.replace(pad);
                false
            }
        }
    }

    /// Hands the last lines to the writer, even to one that is behind.
    fn end(&self) {
        let count = self.count.take();
        if count > 0 {
            self.lines.send_last(self.pad.take(), count as u64);
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
        batch.take(gathering, |pad| {
            pad.append(|mut bytes| {
                bytes.resize(bytes.len() + length, b'x');
                bytes
            });
        })
    }

    /// Bytes and lines of the batches that were handed over.
    fn handed_over(messages: &Receiver<Message>) -> Vec<(usize, u64)> {
        let count = |message| match message {
            Message::Batch(pad, lines, _) => (pad.len(), lines),
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
    fn pads_come_back_from_the_writer_unless_they_are_too_large() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        let is_given_back = |length| {
            assert!(take(&batch, &gathering, length));
            gathering.hand_over();
            let Ok(Message::Batch(mut pad, _, giver)) = messages.try_recv() else { return None };
            pad.clear();
            let capacity = pad.capacity();
            Some((giver.is_some_and(|giver| giver.try_send(pad).is_ok()), capacity))
        };
        assert_eq!(is_given_back(9), Some((true, ROOM)));
        assert_eq!(is_given_back(9), Some((true, ROOM)), "the same one");
        assert!(is_given_back(4 * ROOM).is_some_and(|(given, capacity)| given && capacity > 4 * ROOM));
        assert!(is_given_back(9).is_some_and(|(given, capacity)| !given && capacity > 4 * ROOM));
        assert_eq!(is_given_back(9), Some((true, ROOM)));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (lines, messages) = Lines::unwritten();
        let (batch, gathering) = (Batch::new(lines), Gathering::default());
        let taken = (0..WAITING).filter(|_| take(&batch, &gathering, 50_000)).count();
        let waiting = batch.pad.borrow().len();
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
