//! A gRPC stream: messages both ways until one side ends it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::{Open, forget};
use crate::fields::Fields;
use crate::{Error, Outcome, host};

/// A stream of messages; broken off when it is dropped.
///
/// ```no_run
/// use tidegate_sdk::{Outcome, grpc};
///
/// async fn watch() -> Outcome<usize> {
///     let mut stream = grpc::call("chat.Room", "Listen").to("chat").open()?;
///     stream.send(b"hello")?;
///     stream.finish()?;
///     let mut bytes = 0;
///     while let Some(message) = stream.next().await? {
///         bytes += message.len();
///     }
///     Ok(bytes)
/// }
/// ```
#[derive(Debug)]
pub struct Stream {
    token: u32,
    open: Rc<Open>,
}

impl Stream {
    pub(super) fn new(token: u32, open: Rc<Open>) -> Self {
        Stream { token, open }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send(&self, message: impl AsRef<[u8]>) -> Outcome<()> {
        host::grpc_send(self.token, message.as_ref(), false)
            .map_err(|refusal| Error::refused("send a message", refusal))
    }

    /// Says that no more messages will be sent; the server may still send some.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn finish(&self) -> Outcome<()> {
        host::grpc_close(self.token).map_err(|refusal| Error::refused("end the stream", refusal))
    }

    /// The server's next message, and `None` when it has ended the stream well.
    ///
    /// # Errors
    /// [`Error::Grpc`] with the status when it has ended otherwise.
    pub async fn next(&mut self) -> Outcome<Option<Vec<u8>>> {
        poll_fn(|cx| {
            let mut seen = self.open.seen.borrow_mut();
            if let Some(message) = seen.messages.pop_front() {
                return Poll::Ready(message.map(Some));
            }
            match &seen.closed {
                Some((0, _)) => Poll::Ready(Ok(None)),
                Some((status, message)) => {
                    Poll::Ready(Err(Error::Grpc { status: *status, message: message.clone() }))
                }
                None => {
                    seen.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The server's first metadata, if they have come.
    pub fn metadata(&self) -> Option<Fields> {
        self.open.seen.borrow().initial.clone()
    }

    /// The server's last metadata; none before the end.
    pub fn trailing_metadata(&self) -> Fields {
        self.open.seen.borrow().trailing.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        forget(self.token);
    }
}
