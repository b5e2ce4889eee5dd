//! One request on the screen: what came, what became of it, what the filter changed.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate_proxy::Recorded;
use tidegate_wasm::{Event, TapeSide};

use crate::filter::diff::{self, Change};
use crate::filter::screen::{Paint, Tint};

/// A few lines about a request.
pub(super) fn record(record: &Recorded, paint: Paint) -> String {
    let events = || record.tape.notes.iter().map(|note| &note.event);
    let mut text = String::new();
    let _ = writeln!(text, "{}", first_line(record, paint));
    for event in events() {
        let told = match event {
            Event::Reply { status, .. } => format!("answered {status} itself"),
            Event::Reset => "broke the request off".to_owned(),
            Event::ClearRoute => "had the route chosen again".to_owned(),
            Event::Trap { message } => paint.tint(Tint::Bad, &format!("failed: {message}")),
            Event::Call { upstream, headers, .. } => format!("called {upstream}: {}", diff::title(headers)),
            Event::Answer { headers: Some(headers), .. } => format!("was answered {}", diff::title(headers)),
            Event::Answer { headers: None, .. } => paint.tint(Tint::Odd, "got no answer to its call"),
            Event::Refused { function } => paint.tint(Tint::Odd, &format!("was refused {function}")),
            _ => continue,
        };
        let _ = writeln!(text, "    filter    {told}");
    }
    let heads = [
        ("request", diff::last(events(), is_request), diff::last(events(), is_request_left)),
        ("response", diff::last(events(), is_response), diff::last(events(), is_response_left)),
    ];
    for (name, came, left) in heads {
        if let (Some(came), Some(left)) = (came.and_then(fields), left.and_then(fields)) {
            for change in diff::fields(came, left) {
                let tint = if matches!(change, Change::Removed(..)) { Tint::Odd } else { Tint::Good };
                let _ = writeln!(text, "    {name:<9} {}", paint.tint(tint, &change.to_string()));
            }
        }
    }
    for (name, side) in [("request", TapeSide::Request), ("response", TapeSide::Response)] {
        if let Some(change) = body(record, side) {
            let _ = writeln!(text, "    {name:<9} {}", paint.tint(Tint::Good, &change));
        }
    }
    if let Some(why) = &record.tape.incomplete {
        let _ = writeln!(text, "    {}", paint.tint(Tint::Dim, &format!("not all is shown: {why}")));
    }
    text
}

fn first_line(record: &Recorded, paint: Paint) -> String {
    let request = record.tape.notes.iter().find_map(|note| match &note.event {
        Event::RequestHeaders { headers, .. } => Some(diff::title(headers)),
        _ => None,
    });
    let (tint, status) = match record.status {
        Some(status) if status < 400 => (Tint::Good, status.to_string()),
        Some(status) if status < 500 => (Tint::Odd, status.to_string()),
        Some(status) => (Tint::Bad, status.to_string()),
        None => (Tint::Bad, "no answer".to_owned()),
    };
    let took = duration(Duration::from_micros(record.took));
    format!(
        "{}  {}  {}",
        paint.tint(tint, &status),
        request.unwrap_or_default(),
        paint.tint(Tint::Dim, &took)
    )
}

fn duration(took: Duration) -> String {
    match took.as_millis() {
        0 => format!("{} µs", took.as_micros()),
        1..1000 => format!("{}.{} ms", took.as_millis(), took.subsec_micros() % 1000 / 100),
        _ => format!("{}.{} s", took.as_secs(), took.subsec_millis() / 100),
    }
}

/// What became of a body, where that can be told.
fn body(record: &Recorded, wanted: TapeSide) -> Option<String> {
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for note in &record.tape.notes {
        match &note.event {
            Event::Body { side, body, .. } if *side == wanted => came.extend(body.bytes()?),
            Event::BodyLeft { side, body } if *side == wanted => went.extend(body.bytes()?),
            _ => {}
        }
    }
    (came != went).then(|| format!("~ body: {} bytes came, {} went on", came.len(), went.len()))
}

fn fields(event: &Event) -> Option<&[tidegate_wasm::Field]> {
    match event {
        Event::RequestHeaders { headers, .. }
        | Event::ResponseHeaders { headers, .. }
        | Event::RequestLeft { headers }
        | Event::ResponseLeft { headers } => Some(headers),
        _ => None,
    }
}

fn is_request(event: &Event) -> bool {
    matches!(event, Event::RequestHeaders { .. })
}

fn is_request_left(event: &Event) -> bool {
    matches!(event, Event::RequestLeft { .. })
}

fn is_response(event: &Event) -> bool {
    matches!(event, Event::ResponseHeaders { .. })
}

fn is_response_left(event: &Event) -> bool {
    matches!(event, Event::ResponseLeft { .. })
}
