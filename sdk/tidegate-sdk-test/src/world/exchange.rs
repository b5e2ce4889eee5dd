//! One request through the gateway, or one connection.

use std::collections::VecDeque;

use super::World;
use crate::answer::{Answer, Ended};
use crate::machine::{Effect, Part, Side, Step};
use crate::message::{Connect, Reply, Request, Seen};
use tidegate_sdk::Fields;

/// A direction: what is still to come, and what has gone on.
struct Flow {
    side: Side,
    parts: VecDeque<Part>,
    /// Parts may be shown.
    open: bool,
    /// Something is held.
    held: bool,
    started: bool,
    head: Option<Fields>,
    body: Vec<u8>,
    trailers: Fields,
}

impl Flow {
    fn new(side: Side, parts: Vec<Part>) -> Self {
        let started = !parts.is_empty();
        Flow {
            side,
            parts: parts.into(),
            open: true,
            held: false,
            started,
            head: None,
            body: Vec::new(),
            trailers: Fields::new(),
        }
    }

    fn is_complete(&self) -> bool {
        self.started && self.parts.is_empty() && !self.held
    }

    /// Shows the next part; false when there is none that may be shown.
    fn step(&mut self, world: &mut World, id: u32) -> Result<bool, String> {
        if !self.open {
            return Ok(false);
        }
        let Some(part) = self.parts.pop_front() else { return Ok(false) };
        let step = world.machine.part(id, self.side, part)?;
        match step {
            Step::Continue => self.pass(world, id),
            Step::Pause => self.held = true,
            Step::Wait => (self.held, self.open) = (true, false),
        }
        Ok(true)
    }

    /// What is held goes on.
    fn pass(&mut self, world: &mut World, id: u32) {
        (self.held, self.open) = (false, true);
        let passed = world.machine.take(id, self.side);
        if passed.head.is_some() {
            self.head = passed.head;
        }
        self.body.extend(passed.body);
        for (name, value) in passed.trailers.iter().flat_map(Fields::iter) {
            self.trailers.add(name, value);
        }
    }
}

struct Exchange<'a> {
    id: u32,
    request: Flow,
    response: Flow,
    sent: &'a Request,
    answer: Answer,
}

pub(super) fn run(world: &mut World, sent: &Request) -> Result<Answer, String> {
    let id = world.machine.open(&sent.properties);
    let mut exchange = Exchange {
        id,
        request: Flow::new(Side::Request, world.variant.request(sent)),
        response: Flow::new(Side::Response, Vec::new()),
        sent,
        answer: Answer::default(),
    };
    while !exchange.is_over() {
        if !exchange.move_on(world)? {
            return Err(exchange.stuck());
        }
        exchange.carry_out(world)?;
    }
    exchange.end(world)
}

