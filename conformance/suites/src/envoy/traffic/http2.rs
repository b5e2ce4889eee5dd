//! The client's side by HTTP/2 with prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;

use super::{ANSWER, Pace};
use crate::envoy::cases::Case;
use crate::envoy::observe::{Outcome, compared};

/// Sends the case's request and reads its answer.
pub(crate) fn exchange(address: SocketAddr, case: &Case, pace: &Pace) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs a few descriptors only");
    let mut outcome = Outcome { broken: true, ..Outcome::default() };
    // An error leaves what had come.
    let ended = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut stream = send(address, case, pace).await?;
        tokio::time::timeout(ANSWER, receive(&mut stream, &mut outcome)).await.ok()
    });
    if ended == Some(true) {
        outcome.broken = false;
    } else {
        // What had come of it when it broke depends on timing.
        outcome = Outcome { broken: true, status: outcome.status, ..Outcome::default() };
    }
    outcome
}

async fn send(address: SocketAddr, case: &Case, pace: &Pace) -> Option<h2::client::ResponseFuture> {
    let socket = TcpStream::connect(address).await.ok()?;
    let (mut client, connection) = h2::client::handshake(socket).await.ok()?;
    tokio::task::spawn_local(connection);
    let mut request = Request::builder()
        .method(case.method)
        .uri(format!("http://a.test{}", case.target))
        .header("x-case", pace.id());
    for (name, value) in &case.headers {
        let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        request = request.header(*name, HeaderValue::from_bytes(&bytes).expect("a case has values"));
    }
    let length: usize = case.pieces.iter().map(|piece| piece.len()).sum();
    if case.sized {
        request = request.header("content-length", length);
    }
    let request = request.body(()).expect("a case is a request");
    let ends = case.pieces.is_empty() && case.trailers.is_empty();
    client = client.ready().await.ok()?;
    let (response, mut body) = client.send_request(request, ends).ok()?;
    wait(pace, "rqh", 1).await;
    for (nth, piece) in case.pieces.iter().enumerate() {
        let last = nth + 1 == case.pieces.len() && case.trailers.is_empty();
        // A peer that has answered already may refuse more.
        if body.send_data(Bytes::from_static(piece.as_bytes()), last).is_err() {
            return Some(response);
        }
        wait(pace, "rqb", nth + 1).await;
    }
    if !case.trailers.is_empty() {
        let _ = body.send_trailers(map(&case.trailers));
    }
    Some(response)
}

/// As [`Pace::wait`], while the connection goes on beside it.
async fn wait(pace: &Pace, callback: &str, count: usize) {
    let (pace, callback) = (pace.clone(), callback.to_owned());
    // It cannot fail but by a panic, and then there is nothing to wait for.
    let _ = tokio::task::spawn_blocking(move || pace.wait(&callback, count)).await;
}

/// Whether the answer came to its end.
async fn receive(response: &mut h2::client::ResponseFuture, outcome: &mut Outcome) -> bool {
    let Ok(response) = response.await else { return false };
    let (head, mut body) = response.into_parts();
    outcome.status = Some(head.status.as_u16());
    outcome.headers = fields(&head.headers);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let Ok(chunk) = chunk else { return false };
        // The window is large enough for every case; giving it back is only polite.
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    outcome.body = String::from_utf8_lossy(&bytes).into_owned();
    match body.trailers().await {
        Ok(trailers) => {
            outcome.trailers = trailers.as_ref().map(fields).unwrap_or_default();
            true
        }
        Err(_) => false,
    }
}

fn fields(map: &HeaderMap) -> Vec<String> {
    let latin = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    let fields: Vec<(String, String)> =
        map.iter().map(|(name, value)| (name.as_str().to_owned(), latin(value))).collect();
    compared(&fields)
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}
