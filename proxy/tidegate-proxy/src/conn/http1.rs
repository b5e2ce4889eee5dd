//! HTTP/1.0 and 1.1 with a client: heads are read, exchanges run and their answers written one after the other, all in
//! the connection's one task.
//!
//! `wire` has the connection's bytes, `head` reads requests, `incoming` is the body of one, `answer` writes the heads of
//! answers; fields, chunks and what is written behind a head are in `http/h1`. What cannot be read is an exchange too:
//! it is answered, logged and counted as any other one, and it is the last of its connection.

mod answer;
mod head;
mod incoming;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Response, StatusCode};
use http_body::Body as _;
use tidegate_config::plan;
use tokio::io::AsyncWrite;

use self::answer::Asked;
use self::head::{Head, Reader, Refused};
use self::incoming::Incoming;
use self::wire::{Shared, Wire};
use crate::conn::watch::{LATE, Phase};
use crate::exchange::outgoing::Outgoing;
use crate::exchange::tunnel::{self, Switched};
use crate::exchange::{BrokenOff, Exchange};
use crate::http::h1::{Framing, Outlet, SendFault};
use crate::local::Client;

/// A map with room for more fields is not kept.
const FIELDS: usize = 128;

/// A connection of a client.
struct Connection {
    wire: Rc<Wire>,
    client: Rc<Client>,
    reader: Reader,
    outlet: Outlet,
}

/// What follows an answer.
enum Next {
    /// The next request, or the end where it cannot be read.
    Settle,
    /// The end, in order.
    Close,
    /// The end at once: the client is gone, or what it got is not all there is.
    Drop,
    /// Another protocol.
    Switch(Box<Switched>),
}

/// Serves requests until the connection is over.
pub(super) async fn run(wire: Rc<Wire>, client: Rc<Client>, limits: plan::ListenerLimits) {
    let reader = Reader::new(limits.header_bytes, limits.headers);
    let mut connection = Connection { wire, client, reader, outlet: Outlet::default() };
    loop {
        let next = match connection.head().await {
            Ok(Some(head)) => connection.serve(head).await,
            Ok(None) => Next::Close,
            Err(refused) => Box::pin(connection.refuse(&refused)).await,
        };
        match next {
            Next::Settle if poll_fn(|cx| Poll::Ready(connection.wire.settle(cx))).await => {
                connection.wire.enter(Phase::Idle);
            }
            Next::Settle | Next::Close => return Box::pin(connection.close()).await,
            Next::Drop => return,
            Next::Switch(switched) => return Box::pin(connection.switch(switched)).await,
        }
    }
}

impl Connection {
    /// The head of the next request; none: the connection is over.
    async fn head(&mut self) -> Result<Option<Head>, Box<Refused>> {
        poll_fn(|cx| self.wire.poll_head(cx, &mut self.reader)).await
    }

    /// One request and its answer.
    async fn serve(&mut self, head: Head) -> Next {
        let Head { parts, framing, keep_alive, expects } = head;
        let (version, head_only) = (parts.version, parts.method == Method::HEAD);
        let body = self.wire.begin(framing, expects).then(|| Incoming::new(self.wire.clone()));
        let outcome: Option<Result<Response<Outgoing>, BrokenOff>> = {
            let mut exchange = pin!(Exchange::run(self.client.clone(), parts, body));
            let mut passes = false;
            poll_fn(|cx| {
                let polled = exchange.as_mut().poll(cx);
                if !self.client.passing.is_empty() {
                    passes = true;
                    self.wire.pass_on(&answer::interim(&self.client.passing.take()));
                }
                match polled {
                    Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                    Poll::Pending => {
                        if passes {
                            self.wire.poll_passed(cx);
                        }
                        self.wire.poll_gone(cx).map(|()| None)
                    }
                }
            })
            .await
        };
        match outcome {
            Some(Ok(response)) => self.answer(response, Asked { version, keep_alive, head_only }).await,
            // The client is gone, or a filter wants it to get nothing.
            Some(Err(_)) | None => Next::Drop,
        }
    }

    /// Answers what could not be read.
    async fn refuse(&mut self, refused: &Refused) -> Next {
        self.wire.enter(Phase::Busy);
        let parts = &refused.parts;
        let asked =
            Asked { version: parts.version, keep_alive: false, head_only: parts.method == Method::HEAD };
        let response = Exchange::unreadable(self.client.clone(), &refused.fail(), parts);
        self.answer(response, asked).await
    }

    /// Writes an answer.
    async fn answer(&mut self, response: Response<Outgoing>, mut asked: Asked) -> Next {
        let (mut parts, mut outgoing) = response.into_parts();
        let switched = match parts.status {
            StatusCode::SWITCHING_PROTOCOLS => outgoing.take_switched(),
            _ => None,
        };
        let out = self.outlet.begin();
        asked.keep_alive &= self.wire.begin_answer(out) && !self.wire.is_ending();
        let local = &self.client.local;
        let date = local.date.at(local.deadlines.guest().wall());
        let written = answer::head(out, &parts, outgoing.size_hint().exact(), asked, &date);
        self.outlet.frame(written.framing);
        // Nothing will be taken of a body that is not sent; its exchange ends here.
        let mut body = self.outlet.has_body().then_some(outgoing);
        parts.headers.clear();
        if parts.headers.capacity() <= FIELDS {
            self.reader.fields = parts.headers;
        }
        let mut stream = Shared(self.wire.clone());
        let outlet = &mut self.outlet;
        let sent = poll_fn(|cx| match outlet.poll(cx, &mut stream, &mut body) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => self.wire.poll_gone(cx).map(|()| None),
        })
        .await;
        match sent {
            Some(Ok(())) => match switched {
                Some(switched) => Next::Switch(switched),
                None if written.keep_alive => Next::Settle,
                None => Next::Close,
            },
            Some(Err(SendFault::Body(_))) => {
                if written.framing == Some(Framing::Close) {
                    self.wire.reset_when_dropped();
                }
                // What came until then is the client's, as far as it takes it at once.
                poll_fn(|cx| Poll::Ready(self.outlet.poll_out(cx, &mut stream).is_ready())).await;
                Next::Drop
            }
            Some(Err(SendFault::Write(_))) | None => Next::Drop,
        }
    }

    /// Ends the connection so that the client can read what it was sent.
    async fn close(self) {
        self.wire.enter(Phase::Closing);
        poll_fn(|cx| Poll::Ready(self.wire.settle(cx))).await;
        let mut stream = Shared(self.wire.clone());
        let shut = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await;
        let cut_off = poll_fn(|cx| Poll::Ready(self.wire.is_cut_off(cx))).await;
        if shut.is_ok() && cut_off {
            let mut left = LATE;
            poll_fn(|cx| self.wire.poll_discard(cx, &mut left)).await;
        }
    }

    /// Speaks what the client and the server have agreed on.
    async fn switch(self, switched: Box<Switched>) {
        self.wire.enter(Phase::Tunnel);
        self.wire.unread();
        tunnel::join(&self.client, Shared(self.wire.clone()), *switched).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wire.shut();
    }
}
