//! The plugin that a filter belongs to, as far as the filter may know and steer it; tasks that belong to no request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::properties::Properties;
use crate::{host, side, time};

/// The plugin that is being configured.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate_sdk::{Filter, NoConfig, Plugin, filter, log};
///
/// struct Ticking;
///
/// #[filter]
/// impl Filter for Ticking {
///     fn new(_: NoConfig, plugin: &Plugin) -> Self {
///         plugin.tick_every(Duration::from_secs(30));
///         log::info!("{} is configured", plugin.name().unwrap_or_default());
///         Ticking
///     }
///
///     async fn on_tick(&self) {
///         log::info!("half a minute is over");
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Plugin {
    root: u32,
    tick: Cell<Option<Tick>>,
}

pub(crate) type Tick = (Duration, fn(Duration) -> time::Sleep);

impl Plugin {
    pub(crate) fn new(root: u32) -> Self {
        Plugin { root, tick: Cell::new(None) }
    }

    /// Has [`Filter::on_tick`](crate::Filter::on_tick) called this often.
    pub fn tick_every(&self, period: Duration) {
        self.tick.set(Some((period, time::sleep)));
    }

    /// Says which requests the filter has to do with: those that fit one of these. Tidegate has the others pass as if the
    /// filter were not there, which costs next to nothing: none of its handlers is called for them, nor
    /// [`Filter::on_log`](crate::Filter::on_log). It is a hint, for [`Filter::new`](crate::Filter::new): other hosts show
    /// all requests, so the filter must look all the same. Said twice, the last counts; an empty list is about no request.
    ///
    /// ```no_run
    /// use tidegate_sdk::{Filter, Interest, NoConfig, Plugin, Reply, Request, filter};
    ///
    /// struct Closed;
    ///
    /// #[filter]
    /// impl Filter for Closed {
    ///     fn new(_: NoConfig, plugin: &Plugin) -> Self {
    ///         plugin.interest(&[Interest::PathPrefix("/internal/")]);
    ///         Closed
    ///     }
    ///
    ///     async fn on_request(&self, request: &mut Request) -> Option<Reply> {
    ///         request.path().starts_with("/internal/").then(|| Reply::text(404, "not found"))
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    pub fn interest(&self, of: &[Interest<'_>]) {
        let lines: Vec<String> = of.iter().map(Interest::line).collect();
        if let Err(refusal) = host::foreign("tidegate_interest", lines.join("\n").as_bytes()) {
            log::debug!("all requests are shown: the host answered {refusal}");
        }
    }

    /// How many bytes of one body the gateway holds back for this plugin at most, its `limits.heldBody`. Above it requests
    /// are answered 413 and responses 500 by the gateway, whatever limit [`Body::collect`](crate::Body::collect) was given;
    /// so refuse a configuration that asks for more. `None` in other hosts, which do not tell.
    pub fn held_body(&self) -> Option<usize> {
        Properties::new().number("plugin_held_body")?.try_into().ok()
    }

    /// Says that the host shows bodies while it holds heads although it cannot be asked for that: Envoy, where
    /// `allow_on_headers_stop_iteration` is set for the plugin. Then [`Body::collect`](crate::Body::collect) and
    /// [`Body::peek`](crate::Body::peek) hold the head there as in Tidegate, which does so in any case. For
    /// [`Filter::new`](crate::Filter::new), where the filter's configuration says so; where it is not true such requests
    /// wait for ever.
    pub fn rely_on_held_bodies(&self) {
        side::rely_on_bodies();
    }

    /// The plugin's name in the gateway's configuration.
    pub fn name(&self) -> Option<String> {
        Properties::new().text("plugin_name")
    }

    /// The name under which the configuration chose among several filters of one module.
    pub fn root_id(&self) -> Option<String> {
        Properties::new().text("plugin_root_id")
    }

    /// The number of the plugin's context.
    pub fn id(&self) -> u32 {
        self.root
    }

    pub(crate) fn tick(&self) -> Option<Tick> {
        self.tick.get()
    }
}

/// What makes a request one that a filter has to do with, for [`Plugin::interest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest<'a> {
    /// It has a header of this name; each request has `host`, which is none to tell them apart by.
    Header(&'a str),
    /// It has this method.
    Method(&'a str),
    /// This is its path, without the query.
    Path(&'a str),
    /// Its path begins so.
    PathPrefix(&'a str),
}

impl Interest<'_> {
    /// As the host reads it.
    fn line(&self) -> String {
        match self {
            Interest::Header(name) => format!("header {name}"),
            Interest::Method(method) => format!("method {method}"),
            Interest::Path(path) => format!("path {path}"),
            Interest::PathPrefix(path) => format!("prefix {path}"),
        }
    }
}

pub(crate) type Background = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// Tasks that were handed over, each with the context that did it.
    static SPAWNED: RefCell<Vec<(u32, Background)>> = const { RefCell::new(Vec::new()) };
}

/// Runs a future that no request waits for, as a report to another server. It lives on when the request is over, and ends
/// with the plugin.
///
/// ```no_run
/// use tidegate_sdk::{http, log, spawn};
///
/// spawn(async {
///     if let Err(error) = http::post("/seen").to("audit").body("one more").await {
///         log::warn!("not told: {error}");
///     }
/// });
/// ```
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    SPAWNED.with(|spawned| spawned.borrow_mut().push((host::current(), Box::pin(task))));
}

/// Whether a task was handed over since they were taken.
#[inline]
pub(crate) fn has_spawned() -> bool {
    SPAWNED.with(|spawned| !spawned.borrow().is_empty())
}

pub(crate) fn take_spawned() -> Vec<(u32, Background)> {
    SPAWNED.take()
}
