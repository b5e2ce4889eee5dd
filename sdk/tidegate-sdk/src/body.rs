//! A body on its way: read whole or in chunks, replaced, limited; and the trailers behind it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tidegate_abi::{MapKind, Status, StreamKind};

use crate::exchange::{Exchange, SideRef, Which};
use crate::headers::Headers;
use crate::host::Refusal;
use crate::side::{Side, Stage, Want};
use crate::{Error, Outcome, host};

/// The body of a request or response, or the bytes of one direction of a connection.
///
/// Two ways to read it: [`collect`](Body::collect) holds everything until all of it is there; [`next`](Body::next) gives
/// what came, and lets it go on when the next piece is asked for. [`replace`](Body::replace) changes what was read last.
///
/// ```
/// use tidegate_sdk::{Body, Filter, Request, Response, Result, filter};
///
/// struct Upper;
///
/// #[filter]
/// impl Filter for Upper {
///     fn new(_: tidegate_sdk::NoConfig) -> Self {
///         Upper
///     }
///
///     async fn on_request(&self, request: &mut Request, body: &mut Body) -> Result<()> {
///         let whole = body.collect(64 * 1024).await?;
///         request.headers().set("x-body-bytes", whole.len().to_string());
///         Ok(())
///     }
///
///     async fn on_response(&self, _response: &mut Response, body: &mut Body) -> Result<()> {
///         body.rewrite();
///         while let Some(chunk) = body.next().await? {
///             body.replace(chunk.to_ascii_uppercase())?;
///         }
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
pub struct Body {
    side: SideRef,
    trailers: Headers,
    head: MapKind,
}

/// Tidegate's foreign function: one byte, 0 for the request and 1 for the response, and what is to be added.
const APPEND: &str = "tidegate_append";

/// Tidegate's foreign function: one byte of argument, 0 for the request and 1 for the response.
const BREAK_OFF: &str = "tidegate_break_off";

