//! gRPC calls and streams of a guest: what the gateway is asked to open, the messages on their way out, and what is
//! known of each call until it is over.

use crate::{
    StreamId,
    limits::{GRPC_MESSAGE_BYTES, GRPC_QUEUED_BYTES},
};
use bytes::{BufMut, Bytes, BytesMut};
use http::request;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tidegate_abi::Status;

/// A call or stream that a guest opens. The gateway sends `head`, then what the outbox gives, and tells the instance
/// by `Instance::on_grpc_*` what comes back.
#[derive(Debug)]
pub struct GrpcCall {
    /// Names the call.
    pub token: u32,
    /// The stream in whose name it is made; none: the plugin itself.
    pub stream: Option<StreamId>,
    /// Where to; one of the names that the plugin may call.
    pub upstream: String,
    /// A POST in origin form with a `host` header and all that gRPC wants in the head.
    pub head: request::Parts,
    /// How long the whole call may take.
    pub timeout: Option<Duration>,
    /// The messages.
    pub outbox: Rc<Outbox>,
}

/// Messages on their way from a guest to a server, each with its prefix. What waits here is limited, so a guest that
/// sends faster than the server reads is told so.
#[derive(Default)]
pub struct Outbox {
    queue: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    ended: Cell<bool>,
    cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Outbox {
    /// The next message as it stands on the wire; none after the last, or when the call is cancelled.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.cancelled.get() {
            return Poll::Ready(None);
        }
        if let Some(message) = self.queue.borrow_mut().pop_front() {
            self.bytes.set(self.bytes.get() - message.len());
            return Poll::Ready(Some(message));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether all messages were taken and nothing follows.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended.get() && self.queue.borrow().is_empty()
    }

    /// The call is over: what has not gone yet stays here.
    pub fn cancel(&self) {
        self.cancelled.set(!self.is_done());
        self.end();
    }

    /// Whether the call was over before the guest had ended its side.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Puts a message behind the others.
    pub(crate) fn push(&self, message: &[u8]) -> Result<(), Status> {
        let len = u32::try_from(message.len()).map_err(|_| Status::BadArgument)?;
        let queued = self.bytes.get();
        // One message always fits, however long it may be.
        let full = queued > 0 && queued.saturating_add(message.len()) > GRPC_QUEUED_BYTES;
        if self.ended.get() || full || message.len() > GRPC_MESSAGE_BYTES {
            return Err(Status::BadArgument);
        }
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        // Never compressed.
        framed.put_u8(0);
        framed.put_u32(len);
        framed.extend_from_slice(message);
        self.bytes.set(queued + framed.len());
        self.queue.borrow_mut().push_back(framed.freeze());
        self.wake();
        Ok(())
    }

    /// The messages that nobody has taken, without their prefixes.
    pub(crate) fn waiting(&self) -> Vec<Bytes> {
        let queue = self.queue.borrow();
        queue.iter().map(|message| message.slice(PREFIX.min(message.len())..)).collect()
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("bytes", &self.bytes)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a token stands for; its low two bits say so, as in other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Call,
    Stream,
    Foreign,
}

impl Kind {
    pub(crate) fn of(token: u32) -> Option<Self> {
        match token % STEP {
            0 => Some(Self::Http),
            1 => Some(Self::Call),
            2 => Some(Self::Stream),
            _ => Some(Self::Foreign),
        }
    }
}

/// From one token of a kind to the next.
const STEP: u32 = 4;

/// A gRPC call that is not over.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) token: u32,
    pub(crate) outbox: Rc<Outbox>,
    /// Of a call that is no stream: the answer, until it is known to be whole.
    pub(crate) answer: Option<Bytes>,
}

/// The gRPC calls of an instance.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: Vec<Open>,
    last: [u32; 4],
}

impl Calls {
    /// The next token of a kind; `taken` are those of HTTP and foreign calls.
    pub(crate) fn next_token(&mut self, kind: Kind, taken: &[u32]) -> u32 {
        let kind = kind as usize;
        loop {
            let Some(last) = self.last.get_mut(kind) else { return 0 };
            *last = last.wrapping_add(STEP) & !(STEP - 1);
            let token = *last | u32::try_from(kind).unwrap_or(0);
            if token >= STEP && !taken.contains(&token) && self.find(token).is_none() {
                return token;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn add(&mut self, token: u32, outbox: Rc<Outbox>) {
        self.open.push(Open { token, outbox, answer: None });
    }

    pub(crate) fn find(&mut self, token: u32) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.token == token)
    }

    pub(crate) fn remove(&mut self, token: u32) -> Option<Open> {
        let at = self.open.iter().position(|open| open.token == token)?;
        Some(self.open.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(outbox: &Outbox) -> Poll<Option<Bytes>> {
        outbox.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn messages_have_prefixes_and_an_end() {
        let outbox = Outbox::default();
        assert!(next(&outbox).is_pending());
        outbox.push(b"abc").unwrap();
        outbox.push(b"").unwrap();
        outbox.end();
        assert_eq!(outbox.push(b"late"), Err(Status::BadArgument));
        assert_eq!(next(&outbox), Poll::Ready(Some(Bytes::from_static(b"\0\0\0\0\x03abc"))));
        assert!(!outbox.is_done());
        assert_eq!(next(&outbox), Poll::Ready(Some(Bytes::from_static(b"\0\0\0\0\0"))));
        assert!(outbox.is_done());
        assert_eq!(next(&outbox), Poll::Ready(None));
    }

    #[test]
    fn what_waits_is_limited() {
        let outbox = Outbox::default();
        assert_eq!(outbox.push(&vec![0; GRPC_MESSAGE_BYTES + 1]), Err(Status::BadArgument));
        outbox.push(&vec![0; GRPC_MESSAGE_BYTES]).unwrap();
        assert_eq!(outbox.push(b"x"), Err(Status::BadArgument));
        assert!(next(&outbox).is_ready());
        outbox.push(b"x").unwrap();
    }

    #[test]
    fn tokens_tell_their_kind_and_are_not_used_twice() {
        let mut calls = Calls::default();
        assert_eq!([(); 3].map(|()| calls.next_token(Kind::Http, &[8])), [4, 12, 16]);
        let call = calls.next_token(Kind::Call, &[]);
        calls.add(call, Rc::default());
        assert_eq!((call, calls.next_token(Kind::Call, &[]), calls.next_token(Kind::Stream, &[])), (5, 9, 6));
        calls.last = [!3; 4];
        assert_eq!(calls.next_token(Kind::Call, &[]), 9, "numbers begin anew, without those in use");
        assert_eq!(
            [4, 5, 6, 7].map(Kind::of),
            [Some(Kind::Http), Some(Kind::Call), Some(Kind::Stream), Some(Kind::Foreign)]
        );
        assert!(calls.remove(call).is_some() && calls.remove(call).is_none());
    }
}
