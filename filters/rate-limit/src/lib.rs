//! Limits the rate of requests, quotas, and how many requests go on at the same time. What is refused is answered with
//! 429 and never reaches the upstream.
//!
//! Counts are the host's (`tidegate_sdk::limit`): all workers of a gateway count together. An external service that
//! speaks Envoy's rate limit protocol may decide as well.

mod answer;
mod config;
mod key;
mod protobuf;
mod rate;
mod service;

use std::cell::RefCell;

use tidegate_sdk::limit::{self, Ask, NEVER, Permit, Taken, Verdict};
use tidegate_sdk::{Counter, Filter, Flow, Reply, Request, Response, filter, log};

use answer::Shown;
pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use config::{Cost, OnError, Rule};
use service::Decision;

/// The limits, with what counts their refusals.
pub struct RateLimit {
    config: Config,
    counters: Vec<Counter>,
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
        RateLimit { counters: config.limits.iter().map(counter).collect(), config }
    }

    async fn on_request(&self, request: &mut Request<Seen>) -> Flow {
        let asked = self.asked(request);
        if let Some(refusal) = self.take(request, asked) {
            return refusal.into();
        }
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
        let mut left = response.state().0.borrow_mut();
        for (rule, key, taken) in std::mem::take(&mut left.unsettled) {
            let Some(rule) = self.config.limits.get(rule) else { continue };
            let verdict = self.settle(rule, response, &key, taken);
            left.shown.settled(&rule.name, verdict);
        }
        answer::on_response(&self.config, &left.shown, response.headers());
        for (name, value) in &left.extra {
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

    /// Takes from all limits that apply, or gives the answer to a request that one of them refuses.
    fn take(&self, request: &Request<Seen>, asked: Vec<Asked>) -> Option<Reply> {
        let rule = |asked: &Asked| self.config.limits.get(asked.rule);
        let asks: Vec<Ask<'_>> = asked
            .iter()
            .filter_map(|asked| {
                let rule = rule(asked)?;
                let ask = Ask::new(&rule.limit, &asked.key).cost(asked.cost);
                Some(if rule.shadow { ask.advisory() } else { ask })
            })
            .collect();
        if asks.is_empty() {
            return None;
        }
        let taken = match limit::take(&asks) {
            Ok(taken) => taken,
            Err(error) => {
                UNASKED.increment();
                log::warn!("a request passes because its limits cannot be asked: {error}");
                return None;
            }
        };
        let allowed = taken.allowed();
        let Taken { verdicts, permit, .. } = taken;
        let mut shown = Shown::default();
        let mut wait = None;
        for (asked, verdict) in asked.iter().zip(&verdicts) {
            let Some(rule) = rule(asked) else { continue };
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
        if !allowed {
            return Some(answer::refusal(&self.config, &shown, wait.flatten()));
        }
        let mut left = request.state().0.borrow_mut();
        left.permit = permit;
        left.shown = shown;
        for asked in asked {
            if let Some(Rule { cost: Cost::Response { .. }, .. }) = rule(&asked) {
                left.unsettled.push((asked.rule, asked.key, asked.cost));
            }
        }
        None
    }

    /// Takes the difference between what was taken and what the response says.
    fn settle(&self, rule: &Rule, response: &Response<Seen>, key: &[u8], taken: u64) -> Option<Verdict> {
        let Cost::Response { response: header, .. } = &rule.cost else { return None };
        let actual: u64 = response.headers().get(header)?.parse()?;
        let whole = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        match limit::charge(&rule.limit, key, whole(actual).saturating_sub(whole(taken))) {
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
