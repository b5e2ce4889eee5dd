//! gRPC calls that filters make: one HTTP/2 stream each, messages out of the guest's outbox, messages of limited size
//! back. What comes of it is told event by event; how it ended is the result.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tidegate_wasm::{GrpcCall, GrpcStatus, Outbox};

use crate::http::body::{Body, BodyError, Piece, piece};
use crate::http::fail::{Fail, Reason};
use crate::upstream::course::Course;
use crate::upstream::http1::Home;
use crate::upstream::pool::{Lease, Pool};
use crate::upstream::send;

/// Bytes of one message that a filter is given.
const MESSAGE: usize = 4 * 1024 * 1024;
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What comes back while a call goes on.
pub(crate) enum Event {
    /// The head of the answer.
    Head(response::Parts),
    /// A message.
    Message(Bytes),
    /// The end of the answer.
    Trailers(HeaderMap),
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// A status of gRPC.
    pub(crate) status: u32,
    /// In the server's words, or the gateway's.
    pub(crate) message: String,
}

impl Ended {
    fn new(status: u32, message: &str) -> Self {
        Self { status, message: message.to_owned() }
    }

    fn of(fail: &Fail) -> Self {
        match fail.reason {
            Reason::Reset | Reason::Garbage => Self::new(GrpcStatus::INTERNAL, "upstream broke the call off"),
            Reason::Overflow | Reason::Adaptive => {
                Self::new(GrpcStatus::UNAVAILABLE, "too many requests to the upstream")
            }
            Reason::NoServer => Self::new(GrpcStatus::UNAVAILABLE, "the upstream has no server"),
            _ => Self::new(GrpcStatus::UNAVAILABLE, "upstream connection failed"),
        }
    }
}

/// Makes a call. When the future is dropped before its end, the server is told that the call is cancelled.
pub(crate) async fn run(
    pool: Rc<Pool>,
    call: GrpcCall,
    course: Option<&Course>,
    mut tell: impl FnMut(Event),
) -> Ended {
    let timeout = call.timeout;
    let _cancel = Cancel(call.outbox.clone());
    let whole = async {
        match exchange(pool, call, course, &mut tell).await {
            Ok(ended) => ended,
            Err(fail) => Ended::of(&fail),
        }
    };
    match timeout {
        None => whole.await,
        Some(timeout) => tokio::time::timeout(timeout, whole)
            .await
            .unwrap_or_else(|_| Ended::new(GrpcStatus::DEADLINE_EXCEEDED, "upstream request timeout")),
    }
}

/// Ends what is sent when the call is over, however that came.
struct Cancel(Rc<Outbox>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn exchange(
    pool: Rc<Pool>,
    call: GrpcCall,
    course: Option<&Course>,
    tell: &mut impl FnMut(Event),
) -> Result<Ended, Fail> {
    let place = pool.enter().await?;
    if let Some(course) = course {
        course.meets(place.member.identity.address);
    }
    let lease = match place.idle_http2() {
        Some(lease) => lease,
        None => place.open(course).await?,
    };
    if let Lease::Http1(connection) = lease {
        place.put(connection);
        return Ok(Ended::new(
            GrpcStatus::UNAVAILABLE,
            "the upstream does not speak HTTP/2: set its protocol to http2",
        ));
    }
    let request = Request::from_parts(call.head, Body::stream(Messages(call.outbox)));
    let answer = send::once(place, lease, request).await?;
    let (head, body) = answer.response.into_parts();
    receive(head, body, tell).await
}

/// Reads an answer: a head, messages, trailers. An answer without a body has its trailers in its head.
async fn receive(
    mut head: response::Parts,
    mut body: Body,
    tell: &mut impl FnMut(Event),
) -> Result<Ended, Fail> {
    let status = head.status;
    if body.is_end_stream() && head.headers.contains_key(STATUS) {
        let trailers = std::mem::take(&mut head.headers);
        tell(Event::Head(head));
        return Ok(ended(trailers, tell));
    }
    tell(Event::Head(head));
    if status != StatusCode::OK {
        tell(Event::Trailers(HeaderMap::new()));
        return Ok(Ended::new(of_http(status), "the server's answer is not gRPC"));
    }
    let mut messages = Inbound::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fail::gateway(error.reason).because(error))?;
        match piece(frame) {
            Piece::Data(data) => {
                messages.bytes.extend_from_slice(&data);
                while let Some(message) = messages.next() {
                    match message {
                        Ok(message) => tell(Event::Message(message)),
                        Err(ended) => {
                            tell(Event::Trailers(HeaderMap::new()));
                            return Ok(ended);
                        }
                    }
                }
            }
            Piece::Trailers(trailers) => return Ok(ended(trailers, tell)),
        }
    }
    tell(Event::Trailers(HeaderMap::new()));
    Ok(Ended::new(GrpcStatus::UNKNOWN, "the answer ended without a status"))
}

