//! Telling an instance what is on a tape.

use super::content::{map, pseudo};
use super::{Event, Field, Tape, TapeSide, after};
use crate::{CallResponse, Effect, Instance, Now, Peer, Side, Step, StreamId, StreamInfo, Trap};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use std::time::Duration;
use tidegate_abi::Status;

impl Tape {
    /// Tells an instance all that is on this tape, as far as its decisions allow it: what it is told after a decision
    /// that was another one makes no sense. Returns what it made of it. The instance must be a fresh one.
    ///
    /// # Errors
    /// What on the tape is no request.
    pub fn play(&self, instance: &mut Instance) -> Result<Tape, String> {
        let opened = Now::new(Duration::from_secs(1), Duration::from_millis(self.began));
        let info = StreamInfo { tls: self.tls, ..StreamInfo::new(self.client, self.server, self.version()) };
        let stream = match self.of_bytes {
            true => instance.open_connection(info, opened),
            false => instance.open_stream(info, opened),
        };
        instance.tape(stream, usize::MAX);
        let mut player =
            Player { instance, stream, of_bytes: self.of_bytes, head_taken: [false; 2], ended: [false; 2] };
        for (index, note) in self.notes.iter().enumerate().filter(|(_, note)| note.event.is_told()) {
            if !player.tell(&note.event, after(opened, note.at))? {
                break;
            }
            let rest = self.notes.get(index + 1..).unwrap_or_default();
            let before = rest.iter().take_while(|note| !note.event.is_told()).map(|note| &note.event);
            let recorded: Vec<_> = before.filter(|event| decides(event)).collect();
            let decided = player.decided();
            let same = decided.iter().zip(&recorded).all(|(now, before)| leads_on(now, before));
            if decided.len() != recorded.len() || !same {
                break;
            }
        }
        if let Some(tape) = instance.take_tape(stream) {
            instance.close_stream(stream, opened);
            return Ok(tape);
        }
        Err("the instance has no such stream".to_owned())
    }
}

/// Whether what follows depends on it.
fn decides(event: &Event) -> bool {
    use Event::{Call, Continue, Foreign, GrpcCall, Pause, Reply, Reset, Resume, Trap, Wait};
    let calls = matches!(event, Call { .. } | GrpcCall { .. } | Foreign);
    calls || matches!(event, Continue | Pause | Wait | Trap { .. } | Resume { .. } | Reply { .. } | Reset)
}

/// Whether what followed one decision may follow the other: what was redacted cannot be compared.
fn leads_on(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (Event::Reply { status: one, .. }, Event::Reply { status: other, .. }) => one == other,
        (Event::Call { upstream: one, .. }, Event::Call { upstream: other, .. }) => one == other,
        (Event::GrpcCall { upstream: one, .. }, Event::GrpcCall { upstream: other, .. }) => one == other,
        (Event::Trap { .. }, Event::Trap { .. }) => true,
        _ => one == other,
    }
}

/// What became of an event: the step of a side, where it was about one.
type Told = Result<Option<(Side, Step)>, Trap>;

struct Player<'a> {
    instance: &'a mut Instance,
    stream: StreamId,
    of_bytes: bool,
    /// By side.
    head_taken: [bool; 2],
    ended: [bool; 2],
}

