//! Entries of the configuration, checked; and what they come to for one request.

use std::time::Duration;

use tidegate_sdk::{ConfigError, Interest, Request};

use crate::config::{self, Which};
use crate::draw::{Draw, Length, Share};
use crate::matching::Matcher;

/// An entry of `faults`.
#[derive(Debug)]
pub(crate) struct Entry {
    matcher: Matcher,
    delay: Option<(Share, Length)>,
    abort: Option<(Share, Abort)>,
    bandwidth: Option<(Share, Option<usize>, Option<usize>)>,
    truncate: Option<(Share, Which, Cut)>,
    corrupt: Option<(Share, Which, u32)>,
    /// Whether anything is left to chance.
    pub(crate) draws: bool,
    /// Whether there is any fault whose share is not 0.
    injects: bool,
}

/// What is answered in place of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Abort {
    Status(u16, String),
    Grpc(u32, String),
    Reset,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) after: usize,
    pub(crate) keep_length: bool,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
    pub(crate) request: Shape,
    pub(crate) response: Shape,
}

/// What happens to one body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// Bytes in a second.
    pub(crate) rate: Option<usize>,
    pub(crate) cut: Option<Cut>,
    /// One byte of so many, and what chooses them.
    pub(crate) corrupt: Option<(u32, Draw)>,
}

impl Entry {
    pub(crate) fn new(fault: &config::Fault, path: &str) -> Result<Self, ConfigError> {
        let share = |percent, key: &str| Share::of_percent(percent, &format!("{path}.{key}"));
        let matcher = Matcher::new(fault.r#match.as_ref(), &format!("{path}.match"))?;
        let delay = match &fault.delay {
            None => None,
            Some(delay) => {
                Some((share(delay.percent, "delay")?, Length::new(delay, &format!("{path}.delay"))?))
            }
        };
        let abort = match &fault.abort {
            None => None,
            Some(abort) => {
                Some((share(abort.percent, "abort")?, Abort::new(abort, &format!("{path}.abort"))?))
            }
        };
        let bandwidth = match &fault.bandwidth {
            None => None,
            Some(limit) => {
                let rates = [limit.up, limit.down];
                if rates == [None, None] || rates.iter().flatten().any(|rate| rate.0 == 0) {
                    return Err(ConfigError::at(format!("{path}.bandwidth"), "needs up or down, above 0"));
                }
                let [up, down] = rates.map(|rate| rate.map(|rate| rate.0));
                Some((share(limit.percent, "bandwidth")?, up, down))
            }
        };
        let truncate = match &fault.truncate {
            None => None,
            Some(cut) => {
                let at = Cut { after: cut.after.0, keep_length: cut.keep_length };
                Some((share(cut.percent, "truncate")?, cut.body, at))
            }
        };
        let corrupt = match &fault.corrupt {
            None => None,
            Some(corrupt) if corrupt.every == 0 => {
                let problem = "is 0; 1 changes each byte, 1000 about one of a thousand";
                return Err(ConfigError::at(format!("{path}.corrupt.every"), problem));
            }
            Some(corrupt) => Some((share(corrupt.percent, "corrupt")?, corrupt.body, corrupt.every)),
        };
        let mut entry =
            Entry { matcher, delay, abort, bandwidth, truncate, corrupt, draws: false, injects: false };
        let shares = entry.shares();
        if shares.iter().all(Option::is_none) {
            let problem = "has no fault: one of delay, abort, bandwidth, truncate and corrupt";
            return Err(ConfigError::at(path, problem));
        }
        let varies = entry.delay.is_some_and(|(_, length)| !length.is_fixed());
        let some = |share: Share| !share.is_certain() && !share.is_none();
        entry.injects = !shares.iter().flatten().all(|share| share.is_none());
        entry.draws =
            entry.injects && (varies || entry.corrupt.is_some() || shares.into_iter().flatten().any(some));
        Ok(entry)
    }

    /// How many requests each kind is for.
    fn shares(&self) -> [Option<Share>; 5] {
        [
            self.delay.as_ref().map(|fault| fault.0),
            self.abort.as_ref().map(|fault| fault.0),
            self.bandwidth.as_ref().map(|fault| fault.0),
            self.truncate.as_ref().map(|fault| fault.0),
            self.corrupt.as_ref().map(|fault| fault.0),
        ]
    }

    pub(crate) fn fits<S>(&self, request: &Request<S>) -> bool {
        self.matcher.fits(request)
    }

    /// What the requests have in common that may meet a fault by it; nothing where that is all of them.
    pub(crate) fn interest(&self) -> Option<Vec<Interest<'_>>> {
        if self.injects { self.matcher.interest() } else { Some(Vec::new()) }
    }

    /// What this request meets. The order of draws is always the same.
    pub(crate) fn plan(&self, draw: &mut Draw) -> Plan {
        let mut plan = Plan::default();
        if let Some((share, length)) = &self.delay {
            let (takes, delay) = (share.takes(draw), length.draw(draw));
            plan.delay = takes.then_some(delay);
        }
        if let Some((_, abort)) = self.abort.as_ref().filter(|fault| fault.0.takes(draw)) {
            plan.abort = Some(abort.clone());
        }
        if let Some((_, up, down)) = self.bandwidth.as_ref().filter(|fault| fault.0.takes(draw)) {
            (plan.request.rate, plan.response.rate) = (*up, *down);
        }
        if let Some((_, which, cut)) = self.truncate.as_ref().filter(|fault| fault.0.takes(draw)) {
            plan.shape(*which).cut = Some(*cut);
        }
        if let Some((_, which, every)) = self.corrupt.as_ref().filter(|fault| fault.0.takes(draw)) {
            plan.shape(*which).corrupt = Some((*every, draw.clone()));
        }
        plan
    }
}

impl Abort {
    fn new(abort: &config::Abort, path: &str) -> Result<Self, ConfigError> {
        let message = abort.message.clone();
        match (abort.status, abort.grpc_status, abort.reset) {
            (Some(status), None, false) => Abort::status(status, message).ok_or_else(|| {
                let problem = format!("{status} is no status that an answer can have: 200 to 599");
                ConfigError::at(format!("{path}.status"), problem)
            }),
            (None, Some(status), false) => Abort::grpc(status, message).ok_or_else(|| {
                let problem = format!("{status} is no gRPC status of a failure: 1 to 16");
                ConfigError::at(format!("{path}.grpcStatus"), problem)
            }),
            (None, None, true) => Ok(Abort::Reset),
            _ => Err(ConfigError::at(path, "has one of status, grpcStatus and reset")),
        }
    }

    pub(crate) fn status(status: u16, message: String) -> Option<Self> {
        (200..=599).contains(&status).then_some(Abort::Status(status, message))
    }

    pub(crate) fn grpc(status: u32, message: String) -> Option<Self> {
        (1..=16).contains(&status).then_some(Abort::Grpc(status, message))
    }
}

impl Plan {
    pub(crate) fn shape(&mut self, which: Which) -> &mut Shape {
        match which {
            Which::Request => &mut self.request,
            Which::Response => &mut self.response,
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && !self.shapes()
    }

    /// Whether a body is touched.
    pub(crate) fn shapes(&self) -> bool {
        !self.request.is_nothing() || !self.response.is_nothing()
    }
}

impl Shape {
    pub(crate) fn is_nothing(&self) -> bool {
        self.rate.is_none() && self.cut.is_none() && self.corrupt.is_none()
    }
}
