//! What happens to a request is noted, and the notes can be told again.

use super::*;
use crate::{Content, Event, Field, Tape};

const GUEST: &str = r#"
    (data (i32.const 0) "x-asked")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 1)))
        (i32.const 0))
"#;

/// Runs one request and returns its tape.
fn run(instance: &mut Instance) -> Tape {
    let id = instance.open_stream(info(), NOW);
    instance.tape(id, 10_000);
    assert_eq!(instance.on_request_headers(id, get(), false, NOW).unwrap(), Step::Continue);
    instance.take_request_head(id);
    assert_eq!(instance.on_request_body(id, Bytes::from_static(b"\xff"), true, NOW).unwrap(), Step::Continue);
    instance.take_request_body(id);
    instance.close_stream(id, NOW);
    instance.take_tape(id).expect("a tape")
}

#[test]
fn a_tape_told_to_the_same_guest_gives_the_same_tape() {
    let mut instance = start(GUEST);
    let tape = run(&mut instance);
    let left = tape.notes.iter().find_map(|note| match &note.event {
        Event::RequestLeft { headers } => Some(headers),
        _ => None,
    });
    assert_eq!(left.and_then(|left| left.last()), Some(&Field("x-asked".into(), Content::Text("x".into()))));
    let played = tape.play(&mut start(GUEST)).expect("a tape");
    assert_eq!(played.notes, tape.notes);
    assert!(instance.take_tape(StreamId(2)).is_none(), "taken once");
}

#[test]
fn what_is_too_large_is_told() {
    let mut instance = start(GUEST);
    let id = instance.open_stream(info(), NOW);
    instance.tape(id, 100);
    assert_eq!(instance.on_request_headers(id, get(), false, NOW).unwrap(), Step::Continue);
    instance.close_stream(id, NOW);
    let tape = instance.take_tape(id).expect("a tape");
    assert!(tape.incomplete.is_some_and(|why| why.contains("too large")));
}

#[test]
fn secrets_are_taken_out() {
    let mut tape = run(&mut start(GUEST));
    tape.redact(|name| name == "x-asked", true);
    let text = format!("{tape:?}");
    assert!(text.contains("Redacted { redacted: 1 }") && !text.contains("Hex"), "{text}");
}
