//! The client of the demo's check: one request, one connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::websocket::{self, Frame};

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a GET and reads the answer.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(HeaderName, &str)]) -> Result<Answer> {
    let exchange = async {
        let (head, body) = open(address, path, headers).await?.into_parts();
        let body = body.collect().await.context("the answer's body was cut off")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    timeout(LONGEST, exchange).await.with_context(|| format!("no answer within {} s", LONGEST.as_secs()))?
}

/// Opens a WebSocket, says something, and returns the greeting and the echo.
pub(crate) async fn websocket(address: SocketAddr, path: &str, text: &str) -> Result<(String, String)> {
    let exchange = async {
        let headers = [
            (CONNECTION, "upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, SAMPLE_KEY),
        ];
        let answer = open(address, path, &headers).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            bail!("the answer to the upgrade is {}, not 101", answer.status());
        }
        let accept = websocket::accept(SAMPLE_KEY.as_bytes());
        if answer.headers().get(SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value != accept.as_str()) {
            bail!("sec-websocket-accept is {:?}, not {accept}", answer.headers().get(SEC_WEBSOCKET_ACCEPT));
        }
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.context("no upgrade after 101")?);
        let greeting = read(&mut stream).await?;
        Frame::text(text).write(&mut stream, Some(*b"mask")).await?;
        Ok((greeting, read(&mut stream).await?))
    };
    timeout(LONGEST, exchange).await.with_context(|| format!("no echo within {} s", LONGEST.as_secs()))?
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<String> {
    let frame = Frame::read(stream, false).await?.context("the websocket was closed")?;
    Ok(String::from_utf8_lossy(&frame.payload).into_owned())
}

async fn open(
    address: SocketAddr,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Result<http::Response<Incoming>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(async move {
        // Its failure is the answer's failure.
        let _ = connection.with_upgrades().await;
    });
    let mut request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    for (name, value) in headers {
        request.headers_mut().append(name, HeaderValue::from_str(value)?);
    }
    sender.send_request(request).await.with_context(|| format!("no answer to GET {path}"))
}

/// The key of the standard's example.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const LONGEST: Duration = Duration::from_secs(10);
