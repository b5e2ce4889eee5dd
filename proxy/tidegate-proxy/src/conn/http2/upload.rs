//! The body of a request that comes by HTTP/2, from the first word about it to what is left of it when nobody reads it any
//! more.
//!
//! An answer may be out before its request has come to its end. RFC 9113, 8.1 lets the stream be reset with NO_ERROR then,
//! but there are clients that lose the answer when the reset comes right behind it (curl before 8). So the rest is
//! read and thrown away for a while, as it is over HTTP/1 before such a connection is closed; most bodies end in that time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::conn::watch::{GOODBYE, LATE};
use crate::http::body::BodyError;
use crate::http::h2::Arriving;
use crate::local::Client;
use crate::time::Deadline;

/// How long its client may send nothing.
const SILENT: Duration = Duration::from_secs(1);

/// What the task that answers knows of the body, which another one may read.
pub(super) struct Upload {
    /// Its client waits to be told that it may send it (RFC 9110, 10.1.1).
    expects: Cell<bool>,
    /// The client is to be told so.
    is_due: Cell<bool>,
    /// What nobody reads any more.
    rest: Cell<Option<RecvStream>>,
    /// How much more of that is taken.
    left: Cell<usize>,
    /// Somebody has the body.
    is_read: Cell<bool>,
    /// The task that answers.
    answering: Cell<Option<Waker>>,
}

impl Upload {
    /// Of a body that is yet to come.
    pub(super) fn new(expects: bool) -> Rc<Self> {
        Rc::new(Self {
            expects: Cell::new(expects),
            is_due: Cell::new(false),
            rest: Cell::new(None),
            left: Cell::new(LATE),
            is_read: Cell::new(true),
            answering: Cell::new(None),
        })
    }

    /// Whether the client is to be told now that it may send its body.
    pub(super) fn take_continue(&self) -> bool {
        self.is_due.take()
    }

    /// Takes what nobody reads; ready when nothing more is to come, or no more of it is taken. The task is woken when there
    /// is something to do.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut rest) = self.rest.take() else {
            let known = self.answering.take().filter(|known| known.will_wake(cx.waker()));
            self.answering.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
            return if self.is_read.get() { Poll::Pending } else { Poll::Ready(()) };
        };
        while let Poll::Ready(next) = rest.poll_data(cx) {
            let Some(Ok(data)) = next else { return Poll::Ready(()) };
            let left = self.left.get();
            if data.len() > left {
                return Poll::Ready(());
            }
            self.left.set(left - data.len());
            let _ = rest.flow_control().release_capacity(data.len());
        }
        self.rest.set(Some(rest));
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(task) = self.answering.take() {
            task.wake();
        }
    }
}

/// The answer is out: waits for the end of the request, within limits.
pub(super) async fn end(upload: &Upload, client: &Client) {
    // So it is for most requests.
    if poll_fn(|cx| Poll::Ready(upload.poll_over(cx).is_ready())).await {
        return;
    }
    // Bytes of a connection that has no exchange any more, or is to end, need not have read the time.
    let deadlines = &client.local.deadlines;
    let silence = Deadline::new(deadlines);
    let last = deadlines.now() + GOODBYE;
    let mut left = usize::MAX;
    poll_fn(|cx| {
        if upload.poll_over(cx).is_ready() {
            return Poll::Ready(());
        }
        if left != upload.left.get() {
            left = upload.left.get();
            silence.set_until(Some(last.min(deadlines.now() + SILENT)));
        }
        silence.poll_passed(cx)
    })
    .await;
}

/// The body on its way to who reads it.
pub(super) struct Incoming {
    /// There until it is dropped.
    body: Option<Arriving>,
    upload: Rc<Upload>,
}

impl Incoming {
    pub(super) fn new(body: Arriving, upload: Rc<Upload>) -> Self {
        Self { body: Some(body), upload }
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        // A client that has sent something does not wait.
        if this.upload.expects.take() && polled.is_pending() {
            this.upload.is_due.set(true);
            this.upload.wake();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream()).map(Arriving::into_rest);
        self.upload.is_read.set(false);
        self.upload.rest.set(rest);
        self.upload.wake();
    }
}
