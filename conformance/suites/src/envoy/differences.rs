//! What is known to differ, and why it stays so.

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Cases whose name begins with this.
    case: &'static str,
    /// Every differing line must contain one of these; none: the whole case goes another way.
    lines: &'static [&'static str],
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
}

impl Expected {
    /// Whether these differences are nothing but the expected ones.
    pub(crate) fn explains(&self, differences: &[String]) -> bool {
        let expected = |line: &String| self.lines.iter().any(|part| line.contains(part));
        self.lines.is_empty() || differences.iter().all(expected)
    }
}

/// The entry for a case.
pub(crate) fn known(case: &str) -> Option<&'static Expected> {
    KNOWN.iter().find(|expected| case.starts_with(expected.case))
}

/// Whether a case ends Envoy.
pub(crate) fn crashes(case: &str) -> bool {
    known(case).is_some_and(|expected| expected.what == CRASH)
}

/// A guest that reads what it saw before gets it, where Envoy has let go of it.
const READABLE: &str = "the request's head stays readable to the stream's end: guests need not keep copies, and SDKs \
                        that break off at status 2 do not";
/// Envoy's codec for HTTP/1 tells of the end by a call of its own.
const TOGETHER: &str = "the last bytes and the end of the stream come in one call when both are known, as in HTTP/2: \
                        one call less";
/// Envoy ends.
const CRASH: &str = "Envoy 1.40 crashes";
/// A failure's answer says so.
const NAMED: &str = "a failure's answer has a body that says what failed, as all answers of the gateway have";

/// A client that went away while nobody read what it sends.
const UNREAD: &str = "a body that waits for a paused head is left to the client, so its going away is seen when the \
                      rule's idle time is over; Envoy buffers it meanwhile";

