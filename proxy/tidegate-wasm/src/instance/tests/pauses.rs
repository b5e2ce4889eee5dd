//! Heads that a guest holds, and what becomes of the bodies behind them meanwhile.

use super::*;
use crate::HeadersPause;

fn chunk(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Ticks from its configuration on, holds every request's head, treats bodies as `body` says.
fn ticking(body: &str) -> Instance {
    start(&format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $tick (i32.const 50))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) {body})
        (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i32) (drop (call $tick (i32.const 0))))"#
    ))
}

#[test]
fn a_guest_that_ticks_gets_the_body_that_it_waits_for() {
    // Holds until the end, then lets all go.
    let mut instance = ticking("(i32.eqz (local.get 2))");
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(id, chunk("abc"), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(id, chunk("def"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_request_body(id)[..], b"abcdef");
    // Looks at the first chunk only.
    let mut instance = ticking(
        "(drop (call $buffer (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 2048) (i32.const 2052))) (i32.const 0)",
    );
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(id, chunk("abc"), false, NOW).unwrap(), Step::Continue);
}

#[test]
fn a_callback_that_does_nothing_lets_nothing_go_that_waits_for_a_tick() {
    let mut instance = ticking("(i32.const 0)");
    assert_eq!(wishes(&mut instance), ["tick Some(50ms)"]);
    assert_eq!(instance.tick_period(), Some(Duration::from_millis(50)));
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Pause);
    // As SDKs bring it; the request would pass before the tick has decided.
    assert_eq!(instance.on_request_body(id, chunk("abcdef"), true, NOW).unwrap(), Step::Wait);
    instance.on_tick(NOW).unwrap();
    // Now there is nothing left that it could wait for.
    assert_eq!(wishes(&mut instance), ["tick None", "feed Request"]);
    assert_eq!(instance.on_request_body(id, Bytes::new(), true, NOW).unwrap(), Step::Continue);
    assert_eq!(&instance.take_request_body(id)[..], b"abcdef");
}

/// Requests with a body of six bytes call, others do not; all heads are held.
const CALLING: &str = r#"(data (i32.const 16) "auth")
    (data (i32.const 32) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eqz (local.get 2)) (then
            (call $say (call $call (i32.const 16) (i32.const 4) (i32.const 32) (i32.const 61)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2056)))))
        (i32.const 1))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (i32.eqz (local.get 2)))"#;

#[test]
fn a_body_waits_for_its_own_calls_only() {
    let mut instance = start(CALLING);
    let calling = open(&mut instance);
    assert_eq!(instance.on_request_headers(calling, post(), false, NOW).unwrap(), Step::Wait);
    assert_eq!(lines(&mut instance), ["000"]);
    assert_eq!(instance.on_request_body(calling, chunk("ab"), true, NOW).unwrap(), Step::Wait);
    // Another request's call is nothing that this one would have to wait for.
    let other = open(&mut instance);
    assert_eq!(instance.on_request_headers(other, get(), true, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(other, chunk("ab"), false, NOW).unwrap(), Step::Pause);
    assert_eq!(instance.on_request_body(other, chunk("cd"), true, NOW).unwrap(), Step::Continue);
    // While others call without end, the answer alone offers the rest.
    let further = open(&mut instance);
    assert_eq!(instance.on_request_headers(further, post(), false, NOW).unwrap(), Step::Wait);
    wishes(&mut instance);
    instance.on_http_call_response(4, None, NOW).unwrap();
    assert_eq!(wishes(&mut instance), ["feed Request"]);
}

#[test]
fn bodies_wait_for_paused_heads_where_the_plugin_says_so() {
    let guest = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $say (local.get 1)) (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $effective (i32.const 2))) (drop (call $continue (i32.const 0))))"#;
    let module = engine();
    let module = (module.compile(&wasm(guest)).unwrap(), module);
    let spec = PluginSpec { on_headers_pause: HeadersPause::StopAll, ..spec(module.0) };
    let plugin = Plugin::build(&module.1, spec, Arc::new(Shared::new())).unwrap();
    let mut instance = Instance::start(&Arc::new(plugin), NOW).unwrap();
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Wait);
    assert_eq!(instance.on_request_body(id, chunk("ab"), false, NOW).unwrap(), Step::Wait);
    assert_eq!(instance.on_request_trailers(id, http::HeaderMap::new(), NOW).unwrap(), Step::Wait);
    instance.on_tick(NOW).unwrap();
    assert_eq!(wishes(&mut instance), ["resume Request"]);
    assert_eq!(instance.on_request_body(id, chunk("c"), true, NOW).unwrap(), Step::Continue);
    assert_eq!(lines(&mut instance), ["003"]);
    assert_eq!(instance.on_response_headers(id, ok(), false, NOW).unwrap(), Step::Wait);
}
