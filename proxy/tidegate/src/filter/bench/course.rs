//! What is measured of a module: a request, or a connection of bytes; and a tick, where the guest wants some.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use tidegate_wasm::{Instance, Now};

use super::connection::{self, Connection};
use super::exchange::{self, Exchange};
use super::walk::{self, Call};

/// See the module.
pub(super) struct Course {
    stream: Stream,
    /// Time goes on by ticks only, so each run is the same.
    passed: Cell<Duration>,
}

enum Stream {
    Request(Box<Exchange>),
    Connection(Connection),
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Stream::Request(exchange) => exchange.fmt(f),
            Stream::Connection(connection) => connection.fmt(f),
        }
    }
}

impl Course {
    pub(super) fn of_request(exchange: Exchange) -> Self {
        Self { stream: Stream::Request(Box::new(exchange)), passed: Cell::default() }
    }

    pub(super) fn of_connection(connection: Connection) -> Self {
        Self { stream: Stream::Connection(connection), passed: Cell::default() }
    }

    /// What all callbacks together are called, but for those of the plugin itself.
    pub(super) fn whole(&self) -> &'static str {
        match &self.stream {
            Stream::Request(_) => "a request",
            Stream::Connection(_) => "a connection",
        }
    }

    /// The events, in order; the last one is [`TICK`].
    pub(super) fn names(&self) -> Vec<&'static str> {
        let names: &[&'static str] = match &self.stream {
            Stream::Request(_) => &exchange::NAMES,
            Stream::Connection(_) => &connection::NAMES,
        };
        [names, &[TICK]].concat()
    }

    /// The time of the next run.
    pub(super) fn now(&self) -> Now {
        let passed = Duration::from_secs(2_000_000_000) + self.passed.get();
        Now::new(passed, passed)
    }

    /// Runs it once; `measure` is given each call with the number of its event.
    pub(super) fn run(
        &self,
        instance: &mut Instance,
        measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
    ) -> Result<()> {
        match &self.stream {
            Stream::Request(exchange) => exchange.run(instance, self.now(), measure)?,
            Stream::Connection(connection) => connection.run(instance, self.now(), measure)?,
        }
        let Some(period) = instance.tick_period() else { return Ok(()) };
        self.passed.set(self.passed.get() + period);
        walk::tick(instance, self.now(), self.names().len() - 1, measure)
    }
}

/// The plugin's own event, which is no part of a request.
pub(super) const TICK: &str = "tick";
