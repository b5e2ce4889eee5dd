//! Guests that only log: everything is readable at the end, nothing can be changed.

use super::*;
use crate::Ended;

/// Logs its callbacks, values of both heads and trailers, and what writing comes to.
const LOGGER: &str = r#"
    (data (i32.const 0) ":path") (data (i32.const 16) ":status") (data (i32.const 32) "x-sum")
    (data (i32.const 48) "response\00code_details") (data (i32.const 80) "request\00size")
    (func $show (param $map i32) (param $key i32) (param $size i32)
        (call $say (call $get (local.get $map) (local.get $key) (local.get $size) (i32.const 2048) (i32.const 2052))))
    (func (export "proxy_on_context_create") (param i32 i32) (call $say (i32.const 100)))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (unreachable))
    (func (export "proxy_on_log") (param i32)
        (call $say (i32.const 101))
        (call $show (i32.const 0) (i32.const 0) (i32.const 5))
        (call $tell)
        (call $show (i32.const 2) (i32.const 16) (i32.const 7))
        (call $tell)
        (call $show (i32.const 3) (i32.const 32) (i32.const 5))
        (call $tell)
        (call $say (call $property (i32.const 48) (i32.const 21) (i32.const 2048) (i32.const 2052)))
        (call $tell)
        (call $say (call $add (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 32) (i32.const 5)))
        (call $say (call $add (i32.const 3) (i32.const 32) (i32.const 5) (i32.const 32) (i32.const 5)))
        (call $say (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const -1)))
        (call $say (call $close (i32.const 0))))
    (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 102)) (i32.const 1))
    (func (export "proxy_on_delete") (param i32) (call $say (i32.const 103)))"#;

#[test]
fn everything_is_readable_and_nothing_can_be_changed() {
    let mut instance = start(LOGGER);
    let (request, response) = (Rc::new(get()), ok());
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let ended = Ended {
        opened: NOW,
        request: Some(&request),
        response: Some(&response),
        trailers: Some(&trailers),
        details: "why",
        ..Ended::default()
    };
    instance.on_ended(info(), &ended, NOW).unwrap();
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Log { .. })), "{effects:?}");
    let said: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Log { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    let want = [
        "100",
        "101",
        "000",
        "/path?query",
        "000",
        "200",
        "000",
        "7",
        "000",
        "why",
        "002",
        "002",
        "000",
        "000",
        "102",
        "103",
    ];
    assert_eq!(said[1..], want);
    assert_eq!(instance.streams(), 0);
}

#[test]
fn what_was_never_a_request_is_shown_without_heads() {
    let mut instance = start(LOGGER);
    lines(&mut instance);
    let ended = Ended { of_bytes: true, details: "no_route", ..Ended::default() };
    instance.on_ended(info(), &ended, NOW).unwrap();
    let said = lines(&mut instance);
    assert_eq!(said[0], "100");
    // Done goes before the log for connections, as where such guests come from.
    assert_eq!(said[1..4], ["102", "101", "001"]);
    assert_eq!(said.last().map(String::as_str), Some("103"));
}

#[test]
fn a_logger_that_breaks_off_leaves_no_stream() {
    let mut instance = start(r#"(func (export "proxy_on_log") (param i32) (unreachable))"#);
    assert!(instance.on_ended(info(), &Ended::default(), NOW).is_err());
    assert!(instance.on_ended(info(), &Ended::default(), NOW).is_err());
    assert_eq!(instance.streams(), 0);
}

/// The next stream of the instance must not find what nobody has performed.
#[test]
fn what_is_wished_for_at_the_end_of_a_stream_leaves_nothing() {
    let late = "(call $say (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const -1)))
        (call $say (call $close (i32.const 0)))";
    for at in ["log", "done", "delete"] {
        let result = if at == "done" { ("(result i32)", "(i32.const 1)") } else { ("", "") };
        let mut instance = start(&format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
            (func (export "proxy_on_{at}") (param i32) {} {late} {})"#,
            result.0, result.1
        ));
        let id = open(&mut instance);
        instance.on_request_headers(id, get(), true, NOW).unwrap();
        instance.close_stream(id, NOW);
        let left: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
        assert!(left.iter().all(|effect| matches!(effect, Effect::Log { .. })), "{at}: {left:?}");
        assert_eq!(left.len(), 2, "{at}: it is told that all is well");
    }
}