impl Body {
    /// Made for each handler, so it asks the exchange for nothing.
    #[inline]
    pub(crate) fn new<S: 'static>(exchange: Rc<Exchange<S>>, which: Which) -> Self {
        let (trailers, head) = match which {
            Which::Request => (MapKind::RequestTrailers, MapKind::RequestHeaders),
            Which::Response => (MapKind::ResponseTrailers, MapKind::ResponseHeaders),
        };
        Body { side: SideRef::new(exchange, which), trailers: Headers::new(trailers), head }
    }

    /// All of it, once all of it is there. Head and body are held until the handler goes on; where the host cannot hold a
    /// head while it shows the body (Envoy without `allow_on_headers_stop_iteration`), the head goes on first.
    ///
    /// # Errors
    /// [`Error::TooLarge`] as soon as there are more than `limit` bytes; a handler that passes it on answers 413. What the
    /// gateway holds (`limits.heldBody`, 1 MiB if nothing is said) is a limit as well, above which it answers 413 itself,
    /// or 500 for a response: [`Plugin::held_body`](crate::Plugin::held_body) tells it.
    pub async fn collect(&mut self, limit: usize) -> Outcome<Vec<u8>> {
        self.wait(Want::Whole, |side| side.size.get() > limit || side.ended.get()).await;
        let side = self.side.get();
        if side.size.get() > limit {
            return Err(Error::TooLarge { limit });
        }
        self.read(0)
    }

    /// The first bytes, once there are more than `limit` or all of them, and whether these are all. Nothing is read by it:
    /// the body is held until the handler goes on, or asks for pieces, and then goes on from its beginning.
    ///
    /// # Errors
    /// When the host does not hand them out.
    pub async fn peek(&mut self, limit: usize) -> Outcome<(Vec<u8>, bool)> {
        self.wait(Want::Whole, |side| side.size.get() > limit || side.ended.get()).await;
        let size = self.side.get().size.get();
        let bytes = if size == 0 { Vec::new() } else { self.bytes(0, size.min(limit))? };
        Ok((bytes, size <= limit))
    }

    /// The next piece, of whatever size, and `None` at the end. What was read before goes on.
    ///
    /// # Errors
    /// When the host does not hand it out.
    pub async fn next(&mut self) -> Outcome<Option<Vec<u8>>> {
        let has_more = |side: &Side| side.read.get() < side.size.get();
        self.wait(Want::Chunk, |side| has_more(side) || side.ended.get()).await;
        let side = self.side.get();
        if !has_more(side) {
            // What is appended now comes behind all.
            side.piece.set(side.size.get());
            return Ok(None);
        }
        self.read(side.read.get()).map(Some)
    }

    /// Puts bytes in the place of what was read last: the whole body after [`collect`](Body::collect), the piece after
    /// [`next`](Body::next). At the end of the body (`next` gave `None`) they are added behind it, before the trailers.
    ///
    /// # Errors
    /// [`Error::HeadIsGone`] when the length would change but the head that announced it has gone on: call
    /// [`rewrite`](Body::rewrite) before the first piece. [`Error::BodyIsGone`] when there is nothing left to replace; in
    /// hosts other than Tidegate also when something is to be added to a body that has trailers, since there it has gone
    /// on by then.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) -> Outcome<()> {
        let (side, bytes) = (self.side.get(), bytes.as_ref());
        let (start, end) = (side.piece.get(), side.read.get());
        if end.saturating_sub(start) == 0 && bytes.is_empty() {
            return Ok(());
        }
        if side.stage.get() == Stage::Head {
            return Err(Error::BodyIsGone);
        }
        if bytes.len() != end - start && !side.rewritten.get() {
            self.forget_length()?;
        }
        self.put(bytes)
    }

    /// Keeps only the first bytes of what was read last. A length that the head announced stays, so that whoever gets the
    /// body notices that some of it is missing; [`replace`](Body::replace) is for bodies that are to be whole.
    ///
    /// # Errors
    /// [`Error::BodyIsGone`] when there is nothing left to cut.
    pub fn cut(&mut self, keep: usize) -> Outcome<()> {
        let side = self.side.get();
        let start = side.piece.get();
        if keep >= side.read.get() - start {
            return Ok(());
        }
        if side.stage.get() == Stage::Trailers && !side.held.get() {
            return Err(Error::BodyIsGone);
        }
        let kept = if keep == 0 { Vec::new() } else { self.bytes(start, keep)? };
        self.put(&kept)
    }

    /// Has the body break off behind what has gone on and what was read last, as if its sender were lost: over HTTP/2 the
    /// stream is reset, over HTTP/1 the connection closed, so that whoever gets it notices whether or not its length was
    /// announced. Tidegate only.
    ///
    /// # Errors
    /// When the host has no such function, or the body is not of a request or response.
    pub fn break_off(&mut self) -> Outcome<()> {
        let side = u8::from(self.side.get().names.stream == StreamKind::Response);
        host::foreign(BREAK_OFF, &[side])
            .map(drop)
            .map_err(|refusal| Error::refused("break the body off", refusal))
    }

    /// Puts bytes in the place of the piece that was read last.
    fn put(&mut self, bytes: &[u8]) -> Outcome<()> {
        let side = self.side.get();
        let (start, end, size) = (side.piece.get(), side.read.get(), side.size.get());
        // Buffers are no more once trailers have come and nothing is held.
        if side.stage.get() == Stage::Trailers && size == 0 {
            self.append(bytes)?;
            side.size.set(bytes.len());
            side.read.set(bytes.len());
            return Ok(());
        }
        let (whole, at, len);
        if start == 0 {
            (whole, at, len) = (None, 0, end.max(usize::from(size == 0)));
        } else if start >= size {
            (whole, at, len) = (None, size, 0);
        } else {
            // Hosts cannot write into the middle.
            let mut all = self.bytes(0, size)?;
            all.splice(start.min(all.len())..end.min(all.len()), bytes.iter().copied());
            (whole, at, len) = (Some(all), 0, size);
        }
        host::set_buffer(side.names.buffer, at, len, whole.as_deref().unwrap_or(bytes))
            .map_err(|refusal| Error::refused("write the body", refusal))?;
        side.size.set(size - (end - start) + bytes.len());
        side.read.set(start + bytes.len());
        Ok(())
    }

    /// Adds to a body that has gone on, while its trailers are here.
    fn append(&self, bytes: &[u8]) -> Outcome<()> {
        let mut arguments = Vec::with_capacity(1 + bytes.len());
        arguments.push(u8::from(self.side.get().names.stream == StreamKind::Response));
        arguments.extend_from_slice(bytes);
        host::foreign(APPEND, &arguments).map(drop).map_err(not_added)
    }

    /// Says that this body will be changed piece by piece: takes the announced length out of the head while it is still
    /// here. Not needed for a body that is collected and then replaced.
    pub fn rewrite(&mut self) {
        if let Err(error) = self.forget_length() {
            log::debug!("the body's length stays as announced: {error}");
        }
    }

    fn forget_length(&self) -> Outcome<()> {
        let side = self.side.get();
        if side.is_of_bytes() {
            return Ok(());
        }
        if side.head_gone.get() {
            return Err(Error::HeadIsGone);
        }
        host::remove_header(self.head, "content-length")
            .map_err(|refusal| Error::refused("remove the length", refusal))?;
        side.rewritten.set(true);
        Ok(())
    }

    /// The trailers, once the body is through; `None` when there are none. The body goes on.
    pub async fn trailers(&mut self) -> Option<&Headers> {
        self.wait(Want::End, |side| side.ended.get()).await;
        (self.side.get().stage.get() == Stage::Trailers).then_some(&self.trailers)
    }

    /// Adds a trailer to a body that has come to its end without any.
    ///
    /// # Errors
    /// When the end is not there yet, or is gone, or the host refuses.
    pub fn add_trailer(&mut self, name: &str, value: impl AsRef<[u8]>) -> Outcome<()> {
        if !self.side.get().ended.get() {
            return Err(Error::BodyIsGone);
        }
        self.trailers.try_add(name, value)
    }

    /// Lets the rest go on as it comes, and counts it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when there are more than `limit` bytes.
    pub async fn pass(&mut self, limit: usize) -> Outcome<usize> {
        let mut count = 0_usize;
        loop {
            self.wait(Want::Chunk, |side| side.read.get() < side.size.get() || side.ended.get()).await;
            let side = self.side.get();
            let more = side.size.get().saturating_sub(side.read.get());
            side.piece.set(side.size.get());
            side.read.set(side.size.get());
            count = count.saturating_add(more);
            if count > limit {
                return Err(Error::TooLarge { limit });
            }
            if side.ended.get() {
                return Ok(count);
            }
        }
    }

    /// Whether all of it has come.
    pub fn has_ended(&self) -> bool {
        self.side.get().ended.get()
    }

    /// Hands out what there is from `start` on.
    fn read(&self, start: usize) -> Outcome<Vec<u8>> {
        let side = self.side.get();
        let end = side.size.get();
        let bytes = if start == end { Vec::new() } else { self.bytes(start, end - start)? };
        side.piece.set(start);
        side.read.set(end);
        Ok(bytes)
    }

    fn bytes(&self, start: usize, len: usize) -> Outcome<Vec<u8>> {
        host::buffer(self.side.get().names.buffer, start, len)
            .map_err(|refusal| Error::refused("read the body", refusal))
    }

    fn wait<Is: Fn(&Side) -> bool + Unpin>(&self, want: Want, is: Is) -> Waiting<'_, Is> {
        Waiting { side: self.side.get(), want, is }
    }
}

