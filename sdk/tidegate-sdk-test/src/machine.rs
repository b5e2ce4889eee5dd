//! What runs a filter: told what happens to streams, it says what becomes of them. [`Native`](crate::Native) runs the
//! filter's own code in the test; another one may run the built module in a real host.

use std::time::Duration;

pub use log::Level;
use tidegate_sdk::Fields;

/// A direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// What is to happen with the part that the filter has just seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on, with all that was held before it.
    Continue,
    /// It is held; more may be shown.
    Pause,
    /// It is held, and nothing more of this side may be shown until an effect says so.
    Wait,
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The head, pseudo-headers first; whether nothing follows.
    Head(Fields, bool),
    /// A piece of the body; whether it is the last.
    Body(Vec<u8>, bool),
    /// The trailers.
    Trailers(Fields),
}

/// What can be taken of a side that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// The head, if it was held.
    pub head: Option<Fields>,
    /// Bytes of the body.
    pub body: Vec<u8>,
    /// Trailers that came or were made.
    pub trailers: Option<Fields>,
}

/// Something that a filter wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer the client.
    Reply {
        /// The stream.
        stream: u32,
        /// The status.
        status: u16,
        /// The headers, without those of the framing.
        headers: Fields,
        /// The body.
        body: Vec<u8>,
        /// Why, in one word.
        details: String,
        /// For clients that speak gRPC.
        grpc_status: Option<u32>,
    },
    /// What is held of a side goes on.
    Resume {
        /// The stream.
        stream: u32,
        /// The side.
        side: Side,
    },
    /// More of a side may be shown, though it is held.
    Feed {
        /// The stream.
        stream: u32,
        /// The side.
        side: Side,
    },
    /// Break the stream off.
    Close {
        /// The stream.
        stream: u32,
        /// Why, for the access log; mostly empty.
        details: String,
    },
    /// Send a request.
    HttpCall {
        /// Names it.
        token: u32,
        /// Where to.
        upstream: String,
        /// Pseudo-headers and headers.
        headers: Fields,
        /// The body.
        body: Vec<u8>,
        /// The trailers.
        trailers: Fields,
        /// How long to wait.
        timeout: Duration,
    },
    /// Open a gRPC call, or a stream.
    GrpcCall {
        /// Names it.
        token: u32,
        /// Where to.
        upstream: String,
        /// Full name of the service.
        service: String,
        /// The method.
        method: String,
        /// Metadata.
        metadata: Fields,
        /// The one message of a call; none for a stream.
        message: Option<Vec<u8>>,
    },
    /// Send a message on a gRPC stream, or end one's own side without.
    GrpcSend {
        /// Names the stream.
        token: u32,
        /// The message.
        message: Option<Vec<u8>>,
    },
    /// Break a gRPC call off.
    GrpcCancel {
        /// Names it.
        token: u32,
    },
    /// Send the request to an upstream that the filter names.
    SetUpstream {
        /// The stream.
        stream: u32,
        /// The upstream.
        name: String,
    },
    /// Give the request a rule that the filter names.
    SetRoute {
        /// The stream.
        stream: u32,
        /// The rule.
        name: String,
    },
    /// Hand an empty result to [`Machine::foreign_result`] after this time.
    Sleep {
        /// Names it.
        token: u32,
        /// How long.
        time: Duration,
    },
    /// Send commands to Redis, and hand its replies, as they came, to [`Machine::foreign_result`].
    Redis {
        /// Names it.
        token: u32,
        /// Where to.
        upstream: String,
        /// The commands as Redis reads them.
        commands: Vec<u8>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Nobody waits for the result of a function any more.
    ForeignCancel {
        /// Names it.
        token: u32,
    },
    /// A log line.
    Log {
        /// Its level.
        level: Level,
        /// Its text.
        message: String,
    },
    /// Tell the filter this often that time has passed.
    TickPeriod(Option<Duration>),
    /// A queue has an entry.
    QueueReady(u32),
}

/// The answer to an HTTP call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// `:status` and headers.
    pub headers: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
}

/// What is told about gRPC calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcEvent {
    /// First metadata.
    InitialMetadata(Fields),
    /// A message.
    Message(Vec<u8>),
    /// Last metadata.
    TrailingMetadata(Fields),
    /// The end, with a status and a message.
    Close(u32, String),
}

/// What is known of a stream besides its messages: properties by path, segments joined by dots, in the ABI's encoding.
pub type Properties = Vec<(String, Vec<u8>)>;

/// The time since 1970 at which a machine configures its filter: in November 2023. Tests begin one tick later.
pub const CONFIGURED: Duration = Duration::from_secs(1_700_000_000).saturating_sub(FIRST_TICK);

/// The shortest time that hosts can be asked to tick after.
pub(crate) const FIRST_TICK: Duration = Duration::from_millis(1);

/// Runs a filter. An error is the filter's end: a panic, a trap.
#[allow(clippy::missing_errors_doc, reason = "said once for all")]
pub trait Machine {
    /// Sets the time since 1970, which never goes back; it is [`CONFIGURED`] at first.
    fn set_time(&mut self, now: Duration);
    /// A stream of HTTP begins.
    fn open(&mut self, properties: &Properties) -> u32;
    /// A connection of bytes begins.
    fn connect(&mut self, properties: &Properties) -> Result<(u32, Step), String>;
    /// A part of a message has come. Connections have bodies only.
    fn part(&mut self, stream: u32, side: Side, part: Part) -> Result<Step, String>;
    /// Takes what goes on.
    fn take(&mut self, stream: u32, side: Side) -> Passed;
    /// The stream is over.
    fn close(&mut self, stream: u32) -> Result<(), String>;
    /// The answer to an HTTP call; none when there was none.
    fn http_answer(&mut self, token: u32, answer: Option<CallAnswer>) -> Result<(), String>;
    /// News of a gRPC call.
    fn grpc(&mut self, token: u32, event: GrpcEvent) -> Result<(), String>;
    /// The result of a function that answers later; or a status with a message.
    fn foreign_result(&mut self, token: u32, result: Result<Vec<u8>, (u32, String)>) -> Result<(), String>;
    /// Time has passed.
    fn tick(&mut self) -> Result<(), String>;
    /// A queue has an entry.
    fn queue_ready(&mut self, queue: u32) -> Result<(), String>;
    /// What the filter wants, oldest first; to be asked after every other call.
    fn effects(&mut self) -> Vec<Effect>;
    /// Metrics by name.
    fn metrics(&self) -> Vec<(String, i64)>;
    /// The properties of a stream that is not over, as the request came with them and as the filter has set them: of a name
    /// that repeats the last counts. None where the machine does not know.
    fn properties(&self, stream: u32) -> Properties {
        let _ = stream;
        Vec::new()
    }
}
