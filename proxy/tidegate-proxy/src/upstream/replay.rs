//! A request's body that may be wanted again: what is sent is kept too, up to a limit.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::body::{Body, BodyError, Piece, piece};

/// See the module. Its readers are bodies; only the last one may read on past what is kept.
pub(crate) struct Replay(Rc<RefCell<Kept>>);

struct Kept {
    source: Body,
    parts: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    limit: usize,
    /// The source has ended as it should.
    ended: bool,
    /// What is read is kept.
    keeps: bool,
    /// The number of the last reader.
    reader: u32,
}

impl Replay {
    /// Keeps at most so many bytes of `source`.
    pub(crate) fn new(source: Body, limit: usize) -> Self {
        // One that is known to be too long is not kept at all.
        let keeps = source.size_hint().lower() <= limit as u64;
        Self(Rc::new(RefCell::new(Kept {
            source,
            parts: Vec::new(),
            trailers: None,
            bytes: 0,
            limit,
            ended: false,
            keeps,
            reader: 0,
        })))
    }

    /// The body from its start. Readers from before get no more.
    pub(crate) fn body(&self) -> Body {
        let mut kept = self.0.borrow_mut();
        kept.reader += 1;
        Body::stream(Reader { kept: self.0.clone(), number: kept.reader, at: 0, trailers: false })
    }

    /// Whether all that was read so far can be read again.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.borrow().keeps
    }

    /// Whether all of the body is here: then any number of copies can be sent.
    pub(crate) fn copy(&self) -> Option<Body> {
        let kept = self.0.borrow();
        let plain = kept.keeps && kept.ended && kept.trailers.is_none();
        plain.then(|| match kept.parts.as_slice() {
            [] => Body::Empty,
            [one] => Body::full(one.clone()),
            many => Body::full(many.concat()),
        })
    }

    /// It is not wanted again.
    pub(crate) fn let_go(&self) {
        self.0.borrow_mut().keeps = false;
    }
}

impl Kept {
    fn note(&mut self, frame: &Piece) {
        let Piece::Data(data) = frame else { return };
        self.bytes += data.len();
        if self.keeps && self.bytes > self.limit {
            self.keeps = false;
        }
        if self.keeps {
            self.parts.push(data.clone());
        } else {
            // The one reader that reads on is past all of them.
            self.parts = Vec::new();
        }
    }
}

struct Reader {
    kept: Rc<RefCell<Kept>>,
    number: u32,
    /// Parts that were read.
    at: usize,
    trailers: bool,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut kept = this.kept.borrow_mut();
        if kept.reader != this.number {
            return Poll::Ready(Some(Err(BodyError::cancelled())));
        }
        if let Some(part) = kept.parts.get(this.at) {
            let part = part.clone();
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if kept.ended {
            let trailers = kept.trailers.clone().filter(|_| !this.trailers);
            this.trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = match ready!(Pin::new(&mut kept.source).poll_frame(cx)) {
            Some(Ok(frame)) => piece(frame),
            Some(Err(error)) => {
                kept.keeps = false;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                kept.ended = true;
                return Poll::Ready(None);
            }
        };
        kept.note(&frame);
        if kept.keeps {
            this.at += 1;
        } else {
            this.at = 0;
        }
        Poll::Ready(Some(Ok(match frame {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => {
                this.at = kept.parts.len();
                kept.trailers = Some(trailers.clone());
                (kept.ended, this.trailers) = (true, true);
                Frame::trailers(trailers)
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        let read = self.at >= kept.parts.len();
        let over = kept.ended && (self.trailers || kept.trailers.is_none());
        read && (over || kept.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.kept.borrow();
        let left: usize = kept.parts.iter().skip(self.at).map(Bytes::len).sum();
        let source = kept.source.size_hint();
        let mut hint = SizeHint::new();
        if kept.ended {
            hint.set_lower(left as u64);
            // A length would leave no place for trailers that are still to come.
            if self.trailers || kept.trailers.is_none() {
                hint.set_upper(left as u64);
            }
            return hint;
        }
        hint.set_lower(source.lower() + left as u64);
        if let Some(upper) = source.upper() {
            hint.set_upper(upper + left as u64);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    /// These pieces, then an error where it breaks.
    struct Source(VecDeque<&'static str>, bool);

    impl HttpBody for Source {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let next = self.0.pop_front().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
            let breaks = self.1.then(|| Err(BodyError::cancelled()));
            Poll::Ready(next.or(breaks))
        }
    }

    fn replay(pieces: &[&'static str], limit: usize) -> Replay {
        Replay::new(Body::stream(Source(pieces.iter().copied().collect(), false)), limit)
    }

    /// Up to so many pieces.
    fn read(body: &mut Body, pieces: usize) -> Result<String, ()> {
        let mut text = String::new();
        for _ in 0..pieces {
            match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => {
                    text += &String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data));
                }
                Poll::Ready(Some(Err(_))) => return Err(()),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(text)
    }

    #[test]
    fn it_is_sent_again_from_its_start_wherever_it_stopped() {
        for stopped in 0..5 {
            let replay = replay(&["a", "b", "c"], 3);
            let mut first = replay.body();
            read(&mut first, stopped).expect("it is there");
            assert!(replay.is_whole());
            let mut second = replay.body();
            assert_eq!(read(&mut first, 1), Err(()), "only one reads on");
            assert_eq!(read(&mut second, 9).as_deref(), Ok("abc"));
            assert!(second.is_end_stream());
        }
    }

    #[test]
    fn past_the_limit_it_goes_on_and_is_not_kept() {
        let replay = replay(&["ab", "cd", "ef"], 3);
        let mut body = replay.body();
        assert_eq!(read(&mut body, 9).as_deref(), Ok("abcdef"));
        assert!(!replay.is_whole() && replay.copy().is_none());
        assert!(replay.0.borrow().parts.is_empty());
    }

    #[test]
    fn one_that_is_known_to_be_long_is_not_kept_at_all() {
        let replay = Replay::new(Body::full("abcdef"), 3);
        assert!(!replay.is_whole());
        assert_eq!(read(&mut replay.body(), 9).as_deref(), Ok("abcdef"));
    }

    #[test]
    fn what_broke_is_not_sent_again() {
        let replay = Replay::new(Body::stream(Source(["a"].into(), true)), 3);
        assert_eq!(read(&mut replay.body(), 9), Err(()));
        assert!(!replay.is_whole());
    }

    #[test]
    fn copies_are_made_of_what_is_all_here() {
        let replay = replay(&["a", "b"], 3);
        let mut body = replay.body();
        read(&mut body, 2).expect("it is there");
        assert!(replay.copy().is_none());
        read(&mut body, 1).expect("it is there");
        assert_eq!(replay.copy().map(|mut copy| read(&mut copy, 9)), Some(Ok("ab".to_owned())));
    }

    /// An answer may begin while a repetition still sends what was kept.
    #[test]
    fn a_reader_that_is_behind_gets_the_rest_after_it_was_let_go() {
        let replay = replay(&["a", "b", "c"], 9);
        read(&mut replay.body(), 2).expect("it is there");
        let mut second = replay.body();
        read(&mut second, 1).expect("it is there");
        replay.let_go();
        assert_eq!(read(&mut second, 9).as_deref(), Ok("bc"));
    }
}
