//! Wakers and the list of tasks that were woken. A waker is the number of a task, so making, copying and dropping one
//! costs nothing.
#![allow(unsafe_code, reason = "a waker that is not counted can only be made from its table of functions")]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

thread_local! {
    /// Tasks that were woken and not polled since, in order.
    static WOKEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// A number for a new task; never 0, and not one that is in use unless four billion tasks wait.
pub(crate) fn next_task() -> u32 {
    let next = NEXT.get().wrapping_add(1).max(1);
    NEXT.set(next);
    next
}

/// Wakes a task of this thread.
pub(crate) fn waker(task: u32) -> Waker {
    // SAFETY: the functions of the table neither read nor free what the pointer stands for: it is a number. They may be
    // called from any thread; the number then goes to that thread's list, where nothing knows it.
    unsafe { Waker::from_raw(raw(task)) }
}

/// Whether a task was woken since they were taken.
#[inline]
pub(crate) fn has_woken() -> bool {
    WOKEN.with(|woken| !woken.borrow().is_empty())
}

/// The tasks that were woken, oldest first; empties the list.
pub(crate) fn take_woken() -> Vec<u32> {
    WOKEN.take()
}

fn raw(task: u32) -> RawWaker {
    RawWaker::new(ptr::without_provenance(task as usize), &TABLE)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(copy, wake, wake, forget);

fn copy(task: *const ()) -> RawWaker {
    raw(number(task))
}

fn wake(task: *const ()) {
    let task = number(task);
    // Fails only while the thread ends, when nothing is polled any more.
    let _ = WOKEN.try_with(|woken| {
        let mut woken = woken.borrow_mut();
        if !woken.contains(&task) {
            woken.push(task);
        }
    });
}

fn forget(_: *const ()) {}

fn number(task: *const ()) -> u32 {
    task.addr() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_listed_once_in_the_order_of_waking() {
        let (first, second) = (waker(7), waker(8));
        second.wake_by_ref();
        let copy = first.clone();
        copy.wake();
        second.wake();
        drop(first);
        assert_eq!(take_woken(), [8, 7]);
        assert!(take_woken().is_empty());
    }
}
