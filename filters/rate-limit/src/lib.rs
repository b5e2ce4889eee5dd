//! Limits the rate of requests, quotas, and how many requests go on at the same time. What is refused is answered with
//! 429 and never reaches the upstream.
//!
//! Counts are the host's (`tidegate_sdk::limit`): all workers of a gateway count together. An external service that
//! speaks Envoy's rate limit protocol may decide as well.

mod answer;
mod config;
mod global;
mod key;
mod protobuf;
mod rate;
mod service;

use std::cell::{Cell, RefCell};
use std::mem::take;

use tidegate_sdk::limit::{self, Asks, NEVER, Permit, Verdict};
use tidegate_sdk::{Counter, Filter, Flow, Reply, Request, Response, filter, log};

use answer::Shown;
pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use config::{Cost, OnError, OnStoreError, Rule, Service, Store};
use global::Global;
use key::Key;
use service::Decision;

/// The limits, with what counts their refusals.
pub struct RateLimit {
    config: Config,
    counters: Vec<Counter>,
    global: Global,
    /// The host puts addresses into keys: it can, and no key is asked about again.
    by_address: bool,
    /// The host leaves requests that are allowed.
    leaves: bool,
    /// Where limits of this gateway are asked, when no request uses it.
    spare: Cell<Asked>,
}

/// What a request leaves for its response.
#[derive(Default)]
pub struct Seen(RefCell<Left>);

#[derive(Default)]
struct Left {
    shown: Shown,
    /// Limits to be settled by the response, with their keys and what was taken.
    unsettled: Vec<(usize, Vec<u8>, i64)>,
    /// Headers of the service's.
    extra: Vec<(String, Vec<u8>)>,
    /// Given back when this is dropped, where the host does not do it.
    permit: Permit,
}

/// What is asked of the limits that apply to a request.
#[derive(Default)]
struct Asked {
    asks: Asks,
    /// The limits in order, a bit for each.
    rules: u32,
    /// Those that have allowed the request.
    allowed: u32,
}

/// Requests that passed because a limit or the service could not be asked.
static UNASKED: Counter = Counter::new("rate_limit_unasked_total");

/// Requests that the service refused.
static SERVICE_REFUSED: Counter = Counter::new("rate_limit_service_refused_total");

#[filter]
impl Filter for RateLimit {
    type Config = Config;
    type State = Seen;

    fn new(config: Config) -> Self {
        let counter = |rule: &Rule| {
            let name = if rule.shadow { "rate_limit_shadow_total" } else { "rate_limit_refused_total" };
            Counter::labelled(name, &[("limit", &rule.name)])
        };
        let asked_once = limit::is_exact() && config.redis.is_none() && !config.settles;
        RateLimit {
            by_address: asked_once,
            leaves: asked_once && config.ends_with_request,
            counters: config.limits.iter().map(counter).collect(),
            global: Global::default(),
            config,
            spare: Cell::default(),
        }
    }

    async fn on_request(&self, request: &mut Request<Seen>) -> Flow {
        let (mut left, mut here) = (Left::default(), self.spare.take());
        if let Some(refusal) = self.take(false, request, &mut here, &mut left) {
            self.spare.set(here);
            return refusal.into();
        }
        if let Some(store) = self.config.redis.as_ref().filter(|_| self.config.has_global) {
            if let Some(refusal) = self.take_global(store, request, &mut left).await {
                self.give_back(&here);
                return refusal.into();
            }
        }
        if self.config.settles {
            self.note_unsettled(&here, &mut left);
        }
        let left_with_the_question = self.leaves && !here.asks.is_empty();
        self.spare.set(here);
        if self.config.ends_with_request {
            if !left_with_the_question {
                request.leave();
            }
            return Flow::Continue;
        }
        request.state().0.replace(left);
        match &self.config.service {
            Some(service) => self.consult(service, request).await,
            None => Flow::Continue,
        }
    }

    async fn on_response(&self, response: &mut Response<Seen>) {
        let (mut shown, unsettled, extra) = {
            // What is held until the end stays where it is.
            let mut left = response.state().0.borrow_mut();
            let left = &mut *left;
            (take(&mut left.shown), take(&mut left.unsettled), take(&mut left.extra))
        };
        for (at, key, taken) in unsettled {
            let Some(rule) = self.config.limits.get(at) else { continue };
            let verdict = self.settle(rule, response, &key, taken).await;
            shown.settled(at, verdict);
        }
        answer::on_response(&self.config, &shown, response.headers());
        for (name, value) in &extra {
            // What the service wants and is no header is not worth an error to the client.
            if let Err(error) = response.headers().try_set(name, value) {
                log::debug!("a header of the rate limit service was dropped: {error}");
            }
        }
    }
}

