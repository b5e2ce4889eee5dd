//! What a guest decides (a step) and what it wishes (effects, which the gateway performs).

use crate::{GrpcCall, PasswordCheck, StreamId};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request, response};
use std::net::SocketAddr;
use std::time::Duration;
use tidegate_abi::LogLevel;

/// What is to happen with the part of a stream that a guest has just seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take it and pass it on, with all earlier parts of this side that were held.
    Continue,
    /// Held. Later parts of this side may be given to the guest, which sees all that is held; a
    /// later [`Step::Continue`] or an [`Effect::Resume`] sets free what is held, the head too.
    Pause,
    /// Held, and nothing more of this side may be given to the guest until an effect names the
    /// stream: [`Effect::Resume`], [`Effect::Feed`], [`Effect::LocalReply`] or [`Effect::Reset`].
    Wait,
}

/// A direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// Something that a guest wants to happen. Poll after every call into the instance.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an effect is moved twice in its life; a box would cost more")]
pub enum Effect {
    /// Answer the client; the stream goes no further. The first one of a stream counts.
    LocalReply {
        /// The stream.
        stream: StreamId,
        /// Status of the answer.
        status: StatusCode,
        /// Headers to add, without framing ones.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The whole body.
        body: Bytes,
        /// For a gRPC client.
        grpc_status: Option<u32>,
        /// For the access log.
        details: String,
    },
    /// What is held of this side goes on: take it. To be ignored for a side that is not held.
    Resume {
        /// The stream.
        stream: StreamId,
        /// The side.
        side: Side,
    },
    /// After a [`Step::Wait`]: the guest waits for nothing else any more, so parts of this side may
    /// be given to it, as after [`Step::Pause`].
    Feed {
        /// The stream.
        stream: StreamId,
        /// The side.
        side: Side,
    },
    /// Break the stream off, without an answer.
    Reset {
        /// The stream.
        stream: StreamId,
        /// For the access log; mostly empty.
        details: String,
    },
    /// What the stream has let through of this side's body goes on, then the body breaks off.
    BreakOff {
        /// The stream.
        stream: StreamId,
        /// The side.
        side: Side,
    },
    /// Send the request to this upstream, whatever its rule says; the last one counts.
    SetUpstream {
        /// The stream.
        stream: StreamId,
        /// The number that [`Destinations`](crate::Destinations) gave.
        upstream: usize,
    },
    /// Send the request to this server, if the upstream that it goes to has it and can use it; the last one counts.
    SetServer {
        /// The stream.
        stream: StreamId,
        /// The server.
        address: SocketAddr,
    },
    /// There are bytes for the response's body that are not of it: take them by
    /// [`Instance::take_injected`](crate::Instance::take_injected).
    Inject {
        /// The stream.
        stream: StreamId,
    },
    /// Give the request this rule, whatever its head says; the last one counts.
    SetRoute {
        /// The stream.
        stream: StreamId,
        /// The number that [`Destinations`](crate::Destinations) gave.
        rule: usize,
    },
    /// Do what takes some time; hand the result to `Instance::on_foreign_result` with the same token.
    Foreign {
        /// Names the call.
        token: u32,
        /// The stream in whose name it is made; none: the plugin itself.
        stream: Option<StreamId>,
        /// What to do.
        call: ForeignCall,
    },
    /// Nobody waits for a foreign call any more.
    ForeignCancel {
        /// Names the call.
        token: u32,
    },
    /// Send a request; hand the answer to `Instance::on_http_call_response` with the same token.
    HttpCall {
        /// Names the call.
        token: u32,
        /// The stream in whose name it is made; none: the plugin itself.
        stream: Option<StreamId>,
        /// Where to; one of the names that the plugin may call.
        upstream: String,
        /// Origin-form URI, a `host` header, no framing headers.
        head: request::Parts,
        /// The whole body.
        body: Bytes,
        /// Trailers, mostly none.
        trailers: HeaderMap,
        /// How long to wait for the whole answer.
        timeout: Option<Duration>,
    },
    /// Open a gRPC call or stream.
    GrpcCall(Box<GrpcCall>),
    /// Break a gRPC call or stream off; nothing more of it is told.
    GrpcCancel {
        /// Names the call.
        token: u32,
    },
    /// The guest called a host function that it may not call, or asked it for what it may not touch.
    Refused {
        /// The function's name.
        function: String,
        /// The stream in whose name it was called.
        stream: Option<StreamId>,
    },
    /// A log line.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// The line, without a line end, printable.
        message: String,
        /// The stream during which it was written.
        stream: Option<StreamId>,
        /// The id of its request.
        request_id: Option<HeaderValue>,
    },
    /// Call `on_tick` this often from now on; none: not any more.
    TickPeriod(Option<Duration>),
    /// Choose the route of this request again.
    ClearRoute {
        /// The stream.
        stream: StreamId,
    },
    /// The guest is done, after [`Instance::shut_down`](crate::Instance::shut_down) has said that it was not: call
    /// [`Instance::delete`](crate::Instance::delete).
    Done,
    /// The guest has registered a queue: whoever runs this instance may [`listen`](crate::Instance::listen) to it.
    QueueRegistered {
        /// The queue.
        queue: u32,
    },
    /// A queue to which nobody listens has an entry: call `on_queue_ready` on this worker's instance of that plugin.
    QueueReady {
        /// Name of the plugin that registered the queue.
        plugin: String,
        /// The queue.
        queue: u32,
    },
}

/// What a guest asks for by a foreign function that answers later. Each has its own limit of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignCall {
    /// Wait; the result is empty.
    Sleep(Duration),
    /// Send commands to Redis; the result are its replies as they came.
    Redis {
        /// Where to; one of the names that the plugin may call.
        upstream: String,
        /// How long to wait.
        timeout: Duration,
        /// The commands as Redis reads them.
        commands: Bytes,
        /// How many they are.
        count: usize,
    },
    /// Compute a password's hash, which takes up to some seconds of a processor and is nothing for a worker; the result is
    /// one byte, 1 when the password is right.
    VerifyPassword(PasswordCheck),
}

/// The answer to an HTTP call.
#[derive(Debug)]
pub struct CallResponse {
    /// Status and headers.
    pub head: response::Parts,
    /// The whole body.
    pub body: Bytes,
    /// Trailers, if any.
    pub trailers: HeaderMap,
}
