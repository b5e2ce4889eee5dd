//! What a callback has changed, as it was before: a stream that goes on although the guest broke off in this callback
//! must not carry half of its work.

use super::{Stream, body::Body};
use crate::Side;
use bytes::Bytes;
use http::{HeaderMap, request, response};
use std::rc::Rc;

/// Parts as they were before the call; none: not changed in it.
pub(crate) struct Originals {
    /// Which call it was.
    call: u64,
    request_head: Option<Rc<request::Parts>>,
    response_head: Option<response::Parts>,
    request: Behind,
    response: Behind,
    changed: bool,
    turned: bool,
    scheme: Option<&'static str>,
}

/// What comes behind a head.
#[derive(Default)]
struct Behind {
    body: Option<Bytes>,
    trailers: Option<Option<HeaderMap>>,
}

impl Stream {
    /// The guest is about to write to a head.
    pub(crate) fn keep_head(&mut self, side: Side, call: u64) {
        if side == Side::Request && self.survives {
            // What is taken back later has all fields.
            self.complete_head();
        }
        let Some(originals) = originals(&mut self.originals, self.survives, call) else { return };
        match side {
            Side::Request if originals.request_head.is_none() => {
                originals.request_head = self.request_head.clone();
                (originals.changed, originals.turned) = (self.changed, self.turned);
                originals.scheme = self.scheme;
            }
            Side::Response if originals.response_head.is_none() => {
                originals.response_head = self.response_head.clone();
            }
            _ => {}
        }
    }

    /// The guest is about to write to a body, which also takes the length out of its head.
    pub(crate) fn keep_body(&mut self, side: Side, call: u64) {
        if let Some(tape) = &mut self.tape {
            tape.writes(side);
        }
        self.keep_head(side, call);
        let Some(originals) = originals(&mut self.originals, self.survives, call) else { return };
        let (flow, behind) = match side {
            Side::Request => (&mut self.request, &mut originals.request),
            Side::Response => (&mut self.response, &mut originals.response),
        };
        behind.body.get_or_insert_with(|| flow.body.share());
    }

    /// The guest is about to write to trailers, which may come into being by that.
    pub(crate) fn keep_trailers(&mut self, side: Side, call: u64) {
        let Some(originals) = originals(&mut self.originals, self.survives, call) else { return };
        let (flow, behind) = match side {
            Side::Request => (&self.request, &mut originals.request),
            Side::Response => (&self.response, &mut originals.response),
        };
        behind.trailers.get_or_insert_with(|| flow.trailers.clone());
    }

    /// Takes back what was changed in this call, in which the guest broke off.
    pub(crate) fn take_back(&mut self, call: u64) {
        let Some(originals) = self.originals.take_if(|originals| originals.call == call) else { return };
        let Originals { request_head, response_head, request, response, .. } = *originals;
        if request_head.is_some() {
            self.request_head = request_head;
            (self.changed, self.turned, self.scheme) =
                (originals.changed, originals.turned, originals.scheme);
        }
        if response_head.is_some() {
            self.response_head = response_head;
        }
        for (side, behind) in [(Side::Request, request), (Side::Response, response)] {
            let flow = self.flow_mut(side);
            if let Some(body) = behind.body {
                flow.body = Body::Whole(body);
            }
            if let Some(trailers) = behind.trailers {
                flow.trailers = trailers;
            }
        }
    }
}

/// Where this call's originals are kept; none for a stream that ends with the guest.
fn originals(kept: &mut Option<Box<Originals>>, survives: bool, call: u64) -> Option<&mut Originals> {
    if !survives {
        return None;
    }
    if kept.as_ref().is_none_or(|kept| kept.call != call) {
        let fresh = Originals {
            call,
            request_head: None,
            response_head: None,
            request: Behind::default(),
            response: Behind::default(),
            changed: false,
            turned: false,
            scheme: None,
        };
        *kept = Some(Box::new(fresh));
    }
    kept.as_deref_mut()
}
