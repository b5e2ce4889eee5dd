//! gRPC calls and streams as guests see them.

use super::*;
use crate::{GrpcCall, GrpcStatus};
use http::HeaderMap;
use std::task::{Context, Poll, Waker};

/// Opens a call in the head of a request that asks for `/call`, else a stream, and tells what comes back.
pub(super) const GUEST: &str = r#"
    (data (i32.const 0) "authpkg.ServicePing")
    (data (i32.const 20) "\01\00\00\00\04\00\00\00\02\00\00\00meta\00me\00")
    (data (i32.const 60) "question")
    (data (i32.const 70) "x-metagrpc-status")
    (global $token (export "token") (mut i32) (i32.const 0))
    (func $open_call (result i32) (call $grpc_call (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 11)
        (i32.const 15) (i32.const 4) (i32.const 20) (i32.const 20) (i32.const 60) (i32.const 8)
        (i32.const 1500) (i32.const 2056)))
    (func $open_stream (result i32) (call $grpc_stream (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 11)
        (i32.const 15) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 2056)))
    (func (export "proxy_on_request_headers") (param $id i32) (param $n i32) (param i32) (result i32)
        (global.set $saved (local.get $id))
        (if (i32.eq (local.get $n) (i32.const 5))
            (then (call $say (call $open_call))) (else (call $say (call $open_stream))))
        (global.set $token (i32.load (i32.const 2056)))
        (i32.const 1))
    (func (export "proxy_on_tick") (param i32)
        (call $say (call $grpc_send (global.get $token) (i32.const 60) (i32.const 8) (i32.const 0)))
        (call $say (call $grpc_close (global.get $token)))
        (call $say (call $grpc_send (global.get $token) (i32.const 60) (i32.const 8) (i32.const 0))))
    (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
        (call $say (local.get 0)) (call $say (local.get 1)) (call $say (local.get 2))
        (call $say (call $get (i32.const 4) (i32.const 70) (i32.const 6) (i32.const 2048) (i32.const 2052))) (call $tell)
        (call $say (call $add (i32.const 4) (i32.const 70) (i32.const 6) (i32.const 70) (i32.const 6))))
    (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
        (call $say (local.get 1)) (call $say (local.get 2))
        (call $say (call $buffer (i32.const 5) (i32.const 0) (i32.const 99) (i32.const 2048) (i32.const 2052))) (call $tell)
        (call $say (call $set_buffer (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))
        (call $say (call $effective (global.get $saved)))
        (call $say (call $continue (i32.const 0))))
    (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
        (call $say (local.get 2))
        (call $say (call $get (i32.const 5) (i32.const 76) (i32.const 11) (i32.const 2048) (i32.const 2052))) (call $tell))
    (func (export "proxy_on_grpc_close") (param i32 i32 i32)
        (call $say (local.get 1)) (call $say (local.get 2))
        (call $say (call $status (i32.const 2064) (i32.const 2048) (i32.const 2052))) (call $tell)
        (call $say (i32.load (i32.const 2064)))
        (call $say (call $buffer (i32.const 5) (i32.const 0) (i32.const 99) (i32.const 2048) (i32.const 2052)))
        (call $say (call $grpc_cancel (local.get 1))))
"#;

/// The guest, what it said while it opened the call, and the call.
fn opened(head: request::Parts) -> (Instance, StreamId, Vec<String>, Box<GrpcCall>) {
    let mut instance = start(GUEST);
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, head, true, NOW).unwrap(), Step::Wait);
    let (mut said, mut call) = (Vec::new(), None);
    while let Some(effect) = instance.poll_effect() {
        match effect {
            Effect::GrpcCall(opened) => call = Some(opened),
            Effect::Log { message, .. } => said.push(message),
            other => panic!("{other:?}"),
        }
    }
    (instance, id, said, call.unwrap())
}

/// Without the field that `get` has, so a stream is opened.
pub(super) fn bare() -> request::Parts {
    Request::get("/").header("host", "h").body(()).unwrap().into_parts().0
}

fn sent(call: &GrpcCall) -> Option<Poll<Bytes>> {
    match call.outbox.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(message) => message.map(Poll::Ready),
        Poll::Pending => Some(Poll::Pending),
    }
}

#[test]
fn a_call_has_one_message_each_way() {
    let (mut instance, id, said, call) = opened(get());
    assert_eq!(
        (said, call.token, call.stream, call.upstream.as_str()),
        (vec!["000".to_owned()], 5, Some(id), "auth")
    );
    assert_eq!((call.head.method.as_str(), call.head.uri.path()), ("POST", "/pkg.Service/Ping"));
    let head = |name: &str| call.head.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(
        (head("host"), head("te"), head("content-type")),
        (Some("auth"), Some("trailers"), Some("application/grpc"))
    );
    assert_eq!((head("meta"), head("grpc-timeout")), (Some("me"), Some("1500m")));
    assert_eq!(call.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(sent(&call), Some(Poll::Ready(Bytes::from_static(b"\0\0\0\0\x08question"))));
    assert_eq!(sent(&call), None);
    instance.on_grpc_initial_metadata(5, ok(), NOW).unwrap();
    instance.on_grpc_message(5, Bytes::from_static(b"answer"), NOW).unwrap();
    instance.on_grpc_trailing_metadata(5, HeaderMap::new(), NOW).unwrap();
    assert!(!instance.has_effects(), "it is told when it is whole");
    assert_eq!(instance.open_calls(), 1);
    instance.on_grpc_close(5, GrpcStatus::OK, "", NOW).unwrap();
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Resume { stream, side: Side::Request } if *stream == id))
    );
    let said: Vec<_> = effects
        .iter()
        .filter_map(|e| if let Effect::Log { message, .. } = e { Some(&**message) } else { None })
        .collect();
    assert_eq!(said, ["005", "006", "000", "answer", "002", "000", "000"]);
    instance.on_grpc_close(5, 3, "again", NOW).unwrap();
    assert!(!instance.has_effects(), "a call ends once");
    assert_eq!(instance.open_calls(), 0);
}

