//! Calls that the filter makes, and the scripted servers that answer them.

use std::time::Duration;

use tidegate_sdk::Fields;

use super::World;
use crate::machine::{CallAnswer, Effect, GrpcEvent};
use crate::message::{Reply, Seen};

/// A call that waits for its answer.
pub(crate) struct Pending {
    token: u32,
    made: Duration,
    timeout: Duration,
    seen: Seen,
    kind: Kind,
    /// The answer and when it comes; found only when it is needed, so that a test can say it after the call was made.
    answer: Option<(Duration, Reply)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Grpc,
    /// A message on a stream, which goes on.
    GrpcMessage,
    /// The end of the filter's side of a stream.
    GrpcEnd,
    /// Commands, which are the body.
    Redis,
}

impl Pending {
    /// When its answer comes.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.answer.as_ref().map(|(due, _)| *due)
    }
}

impl World {
    /// Notes a call.
    pub(super) fn call(&mut self, effect: Effect) {
        match effect {
            Effect::HttpCall { token, upstream, headers, body, trailers, timeout } => {
                let seen = Seen { upstream, head: headers, body, trailers };
                self.begin_call(token, seen, Kind::Http, timeout);
            }
            Effect::GrpcCall { token, upstream, service, method, metadata, message } => {
                let mut head = Fields::new();
                head.add(":path", format!("/{service}/{method}"));
                for (name, value) in metadata.iter() {
                    head.add(name, value);
                }
                let seen = Seen { upstream, head, ..Seen::default() };
                match message {
                    Some(body) => self.begin_call(token, Seen { body, ..seen }, Kind::Grpc, NEVER),
                    None => {
                        self.streams.insert(token, seen);
                    }
                }
            }
            Effect::GrpcSend { token, message } => {
                let Some(seen) = self.streams.get(&token).cloned() else { return };
                match message {
                    Some(body) => self.begin_call(token, Seen { body, ..seen }, Kind::GrpcMessage, NEVER),
                    None => {
                        let made = self.now;
                        let answer = Some((made, Reply::grpc(0, "")));
                        let kind = Kind::GrpcEnd;
                        self.pending.push(Pending { token, made, timeout: NEVER, seen, kind, answer });
                    }
                }
            }
            Effect::GrpcCancel { token } => {
                self.streams.remove(&token);
                self.forget(token);
            }
            Effect::Redis { token, upstream, commands, timeout } => {
                let seen = Seen { upstream, body: commands, ..Seen::default() };
                let (made, kind) = (self.now, Kind::Redis);
                self.pending.push(Pending { token, made, timeout, seen, kind, answer: None });
            }
            _ => {}
        }
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget(&mut self, token: u32) {
        self.pending.retain(|pending| pending.token != token);
    }

    fn begin_call(&mut self, token: u32, seen: Seen, kind: Kind, timeout: Duration) {
        self.calls.push(seen.clone());
        self.pending.push(Pending { token, made: self.now, timeout, seen, kind, answer: None });
    }

    /// Finds out when the answers come.
    pub(super) fn schedule(&mut self) {
        let mut waiting = std::mem::take(&mut self.pending);
        for pending in &mut waiting {
            if pending.answer.is_some() {
                continue;
            }
            let mut reply = self.reply_to(pending);
            if reply.after > pending.timeout {
                reply = Reply::none().after(pending.timeout);
            }
            pending.answer = Some((pending.made + reply.after, reply));
        }
        self.pending = waiting;
    }

    fn reply_to(&self, pending: &Pending) -> Reply {
        let Seen { upstream, body, .. } = &pending.seen;
        if pending.kind == Kind::Redis {
            let replies = self.redis_replies(upstream, body);
            return replies.map_or_else(Reply::none, |replies| Reply::new(200).body(replies));
        }
        let script = self.scripts.iter().find(|(known, _)| known == upstream);
        script.map_or_else(Reply::none, |(_, script)| script(&pending.seen))
    }

    /// Hands out all answers that are due.
    pub(super) fn answer_calls(&mut self) -> Result<(), String> {
        while self.answer_one()? {}
        Ok(())
    }

    /// Hands out the first answer that is due, and says whether there was one.
    pub(super) fn answer_one(&mut self) -> Result<bool, String> {
        self.schedule();
        let due = |pending: &Pending| pending.due().filter(|due| *due <= self.now);
        let first =
            self.pending.iter().enumerate().filter_map(|(at, pending)| Some((due(pending)?, at))).min();
        let Some((_, at)) = first else { return Ok(false) };
        let pending = self.pending.remove(at);
        let Some((_, reply)) = pending.answer else { return Ok(false) };
        match pending.kind {
            Kind::Http => {
                let answer = (!reply.none).then_some(CallAnswer {
                    headers: reply.head,
                    body: reply.body,
                    trailers: reply.trailers,
                });
                self.machine.http_answer(pending.token, answer)?;
            }
            Kind::Redis => {
                let away = || (1, "there is no connection".to_owned());
                let result = if reply.none { Err(away()) } else { Ok(reply.body) };
                self.machine.foreign_result(pending.token, result)?;
            }
            kind => self.answer_grpc(pending.token, kind, reply)?,
        }
        let effects = self.drain()?;
        self.later.extend(effects);
        Ok(true)
    }

    fn answer_grpc(&mut self, token: u32, kind: Kind, reply: Reply) -> Result<(), String> {
        let (status, message) = match reply.grpc {
            _ if reply.none => (14, "unavailable".to_owned()),
            Some(end) => end,
            None => (0, String::new()),
        };
        if status == 0 && kind != Kind::GrpcEnd {
            let metadata = reply.head.iter().filter(|(name, _)| !name.starts_with(':'));
            self.machine.grpc(token, GrpcEvent::InitialMetadata(metadata.collect()))?;
            self.machine.grpc(token, GrpcEvent::Message(reply.body))?;
        }
        if kind != Kind::GrpcMessage || status != 0 {
            self.machine.grpc(token, GrpcEvent::TrailingMetadata(reply.trailers))?;
            self.machine.grpc(token, GrpcEvent::Close(status, message))?;
            self.streams.remove(&token);
        }
        Ok(())
    }
}

const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