impl RateLimit {
    /// Writes down what is asked of the limits, either of those that several gateways have in common or of the others.
    fn ask(&self, global: bool, request: &Request<Seen>, asked: &mut Asked) -> tidegate_sdk::Outcome<()> {
        asked.asks.clear();
        (asked.rules, asked.allowed) = (0, 0);
        for (at, rule) in self.config.limits.iter().enumerate() {
            if rule.global != global {
                continue;
            }
            let cost = match &rule.cost {
                Cost::Fixed(units) => *units,
                Cost::Header { header, default } => {
                    let value = request.headers().get(header);
                    value.and_then(|value| value.parse()).unwrap_or(*default)
                }
                Cost::Response { default, .. } => *default,
            };
            if self.by_address && rule.key.is_address() {
                asked.asks.add_by_address(&rule.limit, cost, rule.shadow, |out| {
                    Key::write_before_address(&rule.name, out);
                })?;
                asked.rules |= 1 << at;
                continue;
            }
            let key = |out: &mut Vec<u8>| rule.key.write(&rule.name, request, out) || !rule.skips;
            if asked.asks.add(&rule.limit, cost, rule.shadow, key)? {
                asked.rules |= 1 << at;
            }
        }
        Ok(())
    }

    /// The limits of these bits with their numbers.
    fn rules(&self, bits: u32) -> impl Iterator<Item = (usize, &Rule)> {
        self.config.limits.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1)
    }

    /// Takes from limits by counts of this gateway, or gives the answer to a request that one of them refuses.
    fn take(
        &self,
        global: bool,
        request: &Request<Seen>,
        asked: &mut Asked,
        left: &mut Left,
    ) -> Option<Reply> {
        let mut refused = None;
        let taken = self.ask(global, request, asked).and_then(|()| {
            if asked.asks.is_empty() {
                return Ok(Permit::default());
            }
            if self.leaves {
                asked.asks.leave_after();
            }
            let mut rules = self.rules(asked.rules);
            asked.asks.take(|verdict| {
                let Some((at, rule)) = rules.next() else { return };
                asked.allowed |= u32::from(verdict.allowed) << at;
                self.judge(at, rule, verdict, &mut refused, &mut left.shown);
            })
        });
        match taken {
            Ok(permit) if permit.is_needed() => left.permit = permit,
            Ok(_) => {}
            Err(error) => {
                UNASKED.increment();
                log::warn!("a request passes because its limits cannot be asked: {error}");
                // Nothing was taken that could be given back or settled.
                *asked = Asked::default();
            }
        }
        refused.map(|wait| answer::refusal(&self.config, &left.shown, wait))
    }

    /// Takes from limits that several gateways have in common, or gives the answer to a request that one of them refuses.
    async fn take_global(&self, store: &Store, request: &Request<Seen>, left: &mut Left) -> Option<Reply> {
        let mut asked = Asked::default();
        if let Err(error) = self.ask(true, request, &mut asked) {
            UNASKED.increment();
            log::warn!("a request passes because its limits cannot be asked: {error}");
            return None;
        }
        if asked.asks.is_empty() {
            return None;
        }
        let entries: Vec<_> = asked.asks.entries().collect();
        let Some(verdicts) = self.global.take(store, &entries).await else {
            return self.without_store(store, request, left);
        };
        let mut refused = None;
        for ((at, rule), verdict) in self.rules(asked.rules).zip(verdicts) {
            self.judge(at, rule, verdict, &mut refused, &mut left.shown);
        }
        if self.config.settles {
            self.note_unsettled(&asked, left);
        }
        refused.map(|wait| answer::refusal(&self.config, &left.shown, wait))
    }

    /// What happens to a request when the store gives no answer.
    fn without_store(&self, store: &Store, request: &Request<Seen>, left: &mut Left) -> Option<Reply> {
        UNASKED.increment();
        match store.on_error {
            OnStoreError::Local => {
                let mut asked = Asked::default();
                let refusal = self.take(true, request, &mut asked, left);
                self.note_unsettled(&asked, left);
                refusal
            }
            OnStoreError::Allow => None,
            OnStoreError::Deny => Some(
                Reply::text(503, "the store of the limits gives no answer")
                    .details("rate_limit_store_failed"),
            ),
        }
    }

    /// Asks the service, which may refuse as well.
    async fn consult(&self, service: &Service, request: &Request<Seen>) -> Flow {
        match service.ask(request).await {
            Some(Decision { refusal: None, response_headers }) => {
                request.state().0.borrow_mut().extra = response_headers;
                Flow::Continue
            }
            Some(Decision { refusal: Some(refusal), response_headers }) => {
                SERVICE_REFUSED.increment();
                let mut reply = Reply::new(self.config.status).details("rate_limited");
                if let Some(seconds) = refusal.retry_after {
                    reply = reply.header("retry-after", seconds.to_string());
                }
                for (name, value) in response_headers {
                    reply = reply.header(name, value);
                }
                let body = refusal.body.unwrap_or_else(|| format!("{}\n", self.config.body).into_bytes());
                reply.body(body).into()
            }
            None => {
                UNASKED.increment();
                match service.on_error {
                    OnError::Allow => Flow::Continue,
                    OnError::Deny => Reply::text(503, "the rate limit service gives no answer")
                        .details("rate_limit_service_failed")
                        .into(),
                }
            }
        }
    }

    /// Keeps what the response will settle.
    fn note_unsettled(&self, asked: &Asked, left: &mut Left) {
        for ((at, rule), entry) in self.rules(asked.rules).zip(asked.asks.entries()) {
            if let Cost::Response { .. } = rule.cost {
                left.unsettled.push((at, entry.key.to_vec(), entry.cost));
            }
        }
    }

    /// Gives back what was taken of limits of this gateway; what goes on is given back with the request.
    fn give_back(&self, asked: &Asked) {
        for ((at, rule), entry) in self.rules(asked.rules).zip(asked.asks.entries()) {
            if rule.is_concurrent() || asked.allowed >> at & 1 == 0 {
                continue;
            }
            if let Err(error) = limit::charge(&rule.limit, entry.key, -entry.cost) {
                log::warn!("the limit {} could not be given back to: {error}", rule.name);
            }
        }
    }

    /// Counts what a limit says, and notes when a request that it refuses may try again.
    fn judge(
        &self,
        at: usize,
        rule: &Rule,
        verdict: Verdict,
        refused: &mut Option<Option<u64>>,
        shown: &mut Shown,
    ) {
        if !verdict.allowed {
            self.count(at, rule);
        }
        if rule.shadow {
            return;
        }
        if !verdict.allowed {
            *refused = (*refused).max(Some(wait_for(rule, &verdict)));
        }
        if self.config.headers != config::Headers::None {
            shown.add(at, rule, verdict);
        }
    }

    /// Takes the difference between what was taken and what the response says.
    async fn settle(
        &self,
        rule: &Rule,
        response: &Response<Seen>,
        key: &[u8],
        taken: i64,
    ) -> Option<Verdict> {
        let Cost::Response { response: header, .. } = &rule.cost else { return None };
        let actual: u64 = response.headers().get(header)?.parse()?;
        let cost = whole(actual).saturating_sub(taken);
        if let (true, Some(store)) = (rule.global, &self.config.redis) {
            let ask = limit::Entry { limit: rule.limit, key, cost, advisory: false };
            return self.global.charge(store, ask).await;
        }
        match limit::charge(&rule.limit, key, cost) {
            Ok(verdict) => Some(verdict),
            Err(error) => {
                log::warn!("the limit {} could not be settled: {error}", rule.name);
                None
            }
        }
    }

    #[cold]
    fn count(&self, at: usize, rule: &Rule) {
        if let Some(counter) = self.counters.get(at) {
            counter.increment();
        }
        if rule.shadow {
            log::info!("the limit {} would have refused a request", rule.name);
        }
    }
}

fn whole(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// Nanoseconds after which to try again; none: nobody knows.
fn wait_for(rule: &Rule, verdict: &Verdict) -> Option<u64> {
    match verdict.retry_after {
        // What goes on at the same time may be over at any time.
        NEVER if rule.is_concurrent() => Some(1),
        NEVER => None,
        wait => Some(wait),
    }
}

#[cfg(test)]
mod tests;