impl Player<'_> {
    /// One event; false: the instance broke off.
    fn tell(&mut self, event: &Event, now: Now) -> Result<bool, String> {
        let stream = self.stream;
        let step = match event {
            Event::RequestHeaders { headers, end } => {
                self.ended[0] = *end;
                let head = request(headers)?;
                self.instance
                    .on_request_headers(stream, head, *end, now)
                    .map(|step| Some((Side::Request, step)))
            }
            Event::ResponseHeaders { headers, end } => {
                self.head_taken[1] = false;
                self.ended[1] = *end;
                let head = response(headers)?;
                self.instance
                    .on_response_headers(stream, head, *end, now)
                    .map(|step| Some((Side::Response, step)))
            }
            Event::Body { side, body, end } => {
                let body = Bytes::from(body.bytes().ok_or("a body is no hexadecimal")?);
                let side = self.side(*side, *end);
                let step = match side {
                    Side::Request => self.instance.on_request_body(stream, body, *end, now),
                    Side::Response => self.instance.on_response_body(stream, body, *end, now),
                };
                step.map(|step| Some((side, step)))
            }
            Event::Trailers { side, headers } => {
                let trailers = map(headers).ok_or("trailers are no fields")?;
                let side = self.side(*side, true);
                let step = match side {
                    Side::Request => self.instance.on_request_trailers(stream, trailers, now),
                    Side::Response => self.instance.on_response_trailers(stream, trailers, now),
                };
                step.map(|step| Some((side, step)))
            }
            Event::Answer { call, headers, body, trailers } => {
                let Some(token) = self.token(*call) else { return Ok(false) };
                let answer = headers.as_ref().map(|headers| -> Result<CallResponse, String> {
                    let body = body.bytes().ok_or("a body is no hexadecimal")?.into();
                    let trailers = map(trailers).ok_or("trailers are no fields")?;
                    Ok(CallResponse { head: response(headers)?, body, trailers })
                });
                self.instance.on_http_call_response(token, answer.transpose()?, now).map(|()| None)
            }
            Event::ForeignResult { call, status, message, body } => {
                let Some(token) = self.token(*call) else { return Ok(false) };
                let body = Bytes::from(body.bytes().ok_or("a result is no hexadecimal")?);
                let result = match Status::from_number(*status) {
                    Some(Status::Ok) => Ok(body),
                    known => Err((known.unwrap_or(Status::InternalFailure), message.clone())),
                };
                self.instance.on_foreign_result(token, result, now).map(|()| None)
            }
            Event::Connected | Event::Data { .. } | Event::SideClosed { .. } => {
                self.tell_of_bytes(event, now)?
            }
            Event::GrpcHead { call, .. }
            | Event::GrpcMessage { call, .. }
            | Event::GrpcTrailers { call, .. }
            | Event::GrpcClosed { call, .. } => {
                let Some(token) = self.token(*call) else { return Ok(false) };
                self.tell_of_grpc(event, token, now)?.map(|()| None)
            }
            _ => {
                self.instance.close_stream(stream, now);
                Ok(None)
            }
        };
        let mut go = Vec::new();
        let goes = step.is_ok();
        if let Ok(Some((side, Step::Continue))) = step {
            go.push(side);
        }
        while let Some(effect) = self.instance.poll_effect() {
            if let Effect::Resume { side, stream } = effect
                && stream == self.stream
            {
                go.push(side);
            }
        }
        go.into_iter().for_each(|side| self.take(side));
        Ok(goes)
    }

    /// The token of a call in this instance.
    fn token(&self, call: usize) -> Option<u32> {
        self.instance.taped(self.stream)?.token(call)
    }

    /// An event of a connection of bytes.
    fn tell_of_bytes(&mut self, event: &Event, now: Now) -> Result<Told, String> {
        let stream = self.stream;
        Ok(match event {
            Event::Data { side, body, end } => {
                let body = Bytes::from(body.bytes().ok_or("bytes are no hexadecimal")?);
                let side = self.side(*side, *end);
                let step = match side {
                    Side::Request => self.instance.on_downstream_data(stream, body, *end, now),
                    Side::Response => self.instance.on_upstream_data(stream, body, *end, now),
                };
                step.map(|step| Some((side, step)))
            }
            Event::SideClosed { side, by } => {
                let by = Peer::from_number(*by).ok_or("a connection is closed by nobody that there is")?;
                let told = match side {
                    TapeSide::Request => self.instance.on_downstream_close(stream, by, now),
                    TapeSide::Response => self.instance.on_upstream_close(stream, by, now),
                };
                told.map(|()| None)
            }
            _ => self.instance.on_new_connection(stream, now).map(|step| Some((Side::Request, step))),
        })
    }

    /// What comes back on a gRPC call.
    fn tell_of_grpc(&mut self, event: &Event, token: u32, now: Now) -> Result<Result<(), Trap>, String> {
        let instance = &mut *self.instance;
        Ok(match event {
            Event::GrpcHead { headers, .. } => {
                instance.on_grpc_initial_metadata(token, response(headers)?, now)
            }
            Event::GrpcMessage { body, .. } => {
                let body = body.bytes().ok_or("a message is no hexadecimal")?;
                instance.on_grpc_message(token, body.into(), now)
            }
            Event::GrpcTrailers { headers, .. } => {
                let trailers = map(headers).ok_or("trailers are no fields")?;
                instance.on_grpc_trailing_metadata(token, trailers, now)
            }
            Event::GrpcClosed { status, message, .. } => instance.on_grpc_close(token, *status, message, now),
            _ => Ok(()),
        })
    }

    fn side(&mut self, side: TapeSide, end: bool) -> Side {
        let (index, side) = match side {
            TapeSide::Request => (0, Side::Request),
            TapeSide::Response => (1, Side::Response),
        };
        self.ended[index] |= end;
        side
    }

    /// What the gateway takes when a side goes on.
    fn take(&mut self, side: Side) {
        let (instance, stream) = (&mut *self.instance, self.stream);
        if self.of_bytes {
            instance.take_data(stream, side);
            return;
        }
        match side {
            Side::Request => {
                if !std::mem::replace(&mut self.head_taken[0], true) {
                    instance.take_request_head(stream);
                }
                instance.take_request_body(stream);
                if self.ended[0] {
                    instance.take_request_trailers(stream);
                }
            }
            Side::Response => {
                if !std::mem::replace(&mut self.head_taken[1], true) {
                    instance.take_response_head(stream);
                }
                instance.take_response_body(stream);
                if self.ended[1] {
                    instance.take_response_trailers(stream);
                }
            }
        }
    }

    /// What was decided since the last event.
    fn decided(&self) -> Vec<&Event> {
        let notes = self.instance.taped(self.stream).map_or(&[][..], |tape| &tape.notes);
        let since = notes.iter().rposition(|note| note.event.is_told()).map_or(0, |at| at + 1);
        let events = notes.get(since..).unwrap_or_default().iter().map(|note| &note.event);
        events.filter(|event| decides(event)).collect()
    }
}

fn request(fields: &[Field]) -> Result<http::request::Parts, String> {
    let (method, path) = (pseudo(fields, ":method"), pseudo(fields, ":path"));
    let built =
        Request::builder().method(method.as_deref().unwrap_or("GET")).uri(path.as_deref().unwrap_or("/"));
    let (mut head, ()) =
        built.body(()).map_err(|error| format!("a request's head is none: {error}"))?.into_parts();
    head.headers = map(fields).ok_or("a request's fields are none")?;
    Ok(head)
}

fn response(fields: &[Field]) -> Result<http::response::Parts, String> {
    let status = pseudo(fields, ":status").and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status.ok_or("a response has no status")?;
    head.headers = map(fields).ok_or("a response's fields are none")?;
    Ok(head)
}