#[test]
fn a_call_without_an_answer_fails() {
    for (message, status, told) in [(None, 0, "013"), (Some("late"), 5, "005"), (None, 14, "014")] {
        let (mut instance, _, _, call) = opened(get());
        if let Some(message) = message {
            instance.on_grpc_message(call.token, Bytes::from_static(message.as_bytes()), NOW).unwrap();
        }
        instance.on_grpc_close(call.token, status, "why", NOW).unwrap();
        assert_eq!(lines(&mut instance), ["005", told, "000", "why", told, "000", "001"]);
    }
}

#[test]
fn a_stream_has_metadata_and_messages() {
    let (mut instance, _, said, call) = opened(bare());
    assert_eq!((said, call.token, call.timeout), (vec!["000".to_owned()], 6, None));
    assert_eq!(sent(&call), Some(Poll::Pending));
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "000", "002"], "after its own end a guest sends nothing");
    assert_eq!(sent(&call), Some(Poll::Ready(Bytes::from_static(b"\0\0\0\0\x08question"))));
    assert_eq!(sent(&call), None);
    let mut head = ok();
    head.headers.insert("x-meta", "here".parse().unwrap());
    instance.on_grpc_initial_metadata(6, head, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["001", "006", "003", "000", "here", "002"]);
    for message in ["one", ""] {
        instance.on_grpc_message(6, Bytes::from_static(message.as_bytes()), NOW).unwrap();
        let size = format!("{:03}", message.len());
        assert_eq!(lines(&mut instance), ["006", &size, "000", message, "002", "000", "000"]);
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    instance.on_grpc_trailing_metadata(6, trailers, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["001", "000", "0"]);
    instance.on_grpc_close(6, 0, "", NOW).unwrap();
    assert_eq!(lines(&mut instance), ["006", "000", "000", "", "000", "000", "001"]);
    instance.on_grpc_message(6, Bytes::from_static(b"late"), NOW).unwrap();
    assert!(!instance.has_effects());
}

#[test]
fn calls_are_cancelled_and_tokens_checked() {
    let mut instance = start(
        r#"(data (i32.const 0) "authotherpkg.S/p q")
        (func $open (param $to i32) (param $tos i32) (param $method i32) (param $methods i32) (result i32)
            (call $grpc_call (local.get $to) (local.get $tos) (i32.const 9) (i32.const 5) (local.get $method)
                (local.get $methods) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 2056)))
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $open (i32.const 0) (i32.const 4) (i32.const 15) (i32.const 1)))
            (call $say (call $grpc_send (i32.load (i32.const 2056)) (i32.const 0) (i32.const 1) (i32.const 0)))
            (call $say (call $grpc_cancel (i32.load (i32.const 2056))))
            (call $say (call $grpc_cancel (i32.load (i32.const 2056))))
            (call $say (call $grpc_close (i32.load (i32.const 2056))))
            (call $say (call $grpc_send (i32.const 6) (i32.const 0) (i32.const 1) (i32.const 0)))
            (call $say (call $grpc_cancel (i32.const 4))) (call $say (call $grpc_close (i32.const 7)))
            (call $say (call $open (i32.const 4) (i32.const 5) (i32.const 15) (i32.const 1)))
            (call $say (call $open (i32.const 0) (i32.const 4) (i32.const 15) (i32.const 3)))
            (call $say (call $open (i32.const -1) (i32.const 4) (i32.const 15) (i32.const 1))))"#,
    );
    instance.on_tick(NOW).unwrap();
    let said: Vec<_> = std::iter::from_fn(|| instance.poll_effect())
        .map(|effect| match effect {
            Effect::Log { message, .. } => message,
            Effect::GrpcCall(call) => format!("opens {}", call.token),
            Effect::GrpcCancel { token } => format!("cancels {token}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let want = [
        "opens 5",
        "000",
        "002",
        "cancels 5",
        "000",
        "001",
        "001",
        "001",
        "002",
        "002",
        "grpc call to \"other\" refused: the plugin may not call it",
        "004",
        "010",
        "006",
    ];
    assert_eq!(said, want);
    assert_eq!(instance.open_calls(), 0);
}

/// What a filter is told after the request that asked is gone reaches the plugin itself.
#[test]
fn an_answer_for_a_gone_stream_is_the_plugins() {
    let (mut instance, id, _, call) = opened(get());
    instance.close_stream(id, NOW);
    instance.on_grpc_message(call.token, Bytes::from_static(b"answer"), NOW).unwrap();
    instance.on_grpc_close(call.token, 0, "", NOW).unwrap();
    assert_eq!(lines(&mut instance), ["005", "006", "000", "answer", "002", "002", "000"]);
}

#[test]
fn a_trap_in_an_answer_ends_the_instance() {
    let mut instance = start(
        r#"(data (i32.const 0) "authpkg.Sp")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $grpc_stream (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 5) (i32.const 9) (i32.const 1)
                (i32.const 0) (i32.const 0) (i32.const 2056)))
            (i32.const 1))
        (func (export "proxy_on_grpc_receive") (param i32 i32 i32) unreachable)"#,
    );
    assert_eq!(wishes(&mut instance), ["grpc 6 auth /pkg.S/p"]);
    assert!(instance.on_grpc_message(6, Bytes::new(), NOW).is_err());
    assert!(instance.on_grpc_close(6, 0, "", NOW).is_err());
}
