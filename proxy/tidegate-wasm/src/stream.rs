//! One request inside an instance: its heads, bodies and trailers while the guest may see them,
//! and what has to stay readable afterwards.

pub(crate) mod body;
pub(crate) mod destinations;
pub(crate) mod facts;
pub(crate) mod fields;
pub(crate) mod kept;
pub(crate) mod originals;
pub(crate) mod pending;
pub(crate) mod table;

use crate::{Destinations, Now, Side, Tape, budget::Used, shared::Lease};
use body::Body;
use bytes::{Bytes, BytesMut};
use facts::Facts;
use fields::Fields;
use http::{HeaderMap, HeaderValue, Version, request, response};
use kept::Kept;
use originals::Originals;
use pending::Pending;
use std::{fmt, net::SocketAddr, rc::Rc};
use tidegate_abi::BufferKind;

/// The field that tells a request from others.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Names a stream of one instance. Numbers are not used again while a guest could remember them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number that the guest sees.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the gateway knows about a request; guests read it as properties. Requests of one
/// connection that have the same rule can share it.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// The client.
    pub source: SocketAddr,
    /// Who has connected: the client, or the proxy that asks for it.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
    /// Whether the client uses TLS; also decides `:scheme`.
    pub tls: bool,
    /// The client's HTTP version.
    pub protocol: Version,
    /// The request's id; none: the `x-request-id` header at hand.
    pub request_id: Option<HeaderValue>,
    /// Number of the client's connection.
    pub connection_id: u64,
    /// Details of the client's TLS, if there are any.
    pub tls_details: Option<Rc<TlsDetails>>,
    /// The listener's name.
    pub listener: Option<Rc<str>>,
    /// The route's name.
    pub route: Option<Rc<str>>,
    /// The rule's name.
    pub rule: Option<Rc<str>>,
    /// The upstream's name, as far as it is known.
    pub upstream: Option<Rc<str>>,
    /// The upstream server's address, as far as it is known.
    pub upstream_address: Option<SocketAddr>,
    /// What all plugins of the request share; none: nothing is known, and each plugin has its own.
    pub facts: Option<Rc<Facts>>,
    /// Where filters may send the request; none: they may not choose.
    pub destinations: Option<Rc<dyn Destinations>>,
}

impl StreamInfo {
    /// A cleartext stream without names.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr, protocol: Version) -> Self {
        Self {
            source,
            peer: source,
            destination,
            tls: false,
            protocol,
            request_id: None,
            connection_id: 0,
            tls_details: None,
            listener: None,
            route: None,
            rule: None,
            upstream: None,
            upstream_address: None,
            facts: None,
            destinations: None,
        }
    }
}

/// What is known of a TLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsDetails {
    /// The name that the client asked for.
    pub server_name: String,
    /// As in `TLSv1.3`.
    pub version: String,
    /// Whether the client showed a certificate that was accepted.
    pub client_authenticated: bool,
    /// The gateway's certificate.
    pub local: CertificateDetails,
    /// The client's certificate.
    pub peer: CertificateDetails,
}

/// What a certificate says of its owner; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateDetails {
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
    /// Alternative names that are URIs.
    pub uris: Vec<String>,
    /// Alternative names that are host names.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
}

/// What is held back of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing.
    None,
    /// What came so far; more may come.
    Parts,
    /// Likewise, but the guest may wait for something else than the body: a callback that leaves the stream alone,
    /// as those that SDKs bring do, sets nothing free.
    Offered,
    /// What came so far, and more only when the answers that the guest waits for are there, or nothing else can wake it.
    All,
    /// What came so far, and more only after the guest has resumed: it said so.
    Stopped,
}

/// The part of a side that the guest is being told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// None right now.
    Idle,
    /// Its head.
    Head,
    /// A chunk of its body, perhaps the last.
    Body {
        /// Whether nothing follows.
        end: bool,
    },
    /// Its trailers.
    Trailers,
}

/// Whether a guest has answered or broken off during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Not now.
    No,
    /// For the first time, so what it is shown goes no further.
    Ended,
    /// Once more, when that counts no longer; this has no effect.
    Again,
}

