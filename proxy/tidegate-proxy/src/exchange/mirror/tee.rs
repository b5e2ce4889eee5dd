//! A body that is sent to one upstream and copied for others: the request is never held up, a copy that falls behind is
//! given up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::body::{Body, BodyError};
use crate::http::fail::Reason;

/// What a waiting piece costs besides its bytes.
const PIECE: usize = 256;
/// After so many bytes the copies' tasks get their turn, which costs the request a turn of the worker's tasks and no wait.
const TURN: usize = 64 * 1024;
/// Pieces up to this size are copied, since each would keep the whole buffer that it was read into.
const COPIED: usize = 4096;

/// What the request's body hands to one copy.
#[derive(Default)]
struct Pipe {
    waiting: RefCell<VecDeque<Piece>>,
    bytes: Cell<usize>,
    limit: usize,
    end: Cell<Option<End>>,
    /// Nobody takes pieces any more.
    left: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Of who waits for the copy to be given up.
    watcher: RefCell<Option<Waker>>,
}

enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All of it was handed over.
    Whole,
    /// The request's body broke off, or was not read to its end.
    Broken,
    /// The copy fell too far behind.
    Cut,
}

impl Pipe {
    /// Hands a piece over. Whether more are wanted.
    fn push(&self, frame: &Frame<Bytes>) -> bool {
        if self.left.get() {
            return false;
        }
        let (piece, size) = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.len() <= COPIED => {
                (Piece::Data(Bytes::copy_from_slice(data)), data.len())
            }
            (Some(data), _) => (Piece::Data(data.clone()), data.len()),
            (None, Some(trailers)) => (Piece::Trailers(trailers.clone()), 0),
            (None, None) => return true,
        };
        let bytes = self.bytes.get() + size + PIECE;
        if bytes > self.limit {
            self.end(End::Cut);
            return false;
        }
        self.bytes.set(bytes);
        self.waiting.borrow_mut().push_back(piece);
        self.wake();
        true
    }

    fn end(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
            if end != End::Whole {
                self.waiting.borrow_mut().clear();
                if let Some(watcher) = self.watcher.borrow_mut().take() {
                    watcher.wake();
                }
            }
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The body as the request's own upstream gets it.
pub(super) struct Tee {
    body: Body,
    pipes: Vec<Rc<Pipe>>,
    /// Bytes since the copies had their turn.
    handed: usize,
}

impl Tee {
    /// Nothing is copied yet.
    pub(super) fn new(body: Body) -> Self {
        Self { body, pipes: Vec::new(), handed: 0 }
    }

    /// A copy, which may be so many bytes behind.
    pub(super) fn copy(&mut self, limit: usize) -> Copied {
        let pipe = Rc::new(Pipe { limit: limit.saturating_add(PIECE), ..Pipe::default() });
        self.pipes.push(pipe.clone());
        Copied { pipe, left: self.body.size_hint().exact() }
    }

    fn end(&mut self, end: End) {
        self.pipes.drain(..).for_each(|pipe| pipe.end(end));
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.handed >= TURN && !this.pipes.is_empty() {
            this.handed = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => this.end(End::Whole),
            Poll::Ready(Some(Err(_))) => this.end(End::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                this.handed += frame.data_ref().map_or(0, Bytes::len);
                this.pipes.retain(|pipe| pipe.push(frame));
                // Whoever sends it may know that this was all, and not ask again.
                if this.body.is_end_stream() {
                    this.end(End::Whole);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.end(End::Broken);
    }
}

/// The body of a copy.
pub(super) struct Copied {
    pipe: Rc<Pipe>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
}

impl Copied {
    /// Tells later whether the copy was given up.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.pipe.clone())
    }
}

/// Whether a copy fell too far behind.
pub(super) struct Watch(Rc<Pipe>);

impl Watch {
    /// Waits until the copy can only be half of a body. Who writes to a server that does not read would not see it.
    pub(super) async fn given_up(&self) {
        poll_fn(|cx| match self.0.end.get() {
            Some(End::Cut | End::Broken) => Poll::Ready(()),
            Some(End::Whole) | None => {
                *self.0.watcher.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.end.get() == Some(End::Cut)
    }
}

impl HttpBody for Copied {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pipe = self.pipe.clone();
        let next = pipe.waiting.borrow_mut().pop_front();
        match (next, pipe.end.get()) {
            (Some(Piece::Data(data)), _) => {
                pipe.bytes.set(pipe.bytes.get().saturating_sub(data.len() + PIECE));
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            (Some(Piece::Trailers(trailers)), _) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            (None, Some(End::Whole)) => Poll::Ready(None),
            (None, Some(End::Broken | End::Cut)) => {
                Poll::Ready(Some(Err(BodyError::new(Reason::ClientGone))))
            }
            (None, None) => {
                *pipe.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pipe.end.get() == Some(End::Whole) && self.pipe.waiting.borrow().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.pipe.left.set(true);
        self.pipe.waiting.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    fn poll<B: HttpBody<Data = Bytes, Error = BodyError> + Unpin>(
        body: &mut B,
    ) -> Option<Result<Bytes, Reason>> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Pending => None,
            Poll::Ready(None) => Some(Ok(Bytes::new())),
            Poll::Ready(Some(Ok(frame))) => Some(Ok(frame.into_data().expect("is data"))),
            Poll::Ready(Some(Err(error))) => Some(Err(error.reason)),
        }
    }

    fn pieces(pieces: &[&'static str]) -> Body {
        Body::stream(Pieces(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect()))
    }

    struct Pieces(VecDeque<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    #[test]
    fn copies_get_each_piece_and_the_end() {
        let mut tee = Tee::new(pieces(&["one", "two"]));
        let (mut a, mut b) = (tee.copy(1000), tee.copy(1000));
        assert!(poll(&mut a).is_none(), "nothing was read yet");
        for expected in ["one", "two", ""] {
            assert_eq!(poll(&mut tee), Some(Ok(Bytes::from_static(expected.as_bytes()))));
            for copy in [&mut a, &mut b] {
                assert_eq!(poll(copy), Some(Ok(Bytes::from_static(expected.as_bytes()))));
            }
        }
        assert!(!a.watch().is_cut());
    }

    #[test]
    fn a_copy_that_falls_behind_is_cut_and_the_others_go_on() {
        let mut tee = Tee::new(pieces(&["0123456789"; 20]));
        let (mut slow, mut quick) = (tee.copy(1000), tee.copy(1000));
        let watch = slow.watch();
        for _ in 0..20 {
            assert_eq!(poll(&mut tee).expect("is ready").expect("is whole").len(), 10);
            assert_eq!(poll(&mut quick).expect("is ready").expect("is whole").len(), 10);
        }
        assert!(watch.is_cut());
        assert_eq!(
            poll(&mut slow),
            Some(Err(Reason::ClientGone)),
            "half a body must not look like a whole one"
        );
        assert_eq!(poll(&mut tee), Some(Ok(Bytes::new())));
        assert_eq!(poll(&mut quick), Some(Ok(Bytes::new())));
    }

    #[test]
    fn a_body_that_is_not_read_to_its_end_breaks_its_copies() {
        let mut tee = Tee::new(pieces(&["one", "two"]));
        let mut copy = tee.copy(1000);
        poll(&mut tee);
        drop(tee);
        assert_eq!(poll(&mut copy), Some(Err(Reason::ClientGone)));
    }

    #[test]
    fn copies_get_their_turn_while_a_body_rushes_by() {
        let large: &'static str = Box::leak("x".repeat(TURN).into_boxed_str());
        let mut tee = Tee::new(pieces(&[large, "end"]));
        let mut copy = tee.copy(4 * TURN);
        assert!(poll(&mut tee).is_some());
        assert!(poll(&mut tee).is_none(), "others are asked first");
        assert!(poll(&mut copy).is_some());
        assert_eq!(poll(&mut tee), Some(Ok(Bytes::from_static(b"end"))));
        let mut alone = Tee::new(pieces(&[large, "end"]));
        poll(&mut alone);
        assert!(poll(&mut alone).is_some(), "without copies there is no turn to give");
    }

    #[test]
    fn a_copy_that_is_gone_takes_no_memory() {
        let mut tee = Tee::new(pieces(&["one", "two"]));
        drop(tee.copy(1000));
        poll(&mut tee);
        assert!(tee.pipes.is_empty());
    }

    #[test]
    fn the_length_is_told() {
        let whole = Full::new(Bytes::from_static(b"12345"));
        let whole = http_body_util::BodyExt::map_err(whole, |never| match never {});
        let mut tee = Tee::new(Body::stream(whole));
        let mut copy = tee.copy(1000);
        assert_eq!(copy.size_hint().exact(), Some(5));
        poll(&mut tee);
        assert!(!copy.is_end_stream());
        poll(&mut copy);
        assert_eq!(copy.size_hint().exact(), Some(0));
        assert!(copy.is_end_stream(), "a body of known length ends with its last piece");
    }
}
