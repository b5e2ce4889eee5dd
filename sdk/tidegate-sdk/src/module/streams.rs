//! The progress of requests, responses and connections.

use std::rc::Rc;

use tidegate_abi::Action;

use super::{Module, tasks::KEPT};
use crate::exchange::{Exchange, Which};
use crate::flow::IntoFlow;
use crate::request::HasHeaders;
use crate::side::{self, Stage, Want};
use crate::slot::{Slot, place};
use crate::{Body, Callbacks, Connection, Failure, Filter, Finished, Flow, Reply, Request, Response, host};

const GO: u32 = Action::Continue as u32;
const HOLD: u32 = Action::Pause as u32;
const HOLD_ALL: u32 = Action::PauseAll as u32;
const HOLD_UNFED: u32 = Action::PauseUnfed as u32;

impl<F: Filter> Module<F> {
    /// The request's head has come; the answer says whether it goes on.
    #[inline]
    pub fn on_request_headers(&self, id: u32, end: bool) -> u32 {
        self.on_head(id, Which::Request, end)
    }

    /// More of the request's body has come.
    pub fn on_request_body(&self, id: u32, size: u32, end: bool) -> u32 {
        self.on_body(id, Which::Request, size, end)
    }

    /// The request's trailers have come.
    pub fn on_request_trailers(&self, id: u32) -> u32 {
        self.on_trailers(id, Which::Request)
    }

    /// The response's head has come.
    #[inline]
    pub fn on_response_headers(&self, id: u32, end: bool) -> u32 {
        self.on_head(id, Which::Response, end)
    }

    /// More of the response's body has come.
    pub fn on_response_body(&self, id: u32, size: u32, end: bool) -> u32 {
        self.on_body(id, Which::Response, size, end)
    }

    /// The response's trailers have come.
    pub fn on_response_trailers(&self, id: u32) -> u32 {
        self.on_trailers(id, Which::Response)
    }

    /// A connection of bytes has begun.
    pub fn on_new_connection(&self, id: u32) -> u32 {
        self.of_bytes.set(true);
        self.on_head(id, Which::Request, false)
    }

    /// Bytes of the client have come.
    pub fn on_downstream_data(&self, id: u32, size: u32, end: bool) -> u32 {
        self.on_body(id, Which::Request, size, end)
    }

    /// Bytes of the server have come.
    pub fn on_upstream_data(&self, id: u32, size: u32, end: bool) -> u32 {
        self.of_bytes.set(true);
        let known = self.exchanges.borrow().get(id).cloned();
        let started = known.is_some_and(|exchange| exchange.link.response.started.get());
        if started {
            return self.on_body(id, Which::Response, size, end);
        }
        host::called_about(id);
        let (Some(filter), exchange) = (self.filter_of(id), self.exchange(id)) else {
            return self.refuse(id);
        };
        if exchange.link.over.get() {
            return HOLD;
        }
        let side = &exchange.link.response;
        side.on_head(false);
        side.on_body(size as usize, end);
        self.keep(&exchange);
        self.asked.set(Some((id, Which::Response)));
        self.begin_handler(&exchange, Which::Response, filter);
        self.answer(&exchange, Which::Response)
    }

    /// The exchange is over.
    pub fn on_log(&self, id: u32) {
        host::called_about(id);
        let Some(filter) = self.filter_of(id) else { return };
        let exchange = self.exchange(id);
        filter.on_log(&Finished::new(exchange.clone()));
        self.recycle(exchange);
        self.settle();
    }

    #[inline]
    fn on_head(&self, id: u32, which: Which, end: bool) -> u32 {
        host::called_about(id);
        let Some(filter) = self.filter_of(id) else { return self.refuse(id) };
        let known = self.exchanges.borrow().get(id).cloned();
        let is_new = known.is_none();
        let exchange = known.unwrap_or_else(|| self.fresh(id));
        // Some hosts pass a filter's own answer through that filter.
        if exchange.link.over.get() {
            return GO;
        }
        exchange.link.side(which).on_head(end);
        self.asked.set(Some((id, which)));
        self.begin_handler(&exchange, which, filter);
        let answer = self.answer(&exchange, which);
        if answer == GO && exchange.link.side(which).task.get() == 0 && !keeps_state::<F>() {
            self.recycle(exchange);
        } else if is_new {
            self.keep(&exchange);
        }
        answer
    }

    fn on_body(&self, id: u32, which: Which, size: u32, end: bool) -> u32 {
        let Some(exchange) = self.exchanges.borrow().get(id).cloned() else { return GO };
        host::called_about(id);
        let side = exchange.link.side(which);
        if exchange.link.over.get() {
            return if side.is_of_bytes() { HOLD } else { GO };
        }
        self.asked.set(Some((id, which)));
        side.on_body(size as usize, end);
        self.answer(&exchange, which)
    }

    fn on_trailers(&self, id: u32, which: Which) -> u32 {
        let Some(exchange) = self.exchanges.borrow().get(id).cloned() else { return GO };
        host::called_about(id);
        if exchange.link.over.get() {
            return GO;
        }
        self.asked.set(Some((id, which)));
        exchange.link.side(which).on_trailers();
        self.answer(&exchange, which)
    }

