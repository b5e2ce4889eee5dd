//! What became of a request or connection.

use std::time::Duration;

use log::Level;
use tidegate_sdk::Fields;

use crate::machine::Properties;
use crate::message::Seen;
use crate::variant::without_odd;

/// What became of a request: what the client got, what the upstream saw, what the filter did besides.
///
/// ```
/// # use tidegate_sdk::{Filter, NoConfig, Request, filter};
/// # struct Plain;
/// # #[filter]
/// # impl Filter for Plain {
/// #     fn new(_: NoConfig) -> Self {
/// #         Plain
/// #     }
/// #     async fn on_request(&self, request: &mut Request) {
/// #         tidegate_sdk::log::info!("seen");
/// #         request.headers().set("x-tag", "blue");
/// #     }
/// # }
/// # fn main() {
/// use tidegate_sdk_test::{Gateway, get};
///
/// let answer = Gateway::<Plain>::start("").unwrap().send(get("/orders"));
/// assert_eq!((answer.status(), answer.is_from_filter()), (200, false));
/// let upstream = answer.upstream().expect("it went on");
/// assert_eq!(upstream.header("x-tag"), Some("blue"));
/// assert!(answer.logged("seen"));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub(crate) head: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) broken: bool,
    pub(crate) own: bool,
    pub(crate) details: String,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) upstream: Option<Seen>,
    pub(crate) chosen_upstream: Option<String>,
    pub(crate) chosen_route: Option<String>,
    pub(crate) calls: Vec<Seen>,
    pub(crate) lines: Vec<Line>,
    pub(crate) metrics: Vec<(String, i64)>,
    pub(crate) properties: Properties,
    pub(crate) elapsed: Duration,
    /// Bytes of the upstream's answer, before the filter has seen them.
    pub(crate) answered: usize,
}

/// A log line of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
}

impl Answer {
    /// The status that the client sees; 0 when the exchange was broken off before there was one.
    pub fn status(&self) -> u16 {
        self.head.get(":status").and_then(|status| status.parse()).unwrap_or(0)
    }

    /// The first value of a header that the client sees; `None` also when it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get_str(name)
    }

    /// All headers that the client sees.
    pub fn headers(&self) -> &Fields {
        &self.head
    }

    /// The body that the client gets.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The trailers that the client gets.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Whether the filter gave the answer, and not the upstream.
    pub fn is_from_filter(&self) -> bool {
        self.own
    }

    /// Why the filter answered, or broke the exchange off, as it said for the access log.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The gRPC status that the filter answered with.
    pub fn grpc_status(&self) -> Option<u32> {
        self.grpc_status
    }

    /// Whether the exchange was broken off.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The request as the upstream has seen it; `None` when it has not.
    pub fn upstream(&self) -> Option<&Seen> {
        self.upstream.as_ref()
    }

    /// The upstream that the filter chose last by [`set_upstream`](tidegate_sdk::Request::set_upstream).
    pub fn chosen_upstream(&self) -> Option<&str> {
        self.chosen_upstream.as_deref()
    }

    /// The route that the filter chose last by [`set_route`](tidegate_sdk::Request::set_route).
    pub fn chosen_route(&self) -> Option<&str> {
        self.chosen_route.as_deref()
    }

    /// The calls that the filter made meanwhile, in order.
    pub fn calls(&self) -> &[Seen] {
        &self.calls
    }

    /// The lines that the filter logged meanwhile.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether one of these lines contains a text.
    pub fn logged(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.text.contains(text))
    }

    /// By how much a counter or gauge has changed meanwhile; the last value of a histogram. Labels are part of the name:
    /// `denied_total{reason="expired"}`.
    pub fn metric(&self, name: &str) -> i64 {
        self.metrics.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    /// A property at the end of the exchange: one that the request came with, or as the filter has set it for those behind it.
    /// Only in the native harness; `None` elsewhere.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        let mut latest = self.properties.iter().rev();
        latest.find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// How long the exchange took, in the test's own time.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How this differs from what became of the same request in another way, if it does; and what the filter logged there,
    /// which mostly says why.
    pub(crate) fn difference(&self, other: &Answer) -> Option<String> {
        let mut compared = vec![
            ("status", self.status().to_string(), other.status().to_string()),
            ("headers", fields(&self.head), fields(&other.head)),
            pair("body", &self.body, &other.body),
            ("trailers", fields(&self.trailers), fields(&other.trailers)),
            ("broken off", self.broken.to_string(), other.broken.to_string()),
            ("calls", calls(&self.calls), calls(&other.calls)),
            (
                "chosen upstream",
                format!("{:?}", self.chosen_upstream),
                format!("{:?}", other.chosen_upstream),
            ),
            ("chosen route", format!("{:?}", self.chosen_route), format!("{:?}", other.chosen_route)),
        ];
        // A request that is answered may or may not have reached the upstream before: a head that cannot be held has.
        if !self.own {
            compared.extend(reached(self.upstream.as_ref(), other.upstream.as_ref()));
        }
        let differs = compared.iter().filter(|(_, one, another)| one != another);
        let mut lines: Vec<String> = differs
            .map(|(what, one, another)| format!("  {what}: {another}\n    but plain: {one}"))
            .collect();
        if lines.is_empty() {
            return None;
        }
        lines.extend(other.lines.iter().map(|line| format!("  it logged: {} {}", line.level, line.text)));
        Some(lines.join("\n"))
    }
}

