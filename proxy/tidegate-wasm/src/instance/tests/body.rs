//! Bodies: held, seen as a whole, written, let go.

use super::*;

/// Says how much it sees, holds until the end, then does `at_end`.
fn buffering(at_end: &str) -> String {
    format!(
        r#"(data (i32.const 0) "new!")
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (call $say (local.get 1))
            (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
            {at_end}
            (i32.const 0))"#
    )
}

fn chunk(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_held_body_is_seen_as_a_whole() {
    let read = "(call $say (call $buffer (i32.const 0) (i32.const 1) (i32.const -1) (i32.const 2048) (i32.const 2052))) (call $tell)";
    let mut instance = start(&buffering(read));
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Continue);
    for (part, step) in [("ab", Step::Pause), ("cd", Step::Pause)] {
        assert_eq!(instance.on_request_body(id, chunk(part), false, NOW).unwrap(), step);
    }
    assert_eq!(instance.buffered_request_body(id), 4);
    assert_eq!(instance.on_request_body(id, chunk("ef"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(lines(&mut instance), ["002", "004", "006", "000", "bcdef"]);
    assert_eq!(&instance.take_request_body(id)[..], b"abcdef");
    assert_eq!(instance.take_request_body(id).len(), 0);
}

#[test]
fn a_body_can_be_written() {
    let cases = [
        ("(i32.const 0) (i32.const 0)", "000", "new!abcd"),
        ("(i32.const 0) (i32.const -1)", "000", "new!"),
        ("(i32.const 0) (i32.const 1)", "000", "new!bcd"),
        ("(i32.const 99) (i32.const 0)", "000", "abcdnew!"),
        ("(i32.const 1) (i32.const 1)", "002", "abcd"),
    ];
    for (range, status, want) in cases {
        let write =
            format!("(call $say (call $set_buffer (i32.const 0) {range} (i32.const 0) (i32.const 4)))");
        let mut instance = start(&buffering(&write));
        let id = open(&mut instance);
        instance.on_request_headers(id, post(), false, NOW).unwrap();
        instance.on_request_body(id, chunk("ab"), false, NOW).unwrap();
        instance.on_request_body(id, chunk("cd"), true, NOW).unwrap();
        assert_eq!(lines(&mut instance).last().map(String::as_str), Some(status), "{range}");
        assert_eq!(&instance.take_request_body(id)[..], want.as_bytes(), "{range}");
        let length = instance.take_request_head(id).unwrap().headers.contains_key("content-length");
        assert_eq!(length, status != "000", "a changed body has no announced length");
    }
}

#[test]
fn buffers_that_are_not_there_or_read_only_say_so() {
    let mut instance = start(
        r#"(func $try (param $kind i32)
            (call $say (call $buffer (local.get $kind) (i32.const 0) (i32.const 99) (i32.const 2048) (i32.const 2052)))
            (call $say (call $set_buffer (local.get $kind) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (local.get 1))
            (call $try (i32.const 0)) (call $try (i32.const 7)) (call $tell)
            (call $try (i32.const 6)) (call $try (i32.const 9))
            (i32.const 1))
        (func (export "proxy_on_tick") (param i32) (call $try (i32.const 7)))"#,
    );
    let want = ["010", "000", "001", "000", "002", "the config", "000", "002", "002", "002"];
    assert_eq!(lines(&mut instance), want);
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["001", "001"], "the configuration is there while configuring only");
}

#[test]
fn a_head_has_no_body_yet() {
    let mut instance = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $buffer (i32.const 0) (i32.const 0) (i32.const 99) (i32.const 2048) (i32.const 2052)))
            (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "001"]);
    assert_eq!(instance.take_request_body(id).len(), 0);
}

#[test]
fn a_head_may_wait_for_its_body() {
    let mut instance = start(&format!(
        r#"(data (i32.const 16) "x-seen")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1)) {}"#,
        buffering(
            "(drop (call $add (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 0) (i32.const 4)))"
        )
    ));
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(id, chunk("abc"), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(id, chunk("def"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(instance.take_request_head(id).unwrap().headers["x-seen"], "new!");
    assert_eq!(&instance.take_request_body(id)[..], b"abcdef");
}

#[test]
fn other_actions_of_vendors_are_understood() {
    let actions = |head: u32, body: u32| {
        start(&format!(
            r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const {head}))
            (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const {body}))"#
        ))
    };
    for (action, step) in
        [(0, Step::Continue), (1, Step::Pause), (2, Step::Continue), (3, Step::Wait), (9, Step::Wait)]
    {
        let mut instance = actions(action, 0);
        let id = open(&mut instance);
        assert_eq!(instance.on_response_headers(id, ok(), false, NOW).unwrap(), step, "{action}");
    }
    for (action, step, left) in
        [(0, Step::Continue, 2), (1, Step::Pause, 2), (2, Step::Pause, 2), (3, Step::Pause, 0)]
    {
        let mut instance = actions(0, action);
        let id = open(&mut instance);
        assert_eq!(instance.on_response_body(id, chunk("ab"), false, NOW).unwrap(), step, "{action}");
        assert_eq!(instance.buffered_response_body(id), left, "{action}");
    }
}

#[test]
fn a_guest_with_exact_actions_can_hold_a_body_without_being_shown_more() {
    for (exact, step, left) in
        [("(func (export \"tidegate_exact_actions\"))", Step::Wait, 2), ("", Step::Pause, 0)]
    {
        let mut instance = start(&format!(
            r#"{exact} (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 4))"#
        ));
        let id = open(&mut instance);
        assert_eq!(instance.on_response_headers(id, ok(), false, NOW).unwrap(), Step::Continue);
        assert_eq!(instance.on_response_body(id, chunk("ab"), false, NOW).unwrap(), step, "{exact}");
        assert_eq!(instance.buffered_response_body(id), left, "{exact}");
    }
}

#[test]
fn trailers_are_seen_and_can_be_made() {
    let mut instance = start(
        r#"(data (i32.const 0) "x-sum")
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
            (call $say (call $add (i32.const 3) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5)))
            (i32.const 0))
        (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
            (call $say (local.get 1))
            (call $say (call $remove (i32.const 1) (i32.const 0) (i32.const 5)))
            (i32.const 0))
        (func (export "proxy_on_log") (param i32)
            (call $say (call $get (i32.const 3) (i32.const 0) (i32.const 5) (i32.const 2048) (i32.const 2052))))"#,
    );
    let id = open(&mut instance);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    assert_eq!(instance.on_request_trailers(id, trailers, NOW).unwrap(), Step::Continue);
    assert_eq!(instance.take_request_trailers(id).map(|map| map.len()), Some(0));
    instance.on_response_body(id, chunk("a"), false, NOW).unwrap();
    assert!(instance.take_response_trailers(id).is_none());
    instance.on_response_body(id, chunk("b"), true, NOW).unwrap();
    assert_eq!(instance.take_response_trailers(id).unwrap()["x-sum"], "x-sum");
    instance.close_stream(id, NOW);
    assert_eq!(lines(&mut instance), ["001", "000", "002", "000", "000"]);
}
