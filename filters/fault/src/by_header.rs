//! Faults that a request asks for itself, as far as the configuration allows.

use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use tidegate_sdk::units::{Size, Span};
use tidegate_sdk::{ConfigError, Interest, Request, Value};

use crate::config;
use crate::draw::{Draw, Share};
use crate::matching::Matcher;
use crate::plan::{Abort, Cut, Plan};

/// See the module.
#[derive(Debug)]
pub(crate) struct ByHeader {
    matcher: Matcher,
    share: Share,
    max_delay: Option<Duration>,
    abort: bool,
    min_bandwidth: Option<usize>,
    truncate: bool,
    corrupt: bool,
    /// The headers that are allowed.
    names: Vec<&'static str>,
}

/// What all of them begin with.
const PREFIX: &str = "x-tidegate-fault-";

const DELAY: &str = "x-tidegate-fault-delay";
const ABORT: &str = "x-tidegate-fault-abort";
const UP: &str = "x-tidegate-fault-up";
const DOWN: &str = "x-tidegate-fault-down";
const TRUNCATE: &str = "x-tidegate-fault-truncate";
const CORRUPT: &str = "x-tidegate-fault-corrupt";

/// So many headers are read one by one for less than all of a head.
const FEW: usize = 2;

/// What was asked for, as it was written.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    delay: Option<Value>,
    abort: Option<Value>,
    up: Option<Value>,
    down: Option<Value>,
    truncate: Option<Value>,
    corrupt: Option<Value>,
}

impl ByHeader {
    pub(crate) fn new(config: &config::ByHeader) -> Result<Self, ConfigError> {
        let allows = config.max_delay.is_some() || config.min_bandwidth.is_some();
        if !(allows || config.abort || config.truncate || config.corrupt) {
            return Err(ConfigError::at(
                "byHeader",
                "allows nothing; leave it out, or say what may be asked for",
            ));
        }
        if config.min_bandwidth.is_some_and(|rate| rate.0 == 0) {
            return Err(ConfigError::at("byHeader.minBandwidth", "is 0, which would hold bodies for ever"));
        }
        let allowed = [
            (DELAY, config.max_delay.is_some()),
            (ABORT, config.abort),
            (UP, config.min_bandwidth.is_some()),
            (DOWN, config.min_bandwidth.is_some()),
            (TRUNCATE, config.truncate),
            (CORRUPT, config.corrupt),
        ];
        Ok(ByHeader {
            names: allowed.into_iter().filter_map(|(name, allowed)| allowed.then_some(name)).collect(),
            matcher: Matcher::new(config.r#match.as_ref(), "byHeader.match")?,
            share: Share::of_percent(config.percent, "byHeader")?,
            max_delay: config.max_delay.map(|span| span.0),
            abort: config.abort,
            min_bandwidth: config.min_bandwidth.map(|size| size.0),
            truncate: config.truncate,
            corrupt: config.corrupt,
        })
    }

    /// The headers that it takes out of requests.
    pub(crate) fn interest(&self) -> impl Iterator<Item = Interest<'_>> {
        self.names.iter().map(|name| Interest::Header(name))
    }

    /// Takes the headers out of the request; what was in them, if any was there and this request may ask.
    pub(crate) fn take<S>(&self, request: &Request<S>) -> Option<Wishes> {
        let headers = request.headers();
        // Looked at together: nearly no request has any of them.
        if self.names.len() > FEW && !headers.all().iter().any(|(name, _)| name.starts_with(PREFIX)) {
            return None;
        }
        let take = |name: &str, allowed: bool| {
            let value = if allowed { headers.get(name) } else { None };
            if value.is_some() {
                headers.remove(name);
            }
            value
        };
        let rates = self.min_bandwidth.is_some();
        let wishes = Wishes {
            delay: take(DELAY, self.max_delay.is_some()),
            abort: take(ABORT, self.abort),
            up: take(UP, rates),
            down: take(DOWN, rates),
            truncate: take(TRUNCATE, self.truncate),
            corrupt: take(CORRUPT, self.corrupt),
        };
        (!wishes.is_nothing() && self.matcher.fits(request)).then_some(wishes)
    }

    /// Whether a draw decides.
    pub(crate) fn draws(&self, wishes: &Wishes) -> bool {
        !self.share.is_certain() || wishes.corrupt.is_some()
    }

    /// Adds what is wished for to a plan, in place of what it has of that kind. What cannot be understood is left out.
    pub(crate) fn add(&self, plan: &mut Plan, wishes: &Wishes, draw: &mut Draw) {
        if !self.share.takes(draw) {
            return;
        }
        if let (Some(delay), Some(max)) = (read(&wishes.delay, |text| unit::<Span>(text)), self.max_delay) {
            plan.delay = Some(delay.0.min(max));
        }
        if let Some(abort) = read(&wishes.abort, abort) {
            plan.abort = Some(abort);
        }
        let rate = |text: &str| unit::<Size>(text).map(|size| size.0.max(self.min_bandwidth.unwrap_or(1)));
        if let Some(rate) = read(&wishes.up, rate) {
            plan.request.rate = Some(rate);
        }
        if let Some(rate) = read(&wishes.down, rate) {
            plan.response.rate = Some(rate);
        }
        if let Some(after) = read(&wishes.truncate, |text| unit::<Size>(text)) {
            plan.response.cut = Some(Cut { after: after.0, keep_length: true });
        }
        if let Some(every) = read(&wishes.corrupt, |text| text.parse::<u32>().ok()) {
            plan.response.corrupt = Some((every.max(1), draw.clone()));
        }
    }
}

impl Wishes {
    fn is_nothing(&self) -> bool {
        let all = [&self.delay, &self.abort, &self.up, &self.down, &self.truncate, &self.corrupt];
        all.iter().all(|value| value.is_none())
    }
}

fn read<T>(value: &Option<Value>, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = value.as_ref()?.to_str()?.trim();
    let read = read(text);
    if read.is_none() {
        tidegate_sdk::log::debug!(
            "a fault that was asked for is not understood: \"{}\"",
            text.escape_debug()
        );
    }
    read
}

/// A value as the configuration writes it.
fn unit<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    T::deserialize(StrDeserializer::<Error>::new(text)).ok()
}

fn abort(text: &str) -> Option<Abort> {
    let message = "fault injected".to_owned();
    if text == "reset" {
        return Some(Abort::Reset);
    }
    match text.strip_prefix("grpc ") {
        Some(status) => Abort::grpc(status.trim().parse().ok()?, message),
        None => Abort::status(text.parse().ok()?, message),
    }
}