impl Exchange<'_> {
    fn is_over(&self) -> bool {
        self.answer.broken || self.response.is_complete()
    }

    /// One thing happens; false when nothing can.
    fn move_on(&mut self, world: &mut World) -> Result<bool, String> {
        if !world.variant.late_answers && world.answer_one()? {
            return Ok(true);
        }
        if !self.answer.own && self.request.step(world, self.id)? {
            return Ok(true);
        }
        if self.request.is_complete() && !self.response.started {
            self.ask_upstream(world);
            return Ok(true);
        }
        if self.response.step(world, self.id)? || world.answer_one()? {
            return Ok(true);
        }
        let Some(due) = world.next_due() else { return Ok(false) };
        if due > world.now + PATIENCE {
            return Ok(false);
        }
        world.pass(due)?;
        Ok(true)
    }

    /// The upstream has got all of the request, and answers.
    fn ask_upstream(&mut self, world: &mut World) {
        let seen = Seen {
            upstream: String::new(),
            head: self.request.head.clone().unwrap_or_default(),
            body: self.request.body.clone(),
            trailers: self.request.trailers.clone(),
        };
        let scripted = || world.upstream.as_ref().map(|script| script(&seen));
        let reply = self.sent.answer.clone().or_else(scripted).unwrap_or_else(|| Reply::new(200));
        self.answer.upstream = Some(seen);
        self.answer.answered = reply.body.len();
        world.now += reply.after;
        world.machine.set_time(world.now);
        let mut head = reply.head;
        if !reply.body.is_empty() && reply.trailers.is_empty() {
            head.set("content-length", reply.body.len().to_string());
        }
        self.respond(world.variant.answer(head, &reply.body, reply.trailers));
    }

    fn respond(&mut self, parts: Vec<Part>) {
        self.response = Flow::new(Side::Response, parts);
    }

    fn carry_out(&mut self, world: &mut World) -> Result<(), String> {
        let mut effects = std::mem::take(&mut world.later);
        effects.extend(world.drain()?);
        for effect in effects {
            match effect {
                Effect::Resume { stream, side } if stream == self.id => {
                    let flow = self.flow(side);
                    if flow.held {
                        flow.pass(world, stream);
                    }
                }
                Effect::Feed { stream, side } if stream == self.id => self.flow(side).open = true,
                Effect::Close { stream, details } if stream == self.id => {
                    self.answer.broken = true;
                    self.answer.details = details;
                }
                Effect::SetUpstream { stream, name } if stream == self.id => {
                    self.answer.chosen_upstream = Some(name);
                }
                Effect::SetRoute { stream, name } if stream == self.id => {
                    self.answer.chosen_route = Some(name);
                }
                Effect::Reply { stream, status, headers, body, details, grpc_status }
                    if stream == self.id && !self.answer.own =>
                {
                    self.reply(world, status, headers, body);
                    self.answer.details = details;
                    self.answer.grpc_status = grpc_status;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The filter's own answer, which passes the filter as the upstream's would. Too late, it breaks the exchange off.
    fn reply(&mut self, world: &mut World, status: u16, headers: Fields, body: Vec<u8>) {
        self.answer.own = true;
        if self.response.head.is_some() {
            self.answer.broken = true;
            return;
        }
        // What the upstream has sent is dropped.
        let _ = world.machine.take(self.id, Side::Response);
        let mut head = Fields::new();
        head.add(":status", status.to_string());
        for (name, value) in headers.iter() {
            head.add(name.to_ascii_lowercase(), value);
        }
        if !body.is_empty() {
            head.set("content-length", body.len().to_string());
        }
        // Hosts send it in one piece.
        let mut parts = vec![Part::Head(head, body.is_empty())];
        if !body.is_empty() {
            parts.push(Part::Body(body, true));
        }
        self.respond(parts);
    }

    fn flow(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    fn end(mut self, world: &mut World) -> Result<Answer, String> {
        // A head that went on has reached the upstream, whatever became of the rest.
        if self.answer.upstream.is_none() && self.request.head.is_some() {
            self.answer.upstream = Some(Seen {
                upstream: String::new(),
                head: self.request.head.take().unwrap_or_default(),
                body: self.request.body,
                trailers: self.request.trailers,
            });
        }
        self.answer.properties = world.machine.properties(self.id);
        world.machine.close(self.id)?;
        world.later.clear();
        world.drain()?;
        self.answer.head = self.response.head.unwrap_or_default();
        self.answer.body = self.response.body;
        self.answer.trailers = self.response.trailers;
        Ok(self.answer)
    }

    fn stuck(&self) -> String {
        let state = |flow: &Flow, name: &str| {
            let held = if flow.held { "is held" } else { "is not held" };
            format!("{name} {held}, {} parts of it are still to come", flow.parts.len())
        };
        format!(
            "the filter waits for something that never comes: {}; {}",
            state(&self.request, "the request"),
            state(&self.response, "the response")
        )
    }
}

pub(super) fn run_connection(world: &mut World, connect: &Connect) -> Result<Ended, String> {
    let (id, step) = world.machine.connect(&connect.properties)?;
    let mut parts = world.variant.request(&Request::new("GET", "/").body(connect.client.clone()));
    parts.remove(0);
    let mut client = Flow::new(Side::Request, bytes_only(parts));
    client.held = step != Step::Continue;
    let mut server = Flow::new(Side::Response, Vec::new());
    let mut closed = false;
    loop {
        let mut effects = std::mem::take(&mut world.later);
        effects.extend(world.drain()?);
        for effect in effects {
            match effect {
                Effect::Close { stream, .. } if stream == id => closed = true,
                Effect::Resume { stream, .. } if stream == id => client.pass(world, id),
                _ => {}
            }
        }
        if closed || client.is_complete() && server.is_complete() {
            break;
        }
        if client.is_complete() && !server.started {
            let parts = world.variant.answer(Fields::new(), &connect.server, Fields::new());
            let mut parts = bytes_only(parts);
            if parts.is_empty() {
                parts.push(Part::Body(Vec::new(), true));
            }
            server = Flow::new(Side::Response, parts);
            continue;
        }
        let moved = client.step(world, id)? || server.step(world, id)? || world.answer_one()?;
        if moved {
            continue;
        }
        match world.next_due().filter(|due| *due <= world.now + PATIENCE) {
            Some(due) => world.pass(due)?,
            None => return Err("the filter waits for bytes that never come".to_owned()),
        }
    }
    world.machine.close(id)?;
    world.drain()?;
    Ok(Ended { server_got: client.body, client_got: server.body, closed, lines: Vec::new() })
}

/// Bytes alone, the last of them marked.
fn bytes_only(parts: Vec<Part>) -> Vec<Part> {
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for part in parts {
        if let Part::Body(piece, _) = part {
            bytes.push(piece);
        }
    }
    let last = bytes.len();
    bytes.into_iter().enumerate().map(|(at, piece)| Part::Body(piece, at + 1 == last)).collect()
}

/// How long an exchange may take in the test's own time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);
