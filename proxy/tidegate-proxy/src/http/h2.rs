//! What HTTP/2 has in common on both sides of the gateway (RFC 9113): bodies on their way in and out of the streams of
//! the h2 crate, which reads and writes frames. Towards clients it is used by `conn/http2`, towards servers by
//! `upstream/send` and `upstream/pool/http2`.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason as Code, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TE, TRANSFER_ENCODING, UPGRADE};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::body::BodyError;
use crate::http::fail::Reason;
use crate::http::h1::number;

/// Of frames, both ways.
pub(crate) const FRAME: u32 = 16 * 1024;
/// Streams that were reset because of what the peer did, before the connection ends.
pub(crate) const RESETS: usize = 1024;

/// What it is that a server has done: ended what we wanted, or sent what HTTP/2 does not allow.
pub(crate) fn broken(error: &h2::Error) -> Reason {
    if error.is_library() { Reason::Garbage } else { Reason::Reset }
}

/// A body on its way in.
pub(crate) struct Arriving {
    stream: RecvStream,
    /// Bytes that are to come, where the head has said that.
    left: Option<u64>,
    /// Its bytes have come; trailers may follow.
    is_read: bool,
    /// What a failure of it means.
    reason: Reason,
}

impl Arriving {
    /// The body behind a head with these fields.
    pub(crate) fn new(stream: RecvStream, fields: &HeaderMap, reason: Reason) -> Self {
        // That all values say the same was checked when the head was read.
        let left = fields.get(CONTENT_LENGTH).and_then(|length| number(length.as_bytes()));
        Self { stream, left, is_read: false, reason }
    }

    /// What has not been read of it.
    pub(crate) fn into_rest(self) -> RecvStream {
        self.stream
    }

    fn broken(&self, error: h2::Error) -> BodyError {
        let reason = if self.reason == Reason::Reset { broken(&error) } else { self.reason };
        BodyError::broken(reason, error)
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.is_read {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Of a stream that has ended meanwhile there is nothing to give back.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(this.broken(error)))),
                None => this.is_read = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(this.broken(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What comes next of a body; none: its end.
type Next = Option<Result<Frame<Bytes>, BodyError>>;

/// A body on its way out.
pub(crate) struct Departing<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// What the peer has no room for yet, and whether it is the last.
    held: Option<(Bytes, bool)>,
    /// What has come of the body behind that.
    next: Option<Next>,
}

/// Pieces that are shorter take others with them that are ready, as many as a frame has room for: each frame costs both
/// sides more than such a piece, and peers bear only so many of them.
const SHORT: usize = 4 * 1024;

impl<B> Departing<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    /// A body that has not ended yet.
    pub(crate) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Self { stream, body, held: None, next: None }
    }

    /// Ready once all of it is with the connection, or the stream has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            if self.held.is_some() {
                while self.stream.capacity() == 0 {
                    if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                        return Poll::Ready(());
                    }
                }
                let Some((data, is_last)) = self.held.take() else { return Poll::Ready(()) };
                if self.stream.send_data(data, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
                continue;
            }
            let Some(frame) = ready!(self.poll_next(cx)) else {
                let _ = self.stream.send_data(Bytes::new(), true);
                return Poll::Ready(());
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => {
                    let is_last = self.body.is_end_stream();
                    // Needs no room. Where it is not the end it says nothing, and peers bear few of them.
                    if data.is_empty() {
                        if is_last {
                            let _ = self.stream.send_data(data, true);
                            return Poll::Ready(());
                        }
                        continue;
                    }
                    // The stream asks for as much as it is given; to ask for all of it before there is room would take
                    // a share of the connection's window from streams that need less.
                    self.stream.reserve_capacity(1);
                    self.held = Some(match is_last || data.len() >= SHORT {
                        true => (data, is_last),
                        false => self.gather(data, cx),
                    });
                }
                Ok(Err(frame)) => {
                    let Ok(trailers) = frame.into_trailers() else { continue };
                    self.stream.reserve_capacity(0);
                    let _ = self.stream.send_trailers(trailers);
                    return Poll::Ready(());
                }
                Err(error) => {
                    self.stream.send_reset(code(&error));
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<B> Departing<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.next.take() {
            Some(next) => Poll::Ready(next),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    /// `first` with what is ready behind it; true: that is all.
    fn gather(&mut self, first: Bytes, cx: &mut Context<'_>) -> (Bytes, bool) {
        let mut gathered = Gathered::One(first);
        while let Poll::Ready(next) = self.poll_next(cx) {
            let data = match next.map(|frame| frame.map(Frame::into_data)) {
                None => return (gathered.freeze(), true),
                Some(Ok(Ok(data))) => data,
                Some(Ok(Err(trailers))) => {
                    self.next = Some(Some(Ok(trailers)));
                    break;
                }
                Some(Err(error)) => {
                    self.next = Some(Some(Err(error)));
                    break;
                }
            };
            if gathered.len() + data.len() > FRAME as usize {
                self.next = Some(Some(Ok(Frame::data(data))));
                break;
            }
            gathered.add(&data);
            if self.body.is_end_stream() {
                return (gathered.freeze(), true);
            }
        }
        (gathered.freeze(), false)
    }
}

/// Pieces that are sent together; a single one is not copied.
enum Gathered {
    One(Bytes),
    Several(BytesMut),
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Several(bytes) => bytes.len(),
        }
    }

    fn add(&mut self, more: &[u8]) {
        if let Self::One(first) = self {
            let mut both = BytesMut::with_capacity((first.len() + more.len()).max(1024));
            both.extend_from_slice(first);
            *self = Self::Several(both);
        }
        if let Self::Several(all) = self {
            all.extend_from_slice(more);
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Several(bytes) => bytes.freeze(),
        }
    }
}

/// What a stream is reset with because its body broke: what the cause names, where it came by HTTP/2 itself, but for
/// NO_ERROR, by which some take what they have for all of it. A client that has not sent all of its request does not want
/// it any more, whatever it speaks.
fn code(broken: &BodyError) -> Code {
    let mut next = broken.source();
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason)
            && code != Code::NO_ERROR
        {
            return code;
        }
        next = error.source();
    }
    if broken.reason.is_of_client() { Code::CANCEL } else { Code::INTERNAL_ERROR }
}

/// Takes out what HTTP/2 has no such fields for (RFC 9113, 8.2.2). A gateway's own answer may say `connection: close`.
pub(crate) fn strip(fields: &mut HeaderMap) {
    let foreign = |name: &http::HeaderName| {
        matches!(*name, CONNECTION | TRANSFER_ENCODING | UPGRADE | TE)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    while let Some(name) = fields.keys().find(|name| foreign(name)).cloned() {
        fields.remove(name);
    }
}
