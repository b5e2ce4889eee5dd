//! HTTP calls: made, answered, failed; streams that wait for them.

use super::*;

/// Calls `auth` in the request's head and holds it; goes on when the answer is there.
pub(super) const AUTH: &str = r#"
    (data (i32.const 0) "authother")
    (data (i32.const 100) "\03\00\00\00\05\00\00\00\02\00\00\00\07\00\00\00\04\00\00\00\0a\00\00\00\01\00\00\00:path\00/x\00:method\00POST\00:authority\00a\00")
    (data (i32.const 200) ":status")
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
        (global.set $saved (local.get $id))
        (call $say (call $call (i32.const 4) (i32.const 5) (i32.const 100) (i32.const 63) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 2056)))
        (call $say (call $call (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 2056)))
        (call $say (call $call (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 63) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 2056)))
        (call $say (call $call (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 63) (i32.const 0) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 2056)))
        (i32.const 1))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (call $say (local.get 0)) (call $say (local.get 1))
        (call $say (local.get 2)) (call $say (local.get 3)) (call $say (local.get 4))
        (call $say (call $get (i32.const 6) (i32.const 200) (i32.const 7) (i32.const 2048) (i32.const 2052)))
        (call $say (call $status (i32.const 2064) (i32.const 2048) (i32.const 2052)))
        (call $say (i32.load (i32.const 2064)))
        (call $say (call $effective (global.get $saved)))
        (call $say (call $continue (i32.const 0))))
"#;

fn waiting() -> (Instance, StreamId, u32) {
    let mut instance = start(AUTH);
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Wait);
    let mut token = 0;
    let mut said = Vec::new();
    while let Some(effect) = instance.poll_effect() {
        match effect {
            Effect::HttpCall { token: number, stream, upstream, head, body, timeout, .. } => {
                assert_eq!((upstream.as_str(), stream, &body[..]), ("auth", Some(id), &b"auth"[..]));
                assert_eq!(
                    (head.method.as_str(), head.uri.path(), &head.headers["host"]),
                    ("POST", "/x", &"a".parse().unwrap())
                );
                assert_eq!(timeout, Some(Duration::from_millis(100)));
                token = number;
            }
            Effect::Log { message, .. } => said.push(message),
            other => panic!("{other:?}"),
        }
    }
    assert!(said[0].contains(r#"http call to "other" refused"#), "{}", said[0]);
    assert_eq!(said[1..], ["002", "002", "002", "000"]);
    assert_eq!(instance.open_calls(), 1);
    (instance, id, token)
}

#[test]
fn a_request_waits_for_the_answer() {
    let (mut instance, id, token) = waiting();
    let answer =
        CallResponse { head: ok(), body: Bytes::from_static(b"body"), trailers: http::HeaderMap::new() };
    instance.on_http_call_response(token, Some(answer), NOW).unwrap();
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    let resumed = effects
        .iter()
        .filter(|e| matches!(e, Effect::Resume { stream, side: Side::Request } if *stream == id));
    assert_eq!(resumed.count(), 1);
    let said: Vec<_> = effects
        .iter()
        .filter_map(|e| if let Effect::Log { message, .. } = e { Some(message.as_str()) } else { None })
        .collect();
    assert_eq!(said, ["001", "004", "002", "004", "000", "000", "000", "000", "000", "000"]);
    assert!(instance.take_request_head(id).is_some());
    assert_eq!(
        instance.on_request_body(id, Bytes::from_static(b"abcdef"), true, NOW).unwrap(),
        Step::Continue
    );
    instance.on_http_call_response(token, None, NOW).unwrap();
    assert!(!instance.has_effects(), "a token is good for one answer");
}

#[test]
fn a_failed_call_has_empty_maps() {
    let (mut instance, _, token) = waiting();
    instance.on_http_call_response(token, None, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["001", "004", "000", "000", "000", "001", "000", "011", "000", "000"]);
}

#[test]
fn an_answer_for_a_gone_stream_finds_no_stream() {
    let (mut instance, id, token) = waiting();
    instance.close_stream(id, NOW);
    let next = open(&mut instance);
    assert_ne!(next, id);
    instance.on_http_call_response(token, None, NOW).unwrap();
    assert_eq!(lines(&mut instance)[8..], ["002", "000"]);
}

#[test]
fn a_stream_is_reset_or_routed_again() {
    let mut instance = start(
        r#"(data (i32.const 0) "clear_route_cachex")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $foreign (i32.const 0) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 2048) (i32.const 2052)))
            (call $say (call $foreign (i32.const 0) (i32.const 18) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (call $say (call $continue (i32.const 3))) (call $say (call $continue (i32.const 4)))
            (call $say (call $grpc_cancel (i32.const 4)))
            (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $say (call $close (i32.const 9))) (call $say (call $close (i32.const 1)))
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let said: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    assert!(matches!(said[0], Effect::ClearRoute { stream } if stream == id));
    let rest: Vec<_> = said[1..]
        .iter()
        .map(|e| if let Effect::Log { message, .. } = e { message.as_str() } else { "" })
        .collect();
    assert_eq!(rest, ["000", "001", "012", "002", "002"]);
    assert_eq!(instance.on_response_headers(id, ok(), true, NOW).unwrap(), Step::Wait);
    assert_eq!(wishes(&mut instance), ["reset"]);
}

#[test]
fn calls_are_bounded() {
    let mut instance = start(
        r#"(data (i32.const 0) "auth")
        (data (i32.const 100) "\03\00\00\00\05\00\00\00\02\00\00\00\07\00\00\00\04\00\00\00\0a\00\00\00\01\00\00\00:path\00/x\00:method\00POST\00:authority\00a\00")
        (func (export "proxy_on_tick") (param i32) (local $n i32)
            (loop $again
                (local.set $n (call $call (i32.const 0) (i32.const 4) (i32.const 100) (i32.const 63) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 2056)))
                (br_if $again (i32.eqz (local.get $n))))
            (call $say (local.get $n)))"#,
    );
    instance.on_tick(NOW).unwrap();
    assert_eq!((lines(&mut instance), instance.open_calls()), (vec!["010".to_owned()], 1024));
}
