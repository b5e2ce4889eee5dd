//! The same tests on the same filter: natively, and as Wasm in the gateway's host.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_sdk_test::{Answer, Gateway, Reply, Request, Ways, get, post};

#[allow(unreachable_pub, reason = "a crate of its own elsewhere")]
#[path = "../../sdk-guest/src/lib.rs"]
mod guest;

const CONFIG: &str = r#"{ "upstream": "up", "tickMillis": 1000 }"#;

fn native() -> Gateway<guest::Guest> {
    script(Gateway::with(CONFIG, Ways::all()).expect("a correct configuration"))
}

fn wasm() -> Gateway<()> {
    let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/sdk_guest.wasm");
    assert!(module.is_file(), "{} is missing: run `cargo xtask filters`", module.display());
    script(tidegate_filter_host::gateway(&module, CONFIG, &["up"], Ways::all()).expect("a module that runs"))
}

fn script<F>(gateway: Gateway<F>) -> Gateway<F> {
    gateway.on_call("up", |call| match call.path() {
        "/call" => Reply::new(201).body([b"got ", call.body()].concat()).after(Duration::from_millis(3)),
        "/test.Test/Echo" => Reply::new(200).body("pong"),
        _ => Reply::new(204),
    });
    gateway
}

/// Runs a test on both.
macro_rules! on_both {
    ($($name:ident: $test:expr;)*) => {$(
        mod $name {
            #[test]
            fn natively() {
                let gateway = super::native();
                ($test)(&|request| gateway.send(request));
            }

            #[test]
            fn as_wasm() {
                let gateway = super::wasm();
                ($test)(&|request| gateway.send(request));
            }
        }
    )*};
}

type Send<'a> = &'a dyn Fn(Request) -> Answer;

on_both! {
    heads: super::heads;
    bodies: super::bodies;
    calls: super::calls;
    responses: super::responses;
    odd_wishes: super::odd_wishes;
}

fn wish(text: &str) -> Request {
    get("/path").header("x-do", text)
}

fn heads(send: Send<'_>) {
    let refused = send(wish("refuse"));
    assert_eq!((refused.status(), refused.text().as_str()), (403, "refused\n"));
    assert!(refused.upstream().is_none() && refused.header("x-t-did").is_none());
    assert!(refused.logged("over: 403 \"refuse\""), "{:?}", refused.lines());
    assert_eq!(refused.metric("sdk_guest_requests_total"), 1);
    let passed = send(wish("source repeated").header("x-a", "1").header("x-a", b"\xff".to_vec()));
    assert_eq!(passed.upstream().expect("it passed").header("x-t-got"), Some("source=127.0.0.1 repeated=2"));
    assert_eq!(passed.header("x-t-did"), Some("source repeated"));
    let bad = send(wish("bad-header"));
    assert_eq!((bad.status(), bad.details()), (500, "filter_failed"));
    assert!(send(wish("close")).is_broken());
}

fn bodies(send: Send<'_>) {
    for (wish, sent, got) in [
        ("whole", "", ""),
        ("whole", "hello", "[hello]"),
        ("call whole", "hello", "[hello]"),
        ("upper", "hello world", "HELLO WORLD"),
        ("sleep upper", "hello world", "HELLO WORLD"),
    ] {
        let answer = send(post("/").header("x-do", wish).body(sent));
        let upstream = answer.upstream().expect("it passed");
        assert_eq!(upstream.body(), got.as_bytes(), "{wish}");
    }
    let large = send(post("/").header("x-do", "whole").body("x".repeat(100_001)));
    assert_eq!(large.status(), 413);
}

fn calls(send: Send<'_>) {
    for (wish, got) in [
        ("call", "call=201/got hello"),
        ("join sleep", "join=204+204 sleep=slept"),
        ("nowhere", "nowhere=no answer"),
        ("grpc", "grpc=pong"),
        ("foreign", "foreign=true"),
        ("random", "random=true"),
        ("shared shared", "shared=1 shared=2"),
    ] {
        let answer = send(self::wish(wish));
        assert_eq!(answer.upstream().expect("it passed").header("x-t-got"), Some(got));
    }
}

fn responses(send: Send<'_>) {
    let of = |wish: &str| get("/").answered(Reply::new(200).header("x-do", wish).body("some text"));
    assert_eq!(send(of("upper")).text(), "SOME TEXT");
    assert_eq!(send(of("whole")).text(), "<some text>");
    assert_eq!(send(of("tail")).text(), "some text|9");
    let called = send(of("call whole"));
    assert_eq!((called.text().as_str(), called.header("x-t-called")), ("<some text>", Some("204")));
}

fn odd_wishes(send: Send<'_>) {
    let answer = send(get("/").header("x-do", b"\xff\xfe".to_vec()));
    assert_eq!(answer.status(), 200);
    assert_eq!(send(wish("what")).upstream().expect("it passed").header("x-t-got"), Some("what=what?"));
}

#[test]
fn ticks_come_as_often_as_was_said() {
    fn check<F>(gateway: &Gateway<F>) {
        assert_eq!(gateway.send(wish("answer")).text(), "0");
        gateway.advance(Duration::from_millis(3500));
        assert_eq!(gateway.send(wish("answer")).text(), "3");
    }
    check(&native());
    check(&wasm());
}

#[test]
fn a_wrong_configuration_is_refused_with_its_key() {
    let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/sdk_guest.wasm");
    let wrong = r#"{ "upstream": 5 }"#;
    let expected = "config.upstream: invalid type: integer, expected a string";
    let error = Gateway::<guest::Guest>::start(wrong).expect_err("a wrong configuration");
    assert_eq!(error.to_string(), expected);
    let error = tidegate_filter_host::gateway(&module, wrong, &[], Ways::all()).expect_err("the same");
    assert!(error.to_string().contains(expected), "{error}");
}

/// A filter that only touches headers stays below 150 KiB.
#[test]
fn filters_of_headers_are_small() {
    for name in ["hello", "bench_headers_sdk"] {
        let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/filters").join(name);
        let module = module.with_extension("wasm");
        let size = std::fs::metadata(&module)
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", module.display()))
            .len();
        assert!(size < 150 << 10, "{name} has {size} bytes");
    }
}
