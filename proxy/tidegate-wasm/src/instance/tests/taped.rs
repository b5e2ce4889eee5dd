//! What happens to a request is noted, and the notes can be told again.

use super::*;
use crate::{Content, Event, Field, Peer, Tape};

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

/// A request that opens a gRPC call, or a stream, and is told what comes back.
fn with_grpc(instance: &mut Instance, head: request::Parts) -> Tape {
    let id = instance.open_stream(info(), NOW);
    instance.tape(id, 10_000);
    assert_eq!(instance.on_request_headers(id, head, true, NOW).unwrap(), Step::Wait);
    let mut token = 0;
    let mut take = |instance: &mut Instance| {
        let mut goes_on = false;
        while let Some(effect) = instance.poll_effect() {
            match effect {
                Effect::GrpcCall(call) => token = call.token,
                Effect::Resume { .. } => goes_on = true,
                _ => {}
            }
        }
        if goes_on {
            instance.take_request_head(id);
        }
        token
    };
    let token = take(instance);
    instance.on_grpc_initial_metadata(token, ok(), NOW).unwrap();
    take(instance);
    instance.on_grpc_message(token, Bytes::from_static(b"answer"), NOW).unwrap();
    take(instance);
    instance.on_grpc_close(token, 0, "", NOW).unwrap();
    take(instance);
    instance.close_stream(id, NOW);
    instance.take_tape(id).expect("a tape")
}

#[test]
fn what_comes_back_on_grpc_calls_and_streams_is_told_again() {
    for (head, stream) in [(get(), false), (grpc::bare(), true)] {
        let tape = with_grpc(&mut start(grpc::GUEST), head);
        assert_eq!(tape.incomplete, None);
        let has = |wanted: &dyn Fn(&Event) -> bool| tape.notes.iter().any(|note| wanted(&note.event));
        let question = Content::Text("question".into());
        assert!(has(&|event| match event {
            Event::GrpcCall { upstream, messages, .. } => {
                upstream == "auth" && *messages == if stream { vec![] } else { vec![question.clone()] }
            }
            _ => false,
        }));
        assert_eq!(has(&|event| matches!(event, Event::GrpcHead { .. })), stream, "calls are not told of it");
        assert!(has(&|event| matches!(event, Event::GrpcMessage { call: 0, body } if body.len() == 6)));
        assert!(has(&|event| matches!(event, Event::GrpcClosed { call: 0, status: 0, .. })));
        let played = tape.play(&mut start(grpc::GUEST)).expect("a tape");
        assert_eq!(played.notes, tape.notes);
    }
}

#[test]
fn a_message_that_is_sent_later_is_noted() {
    let mut instance = start(grpc::GUEST);
    let id = instance.open_stream(info(), NOW);
    instance.tape(id, 10_000);
    assert_eq!(instance.on_request_headers(id, grpc::bare(), true, NOW).unwrap(), Step::Wait);
    while instance.poll_effect().is_some() {}
    instance.on_tick(NOW).unwrap();
    let tape = instance.take_tape(id).expect("a tape");
    let sent = tape.notes.iter().filter(|note| matches!(note.event, Event::GrpcSent { call: 0, .. }));
    assert_eq!(sent.count(), 1, "the second one comes after the end");
}

const OF_BYTES: &str = r#"
    (data (i32.const 0) "x")
    (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_on_downstream_data") (param i32 i32) (param $end i32) (result i32)
        (drop (call $set_buffer (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))
        (i32.eqz (local.get $end)))
    (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) (i32.const 0))
"#;

#[test]
fn a_connection_of_bytes_is_told_again() {
    let mut instance = start(OF_BYTES);
    let id = instance.open_connection(info(), NOW);
    instance.tape(id, 10_000);
    assert_eq!(instance.on_new_connection(id, NOW).unwrap(), Step::Continue);
    let piece = || Bytes::from_static(b"ab");
    assert_eq!(instance.on_downstream_data(id, piece(), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_downstream_data(id, piece(), true, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_data(id, Side::Request)[..], b"xxabab");
    assert_eq!(instance.on_upstream_data(id, piece(), false, NOW).unwrap(), Step::Continue);
    instance.take_data(id, Side::Response);
    instance.on_downstream_close(id, Peer::Remote, NOW).unwrap();
    instance.on_upstream_close(id, Peer::Local, NOW).unwrap();
    instance.close_stream(id, NOW);
    let tape = instance.take_tape(id).expect("a tape");
    assert!(tape.of_bytes && tape.notes.iter().any(|note| note.event == Event::Connected));
    assert_eq!(tape.play(&mut start(OF_BYTES)).expect("a tape").notes, tape.notes);
    let other = OF_BYTES.replace("(i32.eqz (local.get $end))", "(i32.const 0)");
    assert_ne!(tape.play(&mut start(&other)).expect("a tape").notes, tape.notes);
}
