//! Times, further attempts, limits and pools: what rules and upstreams say about them.

use super::Check;
use crate::document::{
    AdaptiveDocument, HedgeDocument, PoolAddresses, PoolDocument, RetriesDocument, RetryBudgetDocument,
    RetryCondition, RetryWord, RuleTimeoutsDocument, UpstreamLimitsDocument,
};
use crate::node::Path;
use crate::plan::{
    Adaptive, Deadlines, Hedge, PoolSettings, Retries, RetryBudget, RetryOn, RuleTimeouts, UpstreamLimits,
};
use crate::problem::Fault;
use crate::types::Timeout;
use std::time::Duration;

/// Bytes of a body that are kept where retries are written.
const BODY: u64 = 64 << 10;

pub(super) fn timeouts(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&RuleTimeoutsDocument>,
) -> RuleTimeouts {
    let limit = |chosen: Option<Timeout>| chosen.map(|time| time.0).filter(|time| !time.is_zero());
    let request = limit(written.and_then(|timeouts| timeouts.request));
    let attempt = limit(written.and_then(|timeouts| timeouts.attempt));
    if let (Some(request), Some(attempt)) = (request, attempt)
        && attempt > request
    {
        let fault =
            Fault::new("the limit of an attempt is longer than that of the request, so it has no effect");
        check.warn(&path.key("attempt"), fault.hint("make it shorter than request"));
    }
    let idle = written.and_then(|timeouts| timeouts.idle);
    RuleTimeouts {
        request,
        attempt,
        idle: check.positive(&path.key("idle"), idle, Duration::from_secs(60)),
        stream: limit(written.and_then(|timeouts| timeouts.stream)),
        deadlines: Deadlines {
            grpc: written.and_then(|timeouts| timeouts.grpc_deadline).unwrap_or(false),
            header: written.and_then(|timeouts| timeouts.request_deadline).unwrap_or(false),
        },
    }
}

pub(super) fn retries(check: &mut Check<'_>, path: &Path<'_>, written: Option<&RetriesDocument>) -> Retries {
    let defaults = Retries::default();
    let Some(written) = written else { return defaults };
    let backoff = written.backoff.as_ref();
    let time = |chosen: Option<Timeout>, default| chosen.map_or(default, |time| time.0);
    let base = time(backoff.and_then(|backoff| backoff.base), defaults.backoff_base);
    let longest = time(backoff.and_then(|backoff| backoff.max), defaults.backoff_max);
    if base > longest {
        let fault =
            Fault::new(format!("the first wait ({base:?}) is longer than the longest one ({longest:?})"));
        check.fault(&path.key("backoff"), fault.hint("base at most as long as max"));
    }
    let body_limit = written.body_limit.map_or(BODY, |size| size.0);
    if body_limit > MOST {
        let fault = Fault::new(format!("{body_limit} bytes of each request's body would be kept in memory"));
        check.fault(&path.key("bodyLimit"), fault.hint("at most 64MiB"));
    }
    Retries {
        attempts: written.attempts.unwrap_or(defaults.attempts),
        on: written.on.as_deref().map_or(defaults.on, conditions),
        backoff_base: base,
        backoff_max: longest,
        retry_after: time(written.retry_after, defaults.retry_after),
        body_limit: Some(usize::try_from(body_limit).unwrap_or(usize::MAX)),
        non_idempotent: written.non_idempotent.unwrap_or(false),
        by_header: written.by_header.unwrap_or(false),
        hedge: written.hedge.as_ref().map(|written| hedge(check, &path.key("hedge"), written)),
    }
}

/// The largest `bodyLimit`.
const MOST: u64 = 64 << 20;