/// What is compared: its name, and both forms of it.
type Compared = (&'static str, String, String);

fn fields(fields: &Fields) -> String {
    format!("{:?}", without_odd(fields))
}

/// Two bodies as text; of long ones only the place where they part.
fn pair(what: &'static str, one: &[u8], another: &[u8]) -> Compared {
    let same = one.iter().zip(another).take_while(|(one, another)| one == another).count();
    let shown = |body: &[u8]| {
        if one.len().max(another.len()) <= LONG {
            return format!("\"{}\"", body.escape_ascii());
        }
        let start = same.saturating_sub(AROUND);
        let part = body.get(start..body.len().min(same + AROUND)).unwrap_or_default();
        format!("{} bytes, from {start} on \"{}\"", body.len(), part.escape_ascii())
    };
    (what, shown(one), shown(another))
}

fn calls(calls: &[Seen]) -> String {
    let call = |seen: &Seen| {
        let body = seen.body.escape_ascii();
        format!("to {:?} {} \"{body}\"", seen.upstream, fields(&seen.head))
    };
    format!("[{}]", calls.iter().map(call).collect::<Vec<_>>().join(", "))
}

/// The request as the upstream has seen it.
fn reached(one: Option<&Seen>, another: Option<&Seen>) -> Vec<Compared> {
    let (Some(one), Some(another)) = (one, another) else {
        let said = |seen: Option<&Seen>| seen.map_or("has not seen it", |_| "has seen it").to_owned();
        return vec![("the upstream", said(one), said(another))];
    };
    vec![
        ("the upstream's headers", fields(&one.head), fields(&another.head)),
        pair("the upstream's body", &one.body, &another.body),
        ("the upstream's trailers", fields(&one.trailers), fields(&another.trailers)),
    ]
}

/// Bytes of a body that is shown whole.
const LONG: usize = 256;

/// Bytes before and after the place where longer ones part.
const AROUND: usize = 48;

/// What became of a connection.
///
/// ```
/// # use tidegate_sdk::{Filter, NoConfig, Request, filter};
/// # struct Plain;
/// # #[filter]
/// # impl Filter for Plain {
/// #     fn new(_: NoConfig) -> Self {
/// #         Plain
/// #     }
/// # }
/// # fn main() {
/// use tidegate_sdk_test::{Gateway, connect};
///
/// let ended = Gateway::<Plain>::start("").unwrap().connect(connect().sends("ping").answered("pong"));
/// assert_eq!((ended.server_got(), ended.client_got()), (&b"ping"[..], &b"pong"[..]));
/// assert!(!ended.closed());
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    pub(crate) server_got: Vec<u8>,
    pub(crate) client_got: Vec<u8>,
    pub(crate) closed: bool,
    pub(crate) lines: Vec<Line>,
}

impl Ended {
    /// The bytes that the server got.
    pub fn server_got(&self) -> &[u8] {
        &self.server_got
    }

    /// The bytes that the client got.
    pub fn client_got(&self) -> &[u8] {
        &self.client_got
    }

    /// In a line.
    pub(crate) fn told(&self) -> String {
        let (server, client) = (self.server_got.escape_ascii(), self.client_got.escape_ascii());
        let closed = if self.closed { ", closed by the filter" } else { "" };
        format!("the server got \"{server}\", the client \"{client}\"{closed}")
    }

    /// Whether the filter closed the connection.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// The lines that the filter logged meanwhile.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}
