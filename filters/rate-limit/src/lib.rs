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

use std::cell::RefCell;
use std::mem::take;

use tidegate_sdk::limit::{self, Ask, NEVER, Permit, Taken, Verdict};
use tidegate_sdk::{Counter, Filter, Flow, Reply, Request, Response, filter, log};

use answer::Shown;
pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use config::{Cost, OnError, OnStoreError, Rule, Store};
use global::Global;
use service::Decision;

/// The limits, with what counts their refusals.
pub struct RateLimit {
    config: Config,
    counters: Vec<Counter>,
    global: Global,
}

/// What a request leaves for its response.
#[derive(Default)]
pub struct Seen(RefCell<Left>);

#[derive(Default)]
struct Left {
    shown: Shown,
    /// Limits to be settled by the response, with their keys and what was taken.
    unsettled: Vec<(usize, Vec<u8>, u64)>,
    /// Headers of the service's.
    extra: Vec<(String, Vec<u8>)>,
    /// Given back when this is dropped, where the host does not do it.
    permit: Permit,
}

/// What is asked of one limit.
struct Asked {
    rule: usize,
    key: Vec<u8>,
    cost: u64,
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
        RateLimit { counters: config.limits.iter().map(counter).collect(), global: Global::default(), config }
    }

    async fn on_request(&self, request: &mut Request<Seen>) -> Flow {
        let (global, local): (Vec<_>, Vec<_>) = self
            .asked(request)
            .into_iter()
            .partition(|asked| self.rule(asked).is_some_and(|rule| rule.global));
        let mut left = Left::default();
        if let Some(refusal) = self.take(&local, &mut left) {
            return refusal.into();
        }
        if let (false, Some(store)) = (global.is_empty(), &self.config.redis) {
            if let Some(refusal) = self.take_global(store, &global, &mut left).await {
                self.give_back(&local);
                return refusal.into();
            }
        }
        for asked in local.into_iter().chain(global) {
            if let Some(Rule { cost: Cost::Response { .. }, .. }) = self.rule(&asked) {
                left.unsettled.push((asked.rule, asked.key, asked.cost));
            }
        }
        request.state().0.replace(left);
        let Some(service) = &self.config.service else { return Flow::Continue };
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

    async fn on_response(&self, response: &mut Response<Seen>) {
        let (mut shown, unsettled, extra) = {
            // What is held until the end stays where it is.
            let mut left = response.state().0.borrow_mut();
            let left = &mut *left;
            (take(&mut left.shown), take(&mut left.unsettled), take(&mut left.extra))
        };
        for (rule, key, taken) in unsettled {
            let Some(rule) = self.config.limits.get(rule) else { continue };
            let verdict = self.settle(rule, response, &key, taken).await;
            shown.settled(&rule.name, verdict);
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
    /// The limits that apply to a request, each with its key and cost.
    fn asked(&self, request: &Request<Seen>) -> Vec<Asked> {
        let mut asked = Vec::with_capacity(self.config.limits.len());
        for (at, rule) in self.config.limits.iter().enumerate() {
            let (key, whole) = rule.key.of(&rule.name, request);
            if !whole && rule.skips {
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
            asked.push(Asked { rule: at, key, cost });
        }
        asked
    }

    fn rule(&self, asked: &Asked) -> Option<&Rule> {
        self.config.limits.get(asked.rule)
    }

    /// Takes from limits of this gateway, or gives the answer to a request that one of them refuses.
    fn take(&self, asked: &[Asked], left: &mut Left) -> Option<Reply> {
        let asks: Vec<Ask<'_>> = asked
            .iter()
            .filter_map(|asked| {
                let rule = self.rule(asked)?;
                let ask = Ask::new(&rule.limit, &asked.key).cost(asked.cost);
                Some(if rule.shadow { ask.advisory() } else { ask })
            })
            .collect();
        if asks.is_empty() {
            return None;
        }
        match limit::take(&asks) {
            Ok(Taken { verdicts, permit, .. }) => {
                left.permit = permit;
                self.judge(asked, &verdicts, &mut left.shown)
            }
            Err(error) => {
                UNASKED.increment();
                log::warn!("a request passes because its limits cannot be asked: {error}");
                None
            }
        }
    }

    /// The same from limits that several gateways have in common.
    async fn take_global(&self, store: &Store, asked: &[Asked], left: &mut Left) -> Option<Reply> {
        let asks: Vec<_> = asked
            .iter()
            .filter_map(|asked| {
                let rule = self.rule(asked)?;
                Some(global::Ask {
                    limit: &rule.limit,
                    key: &asked.key,
                    cost: whole(asked.cost),
                    advisory: rule.shadow,
                })
            })
            .collect();
        if let Some(verdicts) = self.global.take(store, &asks).await {
            return self.judge(asked, &verdicts, &mut left.shown);
        }
        UNASKED.increment();
        match store.on_error {
            OnStoreError::Local => {
                let permit = take(&mut left.permit);
                let refusal = self.take(asked, left);
                left.permit = permit;
                refusal
            }
            OnStoreError::Allow => None,
            OnStoreError::Deny => Some(
                Reply::text(503, "the store of the limits gives no answer")
                    .details("rate_limit_store_failed"),
            ),
        }
    }

    /// Gives back what was taken of limits of this gateway; what goes on is given back with the request.
    fn give_back(&self, asked: &[Asked]) {
        for asked in asked {
            let Some(rule) = self.rule(asked).filter(|rule| !rule.is_concurrent()) else { continue };
            if let Err(error) = limit::charge(&rule.limit, &asked.key, -whole(asked.cost)) {
                log::warn!("the limit {} could not be given back to: {error}", rule.name);
            }
        }
    }

    /// Counts what limits say, and gives the answer to a request that one of them refuses.
    fn judge(&self, asked: &[Asked], verdicts: &[Verdict], shown: &mut Shown) -> Option<Reply> {
        let mut wait = None;
        for (asked, verdict) in asked.iter().zip(verdicts) {
            let Some(rule) = self.rule(asked) else { continue };
            if !verdict.allowed {
                self.count(asked.rule);
                if rule.shadow {
                    log::info!("the limit {} would have refused a request", rule.name);
                }
            }
            if rule.shadow {
                continue;
            }
            if !verdict.allowed {
                wait = wait.max(Some(wait_for(rule, verdict)));
            }
            shown.add(rule, *verdict);
        }
        wait.map(|wait| answer::refusal(&self.config, shown, wait))
    }

    /// Takes the difference between what was taken and what the response says.
    async fn settle(
        &self,
        rule: &Rule,
        response: &Response<Seen>,
        key: &[u8],
        taken: u64,
    ) -> Option<Verdict> {
        let Cost::Response { response: header, .. } = &rule.cost else { return None };
        let actual: u64 = response.headers().get(header)?.parse()?;
        let cost = whole(actual).saturating_sub(whole(taken));
        if let (true, Some(store)) = (rule.global, &self.config.redis) {
            let ask = global::Ask { limit: &rule.limit, key, cost, advisory: false };
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
    fn count(&self, rule: usize) {
        if let Some(counter) = self.counters.get(rule) {
            counter.increment();
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
