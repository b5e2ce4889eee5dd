//! A tape: what a guest was told about one request or one connection of bytes, in order, and what it made of it. Notes are taken only for streams
//! that have one; [`Tape::play`] tells another instance the same.

mod brief;
mod content;
mod play;

pub use brief::BodyUse;
pub use content::{Content, Field};

use crate::{Effect, Now, Side, Step, StreamId, StreamInfo};
use http::{HeaderMap, Version, request, response};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use tidegate_abi::LogLevel;

/// One request, or one connection of bytes, as a guest met it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tape {
    /// When it came: milliseconds since the Unix epoch.
    pub began: u64,
    /// The client.
    pub client: SocketAddr,
    /// Where it connected to.
    pub server: SocketAddr,
    /// Whether it uses TLS.
    pub tls: bool,
    /// Its HTTP version, as in `HTTP/1.1`.
    pub protocol: String,
    /// It is a connection of bytes, which has no version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_bytes: bool,
    /// What happened, in order.
    pub notes: Vec<Note>,
    /// Why not everything is here; none: everything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Bytes that may still be noted.
    #[serde(skip)]
    left: usize,
    /// Tokens of the calls so far.
    #[serde(skip)]
    calls: Vec<u32>,
    /// Bodies are counted only.
    #[serde(skip)]
    brief: Option<brief::Bodies>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Microseconds since the request came.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen: what the guest is told, what it answers and asks for, what it leaves of the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// It is shown the request's head.
    RequestHeaders {
        /// Its fields, `:method` and `:path` before them.
        headers: Vec<Field>,
        /// There is nothing else.
        end: bool,
    },
    /// It is shown the response's head.
    ResponseHeaders {
        /// Its fields, `:status` before them.
        headers: Vec<Field>,
        /// There is nothing else.
        end: bool,
    },
    /// It is shown a piece of a body.
    Body {
        /// Whose.
        side: TapeSide,
        /// The piece.
        body: Content,
        /// It is the last.
        end: bool,
    },
    /// It is shown trailers.
    Trailers {
        /// Whose.
        side: TapeSide,
        /// They.
        headers: Vec<Field>,
    },
    /// It is told the answer to a call.
    Answer {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// Status and fields; none: there was no answer.
        headers: Option<Vec<Field>>,
        /// The body.
        body: Content,
        /// The trailers.
        trailers: Vec<Field>,
    },
    /// It is told the result of what took some time.
    ForeignResult {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// Its status.
        status: u32,
        /// Its message, for a status that is not 0.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// Its bytes.
        body: Content,
    },
    /// It is told the head of the answer to a gRPC stream.
    GrpcHead {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// Its fields, `:status` before them.
        headers: Vec<Field>,
    },
    /// It is told a message of a gRPC call or stream.
    GrpcMessage {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// The message.
        body: Content,
    },
    /// It is told the trailers of a gRPC stream.
    GrpcTrailers {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// They.
        headers: Vec<Field>,
    },
    /// It is told that a gRPC call or stream is over.
    GrpcClosed {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// The gRPC status.
        status: u32,
        /// Its message.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// It is told of a connection of bytes.
    Connected,
    /// It is shown bytes of a connection.
    Data {
        /// From the client, or to it.
        side: TapeSide,
        /// They.
        body: Content,
        /// Nothing follows.
        end: bool,
    },
    /// It is told that one end of a connection is closed.
    SideClosed {
        /// The client's, or the server's.
        side: TapeSide,
        /// By whom, as the ABI numbers them.
        by: u32,
    },
    /// The request or the connection is over.
    Closed,
    /// It lets what it has seen go on.
    Continue,
    /// It holds it.
    Pause,
    /// It holds it and wants nothing more for now.
    Wait,
    /// It broke off.
    Trap {
        /// How.
        message: String,
    },
    /// It lets go of what it held.
    Resume {
        /// Of which side.
        side: TapeSide,
    },
    /// It answers itself.
    Reply {
        /// With this status.
        status: u16,
        /// These fields.
        headers: Vec<Field>,
        /// This body.
        body: Content,
    },
    /// It breaks the request off.
    Reset,
    /// It has the route chosen again.
    ClearRoute,
    /// It chooses an upstream.
    SetUpstream,
    /// It chooses a rule.
    SetRoute,
    /// It asks for what takes some time.
    Foreign,
    /// It calls an upstream.
    Call {
        /// Which.
        upstream: String,
        /// Method, path and fields.
        headers: Vec<Field>,
        /// The body.
        body: Content,
    },
    /// It opens a gRPC call or stream.
    GrpcCall {
        /// To which upstream.
        upstream: String,
        /// Method, path and fields.
        headers: Vec<Field>,
        /// The messages that it sends at once.
        messages: Vec<Content>,
    },
    /// It sends a message on a gRPC stream.
    GrpcSent {
        /// The how many-th call of this request, from 0 on.
        call: usize,
        /// The message.
        body: Content,
    },
    /// It logs.
    Log {
        /// How much it matters.
        level: String,
        /// The line.
        message: String,
    },
    /// It called what it may not.
    Refused {
        /// The function.
        function: String,
    },
    /// The request's head as it leaves it.
    RequestLeft {
        /// Its fields, `:method` and `:path` before them.
        headers: Vec<Field>,
    },
    /// The response's head as it leaves it.
    ResponseLeft {
        /// Its fields, `:status` before them.
        headers: Vec<Field>,
    },
    /// What goes on of a body.
    BodyLeft {
        /// Whose.
        side: TapeSide,
        /// That much.
        body: Content,
    },
    /// The trailers as it leaves them.
    TrailersLeft {
        /// Whose.
        side: TapeSide,
        /// They.
        headers: Vec<Field>,
    },
}

