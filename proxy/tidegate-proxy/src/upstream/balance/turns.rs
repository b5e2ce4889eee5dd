//! Weighted turns: each server has its turn at even distances, which are shorter the larger its weight is.
//!
//! A heap by the time of the next turn, on a clock of its own, so that a turn takes O(log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::upstream::server::mixed;

/// The distance of the turns of a server of weight 1.
const DISTANCE: u64 = 1 << 40;
/// The clock starts again before it is full.
const LATE: u64 = 1 << 62;

/// A server and its seat's ticket.
type Turn = (usize, usize);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: BinaryHeap<Reverse<(u64, Turn)>>,
    now: u64,
}

impl Turns {
    /// Whether nobody has a turn.
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// A server has turns from now on. Its first one is somewhere within the distance, so that equal ones do not go
    /// together.
    pub(super) fn add(&mut self, turn: Turn, weight: u32) {
        let phase = mixed(turn.0 as u64) >> 32;
        let first = self.now + (((distance(weight) >> 20) * phase) >> 12);
        self.next.push(Reverse((first, turn)));
    }

    /// Whose turn it is. `weight` is that of a server; one that has none is forgotten.
    pub(super) fn next(&mut self, weight: impl Fn(Turn) -> Option<u32>) -> Option<Turn> {
        loop {
            let mut top = self.next.peek_mut()?;
            let Reverse((at, turn)) = *top;
            let Some(weight) = weight(turn) else {
                std::collections::binary_heap::PeekMut::pop(top);
                continue;
            };
            *top = Reverse((at + distance(weight), turn));
            drop(top);
            self.now = at;
            if at >= LATE {
                self.start_again();
            }
            return Some(turn);
        }
    }

    #[cold]
    fn start_again(&mut self) {
        let now = self.now;
        self.next =
            self.next.drain().map(|Reverse((at, turn))| Reverse((at.saturating_sub(now), turn))).collect();
        self.now = 0;
    }
}

fn distance(weight: u32) -> u64 {
    DISTANCE / u64::from(weight.max(1))
}
