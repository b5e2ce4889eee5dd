//! A shared cache by RFC 9111: keeps responses in the host's shared data, for all workers, and answers from them.

mod answer;
mod claim;
mod config;
mod control;
mod date;
mod fetch;
mod freshness;
mod key;
mod purge;
mod record;
mod refresh;
mod store;

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use tidegate_request_parts::Taken;
use tidegate_sdk::{
    Body, ConfigError, Counter, Fields, Filter, Finished, Flow, Reply, Request, Response, Result, filter,
    log, signal, time,
};

use answer::Asked;
use claim::Claim;
pub use config::Config;
use config::RequestDirectives;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use control::Control;
use fetch::Fetch;
use freshness::{Use, usable};
use purge::Purges;
use record::Record;
use store::Store;

/// The filter.
pub struct Cache(Rc<Inner>);

/// What it shares with what goes on in the background.
pub struct Inner {
    config: Config,
    store: Store,
    purges: Purges,
    /// Requests of this instance that wait for another's response.
    waiting: Cell<u32>,
    /// Bytes of bodies that are being gathered.
    gathering: Cell<usize>,
}

impl Deref for Cache {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What a request leaves for its response.
#[derive(Default)]
pub enum Left {
    /// Nothing.
    #[default]
    Nothing,
    /// It passes the cache, for this reason.
    Passed(&'static str),
    /// The response may be kept.
    Fetch(Box<Fetch>),
    /// The response tells whether what is kept for GET is still right.
    Head(Box<Fetch>),
    /// The response is on its way, and others wait for it: its key, and the end of its claim.
    Claimed(Vec<u8>, u64),
    /// What is kept of its target is invalid if it succeeds.
    Unsafe(Fields),
}

static HITS: Counter = Counter::new("cache_hits_total");
static STALE: Counter = Counter::new("cache_stale_total");
static MISSES: Counter = Counter::new("cache_misses_total");
static CONFIRMED: Counter = Counter::new("cache_confirmed_total");
static STORED: Counter = Counter::new("cache_stored_total");
static COALESCED: Counter = Counter::new("cache_coalesced_total");
static INVALIDATED: Counter = Counter::new("cache_invalidated_total");

#[filter]
impl Filter for Cache {
    type Config = Config;
    type State = RefCell<Left>;

    fn new(config: Config) -> std::result::Result<Self, ConfigError> {
        config.check()?;
        let store = Store::new(config.entries, config.total_size.0);
        let purges = Purges::new(config.purge.as_ref());
        Ok(Cache(Rc::new(Inner { config, store, purges, waiting: Cell::new(0), gathering: Cell::new(0) })))
    }

    async fn on_request(&self, request: &mut Request<RefCell<Left>>) -> Result<Flow> {
        let fields = request.headers().all();
        let method = fields.get_str(":method").unwrap_or_default();
        if let Some(reply) = self.purge(method, &fields) {
            return Ok(reply.into());
        }
        let leave = |left| {
            request.state().replace(left);
            Ok(Flow::Continue)
        };
        match method {
            "GET" | "HEAD" => {}
            "OPTIONS" | "TRACE" => return leave(Left::Passed("method")),
            _ => return leave(Left::Unsafe(fields)),
        }
        let asked = Asked::of(&fields, method);
        let control = self.control(&fields);
        let passes = control.no_store
            || asked.has_precondition
            || request.has_body()
            || fields.get("upgrade").is_some();
        if passes {
            return leave(Left::Passed("bypass"));
        }
        let is_head = method == "HEAD";
        let only_read = is_head || asked.has_range();
        let mut fetch = Fetch::new(key::of_target(&fields), fields, asked, control);
        fetch.taken = Taken::of(request);
        match self.0.look(&mut fetch, only_read).await {
            Some(reply) => Ok(reply.into()),
            None => {
                fetch.ask(request.headers(), only_read);
                MISSES.increment();
                leave(match (is_head && fetch.stale.is_some(), only_read) {
                    (true, _) => Left::Head(Box::new(fetch)),
                    (_, true) => Left::Passed(fetch.forward),
                    (_, false) => Left::Fetch(Box::new(fetch)),
                })
            }
        }
    }

