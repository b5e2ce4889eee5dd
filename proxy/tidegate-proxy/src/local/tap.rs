//! Open taps as a worker has them: which requests somebody wants to see, how many of them, and the way to who asked.
//!
//! Without one a request costs the look at [`Taps::are_open`]. With one it is followed from its head on if it can still
//! match; what it came to is handed over at its end, or dropped and counted, and the worker never waits.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use tidegate_wasm::Tape;
use tokio::sync::mpsc::Sender;

use crate::http::sanitize;
use crate::snapshot::Snapshot;

/// Which requests are shown: those for which all of it is true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// A listener's name.
    pub listener: Option<String>,
    /// A route's name, or `route/rule`.
    pub route: Option<String>,
    /// The upstream of the last attempt.
    pub upstream: Option<String>,
    /// A plugin that the request met.
    pub plugin: Option<String>,
    /// First and last status of ranges; empty: all. 0 is no answer.
    pub statuses: Vec<(u16, u16)>,
    /// The method.
    pub method: Option<Method>,
    /// What the path begins with.
    pub path: Option<String>,
    /// The host, or `*.` and what it ends with; lower case.
    pub host: Option<String>,
    /// Fields of the request that are there, with that value where one is given.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Why it failed; `any`: that it failed.
    pub reason: Option<String>,
    /// Took at least this long.
    pub slower_than: Option<Duration>,
    /// How many of them, in a million.
    pub share: Option<u32>,
}

/// How much a tap shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapLimits {
    /// Requests until it ends.
    pub requests: u64,
    /// Requests in a second.
    pub rate: u32,
    /// First bytes of each body; 0: none.
    pub body: usize,
}

/// Requests that matched and are not shown, or were not looked at, and why.
#[derive(Debug, Default)]
pub(crate) struct TapDrops {
    /// More in a second than wanted.
    pub(crate) rate: AtomicU64,
    /// Who reads is behind.
    pub(crate) queue: AtomicU64,
    /// More in a second than are followed.
    pub(crate) load: AtomicU64,
}

/// Requests in a second that are followed for one tap by all workers: what is looked at costs, shown or not.
const FOLLOWED: u32 = 5_000;

/// An open tap.
pub(crate) struct Tap {
    pub(crate) filter: TapFilter,
    pub(crate) limits: TapLimits,
    sender: Sender<Arc<Seen>>,
    closed: AtomicBool,
    shown: AtomicU64,
    rate: Window,
    followed: Window,
    pub(crate) drops: TapDrops,
    /// The same of all taps.
    total: Arc<TapDrops>,
}

/// A second and how many were counted in it.
#[derive(Default)]
struct Window(AtomicU64);

impl Window {
    /// One more, if there may be.
    fn take(&self, second: u64, most: u32) -> bool {
        let next = |now: u64| {
            let (at, count) = (now >> 32, now & u64::from(u32::MAX));
            let count = if at < second { 0 } else { count };
            (count < u64::from(most)).then_some(at.max(second) << 32 | (count + 1))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Tap {
    /// One that hands requests over there.
    pub(crate) fn new(
        filter: TapFilter,
        limits: TapLimits,
        sender: Sender<Arc<Seen>>,
        total: Arc<TapDrops>,
    ) -> Self {
        Self {
            filter,
            limits,
            sender,
            closed: AtomicBool::new(false),
            shown: AtomicU64::new(0),
            rate: Window::default(),
            followed: Window::default(),
            drops: TapDrops::default(),
            total,
        }
    }

    /// Nothing more is wanted.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is wanted.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn drop_one(&self, of: fn(&TapDrops) -> &AtomicU64) {
        of(&self.drops).fetch_add(1, Ordering::Relaxed);
        of(&self.total).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request that has just come is to be followed; the cheapest is asked first.
    pub(crate) fn follows(&self, coming: &Coming<'_>, draw: impl FnOnce() -> u64) -> bool {
        if self.is_closed() || !self.filter.may_be(coming) {
            return false;
        }
        if self.filter.share.is_some_and(|share| draw() >= u64::from(share)) {
            return false;
        }
        let follows = self.followed.take(coming.second, FOLLOWED);
        if !follows {
            self.drop_one(|drops| &drops.load);
        }
        follows
    }

    /// Hands over a request that matched.
    pub(crate) fn hand_over(&self, seen: &Arc<Seen>, second: u64) {
        if self.is_closed() {
            return;
        }
        if !self.rate.take(second, self.limits.rate) {
            return self.drop_one(|drops| &drops.rate);
        }
        let before = self.shown.fetch_add(1, Ordering::Relaxed);
        if before >= self.limits.requests {
            return;
        }
        if self.sender.try_send(seen.clone()).is_err() {
            self.shown.fetch_sub(1, Ordering::Relaxed);
            self.drop_one(|drops| &drops.queue);
        } else if before + 1 == self.limits.requests {
            self.close();
        }
    }
}

/// A request that has just come.
pub(crate) struct Coming<'a> {
    pub(crate) listener: &'a str,
    pub(crate) head: &'a Parts,
    pub(crate) second: u64,
}

/// A request that is over.
pub(crate) struct Over<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) route: Option<(&'a str, &'a str)>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) plugins: &'a [Guested],
    pub(crate) status: u16,
    pub(crate) reason: Option<&'a str>,
    pub(crate) took: Duration,
}