/// One direction of a stream behind its head.
pub(crate) struct Flow {
    pub(crate) body: Body,
    /// Bytes before `body` that are held and that the guest does not want to see again.
    pub(crate) aside: Body,
    /// Bytes of body that came in.
    pub(crate) received: u64,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) hold: Hold,
    pub(crate) part: Part,
    /// The guest resumed this side during the call that is going on.
    pub(crate) resumed: bool,
    /// What the guest did to the stream during the call that is going on, which shows it this side.
    pub(crate) cut: Cut,
    /// The guest has read or written this side's body or fields during the call that is going on.
    pub(crate) touched: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            body: Body::default(),
            aside: Body::default(),
            received: 0,
            trailers: None,
            hold: Hold::None,
            part: Part::Idle,
            resumed: false,
            cut: Cut::No,
            touched: false,
        }
    }

    /// Drops what the request left behind.
    fn clear(&mut self) {
        if self.body.len() > 0 {
            self.body = Body::default();
        }
        if self.aside.len() > 0 {
            self.aside = Body::default();
        }
        self.trailers = None;
        self.received = 0;
        self.hold = Hold::None;
        self.part = Part::Idle;
        self.resumed = false;
        self.cut = Cut::No;
        self.touched = false;
    }

    /// Whether the guest has a body before it: while it is shown some, or while some is held.
    pub(crate) fn has_body(&self) -> bool {
        matches!(self.part, Part::Body { .. }) || self.body.len() > 0
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.aside.len() + self.body.len()
    }

    /// Puts what is before the guest aside: it goes on with the rest, but is not shown again.
    pub(crate) fn put_aside(&mut self) {
        let chunk = self.body.take();
        self.aside.push(chunk);
    }

    /// All that is held, in order; nothing is left.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.aside.len() > 0 {
            self.put_aside();
            return self.aside.take();
        }
        self.body.take()
    }

    /// The guest is shown a part of it.
    #[inline]
    pub(crate) fn turn_to(&mut self, part: Part) {
        self.part = part;
        self.touched = false;
    }

    /// Notes what is held after a call, in which the guest may also have resumed.
    pub(crate) fn settle(&mut self, hold: Hold) {
        self.part = Part::Idle;
        self.hold = if self.resumed { Hold::None } else { hold };
        self.resumed = false;
    }
}

/// One request and its response.
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// The guest knows of it.
    pub(crate) announced: bool,
    /// It was answered or reset by the guest: no more of the request goes to it, but the answer
    /// passes it like any other.
    pub(crate) ended: bool,
    /// The answer that it was ended with passes the guest, which may answer that once.
    pub(crate) anew: bool,
    /// In the callbacks at the end everything is readable.
    pub(crate) closing: bool,
    /// It is a connection: its sides carry bytes, without heads and trailers.
    pub(crate) of_bytes: bool,
    /// The guest has had its callback for the log.
    pub(crate) logged: bool,
    /// The guest wants to be shown nothing more of it.
    pub(crate) left: bool,
    /// The guest wrote to the request's head.
    pub(crate) changed: bool,
    /// It wrote the target, the method or the host there.
    pub(crate) turned: bool,
    /// What it wrote there is not to lead to another rule.
    pub(crate) stays: bool,
    pub(crate) info: Rc<StreamInfo>,
    /// What the plugins of the request share.
    pub(crate) facts: Option<Rc<Facts>>,
    pub(crate) opened: Now,
    /// Here until it is taken.
    pub(crate) request_head: Option<Rc<request::Parts>>,
    pub(crate) response_head: Option<response::Parts>,
    /// Fields that are not in the request's head yet.
    pub(crate) pending: Option<Pending>,
    /// The heads after they were taken, for guests that read them later. That of the request is shared with whoever
    /// has it now; the response's goes out by value and is copied.
    pub(crate) request_gone: Option<Rc<request::Parts>>,
    pub(crate) response_kept: Kept,
    /// Likewise the response's trailers.
    pub(crate) trailers_kept: Kept,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    /// While the guest is shown a whole response: its body as long as that is not before the guest, then its head.
    pub(crate) body_to_come: Bytes,
    pub(crate) head_gone: Option<response::Parts>,
    /// `:scheme` as the guest wrote it.
    pub(crate) scheme: Option<&'static str>,
    /// Bytes of header fields that the guest wrote.
    pub(crate) written: usize,
    /// Ticks spent in the guest.
    pub(crate) spent: u64,
    /// Host calls and bytes, where limits count them.
    pub(crate) used: Used,
    /// Calls made in its name that are not answered yet.
    pub(crate) calls: u32,
    /// Details of a local reply.
    pub(crate) details: Option<String>,
    /// It goes on when the guest breaks off: what a callback changes is kept as it was before.
    pub(crate) survives: bool,
    pub(crate) originals: Option<Box<Originals>>,
    /// Notes of what happens to it, where they are wanted.
    pub(crate) tape: Option<Box<Tape>>,
    /// What the guest says of its span, where the stream is traced.
    pub(crate) span: Option<Vec<(String, String)>>,
    /// What it holds of limits, until it is over.
    pub(crate) leases: Vec<Lease>,
    /// What the guest puts into the response's body beside what it lets through.
    pub(crate) injected: Option<Box<Injected>>,
}

