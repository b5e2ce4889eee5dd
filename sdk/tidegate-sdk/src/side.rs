//! One direction of an exchange: what of it has come, what a handler waits for, and so whether it goes on or is held.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use tidegate_abi::{BufferKind, StreamKind};

use crate::host;

/// What the handler of a side waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing of this side: a call, a timer, something of the other side.
    Other,
    /// More of the body; what was read may go on.
    Chunk,
    /// The whole body; nothing may go on.
    Whole,
    /// The end of the body; all of it may go on.
    End,
}

/// The part of a side that has come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Head,
    Body,
    Trailers,
}

/// What a direction is called in the ABI.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) buffer: BufferKind,
    pub(crate) stream: StreamKind,
}

pub(crate) const REQUEST: Names = Names { buffer: BufferKind::RequestBody, stream: StreamKind::Request };
pub(crate) const RESPONSE: Names = Names { buffer: BufferKind::ResponseBody, stream: StreamKind::Response };
pub(crate) const CLIENT: Names = Names { buffer: BufferKind::DownstreamData, stream: StreamKind::Downstream };
pub(crate) const SERVER: Names = Names { buffer: BufferKind::UpstreamData, stream: StreamKind::Upstream };

/// One direction of one exchange.
pub(crate) struct Side {
    pub(crate) names: &'static Names,
    pub(crate) stage: Cell<Stage>,
    pub(crate) want: Cell<Want>,
    /// The host holds what has come so far.
    pub(crate) held: Cell<bool>,
    /// The host was told to show no more of the body for now.
    pub(crate) unfed: Cell<bool>,
    /// The head can no longer be changed.
    pub(crate) head_gone: Cell<bool>,
    /// The announced length was taken out of the head.
    pub(crate) rewritten: Cell<bool>,
    /// Bytes in the host's buffer.
    pub(crate) size: Cell<usize>,
    /// Where the piece begins that was handed out last.
    pub(crate) piece: Cell<usize>,
    /// Up to where bytes were handed out.
    pub(crate) read: Cell<usize>,
    /// No more bytes will come.
    pub(crate) ended: Cell<bool>,
    /// The handler's task, 0 for none.
    pub(crate) task: Cell<u32>,
    pub(crate) started: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Side {
    pub(crate) const fn new(names: &'static Names) -> Self {
        Side {
            names,
            stage: Cell::new(Stage::Head),
            want: Cell::new(Want::Other),
            held: Cell::new(false),
            unfed: Cell::new(false),
            head_gone: Cell::new(false),
            rewritten: Cell::new(false),
            size: Cell::new(0),
            piece: Cell::new(0),
            read: Cell::new(0),
            ended: Cell::new(false),
            task: Cell::new(0),
            started: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// The head has come.
    pub(crate) fn on_head(&self, end: bool) {
        self.stage.set(Stage::Head);
        self.ended.set(end);
        self.started.set(true);
    }

    /// More of the body has come; `size` counts what is held as well.
    pub(crate) fn on_body(&self, size: usize, end: bool) {
        self.stage.set(Stage::Body);
        if !self.held.get() || size < self.read.get() {
            self.read.set(0);
            self.piece.set(0);
        }
        self.size.set(size);
        self.ended.set(end);
        self.wake();
    }

    /// The trailers have come.
    pub(crate) fn on_trailers(&self) {
        self.stage.set(Stage::Trailers);
        self.ended.set(true);
        if !self.held.get() {
            self.forget();
        }
        self.wake();
    }

    /// What the host had has gone on.
    pub(crate) fn on_gone(&self) {
        self.held.set(false);
        self.unfed.set(false);
        self.head_gone.set(true);
        self.forget();
    }

    fn forget(&self) {
        self.size.set(0);
        self.read.set(0);
        self.piece.set(0);
    }

    /// Whether what has come goes on, as far as the waiting handler says.
    pub(crate) fn goes(&self) -> bool {
        match self.want.get() {
            Want::Other => false,
            Want::Chunk | Want::End => true,
            Want::Whole if self.stage.get() == Stage::Head => !feeds(self.names.stream),
            Want::Whole => {
                if self.unfed.replace(false) {
                    feeds(self.names.stream);
                }
                false
            }
        }
    }

    /// Notes who waits, and for what.
    pub(crate) fn wait(&self, want: Want, waker: &Waker) {
        self.want.set(want);
        let mut slot = self.waker.borrow_mut();
        match &*slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    pub(crate) fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

thread_local! {
    /// Whether the host can hold a head and show the body at the same time, once that is known.
    static FEEDS: Cell<Option<bool>> = const { Cell::new(None) };

    /// A host that does not know the function shows them all the same, as its configuration says.
    static SHOWN: Cell<bool> = const { Cell::new(false) };
}

/// Asks the host to show the body while it holds the head; false where it cannot.
fn feeds(stream: StreamKind) -> bool {
    let side = u8::from(stream == StreamKind::Response);
    if is_fed() { host::foreign(FEED, &[side]).is_ok() } else { SHOWN.get() }
}

/// Takes it for granted that the host shows bodies while it holds heads.
pub(crate) fn rely_on_bodies() {
    SHOWN.set(true);
}

/// Finds out whether the host can, before the first exchange: the function needs one, so the host refuses, but a host
/// that does not know it refuses in another way.
pub(crate) fn probe() {
    if FEEDS.get().is_none() {
        let unknown = matches!(host::foreign(FEED, &[0]), Err(refusal) if refusal.is(tidegate_abi::Status::NotFound)
            || refusal.is(tidegate_abi::Status::Unimplemented) || refusal.is(tidegate_abi::Status::InternalFailure));
        FEEDS.set(Some(!unknown));
    }
}

/// Whether it is known that the host can.
pub(crate) fn is_fed() -> bool {
    FEEDS.get() == Some(true)
}

/// Tidegate's foreign function: one byte of argument, 0 for the request and 1 for the response.
#[allow(unreachable_pub, reason = "natively tidegate-sdk-test needs it")]
pub const FEED: &str = "tidegate_feed";

impl Side {
    /// Whether it is bytes of a connection, which have no head.
    pub(crate) fn is_of_bytes(&self) -> bool {
        matches!(self.names.stream, StreamKind::Downstream | StreamKind::Upstream)
    }
}
