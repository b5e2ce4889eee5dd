//! HTTP/2 with a client: the h2 crate reads and writes frames, each stream is an exchange and a task of its own.

mod upload;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::header::{CONTENT_LENGTH, DATE, EXPECT};
use http::{HeaderValue, Request, Response, StatusCode, response};
use http_body::Body as HttpBody;
use tidegate_config::plan;

use self::upload::{Incoming, Upload};
use crate::exchange::Exchange;
use crate::exchange::outgoing::Outgoing;
use crate::http::fail::Reason;
use crate::http::h2::{Arriving, Departing, FRAME, RESETS, strip};
use crate::local::Client;
use crate::transport::Stream;

/// What a client may send ahead, on a stream and on all of them: requests whose server takes nothing must not stop others of
/// the connection, which may be a proxy's with many clients.
const WINDOW: u32 = 256 * 1024;
const ALL_WINDOWS: u32 = 2 * 1024 * 1024;
/// What pieces smaller than 256 bytes may take beside their bytes while nobody takes them: the connection ends with more.
/// Several thousand messages of a stream that have come at once are in order.
const SMALL_PIECES: usize = 4 * 1024 * 1024;
/// What is kept of an answer that its client does not take.
const SEND_BUFFER: usize = 400 * 1024;

/// A connection of a client; ready at its end. Each stream is handed to `spawn`.
pub(super) struct Connection<S> {
    client: Rc<Client>,
    state: State,
    /// It was told to go away.
    leaving: bool,
    spawn: S,
}

enum State {
    Beginning(Handshake<Stream, Bytes>),
    Serving(h2::server::Connection<Stream, Bytes>),
}

impl<S> Connection<S> {
    /// Begins HTTP/2.
    pub(super) fn new(stream: Stream, client: Rc<Client>, limits: plan::ListenerLimits, spawn: S) -> Self {
        let beginning = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(ALL_WINDOWS)
            .data_frame_budget(SMALL_PIECES)
            .max_frame_size(FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_local_error_reset_streams(Some(RESETS))
            .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .handshake(stream);
        Self { client, state: State::Beginning(beginning), leaving: false, spawn }
    }

    /// No further stream is served; those that are there may end.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        if let State::Serving(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }
}

impl<S> Connection<S>
where
    S: FnMut(Pin<Box<dyn Future<Output = ()>>>) + Unpin,
{
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        loop {
            match &mut self.state {
                State::Serving(connection) => {
                    return connection.poll_accept(cx).map(|next| next.and_then(Result::ok));
                }
                State::Beginning(beginning) => match Pin::new(beginning).poll(cx) {
                    Poll::Ready(Ok(mut connection)) => {
                        if self.leaving {
                            connection.graceful_shutdown();
                        }
                        self.state = State::Serving(connection);
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl<S> Future for Connection<S>
where
    S: FnMut(Pin<Box<dyn Future<Output = ()>>>) + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match this.poll_next(cx) {
                Poll::Ready(Some((request, respond))) => {
                    let stream = serve(this.client.clone(), request, respond);
                    (this.spawn)(Box::pin(stream));
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// One request and its answer.
async fn serve(client: Rc<Client>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    let expects = head.headers.contains_key(EXPECT);
    let upload = (!body.is_end_stream()).then(|| Upload::new(expects));
    let body = upload.as_ref().map(|upload| {
        Incoming::new(Arriving::new(body, &head.headers, Reason::ClientGone), Rc::clone(upload))
    });
    let outcome = {
        let mut exchange = pin!(Exchange::run(client.clone(), Rc::new(head), body));
        poll_fn(|cx| {
            let polled = exchange.as_mut().poll(cx);
            if !client.passing.is_empty() {
                pass_on(client.passing.take(), &mut respond, cx);
            }
            if let Some(upload) = &upload {
                if upload.take_continue() && polled.is_pending() {
                    go_on(&mut respond, cx);
                }
                let _ = upload.poll_over(cx);
            }
            match polled {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                // The client may take its request back.
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            }
        })
        .await
    };
    match outcome {
        Some(Ok(response)) => answer(&client, response, respond, upload).await,
        // A filter wants the client to get nothing.
        Some(Err(_)) => respond.send_reset(Code::INTERNAL_ERROR),
        None => {}
    }
}

/// Says `100 Continue`.
#[cold]
fn go_on(respond: &mut SendResponse<Bytes>, cx: &mut Context<'_>) {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::CONTINUE;
    pass_on([head], respond, cx);
}

/// Sends interim answers.
#[cold]
fn pass_on(
    heads: impl IntoIterator<Item = response::Parts>,
    respond: &mut SendResponse<Bytes>,
    cx: &mut Context<'_>,
) {
    for head in heads {
        // A stream that was reset takes nothing any more.
        if respond.poll_reset(cx).is_pending() {
            let _ = respond.send_informational(Response::from_parts(head, ()));
        }
    }
}

/// Sends the answer, and bears with a client that has not sent all of its request.
async fn answer(
    client: &Client,
    response: Response<Outgoing>,
    mut respond: SendResponse<Bytes>,
    upload: Option<Rc<Upload>>,
) {
    let (mut head, outgoing) = response.into_parts();
    strip(&mut head.headers);
    if !head.headers.contains_key(DATE) {
        let local = &client.local;
        let date = local.date.at(local.deadlines.guest().wall());
        if let Ok(date) = HeaderValue::from_bytes(&date) {
            head.headers.insert(DATE, date);
        }
    }
    let is_over = outgoing.is_end_stream();
    if let Some(length) = outgoing.size_hint().exact().filter(|_| !is_over) {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    match respond.send_response(Response::from_parts(head, ()), is_over) {
        Ok(_) if is_over => drop(outgoing),
        Ok(stream) => {
            let mut departing = Departing::new(stream, outgoing);
            poll_fn(|cx| {
                if let Some(upload) = &upload {
                    let _ = upload.poll_over(cx);
                }
                departing.poll(cx)
            })
            .await;
        }
        Err(error) => {
            tracing::debug!(%error, "an answer that HTTP/2 does not take");
            return respond.send_reset(Code::INTERNAL_ERROR);
        }
    }
    // While there is a handle of the stream it is not reset.
    if let Some(upload) = upload {
        upload::end(&upload, client).await;
    }
}
