//! One connection to a collector: HTTP/1.1 with protobuf, or gRPC.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tidegate_config::plan::Otlp;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

type Failure = Box<dyn Error>;

/// How long one request may take, its connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER: usize = 64 << 10;
/// Attempts; a connection that idled may be gone.
const ATTEMPTS: usize = 2;

/// Connects when it must, and keeps the connection.
pub(super) struct Client<'a> {
    otlp: &'a Otlp,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl<'a> Client<'a> {
    pub(super) fn new(otlp: &'a Otlp) -> Self {
        Self { otlp, connection: None }
    }

    /// Sends a message; it was taken.
    pub(super) async fn send(&mut self, message: Vec<u8>) -> Result<(), Failure> {
        let message = Bytes::from(message);
        let mut last: Failure = "not sent".into();
        for _ in 0..ATTEMPTS {
            match tokio::time::timeout(TIMEOUT, self.try_send(message.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => last = failure,
                Err(elapsed) => last = elapsed.into(),
            }
            self.connection = None;
        }
        Err(last)
    }

    async fn try_send(&mut self, message: Bytes) -> Result<(), Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.otlp).await?),
        };
        let mut builder = Request::builder().method(Method::POST);
        for (name, value) in &self.otlp.headers {
            builder = builder.header(name, value);
        }
        let Otlp { authority, path, .. } = self.otlp;
        match connection {
            Connection::Http1(sender) => {
                sender.ready().await?;
                let request = builder
                    .uri(format!("{path}/v1/traces"))
                    .header(header::HOST, authority)
                    .header(header::CONTENT_TYPE, "application/x-protobuf")
                    .body(Full::new(message))?;
                let (head, _) = answer(sender.send_request(request)).await?;
                accepted(&head)
            }
            Connection::Http2(sender) => {
                sender.ready().await?;
                let mut framed = BytesMut::with_capacity(message.len() + 5);
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len())?);
                framed.put(message);
                let request = builder
                    .uri(format!("http://{authority}{path}{GRPC}"))
                    .header(header::CONTENT_TYPE, "application/grpc")
                    .header(header::TE, "trailers")
                    .body(Full::new(framed.freeze()))?;
                let (head, trailers) = answer(sender.send_request(request)).await?;
                accepted(&head)?;
                let status = trailers.get("grpc-status").or_else(|| head.headers().get("grpc-status"));
                match status.map(header::HeaderValue::as_bytes) {
                    Some(b"0") => Ok(()),
                    other => Err(format!("gRPC status {:?}", other.map(String::from_utf8_lossy)).into()),
                }
            }
        }
    }
}

/// The method of gRPC.
const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

async fn connect(otlp: &Otlp) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(&otlp.authority).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    // How a connection ends shows in the request that is on it.
    if otlp.grpc {
        let (sender, driver) = http2::handshake(Here, io).await?;
        spawn_local(async move { drop(driver.await) });
        Ok(Connection::Http2(sender))
    } else {
        let (sender, driver) = http1::handshake(io).await?;
        spawn_local(async move { drop(driver.await) });
        Ok(Connection::Http1(sender))
    }
}

/// Head and trailers; the body is read to its end, so that the connection can be used again.
async fn answer(
    sent: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<(Response<()>, http::HeaderMap), Failure> {
    let (head, body) = sent.await?.into_parts();
    let body = Limited::new(body, ANSWER).collect().await.map_err(|error| -> Failure { error })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((Response::from_parts(head, ()), trailers))
}

fn accepted(head: &Response<()>) -> Result<(), Failure> {
    match head.status() {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(()),
        status => Err(format!("status {status}").into()),
    }
}

/// Runs what a connection spawns on this thread.
#[derive(Clone)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        spawn_local(async move { drop(future.await) });
    }
}