impl TapFilter {
    /// Whether a request may match, by what is known of it when it comes.
    fn may_be(&self, coming: &Coming<'_>) -> bool {
        self.listener.as_ref().is_none_or(|name| name == coming.listener)
            && self.method.as_ref().is_none_or(|method| *method == coming.head.method)
            && self.is_of_host(coming.head)
            && self.has_fields(&coming.head.headers)
    }

    /// Whether it may match still, by its path in the form that routes see.
    pub(crate) fn may_be_at(&self, uri: &Uri) -> bool {
        self.path.as_ref().is_none_or(|path| uri.path().starts_with(path.as_str()))
    }

    /// Whether it may match still, now that its rule is known.
    pub(crate) fn may_be_of(&self, route: &str, rule: &str) -> bool {
        let Some(wanted) = &self.route else { return true };
        wanted == route || wanted.split_once('/').is_some_and(|(own, part)| own == route && part == rule)
    }

    /// Whether a request that is over matches.
    pub(crate) fn matches(&self, over: &Over<'_>) -> bool {
        let status = || self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&over.status));
        let reason = |wanted: &String| over.reason.is_some_and(|reason| wanted == "any" || wanted == reason);
        let met = |plugin: &String| over.plugins.iter().any(|guest| guest.plugin == *plugin);
        (self.statuses.is_empty() || status())
            && self.may_be_at(&over.head.uri)
            && (self.route.is_none() || over.route.is_some_and(|(route, rule)| self.may_be_of(route, rule)))
            && self.upstream.as_ref().is_none_or(|name| over.upstream == Some(name))
            && self.plugin.as_ref().is_none_or(met)
            && self.reason.as_ref().is_none_or(reason)
            && self.slower_than.is_none_or(|limit| over.took >= limit)
    }

    fn is_of_host(&self, head: &Parts) -> bool {
        let Some(wanted) = &self.host else { return true };
        let field = || head.headers.get(header::HOST).map(HeaderValue::as_bytes);
        let host = head.uri.host().map(str::as_bytes).or_else(field).map_or(&b""[..], sanitize::host);
        match wanted.strip_prefix('*') {
            Some(end) => host
                .len()
                .checked_sub(end.len())
                .and_then(|at| host.get(at..))
                .is_some_and(|own| own.eq_ignore_ascii_case(end.as_bytes())),
            None => host.eq_ignore_ascii_case(wanted.as_bytes()),
        }
    }

    fn has_fields(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, wanted)| match wanted {
            Some(wanted) => headers.get_all(name).iter().any(|value| value == wanted),
            None => headers.contains_key(name),
        })
    }
}

/// The open taps of a worker.
#[derive(Default)]
pub(crate) struct Taps {
    open: Cell<bool>,
    all: RefCell<Vec<Arc<Tap>>>,
}

impl Taps {
    /// Whether there is one.
    #[inline]
    pub(crate) fn are_open(&self) -> bool {
        self.open.get()
    }

    /// One more, instead of those that are closed.
    pub(crate) fn put(&self, tap: Option<Arc<Tap>>) {
        let mut all = self.all.borrow_mut();
        all.retain(|tap| !tap.is_closed());
        all.extend(tap);
        self.open.set(!all.is_empty());
    }