    async fn on_response(&self, response: &mut Response<RefCell<Left>>, body: &mut Body) -> Result<Flow> {
        match response.state().take() {
            Left::Nothing | Left::Claimed(..) => Ok(Flow::Continue),
            Left::Passed(why) => {
                let status = format!("{}; fwd={why}", self.config.name);
                response.headers().add("cache-status", status);
                Ok(Flow::Continue)
            }
            Left::Head(mut fetch) => {
                let status = format!("{}; fwd={}", self.config.name, fetch.forward);
                self.compare(&mut fetch, response);
                response.headers().add("cache-status", status);
                Ok(Flow::Continue)
            }
            Left::Unsafe(fields) => {
                if (200..400).contains(&response.status()) {
                    self.invalidate(&fields, &response.headers().all());
                }
                response.headers().add("cache-status", format!("{}; fwd=method", self.config.name));
                Ok(Flow::Continue)
            }
            Left::Fetch(mut fetch) => {
                // Where the response or its client breaks off, this handler never gets behind its body.
                if let Some(end) = fetch.claim {
                    response.state().replace(Left::Claimed(fetch.key.clone(), end));
                }
                let outcome = self.take_in(&mut fetch, response, body).await;
                response.state().take();
                self.let_go(&fetch, matches!(outcome, Ok((_, true))));
                outcome.map(|(flow, _)| flow)
            }
        }
    }

    fn on_log(&self, finished: &Finished<RefCell<Left>>) {
        match finished.state().take() {
            // There was no response.
            Left::Fetch(fetch) => self.let_go(&fetch, true),
            // There was not all of it.
            Left::Claimed(key, end) => self.release(&key, end, true),
            Left::Nothing | Left::Passed(_) | Left::Head(_) | Left::Unsafe(_) => {}
        }
    }
}

impl Inner {
    fn control(&self, fields: &Fields) -> Control {
        let control = Control::of_request(fields);
        match self.config.request_directives {
            RequestDirectives::Respect => control,
            RequestDirectives::Ignore => Control {
                no_store: control.no_store,
                only_if_cached: control.only_if_cached,
                ..Control::default()
            },
        }
    }