/// Why bytes were not added behind a body: a host without the function has let the body go, any other refuses these bytes.
fn not_added(refusal: Refusal) -> Error {
    match refusal.is(Status::NotFound) || refusal.is(Status::Unimplemented) {
        true => Error::BodyIsGone,
        false => Error::refused("add to the body", refusal),
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

/// Waits until something is true of a side.
struct Waiting<'a, Is> {
    side: &'a Side,
    want: Want,
    is: Is,
}

impl<Is: Fn(&Side) -> bool + Unpin> Future for Waiting<'_, Is> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if (self.is)(self.side) {
            self.side.want.set(Want::Other);
            return Poll::Ready(());
        }
        self.side.wait(self.want, cx.waker());
        Poll::Pending
    }
}

/// A handler that stopped waiting, as one of several that were raced, wants nothing more.
impl<Is> Drop for Waiting<'_, Is> {
    fn drop(&mut self) {
        self.side.want.set(Want::Other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_without_the_function_has_let_the_body_go() {
        for (status, gone) in [
            (Status::NotFound, true),
            (Status::Unimplemented, true),
            (Status::BadArgument, false),
            (Status::InternalFailure, false),
        ] {
            assert_eq!(not_added(Refusal::from(status)) == Error::BodyIsGone, gone, "{status:?}");
        }
    }
}