impl Event {
    /// Whether the guest is told this, and not the other way around.
    #[must_use]
    pub fn is_told(&self) -> bool {
        use Event::{
            Answer, Body, Closed, Connected, Data, ForeignResult, GrpcClosed, GrpcHead, GrpcMessage,
            GrpcTrailers, RequestHeaders, ResponseHeaders, SideClosed, Trailers,
        };
        matches!(
            self,
            GrpcHead { .. }
                | GrpcMessage { .. }
                | GrpcTrailers { .. }
                | GrpcClosed { .. }
                | Connected
                | Data { .. }
                | SideClosed { .. }
                | RequestHeaders { .. }
                | ResponseHeaders { .. }
                | Body { .. }
                | Trailers { .. }
                | Answer { .. }
                | ForeignResult { .. }
                | Closed
        )
    }
}

/// A side of a request on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TapeSide {
    /// From the client.
    Request,
    /// To it.
    Response,
}

impl From<Side> for TapeSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Request => Self::Request,
            Side::Response => Self::Response,
        }
    }
}

impl Tape {
    /// An empty one with room for this many bytes.
    pub(crate) fn new(info: &StreamInfo, of_bytes: bool, now: Now, room: usize) -> Self {
        Self {
            began: u64::try_from(now.wall().as_millis()).unwrap_or(u64::MAX),
            client: info.source,
            server: info.destination,
            tls: info.tls,
            protocol: format!("{:?}", info.protocol),
            of_bytes,
            notes: Vec::new(),
            incomplete: None,
            left: room,
            calls: Vec::new(),
            brief: None,
        }
    }

    /// The HTTP version as the `http` crate has it.
    fn version(&self) -> Version {
        let all = [Version::HTTP_10, Version::HTTP_2, Version::HTTP_3];
        all.into_iter().find(|version| format!("{version:?}") == self.protocol).unwrap_or(Version::HTTP_11)
    }

    /// Adds a note, if there is room for it and everything before it is here.
    pub(crate) fn note(&mut self, opened: Now, now: Now, event: Event) {
        if self.incomplete.is_some() {
            return;
        }
        let size = event.size();
        let Some(left) = self.left.checked_sub(size) else {
            self.incomplete = Some("it is too large for a record".to_owned());
            return;
        };
        self.left = left;
        let at = now.monotonic.saturating_sub(opened.monotonic).as_micros();
        // What the gateway takes without asking the guest has no time of its own.
        let before = self.notes.last().map_or(0, |note| note.at);
        self.notes.push(Note { at: u64::try_from(at).unwrap_or(u64::MAX).max(before), event });
    }

    pub(crate) fn note_step(&mut self, opened: Now, now: Now, step: Step) {
        let event = match step {
            Step::Continue => Event::Continue,
            Step::Pause => Event::Pause,
            Step::Wait => Event::Wait,
        };
        if self.is_worth(&event) {
            self.note(opened, now, event);
        }
    }

