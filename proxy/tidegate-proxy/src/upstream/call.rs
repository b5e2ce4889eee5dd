//! Requests that filters make: one attempt, the whole answer, within a time.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tidegate_wasm::CallResponse;

use crate::http::body::{Body, Piece, piece};
use crate::http::fail::{Fail, Reason};
use crate::upstream::course::Course;
use crate::upstream::pool::Pool;
use crate::upstream::send;

/// Bytes of an answer that a filter is given; a longer answer counts as failed.
const ANSWER: usize = 4 * 1024 * 1024;
/// A field of answers that no server gave, with the reason. The SDK reads it, so a server's own is taken out.
const NO_ANSWER: HeaderName = HeaderName::from_static("x-tidegate-no-answer");
/// The time where the guest names none.
const TIME: Duration = Duration::from_secs(30);

/// Sends a filter's request. No connection and no time are answers too, as filters written for other hosts expect:
/// 503 and 504; a field tells them from those of a server. None: the answer broke off.
pub(crate) async fn answer(
    pool: Rc<Pool>,
    request: Request<(Bytes, HeaderMap)>,
    timeout: Option<Duration>,
    course: Option<&Course>,
) -> Option<CallResponse> {
    let exchange = tokio::time::timeout(
        timeout.unwrap_or(TIME),
        whole(pool, request.map(|(bytes, trailers)| body(bytes, trailers)), course),
    );
    match exchange.await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(fail)) if fail.reason == Reason::Reset => None,
        Ok(Err(_)) => Some(made_up(StatusCode::SERVICE_UNAVAILABLE, "upstream connection failed")),
        Err(_) => Some(made_up(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout")),
    }
}

fn body(bytes: Bytes, trailers: HeaderMap) -> Body {
    if trailers.is_empty() {
        return Body::full(bytes);
    }
    let whole = Full::new(bytes).map_err(|never| match never {});
    Body::stream(whole.with_trailers(std::future::ready(Some(Ok(trailers)))))
}

fn made_up(status: StatusCode, text: &'static str) -> CallResponse {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    head.headers.insert(NO_ANSWER, HeaderValue::from_static(text));
    CallResponse { head, body: Bytes::from_static(text.as_bytes()), trailers: HeaderMap::new() }
}

async fn whole(
    pool: Rc<Pool>,
    mut request: Request<Body>,
    course: Option<&Course>,
) -> Result<CallResponse, Fail> {
    let place = pool.enter().await?;
    if let Some(course) = course {
        course.meets(place.member.identity.address);
    }
    if request.headers().get(HOST).is_some_and(|host| host.is_empty())
        && let Ok(host) = HeaderValue::try_from(place.member.identity.address.to_string())
    {
        request.headers_mut().insert(HOST, host);
    }
    let lease = match place.idle_at_once() {
        Some(lease) => lease,
        None => place.open(course).await?,
    };
    let answer = send::once(place, lease, request).await?;
    let (mut head, mut body) = answer.response.into_parts();
    // Only the gateway says that nobody has answered.
    head.headers.remove(NO_ANSWER);
    let mut bytes = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match piece(frame.map_err(|error| Fail::gateway(error.reason).because(error))?) {
            Piece::Data(data) => bytes.extend_from_slice(&data),
            Piece::Trailers(end) => trailers = end,
        }
        if bytes.len() > ANSWER {
            return Err(Fail::gateway(Reason::Reset));
        }
    }
    Ok(CallResponse { head, body: bytes.freeze(), trailers })
}
