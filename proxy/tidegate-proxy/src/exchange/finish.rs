//! The record of an exchange. Its end is the exchange's end, on every path: it is dropped exactly once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;
use tidegate_config::plan::{PluginIndex, UpstreamIndex};
use tidegate_wasm::{Facts, UpstreamConnection};

use crate::exchange::arms::Taken;
use crate::exchange::counted;
use crate::exchange::facts::Told;
use crate::exchange::log_line;
use crate::exchange::logged::{self, Heads};
use crate::exchange::reroute::Reroute;
use crate::exchange::retry::Tries;
use crate::exchange::session::Held;
use crate::exchange::steps::Passed;
use crate::exchange::tapped::Tapped;
use crate::exchange::traced::Trace;
use crate::exchange::tunnel::Switched;
use crate::exchange::uplink::Progress;
use crate::filter::wasm::Guest;
use crate::http::added::Added;
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason};
use crate::http::headers;
use crate::http::reply::Reply;
use crate::local::{Client, View};
use crate::snapshot::Rule;
use crate::snapshot::logs::MILLION;
use crate::telemetry::access_log::noted::Noted;
use crate::time::Deadline;
use crate::upstream::balance::Why;
use crate::upstream::member::Member;

/// All that is known of one exchange.
pub(crate) struct Record {
    pub(crate) client: Rc<Client>,
    pub(crate) view: Rc<View>,
    pub(crate) listener: usize,
    /// The client behind a trusted proxy.
    pub(crate) behind: Option<SocketAddr>,
    /// Fields that are not in the request's head yet.
    pub(crate) added: Option<Added>,
    /// The request's head and the upstream that it went to, which guests may still read.
    pub(crate) gone: Option<(usize, Rc<Parts>)>,
    /// Guests that the request has met; their streams end with the record.
    pub(crate) guests: SmallVec<[Passed; 2]>,
    /// What the walk waits with; one for the whole exchange.
    pub(crate) deadline: Deadline,
    pub(crate) start: Duration,
    pub(crate) head_only: bool,
    pub(crate) version: http::Version,
    /// Kept for access logs only.
    pub(crate) noted: Option<Box<Noted>>,
    /// Bits of the access logs that it is for, once that was drawn, and that of taps.
    pub(crate) logs: u32,
    drawn: bool,
    /// Somebody wants to be told of its heads.
    pub(crate) takes_notes: bool,
    /// Of an exchange that is traced, or may turn out to be.
    pub(crate) trace: Option<Box<Trace>>,
    /// Of an exchange that a tap may show.
    pub(crate) tap: Option<Box<Tapped>>,
    /// There is one of these two.
    pub(crate) watched: bool,
    /// Kept for plugins of the access log only.
    pub(crate) heads: Option<Box<Heads>>,
    pub(crate) rule: Option<usize>,
    pub(crate) reroute: Reroute,
    /// The upstream and the server of the last attempt.
    pub(crate) upstream: Option<(usize, Rc<Member>)>,
    /// Why that server.
    pub(crate) picked: Why,
    /// The server that the client is to stay at.
    pub(crate) session: Option<Box<Held>>,
    /// The upstream that a filter has chosen, and which did.
    pub(crate) chosen: Option<(UpstreamIndex, PluginIndex)>,
    /// The server that a filter has chosen.
    pub(crate) server: Option<SocketAddr>,
    /// Versions that the request has had, of those that are on their way to take over.
    pub(crate) arms: Vec<Taken>,
    pub(crate) attempts: u32,
    /// Interim answers that the client was sent; others than those of attempts by themselves.
    pub(crate) interim: Cell<u32>,
    /// Of attempts by themselves.
    pub(crate) interim_aside: Option<Rc<Cell<u32>>>,
    /// What else is to be told of them, where there were several.
    pub(crate) tries: Option<Box<Tries>>,
    /// A failure is told as gRPC tells it.
    pub(crate) grpc: bool,
    /// When the head of the answer came.
    pub(crate) answered_at: Option<Duration>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) reason: Option<Reason>,
    /// The plugin that is away, which its policy does not allow.
    pub(crate) missed: Option<PluginIndex>,
    /// The plugin that answered.
    pub(crate) replied: Option<PluginIndex>,
    /// Why it did, in its own words.
    pub(crate) details: String,
    pub(crate) sent: u64,
    pub(crate) progress: Option<Rc<Progress>>,
    /// The server has switched protocols.
    pub(crate) switched: Option<Box<Switched>>,
    /// The whole answer was handed over.
    pub(crate) complete: bool,
    /// The whole of it was here with its head, whose coming is when the time was read last: it goes on and is over at once.
    pub(crate) at_once: bool,
    /// The end of the time that the rule allows, on the worker's clock.
    pub(crate) until: Option<Duration>,
    pub(crate) idle: Duration,
    /// What plugins that use properties share; none: there is no such plugin.
    pub(crate) facts: Option<Rc<Facts>>,
    /// When the last attempt began.
    pub(crate) sent_at: Option<Duration>,
    /// How long its answer took.
    pub(crate) latency: Option<Duration>,
    /// For them: why there was no connection.
    pub(crate) no_connection: Option<String>,
    /// How long it waited for a connection.
    pub(crate) waited: Option<Duration>,
    /// What they were told last of how it goes.
    pub(crate) told: Option<Told>,
    pub(crate) connection: Option<Rc<UpstreamConnection>>,
}

