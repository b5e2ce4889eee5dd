//! Places for the futures of handlers, used again and again: a handler that is ready at its first poll allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::exchange::Exchange;
use crate::{Filter, Flow};

/// A place for one kind of handler of a filter.
pub(crate) trait Slot<F: Filter> {
    /// Begins a handler; it does nothing until it is polled.
    fn start(&mut self, filter: Rc<F>, exchange: Rc<Exchange<F::State>>);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Flow>;

    /// Drops what is left of the handler.
    fn clear(&mut self);
}

/// A place for the futures that one function makes.
struct Place<Fut, Make> {
    future: Pin<Box<Option<Fut>>>,
    make: Make,
}

impl<F, Fut, Make> Slot<F> for Place<Fut, Make>
where
    F: Filter,
    Fut: Future<Output = Flow>,
    Make: Fn(Rc<F>, Rc<Exchange<F::State>>) -> Fut,
{
    fn start(&mut self, filter: Rc<F>, exchange: Rc<Exchange<F::State>>) {
        self.future.set(Some((self.make)(filter, exchange)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Flow> {
        match self.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }

    fn clear(&mut self) {
        self.future.set(None);
    }
}

/// A new place for what `make` makes.
pub(crate) fn place<F, Fut>(make: impl Fn(Rc<F>, Rc<Exchange<F::State>>) -> Fut + 'static) -> Box<dyn Slot<F>>
where
    F: Filter,
    Fut: Future<Output = Flow> + 'static,
{
    Box::new(Place { future: Box::pin(None), make })
}
