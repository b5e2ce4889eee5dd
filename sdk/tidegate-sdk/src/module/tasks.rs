//! Handlers and background tasks that wait.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Module;
use crate::exchange::{Exchange, Which};
use crate::hooks::{self, Event};
use crate::plugin::{self, Background};
use crate::slot::Slot;
use crate::{Filter, Flow, host, wake};

/// Something that waits.
pub(super) enum Task<F: Filter> {
    /// The handler of one direction of an exchange.
    Handler { slot: Box<dyn Slot<F>>, exchange: Rc<Exchange<F::State>>, which: Which },
    /// A task of a plugin.
    Background { root: u32, future: Background },
}

impl<F: Filter> Module<F> {
    /// Starts the handler of a direction and runs it as far as it comes.
    pub(super) fn begin_handler(&self, exchange: &Rc<Exchange<F::State>>, which: Which, filter: Rc<F>) {
        let kept = self.idle(which).borrow_mut().pop();
        let mut slot = kept.unwrap_or_else(|| self.make_place(which));
        slot.start(filter, exchange.clone());
        let task = wake::next_task();
        match slot.poll(&mut Context::from_waker(&wake::waker(task))) {
            Poll::Ready(flow) => self.end_handler(slot, exchange, which, flow),
            Poll::Pending => {
                exchange.link.side(which).task.set(task);
                let exchange = exchange.clone();
                self.tasks.borrow_mut().insert(task, Task::Handler { slot, exchange, which });
            }
        }
    }

    fn idle(&self, which: Which) -> &RefCell<Vec<Box<dyn Slot<F>>>> {
        let [request, response] = &self.idle;
        match which {
            Which::Request => request,
            Which::Response => response,
        }
    }

    fn end_handler(
        &self,
        mut slot: Box<dyn Slot<F>>,
        exchange: &Rc<Exchange<F::State>>,
        which: Which,
        flow: Flow,
    ) {
        slot.clear();
        let mut idle = self.idle(which).borrow_mut();
        if idle.len() < KEPT {
            idle.push(slot);
        }
        drop(idle);
        let side = exchange.link.side(which);
        side.task.set(0);
        match flow {
            Flow::Continue => {}
            Flow::Reply(reply) if !side.is_of_bytes() => {
                exchange.link.over.set(true);
                reply.send();
            }
            Flow::Reset(why) if host::foreign("tidegate_reset", why.as_bytes()).is_ok() => {
                exchange.link.over.set(true);
            }
            Flow::Reply(_) | Flow::Close | Flow::Reset(_) => {
                exchange.link.over.set(true);
                if let Err(refusal) = host::close_stream(side.names.stream) {
                    log::error!("the stream cannot be closed: the host answered {refusal}");
                }
            }
        }
    }

    pub(super) fn begin_task(&self, root: u32, mut future: Background) {
        let task = wake::next_task();
        if future.as_mut().poll(&mut Context::from_waker(&wake::waker(task))).is_pending() {
            self.tasks.borrow_mut().insert(task, Task::Background { root, future });
        }
    }

    /// Runs all that was woken or handed over, and what follows from it, until nothing moves.
    #[inline]
    pub(super) fn settle(&self) {
        if wake::has_woken() || plugin::has_spawned() {
            self.run_all();
        }
        hooks::tell(&hooks::TIME, Event::Settle);
    }

    fn run_all(&self) {
        loop {
            let (woken, spawned) = (wake::take_woken(), plugin::take_spawned());
            if woken.is_empty() && spawned.is_empty() {
                break;
            }
            for task in woken {
                self.run(task);
            }
            for (context, future) in spawned {
                let root = self.root_of(context);
                if host::act_for(root) {
                    self.begin_task(root, future);
                }
            }
        }
    }

    fn run(&self, task: u32) {
        let Some(found) = self.tasks.borrow_mut().remove(task) else { return };
        let waker = wake::waker(task);
        let cx = &mut Context::from_waker(&waker);
        match found {
            Task::Background { root, mut future } => {
                if host::act_for(root) && future.as_mut().poll(cx).is_pending() {
                    self.tasks.borrow_mut().insert(task, Task::Background { root, future });
                }
            }
            Task::Handler { mut slot, exchange, which } => {
                // A stream that is gone takes what waits in its name with it.
                if !host::act_for(exchange.id) {
                    exchange.link.side(which).task.set(0);
                    slot.clear();
                    return;
                }
                match slot.poll(cx) {
                    Poll::Ready(flow) => {
                        self.end_handler(slot, &exchange, which, flow);
                        self.release(&exchange, which);
                    }
                    Poll::Pending => {
                        let kept = Task::Handler { slot, exchange: exchange.clone(), which };
                        self.tasks.borrow_mut().insert(task, kept);
                        self.release(&exchange, which);
                    }
                }
            }
        }
    }

    /// Lets go on what is held, if the handler has come to a point where it may. While the host asks about this very
    /// direction, the answer says it.
    fn release(&self, exchange: &Rc<Exchange<F::State>>, which: Which) {
        if self.asked.get() == Some((exchange.id, which)) || exchange.link.over.get() {
            return;
        }
        let side = exchange.link.side(which);
        if side.held.get() && (side.task.get() == 0 || side.goes()) {
            side.on_gone();
            if let Err(refusal) = host::continue_stream(side.names.stream) {
                log::debug!("what is held goes on with the next bytes: the host answered {refusal}");
            }
        }
    }

    pub(super) fn drop_task(&self, task: u32) {
        let dropped = if task == 0 { None } else { self.tasks.borrow_mut().remove(task) };
        drop(dropped);
    }

    pub(super) fn drop_tasks_of(&self, plugin: u32) {
        let of_plugin: Vec<u32> = {
            let tasks = self.tasks.borrow();
            let belongs = |task: &Task<F>| matches!(task, Task::Background { root, .. } if *root == plugin);
            tasks.iter().filter(|(_, task)| belongs(task)).map(|(id, _)| id).collect()
        };
        of_plugin.into_iter().for_each(|task| self.drop_task(task));
    }
}

/// Places that are kept for later handlers, of each kind.
pub(super) const KEPT: usize = 64;