/// The idle time before a rule is known.
const IDLE: Duration = Duration::from_secs(60);

impl Record {
    /// A request has come.
    pub(crate) fn begin(client: Rc<Client>, head: &Rc<Parts>) -> Box<Self> {
        let local = &client.local;
        let cells = client.cells();
        cells.started.add(1);
        cells.active.add(1);
        client.exchanges.begin();
        let view = client.site.view.borrow().clone();
        view.generation.requests.of(local.shard.worker).add(1);
        let (takes_notes, tapped) = (!view.snapshot.logs.is_empty(), local.taps.are_open());
        // The place comes first, so that all of it is made there and not copied.
        let place = Box::new_uninit();
        let record = Self {
            view,
            listener: client.site.listener.get(),
            added: None,
            gone: None,
            behind: None,
            guests: SmallVec::new(),
            deadline: Deadline::new(&local.deadlines),
            start: local.deadlines.now(),
            head_only: head.method == Method::HEAD,
            version: head.version,
            noted: None,
            logs: 0,
            drawn: false,
            takes_notes,
            trace: None,
            tap: None,
            watched: false,
            heads: None,
            rule: None,
            reroute: Reroute::default(),
            upstream: None,
            picked: Why::default(),
            session: None,
            chosen: None,
            server: None,
            arms: Vec::new(),
            attempts: 0,
            interim: Cell::new(0),
            interim_aside: None,
            tries: None,
            grpc: false,
            answered_at: None,
            status: None,
            reason: None,
            replied: None,
            missed: None,
            details: String::new(),
            sent: 0,
            progress: None,
            switched: None,
            complete: false,
            at_once: false,
            until: None,
            idle: IDLE,
            facts: None,
            sent_at: None,
            latency: None,
            no_connection: None,
            waited: None,
            told: None,
            connection: None,
            client,
        };
        let mut record = Box::write(place, record);
        if tapped {
            record.begin_tap(head);
        }
        record
    }

    /// Keeps what access logs and taps will say, where there are any. `identified`: the head may have a request's number.
    #[inline]
    pub(crate) fn note_target(&mut self, head: &Rc<Parts>, identified: bool) {
        if self.takes_notes {
            self.note_for_logs(head, identified);
        }
    }

    /// The gateway's own fields are kept beside the head.
    pub(crate) fn note_added(&mut self, added: Added) {
        if let Some(noted) = self.noted.as_mut().filter(|_| self.view.snapshot.logs.wants.request_id) {
            noted.identify(added.request_id());
        }
        self.added = Some(added);
    }

