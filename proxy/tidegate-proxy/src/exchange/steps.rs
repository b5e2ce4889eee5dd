//! The steps of a listener or a rule, applied to a request and, in reverse, to its response.
//!
//! Filters that let a message pass at once cost no future: only where a guest holds one does the exchange wait.

use std::future::poll_fn;
use std::rc::Rc;

use http::Response;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use tidegate_config::plan::{Failure, PluginIndex};
use tidegate_wasm::Side;

use crate::exchange::Exchange;
use crate::exchange::reroute::Before;
use crate::exchange::whole;
use crate::filter::chain::{self, Step};
use crate::filter::guest_body::{GuestBody, Released};
use crate::filter::wasm::{Decision, End, Guest};
use crate::http::added::Added;
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
    /// After it: those of this rule.
    Rule(usize),
}

impl Scope {
    /// The rule; none: the listener.
    pub(crate) fn rule(self) -> Option<usize> {
        match self {
            Self::Listener => None,
            Self::Rule(rule) => Some(rule),
        }
    }
}

/// A guest that a request has met, with the step where it did.
pub(crate) struct Passed {
    pub(crate) scope: Scope,
    pub(crate) step: usize,
    pub(crate) plugin: PluginIndex,
    pub(crate) guest: Rc<Guest>,
}

/// The steps that a request passes.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) scope: Scope,
    /// How much of the path the rule matched.
    pub(crate) prefix: usize,
}

/// Where a request goes from its filters.
pub(crate) enum Flow {
    /// On.
    Go(Rc<Parts>, Body),
    /// Back, with this answer.
    Reply(Box<Reply>),
    /// A guest holds it.
    Held(Box<Holding>),
}

/// A message that a guest holds.
pub(crate) struct Holding {
    guest: Rc<Guest>,
    /// Where it is held.
    at: Place,
    /// Its body, which goes past the guest (`Ok`) or into it (`Err`).
    body: Result<Body, GuestBody>,
}

/// A step on the way of a response: whose turn it is, and how many of its steps are left.
#[derive(Clone, Copy)]
struct Place {
    turn: usize,
    step: usize,
}

impl Exchange {
    /// The request passes the steps from `from` on, until a guest holds it.
    pub(crate) fn request_steps(
        &mut self,
        view: &View,
        way: Way<'_>,
        from: usize,
        mut head: Rc<Parts>,
        mut body: Body,
    ) -> Result<Flow, Fail> {
        for (index, step) in way.steps.iter().enumerate().skip(from) {
            match step {
                Step::RequestHeaders(changes) => {
                    if changes.is_about_added() {
                        self.complete(&mut head);
                    }
                    let before = self.record.before_step(&head);
                    changes.apply(&mut Rc::make_mut(&mut head).headers);
                    if let Some(before) = before {
                        self.record.tap_request_step((way.scope, index), &before, &head);
                    }
                }
                Step::ResponseHeaders(_) => {}
                Step::Rewrite(rewrite) => {
                    if rewrite.hostname.is_some() {
                        self.complete(&mut head);
                    }
                    let rest = way.steps.get(index..).unwrap_or_default();
                    let before =
                        rest.iter().any(|step| matches!(step, Step::Wasm(_))).then(|| Before::of(&head));
                    let old = self.record.before_step(&head);
                    chain::rewrite(rewrite, Rc::make_mut(&mut head), way.prefix);
                    if let Some(before) = before {
                        self.record.reroute.rewritten(before, &head);
                    }
                    if let Some(old) = old {
                        self.record.tap_request_step((way.scope, index), &old, &head);
                    }
                }
                Step::Wasm(plugin) => {
                    let version = self.version(view, *plugin, &head);
                    let met = (*plugin, version);
                    let Some((guest, plugin)) = self.guest(view, way.scope, index, met, &head)? else {
                        continue;
                    };
                    let flow = self.request_guest(&guest, index, head, body)?;
                    match self.stepped(view, plugin, flow) {
                        Flow::Go(next, rest) => (head, body) = (next, rest),
                        other => return Ok(other),
                    }
                }
            }
        }
        Ok(Flow::Go(head, body))
    }

