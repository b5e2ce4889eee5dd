//! The steps of a listener or a rule, applied to a request and, in reverse, to its response.

use std::future::poll_fn;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, Response};
use tidegate_config::plan::{Failure, PluginIndex};
use tidegate_wasm::Side;

use crate::exchange::Exchange;
use crate::filter::chain::{self, Step};
use crate::filter::guest_body::{GuestBody, Released};
use crate::filter::wasm::{Decision, Guest};
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;
use crate::http::sanitize;
use crate::local::View;

/// Whose steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Before the route.
    Listener,
    /// After it.
    Rule,
}

/// A guest that a request has met, with the step where it did.
pub(crate) struct Passed {
    pub(crate) scope: Scope,
    pub(crate) step: usize,
    pub(crate) guest: Rc<Guest>,
}

/// Where a request goes from its filters.
pub(crate) enum Flow {
    /// On.
    Go(Box<Parts>, Body),
    /// Back, with this answer.
    Reply(Reply),
}

/// What one step did to a request.
enum Stepped {
    Go(Box<Parts>, Body),
    Reply(Reply),
}

impl Exchange {
    /// The request passes `steps`.
    pub(crate) async fn request_steps(
        &mut self,
        view: &View,
        steps: &[Step],
        scope: Scope,
        head: Box<Parts>,
        body: Body,
        prefix: usize,
    ) -> Result<Flow, Fail> {
        let (mut head, mut body) = (head, body);
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::RequestHeaders(changes) => changes.apply(&mut head.headers),
                Step::ResponseHeaders(_) => {}
                Step::Rewrite(rewrite) => chain::rewrite(rewrite, &mut head, prefix),
                Step::Wasm(plugin) => {
                    let Some(guest) = self.guest(view, *plugin)? else { continue };
                    self.record.guests.push(Passed { scope, step: index, guest: guest.clone() });
                    match self.request_guest(&guest, head, body).await? {
                        Stepped::Go(next, rest) => (head, body) = (next, rest),
                        Stepped::Reply(mut reply) => {
                            self.record.answered_by(view, *plugin, &mut reply);
                            return Ok(Flow::Reply(reply));
                        }
                    }
                }
            }
        }
        // What a filter wrote is matched and sent in the same canonical form as what a client wrote.
        if steps.iter().any(|step| matches!(step, Step::Wasm(_))) {
            sanitize::rewritten(&mut head)?;
        }
        Ok(Flow::Go(head, body))
    }

    /// The stream of this request in a plugin; none where the plugin is away and its policy is open.
    fn guest(&mut self, view: &View, plugin: PluginIndex) -> Result<Option<Rc<Guest>>, Fail> {
        let slot = view.plugins.get(plugin).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        slot.entry.counters.of(self.record.client.local.shard.worker).streams.add(1);
        match slot.host() {
            Ok(host) => Guest::open(host, self.record.stream_info(), slot.entry.on_failure)
                .map(|guest| Some(Rc::new(guest))),
            Err(away) if away.policy == Failure::Open => Ok(None),
            Err(away) => Err(Fail::filter(away.reason)),
        }
    }

    async fn request_guest(
        &mut self,
        guest: &Rc<Guest>,
        head: Box<Parts>,
        body: Body,
    ) -> Result<Stepped, Fail> {
        use http_body::Body as _;
        let end = body.is_end_stream();
        let decision = match guest.request_head(*head, end)? {
            Decision::Hold | Decision::Wait if end => self.wait(guest.resumed(Side::Request)).await?,
            shut @ (Decision::Hold | Decision::Wait) => {
                // The body goes on into the guest while the head is held: a filter may want it to decide.
                let shut = matches!(shut, Decision::Wait);
                let mut through = GuestBody::held(body, guest.clone(), Side::Request, shut);
                match self.wait(poll_fn(|cx| through.poll_released(cx))).await? {
                    Released::Reply(reply) => return Ok(Stepped::Reply(reply)),
                    Released::Go => return taken(guest, Err(through)),
                }
            }
            decision => decision,
        };
        if let Decision::Reply(reply) = decision {
            return Ok(Stepped::Reply(reply));
        }
        if !end && !guest.is_out() {
            return taken(guest, Err(GuestBody::new(body, guest.clone(), Side::Request)));
        }
        taken(guest, Ok(body))
    }

    /// The response passes `steps` in reverse.
    pub(crate) async fn response_steps(
        &mut self,
        steps: &[Step],
        scope: Scope,
        response: Response<Body>,
    ) -> Result<Response<Body>, Fail> {
        let mut response = response;
        for (index, step) in steps.iter().enumerate().rev() {
            match step {
                Step::RequestHeaders(_) | Step::Rewrite(_) => {}
                Step::ResponseHeaders(changes) => changes.apply(response.headers_mut()),
                Step::Wasm(_) => {
                    let met = |passed: &&Passed| passed.scope == scope && passed.step == index;
                    let Some(guest) = self.record.guests.iter().find(met).map(|p| p.guest.clone()) else {
                        continue;
                    };
                    if !guest.is_out() {
                        response = self.response_guest(&guest, response).await?;
                    }
                }
            }
        }
        Ok(response)
    }

    async fn response_guest(
        &mut self,
        guest: &Rc<Guest>,
        response: Response<Body>,
    ) -> Result<Response<Body>, Fail> {
        use http_body::Body as _;
        let (head, body) = response.into_parts();
        // The answer to HEAD, 204 and 304 have no body whatever their length says.
        let end = body.is_end_stream() || self.record.bodiless(head.status);
        let decision = match guest.response_head(head, end)? {
            Decision::Hold | Decision::Wait if end => self.wait(guest.resumed(Side::Response)).await?,
            shut @ (Decision::Hold | Decision::Wait) => {
                let shut = matches!(shut, Decision::Wait);
                let mut through = GuestBody::held(body, guest.clone(), Side::Response, shut);
                match self.wait(poll_fn(|cx| through.poll_released(cx))).await? {
                    Released::Reply(reply) => return Ok(reply.into_response()),
                    Released::Go => return answer(guest, Err(through)),
                }
            }
            decision => decision,
        };
        if let Decision::Reply(reply) = decision {
            return Ok(reply.into_response());
        }
        if !end && !guest.is_out() {
            return answer(guest, Err(GuestBody::new(body, guest.clone(), Side::Response)));
        }
        answer(guest, Ok(body))
    }
}

/// The request as the guest leaves it; its body goes past the guest (`Ok`) or through it.
fn taken(guest: &Guest, body: Result<Body, GuestBody>) -> Result<Stepped, Fail> {
    let head = guest.with(|instance, id| instance.take_request_head(id));
    let mut head = Box::new(head.ok_or_else(|| Fail::gateway(Reason::Internal))?);
    let body = promised(body, &mut head.headers);
    Ok(Stepped::Go(head, body))
}

/// As [`taken`] for the response.
fn answer(guest: &Guest, body: Result<Body, GuestBody>) -> Result<Response<Body>, Fail> {
    let head = guest.with(|instance, id| instance.take_response_head(id));
    let mut head = head.ok_or_else(|| Fail::gateway(Reason::Internal))?;
    let body = promised(body, &mut head.headers);
    Ok(Response::from_parts(head, body))
}

fn promised(body: Result<Body, GuestBody>, headers: &mut HeaderMap) -> Body {
    body.unwrap_or_else(|mut through| {
        through.promise(headers);
        Body::stream(through)
    })
}