    /// Whether the gateway's own fields must be in the head, for a log or a tap to tell of them.
    #[inline]
    pub(crate) fn tells_added(&self) -> bool {
        self.takes_notes && {
            let logs = &self.view.snapshot.logs;
            logs.wants.added || !logs.plugins.is_empty() || self.tap.is_some()
        }
    }

    fn note_for_logs(&mut self, head: &Rc<Parts>, identified: bool) {
        if self.noted.is_some() {
            self.tap_canonical(head);
        }
        let logs = &self.view.snapshot.logs;
        if !logs.plugins.is_empty() {
            self.heads.get_or_insert_default().note_request(head);
        }
        if !self.drawn {
            self.drawn = true;
            let random = &self.client.local.random;
            self.logs |= logs.draw(|| random.below(u64::from(MILLION)));
        }
        // The request's number is told to plugins as well.
        if self.logs != 0 || !logs.plugins.is_empty() {
            let wants = logs.wants;
            let noted = self.noted.get_or_insert_with(|| self.client.local.spare.take());
            let path = head.uri.path_and_query().filter(|_| wants.path).map_or("/", |path| path.as_str());
            let host = headers::host(&head.headers).filter(|_| wants.host);
            let field = |name: &HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
            let known: [_; Noted::HEADERS] = [
                Some(head.method.as_str().as_bytes()),
                Some(path.as_bytes()),
                Some(host.map_or(&b""[..], HeaderValue::as_bytes)),
                if wants.request_id && identified { field(&headers::REQUEST_ID) } else { None },
                if wants.agent { headers::agent(&head.headers) } else { None },
            ];
            noted.note(&known, logs.request_headers.iter().map(field));
        }
    }

    /// Keeps what access logs and taps will say of the answer.
    #[inline]
    pub(crate) fn note_answer(&mut self, headers: &HeaderMap, body: &mut Body) {
        if self.noted.is_some() {
            self.note_answer_for_logs(headers);
            self.tap_answer(headers, body);
        }
    }

    fn note_answer_for_logs(&mut self, headers: &HeaderMap) {
        let names = &self.view.snapshot.logs.response_headers;
        if let Some(noted) = self.noted.as_mut().filter(|_| !names.is_empty()) {
            noted.note_answer(headers, names);
        }
    }

    /// Who sent the request: the other end of the connection, or who is behind it.
    pub(crate) fn source(&self) -> SocketAddr {
        self.behind.unwrap_or(self.client.address)
    }

    /// The rule is known.
    pub(crate) fn routed(&mut self, id: usize, rule: &Rule) {
        self.rule = Some(id);
        self.idle = rule.timeouts.idle;
        self.until = rule.timeouts.request.map(|limit| self.start + limit);
        let patience = &self.client.patience;
        patience.set(patience.get().max(rule.timeouts.idle));
    }

    /// A plugin gave the answer.
    pub(crate) fn answered_by(&mut self, view: &View, plugin: PluginIndex, reply: &mut Reply) {
        self.details = std::mem::take(&mut reply.details);
        self.replied = Some(plugin);
        if let Some(slot) = view.plugins.get(plugin) {
            slot.entry.counters.of(self.client.local.shard.worker).replies.add(1);
        }
    }

    /// The exchange failed; the first reason stays.
    pub(crate) fn failed(&mut self, fail: &Fail) {
        if let Some(source) = &fail.source {
            tracing::debug!(origin = ?fail.origin, reason = fail.reason.word(), error = %source, "request failed");
        }
        if self.facts.is_some() && fail.reason == Reason::Connect {
            self.no_connection = fail.source.as_ref().map(ToString::to_string);
        }
        self.broke(fail.reason);
    }

    /// As [`Record::failed`], on the way of a body.
    pub(crate) fn broke(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
    }