    /// Finds an answer, or has the request be the one that gets it.
    async fn look(self: &Rc<Self>, fetch: &mut Fetch, only_read: bool) -> Option<Reply> {
        let until = time::now().saturating_add(self.config.coalesce.wait.0);
        let mut pause = Duration::from_millis(2);
        loop {
            let now = time::now().as_secs();
            self.find(fetch);
            let usage = fetch.stale.as_ref().map(|entry| usable(entry, &fetch.control, now));
            match usage {
                Some(Use::Fresh) => {
                    // Between the look and the claim another one was through.
                    self.let_go(fetch, true);
                    return fetch.hit(&self.config.name, now);
                }
                _ if fetch.claim.is_some() => return None,
                Some(Use::WhileRevalidated) => {
                    if only_read || !self.claim(fetch) || self.refresh_behind(fetch) {
                        return fetch.hit(&self.config.name, now);
                    }
                    return None;
                }
                _ => {}
            }
            if fetch.control.only_if_cached {
                let status = format!("{}; detail=only-if-cached", self.config.name);
                return Some(
                    Reply::text(504, "not in the cache").header("cache-status", status).details("cache_only"),
                );
            }
            if only_read || fetch.insists() || time::now() >= until {
                return None;
            }
            if !self.must_wait(fetch) {
                match fetch.claim {
                    Some(_) => continue,
                    None => return None,
                }
            }
            if !fetch.waited {
                if self.waiting.get() >= self.config.coalesce.waiters {
                    return None;
                }
                fetch.waited = true;
                COALESCED.increment();
            }
            self.waiting.set(self.waiting.get() + 1);
            let guard = Counted(&self.waiting);
            while time::now() < until {
                let queue = signal::number();
                if !claim::goes_on(&fetch.key, self.config.entries, queue).unwrap_or(false) {
                    break;
                }
                let left = until.saturating_sub(time::now());
                let longest = if queue.is_some() { PATIENCE } else { pause };
                signal::wait(&fetch.key, longest.min(left)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            drop(guard);
        }
    }

    /// Finds the kept response for this request.
    fn find(&self, fetch: &mut Fetch) {
        fetch.stale = None;
        let mut record = self.store.get(&fetch.key);
        fetch.forward = "uri-miss";
        if let Some(Record::Vary { names, generation }) = &record {
            if names.iter().any(|name| fetch.taken.has(name)) {
                fetch.forward = "bypass";
                return;
            }
            let variant = key::of_variant(&fetch.key, *generation, names, &fetch.fields);
            fetch.forward = "vary-miss";
            record = self.store.get(&variant);
        }
        let Some(Record::Entry(entry)) = record else { return };
        if self.purges.are_of(&fetch.key, &entry) {
            fetch.forward = "uri-miss";
            return;
        }
        if fetch.is_authorized() && !entry.shared {
            fetch.forward = "bypass";
            return;
        }
        fetch.forward = if fetch.control.no_cache { "request" } else { "stale" };
        fetch.stale = Some(entry);
    }

    /// Whether another request gets the response; else this one does.
    fn must_wait(&self, fetch: &mut Fetch) -> bool {
        if self.config.coalesce.wait.0.is_zero() || fetch.is_authorized() {
            return false;
        }
        match claim::claim(&fetch.key, self.config.entries, self.config.coalesce.wait.0) {
            Claim::Mine(end) => {
                fetch.claim = Some(end);
                false
            }
            Claim::Taken => true,
            Claim::Open => false,
        }
    }

    /// Whether this request is the one that gets a new response for a stale one.
    fn claim(&self, fetch: &mut Fetch) -> bool {
        let lasts = self.config.coalesce.wait.0.max(Duration::from_secs(5));
        match claim::claim(&fetch.key, self.config.entries, lasts) {
            Claim::Mine(end) => {
                fetch.claim = Some(end);
                true
            }
            Claim::Taken => false,
            Claim::Open => true,
        }
    }

    fn let_go(&self, fetch: &Fetch, kept: bool) {
        if let Some(end) = fetch.claim {
            self.release(&fetch.key, end, kept);
        }
    }

    fn release(&self, key: &[u8], end: u64, kept: bool) {
        match claim::release(key, self.config.entries, end, kept) {
            Ok(queues) => signal::tell(key, &queues),
            Err(error) => log::debug!("those who wait go on when the claim ends: {error}"),
        }
    }

    /// What is kept of a target, and of those that the response names, is not given any more.
    fn invalidate(&self, request: &Fields, response: &Fields) {
        let named = ["location", "content-location"];
        let others = named.iter().filter_map(|name| key::of_reference(request, response.get(name)?));
        for key in std::iter::once(key::of_target(request)).chain(others) {
            self.forget(&key);
        }
    }

    /// Whether there was anything.
    fn forget(&self, key: &[u8]) -> bool {
        let known = matches!(self.store.get(key), Some(Record::Entry(_) | Record::Vary { .. }));
        if let Err(error) = self.store.put(key, &Record::Gone(fetch::nanos())) {
            log::error!("a kept response cannot be invalidated: {error}");
        }
        if known {
            INVALIDATED.increment();
        }
        known
    }

    /// The answer to a request that takes a response out of the cache.
    fn purge(&self, method: &str, fields: &Fields) -> Option<Reply> {
        let purge = self.config.purge.as_ref().filter(|purge| purge.method == method)?;
        let presented = fields.get("authorization").and_then(|value| value.strip_prefix(b"Bearer "));
        if !presented.is_some_and(|presented| equal(purge.token.as_bytes(), presented)) {
            return Some(Reply::text(403, "not allowed").details("cache_purge_refused"));
        }
        let purged = match self.purges.note(fields) {
            None => self.forget(&key::of_target(fields)),
            Some(Ok(())) => true,
            Some(Err(reply)) => return Some(*reply),
        };
        Some(match purged {
            true => Reply::new(204).details("cache_purged"),
            false => Reply::text(404, "not in the cache").details("cache_purged"),
        })
    }
}

/// Compares without stopping at the first difference.
fn equal(known: &[u8], presented: &[u8]) -> bool {
    known.len() == presented.len()
        && known.iter().zip(presented).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b))) == 0
}

/// Counts down when a wait ends, also when its request is gone.
struct Counted<'a>(&'a Cell<u32>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The longest time between two looks of one that waits and is not told.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The same of one that is told.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