    /// As [`Exchange::request_steps`] for a request that a guest holds, until it has passed all steps.
    pub(crate) async fn released(
        &mut self,
        view: &View,
        way: Way<'_>,
        mut holding: Box<Holding>,
    ) -> Result<Flow, Fail> {
        loop {
            let at = holding.at.step;
            let Holding { guest, body, .. } = *holding;
            let holds = |passed: &&Passed| Rc::ptr_eq(&passed.guest, &guest);
            let plugin = self.record.guests.iter().find(holds).map(|passed| passed.plugin);
            let plugin = plugin.ok_or_else(|| Fail::gateway(Reason::Internal))?;
            let flow = match self.let_go(&guest, Side::Request, body).await? {
                Ok(body) => self.taken(&guest, body)?,
                Err(reply) => Flow::Reply(reply),
            };
            match self.stepped(view, plugin, flow) {
                Flow::Go(head, body) => match self.request_steps(view, way, at + 1, head, body)? {
                    Flow::Held(further) => holding = further,
                    flow => return Ok(flow),
                },
                flow => return Ok(flow),
            }
        }
    }

    /// The fields that the gateway adds are looked at, or what they are made from is about to change.
    fn complete(&mut self, head: &mut Rc<Parts>) {
        if let Some(added) = self.record.added.take() {
            added.insert(&mut Rc::make_mut(head).headers);
        }
    }

    /// The request's head passes a guest.
    fn request_guest(
        &mut self,
        guest: &Rc<Guest>,
        step: usize,
        head: Rc<Parts>,
        body: Body,
    ) -> Result<Flow, Fail> {
        use http_body::Body as _;
        let end = body.is_end_stream();
        let pending = self.record.added.as_ref().map(Added::pending);
        let decision = guest.request_head(head, pending, end)?;
        let wait = matches!(decision, Decision::Wait);
        match decision {
            Decision::Go => {
                guest.may_leave();
                self.taken(guest, through(body, guest, Side::Request, end))
            }
            Decision::Reply(reply) => Ok(Flow::Reply(reply)),
            Decision::Hold | Decision::Wait => {
                let body = into(body, guest, Side::Request, end, wait);
                let at = Place { turn: 0, step };
                Ok(Flow::Held(Box::new(Holding { guest: guest.clone(), at, body })))
            }
        }
    }

    /// The request as the guest leaves it: what it wrote is matched and sent in the same canonical form as what a
    /// client wrote.
    fn taken(&mut self, guest: &Guest, body: Result<Body, GuestBody>) -> Result<Flow, Fail> {
        let left = guest.with(|instance, id| instance.leave_request_head(id, sanitize::rewritten))?;
        let left = left.ok_or_else(|| Fail::gateway(Reason::Internal))?;
        if !left.pending {
            self.record.added = None;
        }
        let asked = guest.clears_route();
        let leads = left.turned || left.changed && self.record.reads_fields();
        self.record.reroute.stepped(leads && !left.stays, asked);
        let mut head = left.head;
        let body = body.unwrap_or_else(|mut through| {
            if through.lies_about_length() {
                Rc::make_mut(&mut head).headers.remove(CONTENT_LENGTH);
            }
            through.promise(&head.headers);
            Body::stream(through)
        });
        Ok(Flow::Go(head, body))
    }

    /// Notes where a guest that has let the request go has sent it.
    #[inline]
    fn chose(&mut self, plugin: PluginIndex) {
        let Some(passed) = self.record.guests.last().filter(|passed| passed.guest.has_chosen()) else {
            return;
        };
        let (upstream, rule) = passed.guest.take_choices();
        if let Some(upstream) = upstream {
            self.record.chosen = Some((upstream, plugin));
        }
        if let Some(server) = passed.guest.take_server() {
            self.record.server = Some(server);
        }
        if let Some(rule) = rule {
            self.record.reroute.choose(rule, plugin);
        }
    }

    /// After a guest: what it answered, or chose, is noted.
    fn stepped(&mut self, view: &View, plugin: PluginIndex, mut flow: Flow) -> Flow {
        match &mut flow {
            Flow::Reply(reply) => self.record.answered_by(view, plugin, reply),
            Flow::Go(..) => self.chose(plugin),
            Flow::Held(_) => {}
        }
        flow
    }