    /// Lets run what may, then says what happens to what the host has asked about.
    #[inline]
    fn answer(&self, exchange: &Rc<Exchange<F::State>>, which: Which) -> u32 {
        self.settle();
        self.asked.set(None);
        if exchange.link.over.get() {
            return HOLD;
        }
        let side = exchange.link.side(which);
        // Host functions that ask for this side act for it again.
        let waits = side.task.get() != 0;
        if !waits || host::act_for(exchange.id) && side.goes() {
            side.on_gone();
            return GO;
        }
        side.held.set(true);
        if side.want.get() != Want::Other || side.is_of_bytes() || !side::is_fed() {
            return HOLD;
        }
        // What waits for something else has no use for more bytes, which would only fill the host's buffer.
        match side.stage.get() {
            Stage::Head => HOLD_ALL,
            Stage::Body if !side.ended.get() => {
                side.unfed.set(true);
                HOLD_UNFED
            }
            Stage::Body | Stage::Trailers => HOLD,
        }
    }

    /// A host that goes on after a refused configuration: nothing may pass.
    #[cold]
    fn refuse(&self, id: u32) -> u32 {
        let exchange = self.exchange(id);
        if !exchange.link.over.replace(true) {
            if self.of_bytes.get() {
                // The answer holds the bytes in any case.
                let _ = host::close_stream(tidegate_abi::StreamKind::Downstream);
            } else {
                Reply::text(500, "filter not configured").details("filter_not_configured").send();
            }
        }
        self.keep(&exchange);
        HOLD
    }

    /// What is kept of a stream, or a new one.
    #[inline]
    fn exchange(&self, id: u32) -> Rc<Exchange<F::State>> {
        let known = self.exchanges.borrow().get(id).cloned();
        known.unwrap_or_else(|| self.fresh(id))
    }

    /// A new one, in a place that is not in use if there is one.
    #[inline]
    fn fresh(&self, id: u32) -> Rc<Exchange<F::State>> {
        let of_bytes = self.of_bytes.get();
        let fresh = || if of_bytes { Exchange::of_bytes(id) } else { Exchange::of_http(id) };
        let Some(mut spare) = self.spare.borrow_mut().pop() else { return Rc::new(fresh()) };
        match Rc::get_mut(&mut spare) {
            Some(place) => {
                place.begin(id, of_bytes);
                spare
            }
            None => Rc::new(fresh()),
        }
    }

    fn keep(&self, exchange: &Rc<Exchange<F::State>>) {
        self.exchanges.borrow_mut().insert(exchange.id, exchange.clone());
    }

    /// Keeps the place of an exchange that nobody needs any more.
    #[inline]
    pub(super) fn recycle(&self, mut exchange: Rc<Exchange<F::State>>) {
        let Some(place) = Rc::get_mut(&mut exchange) else { return };
        if keeps_state::<F>() {
            // Its code runs here, so nothing is borrowed yet.
            place.state = F::State::default();
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(exchange);
        }
    }

    /// A new place for handlers of one direction.
    #[cold]
    pub(super) fn make_place(&self, which: Which) -> Box<dyn Slot<F>> {
        // A filter has handlers for either HTTP or connections or both; which one a stream needs is known by its names.
        match which {
            Which::Request => place(|filter: Rc<F>, exchange: Rc<Exchange<F::State>>| async move {
                let mut body = Body::new(exchange.clone(), Which::Request);
                if has::<F>(Callbacks::CONNECTION) && exchange.link.request.is_of_bytes() {
                    let mut connection = Connection::new(exchange);
                    let flow = filter.on_connection(&mut connection, &mut body).await.into_flow();
                    return conclude(&*filter, &connection, flow);
                }
                let mut request = Request::new(exchange);
                let flow = filter.on_request(&mut request, &mut body).await.into_flow();
                conclude(&*filter, &request, flow)
            }),
            Which::Response => place(|filter: Rc<F>, exchange: Rc<Exchange<F::State>>| async move {
                let mut body = Body::new(exchange.clone(), Which::Response);
                if has::<F>(Callbacks::SERVER) && exchange.link.response.is_of_bytes() {
                    let mut connection = Connection::new(exchange);
                    let flow = filter.on_server(&mut connection, &mut body).await.into_flow();
                    return conclude(&*filter, &connection, flow);
                }
                let mut response = Response::new(exchange);
                let flow = filter.on_response(&mut response, &mut body).await.into_flow();
                conclude(&*filter, &response, flow)
            }),
        }
    }
}

const fn has<F: Filter>(callbacks: Callbacks) -> bool {
    F::CALLBACKS.has(callbacks)
}

/// Whether a filter's state has anything in it.
const fn keeps_state<F: Filter>() -> bool {
    size_of::<F::State>() > 0 || std::mem::needs_drop::<F::State>()
}

/// What a handler's end comes to. A refused change must not go unnoticed: it might have been the removal of a secret.
fn conclude<F: Filter>(filter: &F, message: &impl HasHeaders, flow: Result<Flow, Failure>) -> Flow {
    let failure = match (flow, message.take_refused()) {
        (Ok(Flow::Continue), Some(error)) => Failure::from(error),
        (Ok(flow), _) => return flow,
        (Err(failure), _) => match failure.into_reply() {
            Ok(reply) => return reply.into(),
            Err(failure) => failure,
        },
    };
    filter.on_error(&failure)
}