    /// The head of the answer is on its way.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        if self.noted.is_some() || !self.arms.is_empty() {
            let (is_new, local) = (self.is_new(), &self.client.local);
            let now = || if is_new { local.deadlines.recent() } else { local.clock.now() };
            let at = *self.answered_at.get_or_insert_with(now);
            if !self.arms.is_empty() {
                self.count_heads(at.saturating_sub(self.start));
            }
        }
    }

    /// Whether the server has answered just now, which is when the time was read.
    pub(crate) fn is_new(&self) -> bool {
        self.latency.is_some() && self.guests.is_empty()
    }

    /// Whether an answer with this status has no body whatever its head says.
    pub(crate) fn bodiless(&self, status: StatusCode) -> bool {
        self.head_only
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
    }

    /// Waits for a body's next byte at most as long as the rule allows.
    pub(crate) fn arm_for_body(&self) {
        let idle = self.client.local.deadlines.now() + self.idle;
        self.deadline.set_until(Some(self.until.map_or(idle, |until| until.min(idle))));
    }

    /// The plugin by which the exchange failed.
    pub(crate) fn failed_by(&self) -> Option<PluginIndex> {
        let broke = |passed: &&Passed| passed.guest.has_failed();
        self.missed.or_else(|| self.guests.iter().find(broke).map(|passed| passed.plugin))
    }

    /// Ready once a guest has ended the request by itself; it says how.
    #[inline]
    pub(crate) fn poll_ended_by_guest(&self, cx: &Context<'_>) -> Poll<()> {
        if self.able().any(|guest| guest.poll_ended(cx).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// As [`Record::poll_ended_by_guest`] where nobody waits for it.
    #[inline]
    pub(crate) fn is_ended_by_guest(&self) -> bool {
        self.able().any(|guest| guest.ends())
    }

    /// The guests that can end the request by themselves.
    fn able(&self) -> impl Iterator<Item = &Rc<Guest>> {
        self.guests.iter().map(|passed| &passed.guest).filter(|guest| guest.ends_by_itself())
    }

    /// Why a filter broke the exchange off, in its own words.
    #[cold]
    fn why_reset(&self) -> String {
        let all = self.guests.iter().map(|passed| passed.guest.take_details());
        all.into_iter().find(|details| !details.is_empty()).unwrap_or_default()
    }

    fn reason_at_end(&self) -> Option<Reason> {
        let broken = self.progress.as_ref().and_then(|progress| progress.broken.get());
        self.reason.or(broken).or((!self.complete).then_some(Reason::ClientGone))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let local = &self.client.local;
        let now = if self.at_once { local.deadlines.recent() } else { local.deadlines.now() };
        let took = now.saturating_sub(self.start);
        self.client.exchanges.end();
        self.client.cells().active.subtract(1);
        self.view.generation.requests.of(local.shard.worker).subtract(1);
        self.reason = self.reason_at_end();
        if self.reason == Some(Reason::PluginReset) && self.details.is_empty() {
            self.details = self.why_reset();
        }
        if self.heads.is_some() {
            self.facts.get_or_insert_default();
        }
        self.tell_facts();
        counted::count(self, took);
        if !self.arms.is_empty() {
            self.count_arms(took);
        }
        if self.logs != 0 {
            log_line::write(self, took);
            self.end_tap(took);
        }
        if self.trace.is_some() {
            self.end_trace(took);
        }
        if let Some(heads) = self.heads.take() {
            logged::tell(self, &heads, took);
        }
        if let Some(noted) = self.noted.take() {
            self.client.local.spare.give_back(noted);
        }
        for passed in &self.guests {
            passed.guest.tell_end(self.status, took);
        }
        // All guests log before the first one is told that it is done, which it is when it is dropped.
        if self.guests.len() > 1 {
            self.guests.iter().for_each(|passed| passed.guest.log());
        }
        // In their order, which `clear` does not promise: all of the first one ends before the second one's.
        self.guests.drain(..).for_each(drop);
        self.leave_facts();
        if let Some((upstream, mut head)) = self.gone.take()
            && let Some(pool) = self.view.pools.get(upstream)
            && let Some(head) = Rc::get_mut(&mut head)
        {
            pool.reuse_fields(std::mem::take(&mut head.headers));
        }
    }
}
