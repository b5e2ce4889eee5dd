//! What is kept of one request and its response, or of one connection, while it lasts.

use std::cell::Cell;
use std::rc::Rc;

use crate::side::{CLIENT, REQUEST, RESPONSE, SERVER, Side};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The request; of a connection: the client's bytes.
    Request,
    /// The response; of a connection: the server's bytes.
    Response,
}

/// One exchange.
pub(crate) struct Exchange<S> {
    pub(crate) id: u32,
    pub(crate) link: Link,
    pub(crate) state: S,
}

/// The part that does not depend on the filter.
pub(crate) struct Link {
    pub(crate) request: Side,
    pub(crate) response: Side,
    /// The filter has answered or broken off: nothing more is shown to it.
    pub(crate) over: Cell<bool>,
}

impl<S: Default> Exchange<S> {
    pub(crate) fn of_http(id: u32) -> Self {
        Exchange { id, link: Link::new(false), state: S::default() }
    }

    pub(crate) fn of_bytes(id: u32) -> Self {
        Exchange { id, link: Link::new(true), state: S::default() }
    }

    /// Makes it another one, whose state is that of a new one already.
    pub(crate) fn begin(&mut self, id: u32, of_bytes: bool) {
        self.id = id;
        self.link = Link::new(of_bytes);
    }
}

/// Access to an exchange's link without its state's type.
pub(crate) trait Linked {
    fn link(&self) -> &Link;
}

impl<S> Linked for Exchange<S> {
    fn link(&self) -> &Link {
        &self.link
    }
}

impl Link {
    const fn new(of_bytes: bool) -> Self {
        let (request, response) = if of_bytes { (&CLIENT, &SERVER) } else { (&REQUEST, &RESPONSE) };
        Link { request: Side::new(request), response: Side::new(response), over: Cell::new(false) }
    }

    #[inline]
    pub(crate) fn side(&self, which: Which) -> &Side {
        match which {
            Which::Request => &self.request,
            Which::Response => &self.response,
        }
    }
}

/// One direction of an exchange that is shared with its handlers.
#[derive(Clone)]
pub(crate) struct SideRef {
    exchange: Rc<dyn Linked>,
    which: Which,
}

impl SideRef {
    #[inline]
    pub(crate) fn new<S: 'static>(exchange: Rc<Exchange<S>>, which: Which) -> Self {
        SideRef { exchange, which }
    }

    pub(crate) fn get(&self) -> &Side {
        self.exchange.link().side(self.which)
    }
}