    /// Those that want to follow a request.
    pub(crate) fn following(&self, wants: impl FnMut(&Arc<Tap>) -> bool) -> Vec<Arc<Tap>> {
        let all = self.all.borrow();
        let (mut wants, mut closed) = (wants, false);
        let found = all
            .iter()
            .filter(|tap| {
                closed |= tap.is_closed();
                wants(tap)
            })
            .cloned()
            .collect();
        drop(all);
        if closed {
            self.put(None);
        }
        found
    }
}

/// A request as the worker saw it, with all that became of it.
pub(crate) struct Seen {
    /// What it ran with.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) generation: u64,
    pub(crate) listener: usize,
    /// When it ended.
    pub(crate) ended: Duration,
    pub(crate) client: SocketAddr,
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) version: Version,
    /// As it came.
    pub(crate) came: Line,
    /// In the form that routes see; none: it was refused before.
    pub(crate) canonical: Option<Line>,
    pub(crate) rule: Option<usize>,
    /// Rules that it had before.
    pub(crate) left: Vec<usize>,
    pub(crate) route_by: Option<String>,
    pub(crate) upstream_by: Option<String>,
    pub(crate) steps: Vec<Stepped>,
    pub(crate) guests: Vec<Guested>,
    /// As it went to the upstream last.
    pub(crate) sent: Option<Line>,
    pub(crate) attempts: Vec<Attempted>,
    /// Why there was no further attempt.
    pub(crate) stopped: Option<&'static str>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) answer: Option<HeaderMap>,
    pub(crate) answered_by: Option<String>,
    pub(crate) details: String,
    pub(crate) reason: Option<&'static str>,
    pub(crate) failed_by: Option<String>,
    pub(crate) bytes: (u64, u64),
    pub(crate) waited: Option<Duration>,
    pub(crate) head_took: Option<Duration>,
    pub(crate) took: Duration,
    pub(crate) trace: Option<(u128, u64)>,
    /// First bytes of both bodies.
    pub(crate) bodies: Option<[Bytes; 2]>,
}

/// A request's first line and its fields.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

impl From<&Parts> for Line {
    fn from(head: &Parts) -> Self {
        Self { method: head.method.clone(), uri: head.uri.clone(), headers: head.headers.clone() }
    }
}

/// Where a step stands: which rule, none for the listener, and its number there.
pub(crate) type Spot = (Option<usize>, usize);

/// A step of the gateway's own that changed a message.
pub(crate) struct Stepped {
    pub(crate) spot: Spot,
    pub(crate) change: Changed,
}

/// What such a step had before it and left behind.
pub(crate) enum Changed {
    /// Of the request.
    Request(Box<(Line, Line)>),
    /// Of the response.
    Response(Box<(HeaderMap, HeaderMap)>),
    /// A plugin that was away, which its policy allows.
    Away(String),
}

/// A plugin that the request met.
pub(crate) struct Guested {
    pub(crate) spot: Spot,
    pub(crate) plugin: String,
    pub(crate) tape: Option<Tape>,
    pub(crate) callbacks: usize,
    /// In the guest, in host functions, held.
    pub(crate) times: [Duration; 3],
    /// The request failed by it.
    pub(crate) failed: bool,
}

/// An attempt at an upstream. Times are since the request came.
pub(crate) struct Attempted {
    pub(crate) upstream: String,
    pub(crate) server: Option<SocketAddr>,
    pub(crate) picked: String,
    pub(crate) began: Duration,
    /// The connection was open already, or how long it took.
    pub(crate) connection: Option<(bool, Duration)>,
    /// Status or reason, what was underneath, and how long it took; none: it was given up.
    pub(crate) outcome: Option<(Outcome, Duration)>,
}

/// What an attempt came to.
pub(crate) enum Outcome {
    /// An answer.
    Status(StatusCode),
    /// None, and why.
    Failed(&'static str, Option<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, path: &str, host: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(path).header("host", host);
        request.header("x-env", "test").body(()).expect("a request").into_parts().0
    }

    fn tap(filter: TapFilter, limits: TapLimits) -> (Tap, tokio::sync::mpsc::Receiver<Arc<Seen>>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        (Tap::new(filter, limits, sender, Arc::default()), receiver)
    }

    const LIMITS: TapLimits = TapLimits { requests: 10, rate: 10, body: 0 };

