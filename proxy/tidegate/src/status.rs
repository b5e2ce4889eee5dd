//! What the gateway knows of itself: the configuration that runs, the one that was refused, how far the end is. The
//! control thread writes it, the admin API shows it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use tidegate_config::Problem;
use tokio::sync::{Notify, watch};

use crate::assets::Digest;
use crate::fetch::Wanted;
use crate::memory::MemoryState;

/// The state of the process.
pub(crate) struct Status {
    /// When the process started.
    pub(crate) started: Instant,
    /// The same as people say it.
    pub(crate) since: SystemTime,
    /// The configuration that was published last.
    pub(crate) current: RefCell<Option<Current>>,
    /// The configuration that was refused after it.
    pub(crate) rejected: RefCell<Option<Rejected>>,
    /// How many configurations were refused.
    pub(crate) rejections: Cell<u64>,
    /// How many configurations were published.
    pub(crate) published: Cell<u64>,
    /// The newest generation that all workers serve; 0 before the first.
    pub(crate) served: Cell<u64>,
    /// Values of shared data that the admin API has set.
    pub(crate) shared_data_sets: Cell<u64>,
    /// Sources of servers have not had their time to answer since the start.
    pub(crate) awaits_servers: Cell<bool>,
    /// How much memory there is, and whether it is used up.
    pub(crate) memory: MemoryState,
    /// The end has begun.
    pub(crate) draining: Cell<bool>,
    /// The number of configurations that were published everywhere or refused.
    pub(crate) settled: watch::Sender<u64>,
    /// What the admin API was asked to do.
    pub(crate) wanted: Wishes,
}

/// What the admin API was asked to do; the control thread does it.
#[derive(Default)]
pub(crate) struct Wishes {
    /// To read the configuration again.
    pub(crate) reload: Notify,
    /// To end.
    pub(crate) end: Notify,
}

/// A configuration that runs.
pub(crate) struct Current {
    pub(crate) generation: u64,
    pub(crate) since: SystemTime,
    /// The document without its secrets.
    pub(crate) document: serde_json::Value,
    /// Plugins and VM ids whose shared data the admin API shows and sets.
    pub(crate) shared_data: Vec<String>,
    /// Whether the admin API steers releases.
    pub(crate) steers: bool,
    pub(crate) warnings: Vec<Problem>,
    /// By the plugins' keys.
    pub(crate) plugins: BTreeMap<String, PluginState>,
}

/// What became of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PluginState {
    /// It runs.
    Running {
        /// Of the module.
        digest: Digest,
        /// It is not the version that is wanted.
        behind: Option<Behind>,
    },
    /// Its module has not come yet: its routes follow `onFailure.load`.
    Loading(Wanted),
    /// It could not be loaded: its routes follow `onFailure.load`.
    Failed {
        /// Why.
        why: String,
    },
}

/// Why a plugin runs as an earlier version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The module has not come yet.
    Loading(Wanted),
    /// It has come, and is not used for this reason.
    Failed(String),
}

/// A configuration that was refused.
pub(crate) struct Rejected {
    pub(crate) since: SystemTime,
    pub(crate) problems: Vec<Problem>,
}

impl Status {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            since: SystemTime::now(),
            current: RefCell::default(),
            rejected: RefCell::default(),
            rejections: Cell::new(0),
            published: Cell::new(0),
            shared_data_sets: Cell::new(0),
            served: Cell::new(0),
            awaits_servers: Cell::new(false),
            memory: MemoryState::default(),
            draining: Cell::new(false),
            settled: watch::Sender::new(0),
            wanted: Wishes::default(),
        }
    }

    /// The generation that was published last; 0 before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.current.borrow().as_ref().map_or(0, |current| current.generation)
    }

    /// A configuration was published.
    pub(crate) fn on_published(&self, current: Current) {
        *self.current.borrow_mut() = Some(current);
        *self.rejected.borrow_mut() = None;
        self.published.set(self.published.get() + 1);
    }

    /// A configuration was read that is the one that runs.
    pub(crate) fn on_unchanged(&self) {
        *self.rejected.borrow_mut() = None;
        self.settle();
    }

    /// All workers serve this generation.
    pub(crate) fn on_served(&self, generation: u64) {
        self.served.set(self.served.get().max(generation));
        self.settle();
    }

    /// A configuration was refused. Tells whether for other reasons than the one before.
    pub(crate) fn on_rejected(&self, problems: Vec<Problem>) -> bool {
        let mut rejected = self.rejected.borrow_mut();
        let new = rejected.as_ref().is_none_or(|before| before.problems != problems);
        if new {
            *rejected = Some(Rejected { since: SystemTime::now(), problems });
        }
        self.rejections.set(self.rejections.get() + 1);
        drop(rejected);
        self.settle();
        new
    }

    /// Whether clients should be sent here.
    pub(crate) fn is_ready(&self) -> bool {
        self.served.get() > 0 && !self.draining.get() && !self.awaits_servers.get()
    }

    fn settle(&self) {
        self.settled.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::Severity;

    fn problem(message: &str) -> Problem {
        Problem {
            source: "a.yaml".to_owned(),
            line: Some(1),
            path: String::new(),
            message: message.to_owned(),
            hint: None,
            severity: Severity::Error,
        }
    }

    fn current(generation: u64) -> Current {
        Current {
            generation,
            since: SystemTime::UNIX_EPOCH,
            document: serde_json::Value::Null,
            shared_data: Vec::new(),
            steers: false,
            warnings: Vec::new(),
            plugins: BTreeMap::new(),
        }
    }

    #[test]
    fn the_same_problem_is_new_once() {
        let status = Status::new();
        assert!(status.on_rejected(vec![problem("a")]));
        assert!(!status.on_rejected(vec![problem("a")]));
        assert!(status.on_rejected(vec![problem("b")]));
        assert_eq!(status.rejections.get(), 3);
        status.on_published(current(1));
        assert!(status.rejected.borrow().is_none());
        assert!(status.on_rejected(vec![problem("b")]), "something good came between");
    }

    #[test]
    fn ready_means_served_by_all_and_not_ending() {
        let status = Status::new();
        assert!(!status.is_ready());
        status.on_published(current(1));
        assert!(!status.is_ready(), "no worker has it yet");
        status.on_served(1);
        assert!(status.is_ready());
        status.awaits_servers.set(true);
        assert!(!status.is_ready(), "its upstreams have no servers yet");
        status.awaits_servers.set(false);
        status.draining.set(true);
        assert!(!status.is_ready());
    }
}