const KNOWN: &[Expected] = &[
    Expected {
        case: "a head that waits for a tick, and a body left alone",
        lines: &["rqb size", "tick"],
        what: "a body callback that does nothing does not let a head go on that may wait for a tick",
        why: "callbacks that SDKs bring would let requests pass before they are decided about",
    },
    Expected {
        case: "a head that waits for the body, all stops",
        lines: &["guest: envoy"],
        what: "who hangs for ever is not told that the client is gone",
        why: UNREAD,
    },
    Expected {
        case: "a head that waits for the body, with a tick, all stops",
        lines: &["guest: envoy"],
        what: "who hangs for ever is not told that the client is gone",
        why: UNREAD,
    },
    Expected {
        case: "a head that waits for the first chunk, all stops",
        lines: &["guest: envoy"],
        what: "who hangs for ever is not told that the client is gone",
        why: UNREAD,
    },
    Expected {
        case: "the request's map in response callbacks",
        lines: &[],
        what: "Envoy answers 2",
        why: READABLE,
    },
    Expected {
        case: "the request's properties in response callbacks",
        lines: &["rsh propst request"],
        what: "Envoy answers 1",
        why: READABLE,
    },
    Expected {
        case: "maps at the end",
        lines: &["done has 0 :path"],
        what: "Envoy answers 2 in on_done",
        why: READABLE,
    },
    Expected {
        case: "map sizes at the end",
        lines: &["log size"],
        what: "Envoy answers 2 in on_log",
        why: READABLE,
    },
    Expected {
        case: "changing a head that is gone",
        lines: &[],
        what: "reading it is 2 in Envoy",
        why: READABLE,
    },
    Expected {
        case: "all pairs of the request",
        lines: &[],
        what: "Envoy answers 404",
        why: "Envoy picks the route again with a head that for a moment had no path; here the new head counts",
    },
    Expected { case: "a body with a length", lines: &["rqb"], what: "fewer calls", why: TOGETHER },
    Expected { case: "a response with a length", lines: &["rsb"], what: "one call less", why: TOGETHER },
    Expected {
        case: "properties of the response",
        lines: &["grpc_status"],
        what: "no gRPC status for an answer that is none of gRPC; Envoy derives one from the HTTP status",
        why: "it would be made up",
    },
    Expected {
        case: "other buffers",
        lines: &["rqb"],
        what: "buffers that are not there: 1; Envoy has some of them empty",
        why: "SDKs take 1 as absent",
    },
    Expected {
        case: "the request's buffer in a response",
        lines: &["rsb"],
        what: "it is gone: 1; Envoy has it empty",
        why: "SDKs take 1 as absent",
    },
    Expected {
        case: "each chunk of a response",
        lines: &["rsb", "client:"],
        what: "the last bytes and the end come in one call",
        why: TOGETHER,
    },
    Expected { case: "replacing a response", lines: &["rsb"], what: "fewer calls", why: TOGETHER },
    Expected { case: "appending to a response", lines: &["rsb"], what: "fewer calls", why: TOGETHER },
    Expected { case: "a response in chunks", lines: &["rsb"], what: "fewer calls", why: TOGETHER },
    Expected { case: "a response held", lines: &["rsb"], what: "fewer calls", why: TOGETHER },
    Expected {
        case: "a response's head that waits for its",
        lines: &["rsb"],
        what: "fewer calls",
        why: TOGETHER,
    },
    Expected {
        case: "a reply in the response's held body",
        lines: &["rsb"],
        what: "fewer calls",
        why: TOGETHER,
    },
    Expected {
        case: "changing response trailers",
        lines: &["client:"],
        what: "by HTTP/1.1 a trailer that the guest adds is not sent",
        why: "over HTTP/1.1 only trailers that the head announces are sent to clients",
    },
    Expected {
        case: "a call before the body",
        lines: &["rqb", " call ", "GET /call"],
        what: "which pieces of the body come before the call's answer",
        why: "a matter of timing: here the body waits for the request's own call",
    },
    Expected { case: "a call in the response's body", lines: &["rsb"], what: "fewer calls", why: TOGETHER },
    Expected {
        case: "a call without a pause",
        lines: &["call "],
        what: "whether the call's answer comes before the request is over",
        why: "a matter of timing",
    },
    Expected {
        case: "a call to a dead server",
        lines: &["call headers=1 size="],
        what: "the 503's text",
        why: "texts of failures are each proxy's own",
    },
    Expected {
        case: "a call",
        lines: &["call has 7 a", "call size 6"],
        what: "maps of a call's answer: trailers that are not there are 1, their size is 0; Envoy says 2",
        why: "SDKs break off at status 2",
    },
    Expected {
        case: "reading beside the call's answer",
        lines: &["call size 6"],
        what: "the size of the answer's head is given; Envoy says 2",
        why: "it is known",
    },
    Expected { case: "continuing what is not paused", lines: &[], what: CRASH, why: "here it does nothing" },
    Expected { case: "a reply at the end", lines: &[], what: CRASH, why: "here it does nothing" },
    Expected { case: "breaking off at the end", lines: &[], what: CRASH, why: "here it does nothing" },
    Expected {
        case: "a reply whose body is rewritten",
        lines: &["rewrit", "client: envoy 403"],
        what: "Envoy cuts the new body to the old length, or breaks HTTP/2 streams off",
        why: "here the length is made right",
    },
    Expected {
        case: "the second one answers the response",
        lines: &["tidegate .a:", "envoy .a:", ".b:log", ".a:log"],
        what: "the first guest sees the second one's answer as it would see the upstream's",
        why: "a filter that must see every answer (an access log, say) does",
    },
    Expected {
        case: "a reply when the head is gone, h2",
        lines: &["client:"],
        what: "whether the head reaches the client before the reset",
        why: "a matter of timing",
    },
    Expected {
        case: "breaking off in the middle of a body, h2",
        lines: &["client:"],
        what: "whether the head reaches the client before the reset",
        why: "a matter of timing",
    },
    Expected {
        case: "sdk, brackets refuse",
        lines: &["upstream: envoy"],
        what: "a filter that reads a body whole before it refuses the request: Envoy's upstream has seen the head",
        why: "here the SDK has the gateway hold the head while the body comes",
    },
    Expected {
        case: "a trap",
        lines: &["client:"],
        what: "the answer's body, and that there is one at once",
        why: NAMED,
    },
];