    /// Notes what a guest asked for.
    pub(crate) fn note_effect(&mut self, opened: Now, now: Now, effect: &Effect) {
        let event = match effect {
            Effect::LocalReply { status, headers, body, .. } => Event::Reply {
                status: status.as_u16(),
                headers: headers
                    .iter()
                    .map(|(name, value)| Field::new(name.as_str(), value.as_bytes()))
                    .collect(),
                body: self.content(body),
            },
            Effect::Resume { side, .. } => Event::Resume { side: (*side).into() },
            Effect::Reset { .. } | Effect::BreakOff { .. } => Event::Reset,
            Effect::SetUpstream { .. } | Effect::SetServer { .. } => Event::SetUpstream,
            Effect::SetRoute { .. } => Event::SetRoute,
            Effect::Foreign { token, .. } => {
                self.calls.push(*token);
                Event::Foreign
            }
            Effect::ClearRoute { .. } => Event::ClearRoute,
            Effect::HttpCall { token, upstream, head, body, .. } => {
                self.calls.push(*token);
                Event::Call {
                    upstream: upstream.clone(),
                    headers: request_fields(head),
                    body: self.content(body),
                }
            }
            Effect::GrpcCall(call) if self.brief.is_some() => {
                self.calls.push(call.token);
                Event::Call {
                    upstream: call.upstream.clone(),
                    headers: request_fields(&call.head),
                    body: self.content(&[]),
                }
            }
            Effect::GrpcCall(call) => {
                self.calls.push(call.token);
                Event::GrpcCall {
                    upstream: call.upstream.clone(),
                    headers: request_fields(&call.head),
                    messages: call.outbox.waiting().iter().map(|message| Content::of(message)).collect(),
                }
            }
            Effect::Log { level, message, .. } => {
                Event::Log { level: word(*level).to_owned(), message: message.clone() }
            }
            Effect::Refused { function, .. } => Event::Refused { function: function.clone() },
            Effect::Feed { .. }
            | Effect::Inject { .. }
            | Effect::Done
            | Effect::ForeignCancel { .. }
            | Effect::GrpcCancel { .. }
            | Effect::TickPeriod(_)
            | Effect::QueueRegistered { .. }
            | Effect::QueueReady { .. } => return,
        };
        self.note(opened, now, event);
    }

    /// Which call of this request has the token.
    pub(crate) fn call(&self, token: u32) -> Option<usize> {
        self.calls.iter().position(|known| *known == token)
    }

    fn token(&self, call: usize) -> Option<u32> {
        self.calls.get(call).copied()
    }
}

impl Effect {
    /// The stream that it is about, if it is about one.
    pub(crate) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::LocalReply { stream, .. }
            | Self::Resume { stream, .. }
            | Self::Feed { stream, .. }
            | Self::Reset { stream, .. }
            | Self::BreakOff { stream, .. }
            | Self::SetUpstream { stream, .. }
            | Self::SetServer { stream, .. }
            | Self::Inject { stream }
            | Self::SetRoute { stream, .. }
            | Self::ClearRoute { stream } => Some(*stream),
            Self::HttpCall { stream, .. }
            | Self::Foreign { stream, .. }
            | Self::Refused { stream, .. }
            | Self::Log { stream, .. } => *stream,
            Self::GrpcCall(call) => call.stream,
            Self::Done
            | Self::ForeignCancel { .. }
            | Self::GrpcCancel { .. }
            | Self::TickPeriod(_)
            | Self::QueueRegistered { .. }
            | Self::QueueReady { .. } => None,
        }
    }
}

pub(crate) fn request_fields(head: &request::Parts) -> Vec<Field> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let pseudo =
        [Field::new(":method", head.method.as_str().as_bytes()), Field::new(":path", path.as_bytes())];
    pseudo.into_iter().chain(fields(&head.headers)).collect()
}

pub(crate) fn response_fields(head: &response::Parts) -> Vec<Field> {
    let status = Field::new(":status", head.status.as_str().as_bytes());
    std::iter::once(status).chain(fields(&head.headers)).collect()
}

pub(crate) fn fields(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| Field::new(name.as_str(), value.as_bytes())).collect()
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        _ => "error",
    }
}

/// The time of a note.
fn after(opened: Now, micros: u64) -> Now {
    let passed = Duration::from_micros(micros);
    Now { monotonic: opened.monotonic + passed, ..opened }
}
