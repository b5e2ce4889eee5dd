//! The filter's behaviour and its configuration's errors, natively.

use std::time::Duration;

use tidegate_sdk_test::{Answer, Gateway, Reply, get, post};

use crate::FaultFilter;

fn gateway(config: &str) -> Gateway<FaultFilter> {
    Gateway::start(config).expect("a correct configuration")
}

fn millis(answer: &Answer) -> u128 {
    answer.elapsed().as_millis()
}

#[test]
fn aborts_answer_in_place_of_the_upstream() {
    let gateway = gateway(r#"{ "faults": [{ "abort": { "status": 503, "message": "out" } }] }"#);
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.text().as_str(), answer.details()), (503, "out\n", "fault_abort"));
    assert!(answer.upstream().is_none());
    assert_eq!(answer.metric(r#"fault_injected_total{kind="abort"}"#), 1);
}

#[test]
fn grpc_aborts_have_a_status_for_each_kind_of_client() {
    let gateway = gateway(r#"{ "faults": [{ "abort": { "grpcStatus": 14, "message": "out" } }] }"#);
    let answer = gateway.send(post("/a.B/C").header("content-type", "application/grpc"));
    assert_eq!((answer.status(), answer.grpc_status(), answer.text().as_str()), (503, Some(14), "out"));
}

#[test]
fn resets_break_off_without_an_answer() {
    let gateway = gateway(r#"{ "faults": [{ "abort": { "reset": true } }] }"#);
    let answer = gateway.send(get("/"));
    assert!(answer.is_broken() && answer.upstream().is_none());
    assert_eq!(answer.metric(r#"fault_injected_total{kind="reset"}"#), 1);
}

#[test]
fn delays_hold_the_request() {
    let fixed = gateway(r#"{ "faults": [{ "delay": { "fixed": "250ms" } }] }"#);
    let answer = fixed.send(post("/").body("hello"));
    assert_eq!((answer.status(), millis(&answer)), (200, 250));
    assert_eq!(answer.upstream().expect("it goes on").body(), b"hello");
    let with_abort = r#"{ "faults": [{ "delay": { "fixed": "2m" }, "abort": { "status": 504 } }] }"#;
    let answer = gateway(with_abort).send(get("/"));
    assert_eq!((answer.status(), millis(&answer)), (504, 120_000));
    let uniform =
        gateway(r#"{ "seed": 1, "faults": [{ "delay": { "uniform": { "min": "1s", "max": "2s" } } }] }"#);
    let delays: Vec<_> = (0..20).map(|_| millis(&uniform.send(get("/")))).collect();
    assert!(delays.iter().all(|delay| (1000..=2001).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| Some(delay) != delays.first()), "{delays:?}");
}

#[test]
fn bodies_take_the_time_that_their_bytes_need() {
    let gateway = gateway(r#"{ "faults": [{ "bandwidth": { "up": "1kB", "down": 500 } }] }"#);
    let request = post("/").body(vec![b'a'; 3000]).answered(Reply::new(200).body(vec![b'b'; 2000]));
    let answer = gateway.send(request);
    assert_eq!((answer.body().len(), millis(&answer)), (2000, 3000 + 4000));
    assert_eq!(answer.upstream().expect("it goes on").body().len(), 3000);
    assert_eq!(answer.metric(r#"fault_injected_total{kind="bandwidth"}"#), 1);
}

#[test]
fn truncated_bodies_end_early() {
    for keep in [true, false] {
        let gateway = gateway(&format!(
            r#"{{ "faults": [{{ "truncate": {{ "after": 4, "keepLength": {keep} }} }}] }}"#
        ));
        let answer = gateway.send(get("/").answered(Reply::new(200).body("0123456789")));
        assert_eq!(answer.text(), "0123");
        assert_eq!(answer.header("content-length"), keep.then_some("10"));
        let short = gateway.send(get("/").answered(Reply::new(200).body("012")));
        assert_eq!(short.text(), "012");
    }
    let up = gateway(r#"{ "faults": [{ "truncate": { "after": 2, "body": "request" } }] }"#);
    let answer = up.send(post("/").body("hello"));
    assert_eq!(answer.upstream().expect("it goes on").body(), b"he");
}

#[test]
fn corrupted_bodies_keep_their_length() {
    let config = r#"{ "seed": 5, "faults": [{ "corrupt": { "every": 10 } }] }"#;
    let sent = vec![0_u8; 10_000];
    let get_one = || get("/").answered(Reply::new(200).body(sent.clone()));
    let answer = gateway(config).send(get_one());
    assert_eq!((answer.body().len(), answer.header("content-length")), (10_000, Some("10000")));
    let changed = answer.body().iter().filter(|byte| **byte != 0).count();
    assert!((800..1200).contains(&changed), "{changed}");
    assert_eq!(gateway(config).send(get_one()).body(), answer.body(), "the same seed");
    let every = gateway(r#"{ "faults": [{ "corrupt": { "every": 1, "body": "request" } }] }"#);
    let answer = every.send(post("/").body("\0\0\0\0"));
    let body = answer.upstream().expect("it goes on").body().to_vec();
    assert!(body.len() == 4 && !body.contains(&0), "{body:?}");
}

#[test]
fn a_share_of_the_requests_is_repeatable_by_its_seed() {
    let config = r#"{ "seed": 42, "faults": [{ "abort": { "percent": 12.5, "status": 500 } }] }"#;
    let run = |config: &str| {
        let gateway =
            Gateway::<FaultFilter>::with(config, tidegate_sdk_test::Ways::plain()).expect("correct");
        (0..4000).map(|_| gateway.send(get("/")).status() == 500).collect::<Vec<_>>()
    };
    let first = run(config);
    let count = first.iter().filter(|aborted| **aborted).count();
    // Four standard deviations of a binomial distribution: 84.
    assert!((416..=584).contains(&count), "{count}");
    assert_eq!(run(config), first);
    assert_ne!(run(&config.replace("42", "43")), first);
}

#[test]
fn a_header_can_decide_in_place_of_the_order() {
    let config =
        r#"{ "seed": 1, "decideBy": "X-Id", "faults": [{ "abort": { "percent": 50, "status": 500 } }] }"#;
    let (one, other) = (gateway(config), gateway(config));
    let status = |gateway: &Gateway<FaultFilter>, id: u32| {
        gateway.send(get("/").header("x-id", id.to_string())).status()
    };
    let forward: Vec<_> = (0..50).map(|id| status(&one, id)).collect();
    let mut backward: Vec<_> = (0..50).rev().map(|id| status(&other, id)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert!(forward.contains(&500) && forward.contains(&200));
}

#[test]
fn the_first_entry_that_fits_counts() {
    let gateway = gateway(
        r#"{ "faults": [
            { "match": { "path": { "prefix": "/orders" }, "methods": ["POST"] }, "abort": { "status": 500 } },
            { "match": { "path": { "prefix": "/orders" } }, "abort": { "percent": 0, "status": 501 } },
            { "match": { "path": { "exact": "/a" }, "headers": { "X-User": "ann" } }, "abort": { "status": 502 } },
            { "match": { "headers": { "x-any": "*" } }, "abort": { "status": 503 } }
        ] }"#,
    );
    assert_eq!(gateway.send(post("/orders/7")).status(), 500);
    assert_eq!(gateway.send(get("/orders").header("x-any", "")).status(), 200);
    assert_eq!(gateway.send(get("/a?b").header("x-user", "ann")).status(), 502);
    assert_eq!(gateway.send(get("/a").header("x-user", "bob")).status(), 200);
    assert_eq!(gateway.send(get("/a").header("x-any", "1")).status(), 503);
}

#[test]
fn requests_may_ask_for_what_is_allowed() {
    let config = r#"{ "byHeader": { "maxDelay": "1s", "abort": true, "minBandwidth": "1kB", "truncate": true,
        "match": { "headers": { "x-tester": "*" } } } }"#;
    let gateway = gateway(config);
    let ask = |name: &str, value: &str| get("/").header("x-tester", "1").header(name, value);
    let answer = gateway.send(ask("x-tidegate-fault-delay", "300ms"));
    assert_eq!(millis(&answer), 300);
    assert_eq!(answer.upstream().expect("it goes on").header("x-tidegate-fault-delay"), None);
    assert_eq!(millis(&gateway.send(ask("x-tidegate-fault-delay", "1h"))), 1000);
    assert_eq!(gateway.send(ask("x-tidegate-fault-abort", "418")).status(), 418);
    assert_eq!(gateway.send(ask("x-tidegate-fault-abort", "grpc 5")).status(), 404);
    assert!(gateway.send(ask("x-tidegate-fault-abort", "reset")).is_broken());
    let slow = ask("x-tidegate-fault-down", "1").answered(Reply::new(200).body(vec![b'b'; 2000]));
    assert_eq!(millis(&gateway.send(slow)), 2000);
    let cut = ask("x-tidegate-fault-truncate", "2").answered(Reply::new(200).body("hello"));
    assert_eq!(gateway.send(cut).text(), "he");
    for wrong in ["99", "grpc", "grpc 0", "no", ""] {
        let answer = gateway.send(ask("x-tidegate-fault-abort", wrong));
        assert_eq!(answer.status(), 200, "{wrong}");
        assert_eq!(answer.upstream().expect("it goes on").header("x-tidegate-fault-abort"), None);
    }
    // Not allowed: another kind, or somebody else.
    let other = gateway.send(ask("x-tidegate-fault-corrupt", "1").answered(Reply::new(200).body("hello")));
    assert_eq!(other.text(), "hello");
    let stranger = gateway.send(get("/").header("x-tidegate-fault-abort", "500"));
    assert_eq!(stranger.status(), 200);
    assert_eq!(stranger.upstream().expect("it goes on").header("x-tidegate-fault-abort"), None);
}

#[test]
fn active_faults_have_a_maximum() {
    let none = gateway(r#"{ "maxActive": 0, "faults": [{ "abort": { "status": 500 } }] }"#);
    let answer = none.send(get("/"));
    assert_eq!((answer.status(), answer.metric("fault_skipped_total")), (200, 1));
    let one = gateway(
        r#"{ "maxActive": 1, "faults": [{ "delay": { "fixed": "10ms" }, "truncate": { "after": 1 } }] }"#,
    );
    for _ in 0..3 {
        let answer = one.send(get("/").answered(Reply::new(200).body("hello")));
        assert_eq!((answer.text().as_str(), answer.metric("fault_skipped_total")), ("h", 0));
    }
    assert_eq!(one.metric("fault_active"), 0);
    one.advance(Duration::from_secs(1));
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("", "config: has neither faults nor byHeader, so nothing would ever happen"),
        (
            r#"{ "faults": [{}] }"#,
            "config.faults[0]: has no fault: one of delay, abort, bandwidth, truncate and corrupt",
        ),
        (
            r#"{ "faults": [{ "abort": { "status": 700 } }] }"#,
            "config.faults[0].abort.status: 700 is no status that an answer can have: 200 to 599",
        ),
        (
            r#"{ "faults": [{ "abort": { "status": 500, "reset": true } }] }"#,
            "config.faults[0].abort: has one of status, grpcStatus and reset",
        ),
        (
            r#"{ "faults": [{ "abort": { "percent": 101, "reset": true } }] }"#,
            "config.faults[0].abort.percent: 101 is not a percentage: 0 to 100",
        ),
        (
            r#"{ "faults": [{ "delay": {} }] }"#,
            "config.faults[0].delay: has one of fixed, uniform, normal and exponential",
        ),
        (
            r#"{ "faults": [{ "delay": { "fixed": "2h" } }] }"#,
            "config.faults[0].delay: a delay may be at most 1h",
        ),
        (
            r#"{ "faults": [{ "delay": { "uniform": { "min": "2s", "max": "1s" } } }] }"#,
            "config.faults[0].delay.uniform: min is larger than max",
        ),
        (r#"{ "faults": [{ "bandwidth": {} }] }"#, "config.faults[0].bandwidth: needs up or down, above 0"),
        (
            r#"{ "faults": [{ "corrupt": { "every": 0 } }] }"#,
            "config.faults[0].corrupt.every: is 0; 1 changes each byte, 1000 about one of a thousand",
        ),
        (
            r#"{ "faults": [{ "match": { "path": { "exact": "a" } }, "abort": { "reset": true } }] }"#,
            "config.faults[0].match.path: \"a\" does not begin with a slash",
        ),
        (
            r#"{ "byHeader": {} }"#,
            "config.byHeader: allows nothing; leave it out, or say what may be asked for",
        ),
        (
            r#"{ "byHeader": { "abort": true }, "decideBy": "a b" }"#,
            "config.decideBy: \"a b\" is not a header name, as \"x-user\" is",
        ),
        (
            r#"{ "faults": [{ "dely": {} }] }"#,
            "config.faults[0].dely: unknown field `dely`, expected one of `match`, `delay`, `abort`, `bandwidth`, \
             `truncate`, `corrupt`",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<FaultFilter>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("fault", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/fault.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}

fn interest(config: &str) -> Option<Vec<String>> {
    let config = serde_json::from_str(config).expect("a correct configuration");
    let filter = FaultFilter::build(config).expect("a correct configuration");
    Some(filter.interest()?.iter().map(|one| format!("{one:?}")).collect())
}

#[test]
fn only_requests_that_may_meet_a_fault_matter() {
    let some = r#"{ "faults": [
        { "match": { "path": { "prefix": "/a/" }, "methods": ["GET"] }, "abort": { "status": 503 } },
        { "match": { "headers": { "X-Team": "shop" }, "methods": ["GET"] }, "abort": { "status": 503 } },
        { "match": { "methods": ["PUT"] }, "abort": { "status": 503 } },
        { "abort": { "percent": 0, "status": 503 } }
    ], "byHeader": { "abort": true, "minBandwidth": "1KiB" } }"#;
    let wanted = [
        "PathPrefix(\"/a\")",
        "Header(\"x-team\")",
        "Method(\"PUT\")",
        "Header(\"x-tidegate-fault-abort\")",
        "Header(\"x-tidegate-fault-up\")",
        "Header(\"x-tidegate-fault-down\")",
    ];
    assert_eq!(interest(some).expect("not all matter"), wanted);
    assert_eq!(interest(r#"{ "faults": [{ "abort": { "percent": 0, "status": 503 } }] }"#), Some(vec![]));
    assert_eq!(interest(r#"{ "faults": [{ "match": {}, "abort": { "status": 503 } }] }"#), None);
}