fn conditions(written: &[RetryCondition]) -> Vec<RetryOn> {
    let mut on: Vec<RetryOn> = Vec::with_capacity(written.len());
    for condition in written {
        let outcome = match condition {
            RetryCondition::Word(RetryWord::Connect) => RetryOn::Connect,
            RetryCondition::Word(RetryWord::Reset) => RetryOn::Reset,
            RetryCondition::Word(RetryWord::Timeout) => RetryOn::Timeout,
            RetryCondition::Word(RetryWord::ServerErrors) => RetryOn::ServerErrors,
            RetryCondition::Word(RetryWord::Retriable4xx) => RetryOn::Status(409),
            RetryCondition::Word(RetryWord::Cancelled) => RetryOn::Grpc(1),
            RetryCondition::Word(RetryWord::DeadlineExceeded) => RetryOn::Grpc(4),
            RetryCondition::Word(RetryWord::ResourceExhausted) => RetryOn::Grpc(8),
            RetryCondition::Word(RetryWord::Internal) => RetryOn::Grpc(13),
            RetryCondition::Word(RetryWord::Unavailable) => RetryOn::Grpc(14),
            RetryCondition::Status(status) => RetryOn::Status(*status),
        };
        if !on.contains(&outcome) {
            on.push(outcome);
        }
    }
    on
}

fn hedge(check: &mut Check<'_>, path: &Path<'_>, written: &HedgeDocument) -> Hedge {
    let after = check.positive(&path.key("after"), Some(written.after), Duration::ZERO);
    Hedge { after, attempts: written.attempts.unwrap_or(1) }
}

pub(super) fn budget(written: &RetryBudgetDocument) -> RetryBudget {
    RetryBudget { percent: written.percent.unwrap_or(20.0), min: written.min.unwrap_or(3) }
}

pub(super) fn limits(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&UpstreamLimitsDocument>,
) -> UpstreamLimits {
    let defaults = UpstreamLimits::default();
    let Some(written) = written else { return defaults };
    let limit = |chosen: Option<u32>, default: usize| chosen.map_or(default, |limit| limit as usize);
    UpstreamLimits {
        connections: limit(written.connections, defaults.connections),
        pending: limit(written.pending, defaults.pending),
        requests: limit(written.requests, defaults.requests),
        retries: written.retries.map(|limit| limit as usize),
        adaptive: written.adaptive.as_ref().map(|written| adaptive(check, &path.key("adaptive"), written)),
    }
}

fn adaptive(check: &mut Check<'_>, path: &Path<'_>, written: &AdaptiveDocument) -> Adaptive {
    let (min, start) = (written.min.unwrap_or(4), written.start);
    if let Some(start) = start
        && start < min
    {
        let fault = Fault::new(format!("the limit would begin at {start}, below its least ({min})"));
        check.fault(&path.key("start"), fault.hint("start at least as large as min"));
    }
    Adaptive {
        min: min as usize,
        start: start.unwrap_or(min.max(20)) as usize,
        tolerance: written.tolerance.unwrap_or(25.0),
        window: check.positive(&path.key("window"), written.window, Duration::from_millis(100)),
        probe: check.positive(&path.key("probe"), written.probe, Duration::from_secs(30)),
    }
}

pub(super) fn pool(check: &mut Check<'_>, path: &Path<'_>, written: Option<&PoolDocument>) -> PoolSettings {
    let defaults = PoolSettings::default();
    let Some(written) = written else { return defaults };
    let one_server = written.addresses == Some(PoolAddresses::One);
    if written.stagger.is_some() && !one_server {
        let fault = Fault::new("stagger has no effect: each address is a server of its own");
        check.warn(&path.key("stagger"), fault.hint("addresses: one"));
    }
    let positive = |check: &mut Check<'_>, key: &str, time: Option<Timeout>| {
        time.map(|time| check.positive(&path.key(key), Some(time), time.0))
    };
    PoolSettings {
        warm: written.warm.map_or(defaults.warm, |warm| warm as usize),
        streams: written.streams.unwrap_or(defaults.streams),
        max_age: positive(check, "maxAge", written.max_age),
        max_requests: written.max_requests,
        one_server,
        stagger: positive(check, "stagger", written.stagger).unwrap_or(defaults.stagger),
    }
}
