//! The plugin that a filter belongs to, as far as the filter may know and steer it; tasks that belong to no request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::properties::Properties;
use crate::{host, time};

/// The plugin that is being configured.
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

pub(crate) fn take_spawned() -> Vec<(u32, Background)> {
    SPAWNED.with(|spawned| {
        let mut spawned = spawned.borrow_mut();
        if spawned.is_empty() { Vec::new() } else { std::mem::take(&mut *spawned) }
    })
}