/// Bytes that a guest puts into a body while it may hold what comes.
#[derive(Default)]
pub(crate) struct Injected {
    pub(crate) bytes: BytesMut,
    /// Nothing follows.
    pub(crate) end: bool,
}

impl Stream {
    pub(crate) fn new(id: u32, info: Rc<StreamInfo>, facts: Option<Rc<Facts>>, now: Now) -> Self {
        Self {
            id,
            announced: false,
            ended: false,
            anew: false,
            closing: false,
            of_bytes: false,
            logged: false,
            left: false,
            changed: false,
            turned: false,
            stays: false,
            facts,
            info,
            opened: now,
            request_head: None,
            response_head: None,
            pending: None,
            request_gone: None,
            response_kept: Kept::default(),
            trailers_kept: Kept::default(),
            request: Flow::new(),
            response: Flow::new(),
            body_to_come: Bytes::new(),
            head_gone: None,
            scheme: None,
            written: 0,
            spent: 0,
            used: Used::default(),
            calls: 0,
            details: None,
            survives: false,
            originals: None,
            tape: None,
            span: None,
            leases: Vec::new(),
            injected: None,
        }
    }

    /// Makes a used stream a new one, with the buffers it has.
    pub(crate) fn renew(&mut self, id: u32, info: Rc<StreamInfo>, facts: Option<Rc<Facts>>, now: Now) {
        self.id = id;
        self.announced = false;
        self.ended = false;
        self.anew = false;
        self.closing = false;
        self.logged = false;
        self.left = false;
        self.changed = false;
        self.turned = false;
        self.facts = facts;
        self.info = info;
        self.opened = now;
        self.spent = 0;
        self.used = Used::default();
        self.calls = 0;
    }

    /// Drops what the request left behind.
    pub(crate) fn clear(&mut self) {
        self.facts = None;
        self.request_head = None;
        self.response_head = None;
        self.head_gone = None;
        if !self.body_to_come.is_empty() {
            self.body_to_come = Bytes::new();
        }
        self.request_gone = None;
        self.pending = None;
        self.injected = None;
        self.response_kept.clear();
        self.trailers_kept.clear();
        self.request.clear();
        self.response.clear();
        self.scheme = None;
        self.written = 0;
        self.details = None;
        self.tape = None;
        self.leases.clear();
        self.of_bytes = false;
        self.survives = false;
        self.originals = None;
    }

    /// The side whose bytes a buffer holds, if this stream has such a buffer.
    pub(crate) fn side_of(&self, kind: BufferKind) -> Option<Side> {
        match (kind, self.of_bytes) {
            (BufferKind::RequestBody, false) | (BufferKind::DownstreamData, true) => Some(Side::Request),
            (BufferKind::ResponseBody, false) | (BufferKind::UpstreamData, true) => Some(Side::Response),
            _ => None,
        }
    }

    /// Notes that the guest has answered or broken off; false when this does not count: it had done so before, and is not
    /// shown its own answer, or that answer's head has gone on.
    pub(crate) fn end(&mut self) -> bool {
        let anew = std::mem::take(&mut self.anew) && self.response_head.is_some();
        let counts = !std::mem::replace(&mut self.ended, true) || anew;
        for flow in [&mut self.request, &mut self.response] {
            if flow.part != Part::Idle && flow.cut == Cut::No {
                flow.cut = if counts { Cut::Ended } else { Cut::Again };
            }
        }
        counts
    }

    /// The guest is told something of it: whether it has yet to be told that it is there.
    #[inline]
    pub(crate) fn meets(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    pub(crate) fn flow(&self, side: Side) -> &Flow {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    pub(crate) fn flow_mut(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Whether the client speaks gRPC, which has its own form of answers.
    pub(crate) fn is_grpc(&self) -> bool {
        let head = self.request_head.as_ref().or(self.request_gone.as_ref());
        let fields = head.map_or(Fields::Empty, |head| Fields::Request(head, self.scheme()));
        let rest = fields.value(b"content-type").and_then(|value| value.strip_prefix(b"application/grpc"));
        matches!(rest, Some([] | [b'+' | b';', ..]))
    }

    /// What the plugins of the request share.
    pub(crate) fn facts(&mut self) -> &Rc<Facts> {
        self.facts.get_or_insert_default()
    }

    /// The request's id, as far as it is known.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        let known = || {
            let head = self.request_head.as_ref().or(self.request_gone.as_ref())?;
            head.headers.get(REQUEST_ID).cloned()
        };
        let pending = || self.pending.as_ref().and_then(Pending::request_id);
        self.info.request_id.clone().or_else(pending).or_else(known)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        self.scheme.unwrap_or(if self.info.tls { "https" } else { "http" })
    }
}
