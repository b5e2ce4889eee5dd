//! The metrics of sources of servers.

use crate::admin::answer::seconds;
use crate::discover::{Book, SourceState};
use tidegate_proxy::{Kind, Page};

/// Writes them, if there are sources.
pub(super) fn write(page: &mut Page, book: &Book) {
    let mut states: Vec<(String, SourceState)> = Vec::new();
    book.each(|name, state| states.push((name.to_owned(), state.clone())));
    if states.is_empty() {
        return;
    }
    type Row = (&'static str, Kind, &'static str, fn(&SourceState) -> f64);
    let rows: [Row; 6] = [
        ("tidegate_discovery_answers_total", Kind::Counter, "Answers of a source of servers.", |s| {
            s.answers as f64
        }),
        ("tidegate_discovery_failures_total", Kind::Counter, "Questions that came to nothing.", |s| {
            s.failures as f64
        }),
        ("tidegate_discovery_changes_total", Kind::Counter, "Changes of a source's list.", |s| {
            s.changes as f64
        }),
        ("tidegate_discovery_servers", Kind::Gauge, "Servers in the list that holds.", |s| s.servers as f64),
        (
            "tidegate_discovery_failing",
            Kind::Gauge,
            "Whether the source fails now; its last list holds.",
            |s| f64::from(u8::from(s.trouble.is_some())),
        ),
        (
            "tidegate_discovery_last_answer_timestamp_seconds",
            Kind::Gauge,
            "When the source answered last.",
            |s| s.last_answer.map_or(0.0, seconds),
        ),
    ];
    for (name, kind, help, of) in rows {
        page.metric(name, kind, help);
        for (upstream, state) in &states {
            page.sample(&[("upstream", upstream), ("source", state.kind)], of(state));
        }
    }
}