    /// The stream of this request in a version of a plugin, and which; none where the plugin has nothing to do with such a
    /// request, where it is away and its policy is open, and where a rule that was left for this one had the same plugin.
    fn guest(
        &mut self,
        view: &View,
        scope: Scope,
        step: usize,
        (own, plugin): (PluginIndex, PluginIndex),
        head: &Parts,
    ) -> Result<Option<(Rc<Guest>, PluginIndex)>, Fail> {
        let met = |passed: &Passed| {
            let same = passed.plugin == plugin || passed.plugin == own;
            same && passed.scope != scope && passed.scope != Scope::Listener
        };
        if scope != Scope::Listener && self.record.guests.iter().any(met) {
            return Ok(None);
        }
        let slot = view.plugins.get(plugin).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        let counters = slot.entry.counters.of(self.record.client.local.shard.worker);
        if slot.passes_over(head, self.record.added.is_some()) {
            counters.passed_over.add(1);
            return Ok(None);
        }
        counters.streams.add(1);
        let properties = slot.entry.plugin.as_ref().is_some_and(|plugin| plugin.uses_properties());
        match slot.host_for(&self.record.client.kept) {
            Ok(host) => {
                let facts = self.record.share_facts(properties);
                let watched = (self.record.watched.then(|| self.record.follow()), self.record.tap.is_some());
                let guest = Guest::open(host, self.record.stream_info(), facts, &slot.entry, watched);
                self.record.guests.push(Passed { scope, step, plugin, guest: guest.clone() });
                Ok(Some((guest, plugin)))
            }
            Err(away) if plugin != own => {
                self.record.canary_is_away(plugin, own, away.before);
                self.guest(view, scope, step, (own, own), head)
            }
            Err(away) if away.policy == Failure::Open => {
                self.record.tap_away((scope, step), &slot.entry.name);
                Ok(None)
            }
            Err(away) => {
                self.record.missed = Some(plugin);
                Err(Fail::filter(away.reason))
            }
        }
    }

    /// A wait for a guest failed: the answer where another guest has ended the request meanwhile.
    pub(crate) fn ended_meanwhile(&mut self, view: &View, fail: Fail) -> Result<Box<Reply>, Fail> {
        match fail.reason {
            Reason::PluginReset => self.ended_by_guest(view).unwrap_or(Err(fail)),
            _ => Err(fail),
        }
    }

    /// The answer, or the failure, by which a guest ended the request on its way upstream.
    pub(crate) fn ended_by_guest(&mut self, view: &View) -> Option<Result<Box<Reply>, Fail>> {
        let ended = |passed: &Passed| Some((passed.plugin, passed.guest.take_end()?));
        let (plugin, end) = self.record.guests.iter().find_map(ended)?;
        Some(match end {
            End::Reply(mut reply) => {
                self.record.answered_by(view, plugin, &mut reply);
                Ok(reply)
            }
            End::Fail(reason) => Err(Fail::filter(reason)),
        })
    }

    /// The response passes the filters that the request has passed, in reverse; what holds it, if a guest does. It stays in
    /// its place, where there must be one: to hand it on from step to step would copy it each time. A guest takes it out
    /// of there and, unless it holds it, puts it back.
    pub(crate) fn respond(
        &mut self,
        view: &View,
        response: &mut Option<Response<Body>>,
    ) -> Result<Option<Box<Holding>>, Fail> {
        self.response_steps(view, Place { turn: 0, step: usize::MAX }, response)
    }

    /// As [`Exchange::respond`] for a response that a guest holds, until it has passed all steps.
    pub(crate) async fn answered_at_last(
        &mut self,
        view: &View,
        mut holding: Box<Holding>,
        response: &mut Option<Response<Body>>,
    ) -> Result<(), Fail> {
        loop {
            let Holding { guest, at, body } = *holding;
            *response = Some(match self.let_go(&guest, Side::Response, body).await? {
                Ok(body) => answer(&guest, body)?,
                Err(reply) => reply.into_response(),
            });
            match self.response_steps(view, at, response)? {
                None => return Ok(()),
                Some(further) => holding = further,
            }
        }
    }