    #[test]
    fn what_cannot_match_is_not_followed() {
        let asks = |filter: TapFilter| {
            let (tap, _seen) = tap(filter, LIMITS);
            let head = head("GET", "/a/b?c", "Shop.Example:8080");
            tap.follows(&Coming { listener: "web", head: &head, second: 1 }, || 500_000)
        };
        let all = TapFilter::default;
        let own = |name: &str| Some(name.to_owned());
        let field = |value: Option<&'static str>| {
            vec![(HeaderName::from_static("x-env"), value.map(HeaderValue::from_static))]
        };
        for (filter, expected) in [
            (all(), true),
            (TapFilter { listener: own("web"), ..all() }, true),
            (TapFilter { listener: own("other"), ..all() }, false),
            (TapFilter { method: Some(Method::GET), ..all() }, true),
            (TapFilter { method: Some(Method::PUT), ..all() }, false),
            (TapFilter { host: own("shop.example"), ..all() }, true),
            (TapFilter { host: own("*.example"), ..all() }, true),
            (TapFilter { host: own("*.shop.example"), ..all() }, false),
            (TapFilter { host: own("shop"), ..all() }, false),
            (TapFilter { headers: field(None), ..all() }, true),
            (TapFilter { headers: field(Some("test")), ..all() }, true),
            (TapFilter { headers: field(Some("live")), ..all() }, false),
            (TapFilter { share: Some(500_001), ..all() }, true),
            (TapFilter { share: Some(500_000), ..all() }, false),
        ] {
            assert_eq!(asks(filter.clone()), expected, "{filter:?}");
        }
    }

    #[test]
    fn what_is_over_must_match_all_of_it() {
        let head = head("GET", "/a/b", "h");
        let over = Over {
            head: &head,
            route: Some(("shop", "all")),
            upstream: Some("up"),
            plugins: &[],
            status: 502,
            reason: Some("upstream_reset"),
            took: Duration::from_millis(20),
        };
        let all = TapFilter::default;
        let own = |name: &str| Some(name.to_owned());
        for (filter, expected) in [
            (all(), true),
            (TapFilter { statuses: vec![(404, 404), (500, 599)], ..all() }, true),
            (TapFilter { statuses: vec![(200, 299)], ..all() }, false),
            (TapFilter { path: own("/a/"), ..all() }, true),
            (TapFilter { path: own("/b"), ..all() }, false),
            (TapFilter { route: own("shop"), ..all() }, true),
            (TapFilter { route: own("shop/all"), ..all() }, true),
            (TapFilter { route: own("shop/other"), ..all() }, false),
            (TapFilter { upstream: own("up"), ..all() }, true),
            (TapFilter { upstream: own("down"), ..all() }, false),
            (TapFilter { plugin: own("auth"), ..all() }, false),
            (TapFilter { reason: own("any"), ..all() }, true),
            (TapFilter { reason: own("upstream_reset"), ..all() }, true),
            (TapFilter { reason: own("timeout"), ..all() }, false),
            (TapFilter { slower_than: Some(Duration::from_millis(20)), ..all() }, true),
            (TapFilter { slower_than: Some(Duration::from_millis(21)), ..all() }, false),
            (TapFilter { statuses: vec![(500, 599)], route: own("other"), ..all() }, false),
        ] {
            assert_eq!(filter.matches(&over), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_second_has_room_for_so_many() {
        let window = Window::default();
        let taken = |second, most| (0..5).filter(|_| window.take(second, most)).count();
        assert_eq!([taken(7, 3), taken(7, 3), taken(8, 2), taken(7, 2), taken(9, 9)], [3, 0, 2, 0, 5]);
    }

    #[test]
    fn what_is_followed_is_limited_and_counted() {
        let (tap, _seen) = tap(TapFilter::default(), LIMITS);
        let head = head("GET", "/", "h");
        let follow = |second| tap.follows(&Coming { listener: "web", head: &head, second }, || 0);
        assert_eq!((0..FOLLOWED + 5).filter(|_| follow(1)).count(), FOLLOWED as usize);
        assert_eq!(tap.drops.load.load(Ordering::Relaxed), 5);
        assert!(follow(2));
        tap.close();
        assert!(!follow(3));
    }

    #[test]
    fn closed_taps_are_let_go() {
        let taps = Taps::default();
        let (one, _seen) = tap(TapFilter::default(), LIMITS);
        let one = Arc::new(one);
        taps.put(Some(one.clone()));
        assert!(taps.are_open());
        one.close();
        assert!(taps.following(|tap| !tap.is_closed()).is_empty());
        assert!(!taps.are_open());
    }
}
