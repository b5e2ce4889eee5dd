//! One connection to a collector: HTTP/1.1 with protobuf, or gRPC.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::request::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tidegate_config::plan::Otlp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::messages::ExportResponse;
use super::{Secured, Way, throttle};

/// The largest answer that is read.
const ANSWER: usize = 64 << 10;
/// What a message of gRPC has before it: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// How a call of gRPC went.
const STATUS: &str = "grpc-status";

/// A request that the collector did not take.
pub(super) struct Failure {
    pub(super) why: Box<dyn Error>,
    /// It may take it later, after at least this time; none: never.
    pub(super) again: Option<Duration>,
}

impl Failure {
    fn passing(why: impl Into<Box<dyn Error>>) -> Self {
        Self { why: why.into(), again: Some(Duration::ZERO) }
    }

    fn lasting(why: impl Into<Box<dyn Error>>) -> Self {
        Self { why: why.into(), again: None }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::passing(error)
    }
}

/// Connects when it must, and keeps the connection.
pub(super) struct Client<'a> {
    otlp: &'a Otlp,
    tls: Option<&'a Secured>,
    way: Way,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl<'a> Client<'a> {
    pub(super) fn new(otlp: &'a Otlp, tls: Option<&'a Secured>, way: Way) -> Self {
        Self { otlp, tls, way, connection: None }
    }

    /// Sends a request: it was taken, but for so many of its parts.
    pub(super) async fn send(&mut self, message: &Bytes) -> Result<u64, Failure> {
        loop {
            let reused = self.connection.is_some();
            let sent = tokio::time::timeout(self.otlp.timeout, self.try_send(message.clone()));
            let failure = match sent.await {
                Ok(Ok(refused)) => return Ok(refused),
                Ok(Err(failure)) => failure,
                Err(elapsed) => Failure::passing(elapsed),
            };
            self.connection = None;
            // A connection that idled may be gone; with a new one that is no reason.
            if !reused || !failure.why.is::<hyper::Error>() {
                return Err(failure);
            }
        }
    }

    async fn try_send(&mut self, message: Bytes) -> Result<u64, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.otlp, self.tls).await.map_err(Failure::passing)?),
        };
        let Otlp { authority, path, headers, .. } = self.otlp;
        let mut builder = Request::builder().method(Method::POST);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        match connection {
            Connection::Http1(sender) => {
                sender.ready().await?;
                let builder = builder
                    .uri(format!("{path}{}", self.way.http))
                    .header(header::HOST, authority)
                    .header(header::CONTENT_TYPE, "application/x-protobuf");
                let (head, body, _) = answer(sender.send_request(request(builder, message)?)).await?;
                accepted(&head)?;
                Ok(refused(&body))
            }
            Connection::Http2(sender) => {
                sender.ready().await?;
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                let builder = builder
                    .uri(format!("{scheme}://{authority}{path}{}", self.way.grpc))
                    .header(header::CONTENT_TYPE, "application/grpc")
                    .header(header::TE, "trailers");
                let framed = framed(&message).map_err(Failure::lasting)?;
                let (head, body, trailers) = answer(sender.send_request(request(builder, framed)?)).await?;
                accepted(&head)?;
                // An answer without messages may have it all in its head.
                let fields = if trailers.contains_key(STATUS) { &trailers } else { head.headers() };
                grpc_accepted(fields)?;
                Ok(body.get(PREFIX..).map_or(0, refused))
            }
        }
    }
}

fn request(builder: Builder, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    builder.body(Full::new(body)).map_err(Failure::lasting)
}

fn framed(message: &Bytes) -> Result<Bytes, std::num::TryFromIntError> {
    let mut framed = BytesMut::with_capacity(message.len() + PREFIX);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len())?);
    framed.put(message.chunk());
    Ok(framed.freeze())
}

