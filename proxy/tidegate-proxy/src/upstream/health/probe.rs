//! One check of a server: a request, a question by gRPC's health protocol, or a connection. Each has a connection of its
//! own, so that it shows whether the server takes one.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tidegate_config::plan::{Health, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::transport::Stream;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::{self, Opened};
use crate::upstream::pool::Local;
use crate::upstream::server::Identity;

/// Checks a server, and says why it is not well in words for people; none: it could not be asked, since the process may open
/// no more. The caller bounds the time.
pub(crate) async fn run(cluster: &Cluster, server: &Identity, rule: &Health) -> Option<Result<(), String>> {
    let address = match rule.port {
        Some(port) => SocketAddr::new(server.address.ip(), port),
        None => server.address,
    };
    match connect::to(cluster, address, server.name.as_ref()).await {
        Ok(opened) => Some(ask(cluster, server, rule, opened).await),
        Err(error) if connect::no_descriptor_is_left(&error) => None,
        Err(error) => Some(Err(format!("no connection: {error}"))),
    }
}

async fn ask(cluster: &Cluster, server: &Identity, rule: &Health, opened: Opened) -> Result<(), String> {
    match &rule.probe {
        Probe::Tcp { send, expect } => bytes(opened.stream, send, expect).await,
        Probe::Http { path, host, method, headers, statuses } => {
            let host = host.clone().unwrap_or_else(|| server.address.to_string());
            let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
            let asked = Asked { path, host: &host, method, secure: cluster.tls.is_some() };
            let mut fields = HeaderMap::new();
            for (name, value) in &headers.0 {
                fields.append(field(name)?, value_of(value)?);
            }
            let answer = exchange(opened.stream, opened.http2, &asked, fields, Bytes::new()).await?;
            let status = answer.status().as_u16();
            let good = match statuses.as_slice() {
                [] => answer.status().is_success(),
                listed => listed.contains(&status),
            };
            // What the server says besides is not needed; the connection ends here.
            if good { Ok(()) } else { Err(format!("it answered {status}")) }
        }
        Probe::Grpc { service, authority } => {
            if !opened.http2 {
                return Err("it does not speak HTTP/2, which gRPC needs".to_owned());
            }
            let host = authority.clone().unwrap_or_else(|| server.address.to_string());
            let asked =
                Asked { path: CHECK, host: &host, method: Method::POST, secure: cluster.tls.is_some() };
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            fields.insert(TE, HeaderValue::from_static("trailers"));
            let answer = exchange(opened.stream, true, &asked, fields, question(service)).await?;
            serving(answer).await
        }
    }
}

/// A request without its fields.
struct Asked<'a> {
    path: &'a str,
    host: &'a str,
    method: Method,
    secure: bool,
}

async fn exchange(
    stream: Stream,
    http2: bool,
    asked: &Asked<'_>,
    mut fields: HeaderMap,
    body: Bytes,
) -> Result<http::Response<Incoming>, String> {
    let scheme = if asked.secure { "https" } else { "http" };
    let uri = match http2 {
        true => format!("{scheme}://{}{}", asked.host, asked.path),
        false => asked.path.to_owned(),
    };
    fields.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    if !http2 {
        fields.insert(HOST, value_of(asked.host)?);
    }
    let request = Request::builder().method(asked.method.clone()).uri(uri);
    let request = request.version(if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    let mut request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    *request.headers_mut() = fields;
    let io = TokioIo::new(stream);
    let wrong = |error: hyper::Error| format!("the exchange failed: {error}");
    if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, io).await.map_err(wrong)?;
        // It ends with the sender and the answer.
        tokio::task::spawn_local(connection);
        sender.send_request(request).await.map_err(wrong)
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(wrong)?;
        tokio::task::spawn_local(connection);
        sender.send_request(request).await.map_err(wrong)
    }
}

fn field(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|error| error.to_string())
}

fn value_of(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(text).map_err(|error| error.to_string())
}

/// Sends and waits for what is expected, anywhere in what comes.
async fn bytes(mut stream: Stream, send: &[u8], expect: &[u8]) -> Result<(), String> {
    let wrong = |error: io::Error| format!("the connection broke: {error}");
    if !send.is_empty() {
        stream.write_all(send).await.map_err(wrong)?;
        stream.flush().await.map_err(wrong)?;
    }
    let mut came = Vec::with_capacity(expect.len());
    while !expect.is_empty() && !came.windows(expect.len()).any(|part| part == expect) {
        if came.len() >= MOST_BYTES {
            return Err(format!("what is expected is not in the first {MOST_BYTES} bytes"));
        }
        if stream.read_buf(&mut came).await.map_err(wrong)? == 0 {
            return Err("it closed the connection without sending what is expected".to_owned());
        }
    }
    Ok(())
}

/// A `HealthCheckRequest` as a message of gRPC: field 1 is the service.
fn question(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 12);
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// Whether the answer says that the service is served.
async fn serving(answer: http::Response<Incoming>) -> Result<(), String> {
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status().as_u16()));
    }
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let field = trailers.get(name).or_else(|| head.headers.get(name));
        field.and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    match text("grpc-status").as_deref() {
        Some("0") => {}
        Some(status) => {
            let message = text("grpc-message").filter(|message| !message.is_empty());
            let message = message.map_or_else(String::new, |message| format!(": {message:?}"));
            return Err(format!("it answered the gRPC status {status}{message}"));
        }
        None => return Err("its answer has no gRPC status".to_owned()),
    }
    match status_of(&body.to_bytes()) {
        Some(1) => Ok(()),
        Some(0) => Err("it says UNKNOWN".to_owned()),
        Some(2) => Err("it says NOT_SERVING".to_owned()),
        Some(3) => Err("it says SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("it says the status {other}")),
        None => Err("its answer is no HealthCheckResponse".to_owned()),
    }
}

/// The status of a `HealthCheckResponse`: field 1, whose default 0 is not sent.
fn status_of(body: &[u8]) -> Option<u64> {
    let (prefix, message) = body.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let mut rest = message.get(..length).filter(|_| compressed == 0)?;
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Bytes of an answer that are looked at.
const MOST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_name_the_service() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("ab")[..], b"\0\0\0\0\x04\x0a\x02ab");
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn answers_are_read_whatever_else_is_in_them() {
        for (body, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x00", Some(0)),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x02", Some(2)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x09\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x80", None),
            (b"", None),
        ] {
            assert_eq!(status_of(body), status, "{body:?}");
        }
    }
}
