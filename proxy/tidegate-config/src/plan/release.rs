//! How a new version takes over, and where requests are copied to.

use super::{Plan, PluginIndex, Session, UpstreamIndex};
use std::time::Duration;

/// One hundred percent, where shares are told in millionths.
pub const WHOLE: u32 = 1_000_000;

/// What is done with the requests of a rule besides forwarding them by weight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// What keeps a client with one upstream; none: nothing.
    pub sticky: Option<Sticky>,
    /// What keeps a client at one server; none: as the upstreams say.
    pub session: Option<Session>,
    /// An upstream that takes over step by step.
    pub release: Option<Release>,
    /// Where requests are copied to.
    pub mirrors: Vec<Mirror>,
}

/// What keeps a client with the version that it had first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// The value of the cookie of this name.
    Cookie(String),
    /// The value of the header of this name, in lower case.
    Header(String),
    /// The client's address.
    Address,
}

/// An upstream that takes over step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which one; its weight in the rule does not count.
    pub to: UpstreamIndex,
    /// The way there.
    pub course: Course,
}

/// Another version of a plugin, for a share of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The plugin with the other module.
    pub plugin: PluginIndex,
    /// What keeps a client with one version; none: nothing.
    pub sticky: Option<Sticky>,
    /// The way there.
    pub course: Course,
}

/// The steps of a new version, and what sends it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// Shares in millionths, at least one, growing.
    pub steps: Vec<u32>,
    /// How long each lasts at least (default 5 min).
    pub interval: Duration,
    /// Requests in a step before the new version is judged well (default 100).
    pub min_requests: u64,
    /// What it must keep.
    pub bounds: Bounds,
}

/// What a new version must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Failed requests, in millionths (default 5 %).
    pub errors: u32,
    /// So many more than the old version has, in millionths (default 1 %).
    pub errors_over_old: u32,
    /// The time to an answer's head that 99 of 100 requests keep; none: any.
    pub p99: Option<Duration>,
    /// The same as a multiple of the old version's, in percent (default 200); none: any.
    pub p99_over_old: Option<u32>,
    /// Calls of a plugin that broke off (default 0); none: it is not a plugin.
    pub failures: Option<u64>,
}

/// Copies of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets them.
    pub upstream: UpstreamIndex,
    /// Share of requests, in millionths (default all).
    pub share: u32,
    /// Put at the end of the host's name; empty: nothing.
    pub host_suffix: String,
    /// From the request's head to the answer's last byte (default 10 s).
    pub timeout: Duration,
    /// Copies at one time in the whole gateway (default 128).
    pub limit: usize,
    /// Bytes that a copy's body may be behind (default 512 KiB).
    pub buffer: usize,
}

impl Plan {
    /// Whether the plugin with this key is another one's other version.
    #[must_use]
    pub fn is_canary(&self, key: &str) -> bool {
        let others = self.plugins.iter().filter_map(|plugin| plugin.canary.as_ref());
        others.filter_map(|canary| self.plugins.get(canary.plugin)).any(|other| other.key == key)
    }
}