async fn connect(otlp: &Otlp, tls: Option<&Secured>) -> Result<Connection, Box<dyn Error>> {
    let stream = TcpStream::connect(&otlp.authority).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => speak(stream, otlp.grpc).await,
        Some(Secured { config, name, .. }) => {
            let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await?;
            speak(stream, otlp.grpc).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    grpc: bool,
) -> Result<Connection, Box<dyn Error>> {
    let io = TokioIo::new(stream);
    // How a connection ends shows in the request that is on it.
    if grpc {
        let (sender, driver) = http2::handshake(Here, io).await?;
        spawn_local(async move { drop(driver.await) });
        Ok(Connection::Http2(sender))
    } else {
        let (sender, driver) = http1::handshake(io).await?;
        spawn_local(async move { drop(driver.await) });
        Ok(Connection::Http1(sender))
    }
}

/// Head, body and trailers; read to the end, so that the connection can be used again.
async fn answer(
    sent: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<(Response<()>, Bytes, HeaderMap), Failure> {
    let (head, body) = sent.await?.into_parts();
    let body = Limited::new(body, ANSWER)
        .collect()
        .await
        .map_err(|error| Failure::passing(error as Box<dyn Error>))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((Response::from_parts(head, ()), body.to_bytes(), trailers))
}

/// <https://opentelemetry.io/docs/specs/otlp/#failures-1>
fn accepted(head: &Response<()>) -> Result<(), Failure> {
    let status = head.status();
    let why = || format!("status {status}");
    match status {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = head.headers().get(header::RETRY_AFTER);
            let seconds = after.and_then(|after| after.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
            Err(Failure { again: Some(Duration::from_secs(seconds)), ..Failure::passing(why()) })
        }
        _ => Err(Failure::lasting(why())),
    }
}

/// <https://opentelemetry.io/docs/specs/otlp/#failures>
fn grpc_accepted(fields: &HeaderMap) -> Result<(), Failure> {
    let status = fields.get(STATUS).map(header::HeaderValue::as_bytes);
    let why = || format!("gRPC status {}", status.map_or("none".into(), String::from_utf8_lossy));
    let again = match status {
        Some(b"0") => return Ok(()),
        // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
        Some(b"1" | b"4" | b"10" | b"11" | b"14" | b"15") => {
            Some(throttle::asked(fields).unwrap_or(Duration::ZERO))
        }
        // Resource exhausted: for good, unless it says when not.
        Some(b"8") => throttle::asked(fields),
        _ => None,
    };
    Err(Failure { again, ..Failure::lasting(why()) })
}

/// How many parts of a request an answer says were not taken; what it says otherwise does not matter.
fn refused(answer: &[u8]) -> u64 {
    let partial = ExportResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.and_then(|partial| u64::try_from(partial.rejected).ok()).unwrap_or(0)
}

/// Runs what a connection spawns on this thread.
#[derive(Clone)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        spawn_local(async move { drop(future.await) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_lasts() {
        let again = |result: Result<(), Failure>| result.err().map(|failure| failure.again);
        let head = |status: u16, after: &str| {
            let head = Response::builder().status(status).header(header::RETRY_AFTER, after).body(());
            again(accepted(&head.expect("a head")))
        };
        let (now, later) = (Some(Duration::ZERO), Some(Duration::from_secs(7)));
        for (status, after, expected) in [
            (200, "7", None),
            (202, "", None),
            (400, "7", Some(None)),
            (401, "", Some(None)),
            (404, "", Some(None)),
            (500, "", Some(None)),
            (429, "7", Some(later)),
            (503, "", Some(now)),
            (503, "Fri, 31 Dec 1999 23:59:59 GMT", Some(now)),
            (502, "-1", Some(now)),
        ] {
            assert_eq!(head(status, after), expected, "{status}");
        }
        for (status, expected) in [
            (Some("0"), None),
            (Some("14"), Some(now)),
            (Some("4"), Some(now)),
            (Some("3"), Some(None)),
            (Some("8"), Some(None)),
            (Some("16"), Some(None)),
            (None, Some(None)),
        ] {
            let value = status.map(header::HeaderValue::from_static);
            let mut fields: HeaderMap =
                value.map(|value| (header::HeaderName::from_static(STATUS), value)).into_iter().collect();
            assert_eq!(again(grpc_accepted(&fields)), expected, "{status:?}");
            // 1 ms, by the details of a status.
            let details = "GjIKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBgoEEMCEPQ";
            fields.insert("grpc-status-details-bin", header::HeaderValue::from_static(details));
            let lasts = matches!(status, None | Some("0" | "3" | "16"));
            assert_eq!(again(grpc_accepted(&fields)).flatten().is_some(), !lasts, "{status:?}");
        }
    }

    #[test]
    fn what_was_refused_is_read_where_it_is_said() {
        // partial_success: { rejected: 3, error_message: "no" }
        assert_eq!(refused(&[0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o']), 3);
        assert_eq!((refused(b""), refused(b"ok"), refused(b"{}")), (0, 0, 0));
    }
}
