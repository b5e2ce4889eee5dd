//! Weighted turns: each class of servers has its turn at even distances, which are shorter the larger its share is.
//!
//! A heap by the time of the next turn, on a clock of its own, so that a turn takes O(log n) of the number of classes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::upstream::server::mixed;

/// The distance of the turns of a class whose share is 1.
const DISTANCE: u64 = 1 << 40;
/// The clock starts again before it is full.
const LATE: u64 = 1 << 62;
/// Entries of the heap that are out of date before it is made anew, besides as many as there are classes.
const OLD: usize = 16;

/// When a class has its next turn.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    at: u64,
    /// What is left of the distance by which it goes on, as a share of its share: no turn is lost by rounding.
    rest: u64,
    share: u64,
    /// Tells its entry in the heap from those that are out of date.
    ticket: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    heap: BinaryHeap<Reverse<(u64, u32, u32)>>,
    classes: Vec<Next>,
    now: u64,
    changes: u64,
}

impl Turns {
    /// Whether nobody has a turn.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// A class has another share, or is new, or gone where that is 0.
    pub(super) fn change(&mut self, class: usize, share: u64) {
        if self.classes.len() <= class {
            self.classes.resize(class + 1, Next::default());
        }
        let (now, number) = (self.now, u32::try_from(class).unwrap_or(u32::MAX));
        let Some(next) = self.classes.get_mut(class) else { return };
        next.ticket = next.ticket.wrapping_add(1);
        self.changes += 1;
        let wait = match (next.share, share) {
            (_, 0) => 0,
            // The first turn is anywhere within the distance, so that classes do not go together.
            (0, _) => part(DISTANCE / share, mixed(self.changes) >> 32, 1 << 32),
            // What was waited for stays waited for.
            (before, _) => part(next.at.saturating_sub(now), before, share),
        };
        *next =
            Next { at: now.saturating_add(wait).min(now + DISTANCE), rest: 0, share, ticket: next.ticket };
        if share > 0 {
            self.heap.push(Reverse((next.at, number, next.ticket)));
        }
        if self.heap.len() > 2 * self.classes.len() + OLD {
            self.renew(0);
        }
    }

    /// The class whose turn it is.
    pub(super) fn next(&mut self) -> Option<usize> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((at, number, ticket)) = *top;
            let class = number as usize;
            let Some(next) =
                self.classes.get_mut(class).filter(|next| next.ticket == ticket && next.share > 0)
            else {
                std::collections::binary_heap::PeekMut::pop(top);
                continue;
            };
            next.at += DISTANCE / next.share;
            next.rest += DISTANCE % next.share;
            if next.rest >= next.share {
                next.rest -= next.share;
                next.at += 1;
            }
            *top = Reverse((next.at, number, ticket));
            drop(top);
            self.now = at;
            if at >= LATE {
                self.renew(at);
            }
            return Some(class);
        }
    }

    /// Makes the heap anew, with the clock so much earlier.
    #[cold]
    fn renew(&mut self, earlier: u64) {
        self.now -= earlier;
        self.classes.iter_mut().for_each(|next| next.at = next.at.saturating_sub(earlier));
        let of = |(number, next): (u32, &Next)| Reverse((next.at, number, next.ticket));
        self.heap = (0..).zip(&self.classes).filter(|(_, next)| next.share > 0).map(of).collect();
    }
}

/// `whole * some / all`.
fn part(whole: u64, some: u64, all: u64) -> u64 {
    let part = u128::from(whole) * u128::from(some) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}
