//! `/tap`: live requests with the path that each took, a JSON object a line, until there are enough or the time is over.

mod asked;

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::body::{Body, Frame};
use serde::Serialize;
use tidegate_proxy::{TapDropped, TapStream, TappedRequest};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Shown;
use super::answer::{AdminBody, AdminError};
use asked::Asked;

/// Opens a tap. Its head comes once all workers know of it.
pub(super) async fn open(head: &Parts, shown: &Rc<Shown>) -> Result<Response<AdminBody>, AdminError> {
    let snapshot = shown
        .gateway
        .snapshot()
        .ok_or_else(|| AdminError::new(StatusCode::SERVICE_UNAVAILABLE, "no configuration runs yet"))?;
    let asked = Asked::parse(head.uri.query().unwrap_or_default(), snapshot.plan())
        .map_err(|why| AdminError::new(StatusCode::BAD_REQUEST, why))?;
    if asked.limits.body > 0 && !shown.access.borrow().taps_bodies() {
        let why = "bodies are shown where admin.tap.bodies is true";
        return Err(AdminError::new(StatusCode::FORBIDDEN, why));
    }
    let mut response = Response::new(AdminBody::Left(Bytes::new().into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if head.method == Method::HEAD {
        return Ok(response);
    }
    let stream = shown.gateway.tap(asked.filter, asked.limits).await;
    let stream = stream.map_err(|why| AdminError::new(StatusCode::TOO_MANY_REQUESTS, why.to_string()))?;
    let until = Instant::now() + asked.time;
    // A reader that hangs is not asked whether the time is over.
    let handle = stream.handle();
    let ends = spawn_local(async move {
        sleep(asked.time).await;
        handle.close();
    });
    *response.body_mut() = AdminBody::Right(Lines {
        stream,
        limit: asked.limits.requests,
        shown: 0,
        until: Box::pin(sleep_until(until)),
        ends: ends.abort_handle(),
        over: false,
    });
    Ok(response)
}

/// The body of the answer.
pub(super) struct Lines {
    stream: TapStream,
    limit: u64,
    shown: u64,
    until: Pin<Box<Sleep>>,
    ends: AbortHandle,
    over: bool,
}

/// The last line.
#[derive(Serialize)]
struct End {
    /// `limit` or `time`.
    end: &'static str,
    shown: u64,
    dropped: TapDropped,
}

impl Lines {
    fn end(&mut self, why: &'static str) -> Vec<u8> {
        self.over = true;
        self.stream.handle().close();
        line(&End { end: why, shown: self.shown, dropped: self.stream.dropped() })
    }

    fn next(&mut self, request: &TappedRequest) -> Vec<u8> {
        self.shown += 1;
        let mut lines = line(request);
        if self.shown >= self.limit {
            lines.extend(self.end("limit"));
        }
        lines
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.ends.abort();
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let lines = match self.stream.poll_next(cx) {
            Poll::Ready(Some(request)) => self.next(&request),
            Poll::Ready(None) => self.end("time"),
            Poll::Pending => match self.until.as_mut().poll(cx) {
                Poll::Ready(()) => self.end("time"),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(Some(Ok(Frame::data(lines.into()))))
    }
}

/// Text and numbers only: JSON always has a form for them.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
