//! A request or connection on its way through an instance, and the answers to what the guest asks for on it.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tidegate_wasm::{CallResponse, Effect, Instance, Now, StreamId, Trap};

/// One call into the guest.
pub(super) type Call<'a> = &'a mut dyn FnMut(&mut Instance);

/// See the module.
pub(super) struct Walk {
    id: StreamId,
    now: Now,
    /// The answer that the guest gave itself.
    pub(super) reply: Option<StatusCode>,
    /// The guest has ended the stream.
    pub(super) over: bool,
    /// Calls without an answer.
    calls: Vec<u32>,
    /// Foreign calls without a result.
    waits: Vec<u32>,
    /// The event of answers to calls; that of results of the host is the next one.
    answers: usize,
}

impl Walk {
    pub(super) fn new(id: StreamId, now: Now, answers: usize) -> Self {
        Self { id, now, reply: None, over: false, calls: Vec::new(), waits: Vec::new(), answers }
    }

    /// One event, by its number, and the answers to what the guest asks for in it.
    pub(super) fn step(
        &mut self,
        instance: &mut Instance,
        number: usize,
        measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
        event: impl FnOnce(&mut Instance) -> Result<(), Trap>,
    ) -> Result<()> {
        one(instance, number, measure, event)?;
        self.poll(instance);
        let (now, answers) = (self.now, self.answers);
        while let Some(token) = self.calls.pop() {
            one(instance, answers, measure, |instance| {
                instance.on_http_call_response(token, Some(answer()), now)
            })?;
            self.poll(instance);
        }
        // Time does not pass here.
        while let Some(token) = self.waits.pop() {
            one(instance, answers + 1, measure, |instance| {
                instance.on_foreign_result(token, Ok(Bytes::new()), now)
            })?;
            self.poll(instance);
        }
        Ok(())
    }

    fn poll(&mut self, instance: &mut Instance) {
        while let Some(effect) = instance.poll_effect() {
            match effect {
                Effect::LocalReply { status, .. } => self.reply = self.reply.or(Some(status)),
                Effect::Reset { stream, .. } => self.over |= stream == self.id,
                Effect::HttpCall { token, .. } => self.calls.push(token),
                Effect::Foreign { token, .. } => self.waits.push(token),
                _ => {}
            }
        }
    }
}

/// A tick of the plugin itself, with what it asks for.
pub(super) fn tick(
    instance: &mut Instance,
    now: Now,
    number: usize,
    measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
) -> Result<()> {
    one(instance, number, measure, |instance| instance.on_tick(now))?;
    while let Some(effect) = instance.poll_effect() {
        match effect {
            Effect::HttpCall { token, .. } => one(instance, number, measure, |instance| {
                instance.on_http_call_response(token, Some(answer()), now)
            })?,
            Effect::Foreign { token, .. } => one(instance, number, measure, |instance| {
                instance.on_foreign_result(token, Ok(Bytes::new()), now)
            })?,
            _ => {}
        }
    }
    Ok(())
}

fn one(
    instance: &mut Instance,
    number: usize,
    measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
    event: impl FnOnce(&mut Instance) -> Result<(), Trap>,
) -> Result<()> {
    let (mut event, mut came) = (Some(event), Ok(()));
    measure(number, instance, &mut |instance| {
        if let Some(event) = event.take() {
            came = event(instance);
        }
    });
    came.map_err(|trap| anyhow!("it breaks off: {trap}"))
}

/// What each call is answered.
fn answer() -> CallResponse {
    let (head, ()) = Response::new(()).into_parts();
    CallResponse { head, body: Bytes::from_static(b"ok"), trailers: HeaderMap::new() }
}
