//! What is left of a callback's changes when it breaks off and its stream goes on.

use super::*;

/// Adds `x-bad`, takes another field out, and breaks off; a body becomes another one, trailers get `x-bad` too.
const VANDAL: &str = r#"(data (i32.const 0) "x-bad:pathserver")
    (func $vandalise (param $map i32)
        (drop (call $add (local.get $map) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5)))
        (drop (call $remove (local.get $map) (i32.const 10) (i32.const 6)))
        (drop (call $replace (local.get $map) (i32.const 5) (i32.const 5) (i32.const 0) (i32.const 1))))
    (func $overwrite (param $buffer i32)
        (drop (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 5)))
        (drop (call $set_buffer (local.get $buffer) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 5))))"#;

fn vandal(rest: &str) -> (Instance, StreamId) {
    let mut instance = start(&format!("{VANDAL} {rest}"));
    let id = open(&mut instance);
    instance.outlive(id);
    (instance, id)
}

#[test]
fn heads_are_as_before_the_call_that_failed() {
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $vandalise (i32.const 0)) (unreachable))"#,
    );
    instance.on_request_headers(id, get(), true, NOW).unwrap_err();
    let left = instance.leave_request_head(id, |_| Ok::<_, ()>(())).unwrap().unwrap();
    assert_eq!((&left.head.headers, &left.head.uri), (&get().headers, &get().uri));
    assert!(!left.changed);

    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $vandalise (i32.const 2)) (unreachable))"#,
    );
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.on_response_headers(id, ok(), true, NOW).unwrap_err();
    assert_eq!(instance.take_response_head(id).unwrap().headers, ok().headers);
}

#[test]
fn what_earlier_calls_wrote_stays() {
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $vandalise (i32.const 0)) (i32.const 1))
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (call $overwrite (i32.const 0))
            (if (local.get 2) (then
                (drop (call $replace (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 0)))
                (unreachable)))
            (i32.const 1))"#,
    );
    instance.on_request_headers(id, post(), false, NOW).unwrap();
    instance.on_request_body(id, Bytes::from_static(b"abc"), false, NOW).unwrap();
    instance.on_request_body(id, Bytes::from_static(b"def"), true, NOW).unwrap_err();
    let head = instance.take_request_head(id).unwrap();
    assert_eq!(head.headers["x-bad"], "x-bad");
    // Taken out by the callback that was well.
    assert!(!head.headers.contains_key("content-length"));
    assert_eq!(&instance.take_request_body(id)[..], b"x-bad-baddef");
}

#[test]
fn bodies_and_trailers_are_as_before_on_both_ways() {
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (call $overwrite (i32.const 0)) (unreachable))"#,
    );
    instance.on_request_headers(id, post(), false, NOW).unwrap();
    instance.on_request_body(id, Bytes::from_static(b"abcdef"), true, NOW).unwrap_err();
    assert_eq!(instance.take_request_head(id).unwrap().headers["content-length"], "6");
    assert_eq!(&instance.take_request_body(id)[..], b"abcdef");

    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
            (call $overwrite (i32.const 1)) (call $vandalise (i32.const 3)) (unreachable))"#,
    );
    instance.on_response_headers(id, ok(), false, NOW).unwrap();
    instance.on_response_body(id, Bytes::from_static(b"abc"), true, NOW).unwrap_err();
    assert_eq!(&instance.take_response_body(id)[..], b"abc");
    assert!(instance.take_response_trailers(id).is_none());

    let mut trailers = http::HeaderMap::new();
    trailers.insert("server", "1".parse().unwrap());
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
            (call $vandalise (i32.const 1)) (unreachable))"#,
    );
    instance.on_request_trailers(id, trailers.clone(), NOW).unwrap_err();
    assert_eq!(instance.take_request_trailers(id), Some(trailers.clone()));
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
            (call $vandalise (i32.const 3)) (unreachable))"#,
    );
    instance.on_response_trailers(id, trailers.clone(), NOW).unwrap_err();
    assert_eq!(instance.take_response_trailers(id), Some(trailers));
}

#[test]
fn a_request_that_another_callback_changed_is_as_before_too() {
    let (mut instance, id) = vandal(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $effective (i32.const 2))) (call $vandalise (i32.const 0)) (unreachable))"#,
    );
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.on_tick(NOW).unwrap_err();
    assert_eq!(instance.take_request_head(id).unwrap().headers, get().headers);
}