    /// The rule's steps, those of rules that the request had before, the listener's; each from the last one on.
    fn response_steps(
        &mut self,
        view: &View,
        from: Place,
        response: &mut Option<Response<Body>>,
    ) -> Result<Option<Box<Holding>>, Fail> {
        let turns = self.record.reroute.left.len() + 2;
        let mut left = from.step;
        if !self.record.guests.is_empty() {
            // Time has gone by since the request passed them; an attempt that has just ended has read it.
            if self.record.latency.is_none() || from.step != usize::MAX {
                self.record.client.local.deadlines.now();
            }
            self.record.tell_facts();
        }
        for turn in from.turn..turns {
            let rule = match turn {
                0 => self.record.rule,
                _ => turns.checked_sub(turn + 2).and_then(|at| self.record.reroute.left.get(at)).copied(),
            };
            let (steps, scope) = if turn + 1 == turns {
                let listener = view.listener(self.record.listener);
                (listener.map(|listener| &listener.steps), Scope::Listener)
            } else {
                let Some(rule) = rule else { continue };
                (view.rule(rule).map(|rule| &rule.steps), Scope::Rule(rule))
            };
            let steps = steps.map_or(&[][..], Vec::as_slice);
            let until = std::mem::replace(&mut left, usize::MAX).min(steps.len());
            for (index, step) in steps.iter().enumerate().take(until).rev() {
                match step {
                    Step::RequestHeaders(_) | Step::Rewrite(_) => {}
                    Step::ResponseHeaders(changes) => {
                        let Some(headers) = response.as_mut().map(Response::headers_mut) else { continue };
                        let before = self.record.before_step(headers);
                        changes.apply(headers);
                        if let Some(before) = before {
                            self.record.tap_response_step((scope, index), before, headers);
                        }
                    }
                    Step::Wasm(_) => {
                        let met = |passed: &&Passed| passed.scope == scope && passed.step == index;
                        let Some(passed) = self.record.guests.iter().find(met) else { continue };
                        if passed.guest.is_out() {
                            continue;
                        }
                        let guest = passed.guest.clone();
                        let held = self.response_guest(guest, Place { turn, step: index }, response)?;
                        if held.is_some() {
                            return Ok(held);
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    fn response_guest(
        &mut self,
        guest: Rc<Guest>,
        at: Place,
        place: &mut Option<Response<Body>>,
    ) -> Result<Option<Box<Holding>>, Fail> {
        use http_body::Body as _;
        let Some(response) = place.take() else { return Ok(None) };
        let (head, body) = response.into_parts();
        // The answer to HEAD, 204 and 304 have no body whatever their length says.
        let end = body.is_end_stream() || self.record.bodiless(head.status);
        // With several guests all of them see the head before the first one sees the body.
        let alone = self.record.guests.len() == 1 && !end;
        let (decision, body) = match body {
            Body::Full(data) if alone && guest.takes_whole() => {
                match whole::pass(&guest, head, data, place)? {
                    Some((decision, data)) => (decision, Body::Full(data)),
                    None => return Ok(None),
                }
            }
            body => (guest.response_head(head, end)?, body),
        };
        let wait = matches!(decision, Decision::Wait);
        *place = Some(match decision {
            Decision::Go if alone && sees(&guest, &body) => whole::answer(&guest, body)?,
            Decision::Go => answer(&guest, through(body, &guest, Side::Response, end))?,
            Decision::Reply(reply) => reply.into_response(),
            Decision::Hold | Decision::Wait => {
                let body = into(body, &guest, Side::Response, end, wait);
                return Ok(Some(Box::new(Holding { guest, at, body })));
            }
        });
        Ok(None)
    }

    /// Waits for a guest to let a message go, and feeds it meanwhile; or for its answer.
    async fn let_go(
        &self,
        guest: &Rc<Guest>,
        side: Side,
        body: Result<Body, GuestBody>,
    ) -> Result<Result<Result<Body, GuestBody>, Box<Reply>>, Fail> {
        match body {
            Ok(body) => match self.wait(guest.resumed(side)).await? {
                Decision::Reply(reply) => Ok(Err(reply)),
                _ => Ok(Ok(Ok(body))),
            },
            Err(mut fed) => match self.wait(poll_fn(|cx| fed.poll_released(cx))).await? {
                Released::Reply(reply) => Ok(Err(reply)),
                Released::Go => Ok(Ok(Err(fed))),
            },
        }
    }
}

/// Whether all of a body is here, to be shown to the guest at once.
fn sees(guest: &Guest, body: &Body) -> bool {
    matches!(body, Body::Full(_)) && !guest.is_out() && guest.wants_body(Side::Response)
}

/// A body whose head has passed the guest; it passes it too where the guest has callbacks for it.
#[expect(clippy::result_large_err, reason = "one of two bodies, neither a failure; it is moved once")]
fn through(body: Body, guest: &Rc<Guest>, side: Side, end: bool) -> Result<Body, GuestBody> {
    use http_body::Body as _;
    if end || guest.is_out() || !guest.wants_body(side) || body.is_end_stream() {
        return Ok(body);
    }
    Err(GuestBody::new(body, guest.clone(), side))
}

/// A body whose head is held: it goes on into the guest, which may want it to decide.
#[expect(clippy::result_large_err, reason = "one of two bodies, neither a failure; it is moved once")]
fn into(body: Body, guest: &Rc<Guest>, side: Side, end: bool, shut: bool) -> Result<Body, GuestBody> {
    if end || !guest.wants_body(side) {
        return Ok(body);
    }
    Err(GuestBody::held(body, guest.clone(), side, shut))
}

/// The response as the guest leaves it.
fn answer(guest: &Guest, body: Result<Body, GuestBody>) -> Result<Response<Body>, Fail> {
    let mut head = whole::head(guest)?;
    let body = body.unwrap_or_else(|mut through| {
        if through.lies_about_length() {
            head.headers.remove(CONTENT_LENGTH);
        }
        through.promise(&head.headers);
        Body::stream(through)
    });
    Ok(Response::from_parts(head, body))
}
