//! Random bytes for guests, from the operating system.
//!
//! What decides by chance wants eight of them for a request, and asking the kernel costs more than all else that it does
//! (326 ns of routing's 3.3 µs). So few bytes come from a store of this thread. More of them may be a key or a nonce, and
//! come from the kernel itself: it knows when a virtual machine was copied with all that is in its memory.

use std::cell::RefCell;

/// Fills bytes with random ones.
pub(super) fn system(bytes: &mut [u8]) {
    if bytes.len() > FEW {
        return kernel(bytes);
    }
    // A guest runs in here, never a destructor of the thread, so the store is there.
    STORE.with_borrow_mut(|store| store.hand_out(bytes));
}

/// So many bytes are no secret: a guess of one in 2^64 is not what keys and nonces are made of.
const FEW: usize = 8;

/// As many as the kernel gives for little more than one.
const KEPT: usize = 512;

thread_local! {
    static STORE: RefCell<Store> = const { RefCell::new(Store { bytes: [0; KEPT], left: 0 }) };
}

/// Bytes that nobody has got yet, at the front.
struct Store {
    bytes: [u8; KEPT],
    left: usize,
}

impl Store {
    fn hand_out(&mut self, to: &mut [u8]) {
        if self.left < to.len() {
            kernel(&mut self.bytes);
            self.left = KEPT;
        }
        let rest = self.left - to.len();
        if let Some(taken) = self.bytes.get_mut(rest..self.left) {
            to.copy_from_slice(taken);
            // What was drawn is not to be found in memory later.
            taken.fill(0);
        }
        self.left = rest;
    }
}

fn kernel(bytes: &mut [u8]) {
    // The kernel's generator cannot fail once the system is up; zeros would only be predictable.
    if getrandom::fill(bytes).is_err() {
        bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_handed_out_twice() {
        let mut store = Store { bytes: [0; KEPT], left: 0 };
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let mut drawn = [0; 8];
            store.hand_out(&mut drawn);
            assert!(seen.insert(drawn), "{drawn:?} came before");
            assert_eq!(
                store.bytes.get(store.left..).map(|gone| gone.iter().all(|byte| *byte == 0)),
                Some(true)
            );
        }
    }

    #[test]
    fn all_sizes_are_filled() {
        // That 32 draws of one byte are all zero happens once in 2^256.
        for size in [1, 3, 7, 8, 9, 4096] {
            let mut sum = vec![0_u8; size];
            for _ in 0..32 {
                let mut drawn = vec![0; size];
                system(&mut drawn);
                sum.iter_mut().zip(&drawn).for_each(|(all, byte)| *all |= byte);
            }
            assert!(sum.iter().all(|byte| *byte != 0), "{size}");
        }
        system(&mut []);
    }
}
