//! The guest's log lines, shown as they are written, and what the gateway has to say of failures.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::filter::screen::{self, Paint, Tint};

/// From now on lines are shown.
pub(super) fn start(paint: Paint) {
    tracing_subscriber::registry().with(Lines(paint)).init();
}

struct Lines(Paint);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let of_guest = event.metadata().target() == "tidegate::guest";
        // What concerns the configuration is told in words of its own.
        let told = event.metadata().target().starts_with("tidegate::run");
        if !of_guest && (told || level > Level::WARN) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let (tint, word) = match level {
            Level::ERROR => (Tint::Bad, "error"),
            Level::WARN => (Tint::Odd, "warn"),
            Level::INFO => (Tint::Good, "info"),
            Level::DEBUG => (Tint::Dim, "debug"),
            Level::TRACE => (Tint::Dim, "trace"),
        };
        let word = self.0.tint(tint, &format!("{word:<5}"));
        let rest = if of_guest { String::new() } else { self.0.tint(Tint::Dim, &line.fields) };
        screen::show(&format!("  log  {word} {}{rest}", line.message));
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A String takes everything.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "plugin" | "worker" | "request_id" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
