//! Heads: what guests read and write, and when.

use super::*;

#[test]
fn fields_are_read_and_written() {
    let mut instance = start(
        r#"(data (i32.const 0) ":path" ) (data (i32.const 16) "x-new") (data (i32.const 32) "X-A")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (local.get 1))
            (call $say (local.get 2))
            (call $say (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 2048) (i32.const 2052)))
            (call $tell)
            (drop (call $add (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 5)))
            (drop (call $remove (i32.const 0) (i32.const 32) (i32.const 3)))
            (call $say (call $get (i32.const 0) (i32.const 32) (i32.const 3) (i32.const 2048) (i32.const 2052)))
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, get(), true, NOW).unwrap(), Step::Continue);
    assert_eq!(lines(&mut instance), ["005", "001", "000", "/path?query", "001"]);
    let head = instance.take_request_head(id).unwrap();
    assert_eq!((head.headers["x-new"].as_bytes(), head.headers.contains_key("x-a")), (&b":path"[..], false));
    assert!(instance.take_request_head(id).is_none());
}

#[test]
fn absent_maps_and_fields_have_their_own_statuses() {
    let mut instance = start(
        r#"(data (i32.const 0) "none")
        (func $try (param $map i32)
            (call $say (call $get (local.get $map) (i32.const 0) (i32.const 4) (i32.const 2048) (i32.const 2052)))
            (call $say (call $pairs (local.get $map) (i32.const 2048) (i32.const 2052)))
            (call $say (call $add (local.get $map) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $try (i32.const 0)) (call $try (i32.const 1)) (call $try (i32.const 2))
            (call $try (i32.const 6)) (call $try (i32.const 8))
            (i32.const 0))
        (func (export "proxy_on_log") (param i32) (call $try (i32.const 0)) (call $try (i32.const 3)))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let want = [
        "001", "000", "000", "002", "000", "002", "002", "000", "002", "002", "000", "002", "002", "002",
        "002",
    ];
    assert_eq!(lines(&mut instance), want);
    instance.take_request_head(id);
    instance.close_stream(id, NOW);
    // The field that was added is still to be read at the end; nothing can be written any more.
    assert_eq!(lines(&mut instance), ["000", "000", "002", "001", "000", "002"]);
    assert_eq!(instance.streams(), 0);
}

#[test]
fn a_request_is_readable_in_response_callbacks_and_at_the_end() {
    let mut instance = start(
        r#"(data (i32.const 0) "x-a:statushost")
        (func $read (param $map i32) (param $at i32) (param $len i32)
            (call $say (call $get (local.get $map) (local.get $at) (local.get $len) (i32.const 2048) (i32.const 2052)))
            (call $tell))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $read (i32.const 0) (i32.const 0) (i32.const 3))
            (call $read (i32.const 0) (i32.const 10) (i32.const 4))
            (call $say (call $add (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)))
            (i32.const 0))
        (func (export "proxy_on_log") (param i32)
            (call $read (i32.const 2) (i32.const 3) (i32.const 7)))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.take_request_head(id);
    instance.on_response_headers(id, ok(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "1", "000", "example.com", "002"]);
    instance.take_response_head(id);
    instance.close_stream(id, NOW);
    assert_eq!(lines(&mut instance), ["000", "200"]);
}

#[test]
fn a_guest_answers_itself_once() {
    let mut instance = start(
        r#"(data (i32.const 0) "denied\01\00\00\00\06\00\00\00\01\00\00\00x-deny\00y\00")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $reply (i32.const 403) (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 6)
                (i32.const 6) (i32.const 21) (i32.const -1)))
            (call $say (call $reply (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 7)))
            (i32.const 0))
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) unreachable)"#,
    );
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Wait);
    let effect =
        std::iter::from_fn(|| instance.poll_effect()).find(|e| matches!(e, Effect::LocalReply { .. }));
    let Some(Effect::LocalReply { stream, status, headers, body, grpc_status, details }) = effect else {
        panic!("a local reply")
    };
    assert_eq!(
        (stream, status, &body[..], details.as_str()),
        (id, StatusCode::FORBIDDEN, &b"denied"[..], "denied")
    );
    assert_eq!((headers.len(), headers[0].0.as_str(), grpc_status), (2, "x-deny", None));
    assert!(wishes(&mut instance).is_empty(), "the first one counts");
    assert_eq!(instance.on_request_body(id, Bytes::from_static(b"abcdef"), true, NOW).unwrap(), Step::Wait);
    assert_eq!(instance.take_request_body(id).len(), 0);
}

#[test]
fn an_answer_passes_its_own_guest() {
    let mut instance = start(
        r#"(func $deny (param i32) (drop (call $reply (local.get 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const -1))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $deny (i32.const 403)) (call $deny (i32.const 405)) (i32.const 1))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $deny (i32.const 404)) (call $deny (i32.const 405)) (i32.const 1))"#,
    );
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, get(), true, NOW).unwrap(), Step::Wait);
    assert_eq!(wishes(&mut instance), ["reply 403"]);
    // Answering the answer makes another one, which does not pass the guest.
    assert_eq!(instance.on_response_headers(id, ok(), false, NOW).unwrap(), Step::Wait);
    assert_eq!(wishes(&mut instance), ["reply 404"]);
}

#[test]
fn pairs_come_and_go_as_a_whole() {
    let mut instance = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052)))
            (call $say (call $set_pairs (i32.const 0) (i32.load (i32.const 2048)) (i32.load (i32.const 2052))))
            (call $say (call $set_pairs (i32.const 0) (i32.load (i32.const 2048)) (i32.const 9)))
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "000", "002"]);
    let head = instance.take_request_head(id).unwrap();
    let before = get();
    assert_eq!((&head.headers, &head.uri, &head.method), (&before.headers, &before.uri, &before.method));
}

#[test]
fn properties_tell_what_the_gateway_knows() {
    let mut instance = start(
        r#"(data (i32.const 0) "source\00address") (data (i32.const 32) "request\00query")
        (data (i32.const 64) "request\00headers\00x-a") (data (i32.const 96) "mine") (data (i32.const 128) "no\00such")
        (data (i32.const 160) "plugin_root_id\00")
        (func $read (param $at i32) (param $len i32)
            (call $say (call $property (local.get $at) (local.get $len) (i32.const 2048) (i32.const 2052)))
            (call $tell))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $read (i32.const 160) (i32.const 15))
            (call $say (call $property (i32.const 0) (i32.const 14) (i32.const 2048) (i32.const 2052)))
            (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $read (i32.const 0) (i32.const 14))
            (call $read (i32.const 32) (i32.const 13))
            (call $read (i32.const 64) (i32.const 19))
            (call $say (call $set_property (i32.const 96) (i32.const 4) (i32.const 0) (i32.const 6)))
            (call $read (i32.const 96) (i32.const 4))
            (call $say (call $property (i32.const 128) (i32.const 7) (i32.const 2048) (i32.const 2052)))
            (i32.const 0))"#,
    );
    assert_eq!(lines(&mut instance), ["000", "root", "001"]);
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let want = ["000", "10.0.0.1:4000", "000", "query", "000", "1", "000", "000", "source", "001"];
    assert_eq!(lines(&mut instance), want);
}