const STATUS: &str = "grpc-status";

/// How the call ended, by the server's own words.
fn ended(trailers: HeaderMap, tell: &mut impl FnMut(Event)) -> Ended {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let status = text(STATUS).and_then(|status| status.parse().ok()).unwrap_or(GrpcStatus::UNKNOWN);
    let ended = Ended::new(status, text("grpc-message").unwrap_or(""));
    tell(Event::Trailers(trailers));
    ended
}

/// What an answer without a status of gRPC means (gRPC over HTTP/2, "HTTP to gRPC status code mapping").
fn of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => GrpcStatus::INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => GrpcStatus::UNAVAILABLE,
        _ => GrpcStatus::UNKNOWN,
    }
}

/// Takes messages out of the bytes of an answer.
#[derive(Default)]
struct Inbound {
    bytes: BytesMut,
}

impl Inbound {
    /// The next whole message; none until more bytes have come.
    fn next(&mut self) -> Option<Result<Bytes, Ended>> {
        let [compressed, length @ ..] = self.bytes.first_chunk::<PREFIX>()?;
        if *compressed != 0 {
            // No encoding was offered, so none may be used.
            return Some(Err(Ended::new(
                GrpcStatus::INTERNAL,
                "the server compressed a message without being asked",
            )));
        }
        let length = u32::from_be_bytes(*length) as usize;
        if length > MESSAGE {
            let text = format!("a message of {length} bytes came, {MESSAGE} are allowed");
            return Some(Err(Ended::new(GrpcStatus::RESOURCE_EXHAUSTED, &text)));
        }
        if self.bytes.len() < PREFIX + length {
            return None;
        }
        self.bytes.advance(PREFIX);
        Some(Ok(self.bytes.split_to(length).freeze()))
    }
}

/// The guest's messages as a body.
struct Messages(Rc<Outbox>);

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_next(cx).map(|message| match message {
            Some(message) => Some(Ok(Frame::data(message))),
            None if self.0.is_cancelled() => Some(Err(BodyError::cancelled())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_where_they_end() {
        let mut inbound = Inbound::default();
        let wire = b"\0\0\0\0\x02hi\0\0\0\0\0\0\0\0\0\x01!";
        let mut found = Vec::new();
        for byte in wire {
            inbound.bytes.extend_from_slice(&[*byte]);
            while let Some(message) = inbound.next() {
                found.push(message.expect("is well formed"));
            }
        }
        assert_eq!(found, [&b"hi"[..], b"", b"!"]);
        assert!(inbound.bytes.is_empty());
    }

    #[test]
    fn messages_that_are_too_large_or_compressed_end_the_call() {
        for (wire, status) in [
            (&b"\0\x00\x40\0\x01"[..], GrpcStatus::RESOURCE_EXHAUSTED),
            (b"\x01\0\0\0\0", GrpcStatus::INTERNAL),
        ] {
            let mut inbound = Inbound { bytes: wire.into() };
            let ended = inbound.next().expect("is decided by the prefix").expect_err("is refused");
            assert_eq!(ended.status, status);
        }
    }
}
