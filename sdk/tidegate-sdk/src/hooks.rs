//! Doors between the callbacks and the parts of the SDK that a filter may or may not use. A part opens its door when it
//! is first used, so that the code of parts that are never used is not in the module.

use std::cell::Cell;

/// What the host tells besides the progress of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The answer to an HTTP call; no headers mean that there is none.
    HttpAnswer {
        token: u32,
        headers: u32,
        body: u32,
        trailers: u32,
    },
    GrpcInitialMetadata {
        token: u32,
    },
    GrpcMessage {
        token: u32,
        size: u32,
    },
    GrpcTrailingMetadata {
        token: u32,
    },
    GrpcClose {
        token: u32,
        status: u32,
    },
    QueueReady {
        queue: u32,
    },
    ForeignResult {
        token: u32,
        size: u32,
    },
    /// Time has passed.
    Tick,
    /// A callback is about to end: what was put off must be done now.
    Settle,
}

pub(crate) type Hook = Cell<Option<fn(Event)>>;

thread_local! {
    pub(crate) static HTTP: Hook = const { Cell::new(None) };
    pub(crate) static GRPC: Hook = const { Cell::new(None) };
    pub(crate) static FOREIGN: Hook = const { Cell::new(None) };
    pub(crate) static QUEUE: Hook = const { Cell::new(None) };
    pub(crate) static TIME: Hook = const { Cell::new(None) };
}

/// Tells a part, if it was ever used.
#[inline]
pub(crate) fn tell(hook: &'static std::thread::LocalKey<Hook>, event: Event) {
    if let Some(listen) = hook.get() {
        listen(event);
    }
}
