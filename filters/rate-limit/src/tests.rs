//! The filter's behaviour natively, in made-up time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_sdk::redis::Reply as Redis;
use tidegate_sdk_test::{Answer, Gateway, Reply, Ways, get};

use crate::RateLimit;
use crate::protobuf::put_bytes;

fn gateway(config: &str) -> Gateway<RateLimit> {
    // Ways with late answers see another time.
    Gateway::with(config, Ways::all().without_late_answers().portable()).expect("a correct configuration")
}

fn statuses(gateway: &Gateway<RateLimit>, count: usize) -> Vec<u16> {
    (0..count).map(|_| gateway.send(get("/")).status()).collect()
}

#[test]
fn what_is_over_the_limit_is_refused_and_told_when_to_try_again() {
    let gateway = gateway(r#"{ "limits": [{ "name": "all", "rate": "2/10s" }] }"#);
    assert_eq!(statuses(&gateway, 2), [200, 200]);
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.header("retry-after")), (429, Some("10")));
    assert_eq!(answer.header("ratelimit"), Some("\"all\";r=0;t=10"));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"all\";q=2;w=10"));
    assert!(answer.upstream().is_none());
    assert_eq!(answer.text(), "too many requests\n");
    gateway.advance(Duration::from_secs(10));
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.header("ratelimit")), (200, Some("\"all\";r=1;t=10")));
}

#[test]
fn an_address_counts_with_a_port_and_without() {
    let gateway = gateway(r#"{ "limits": [{ "name": "client", "rate": "1/min", "key": "address" }] }"#);
    for (address, status) in [
        ("192.0.2.1:4000", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("192.0.2.2:4000", 429),
        ("[2001:db8::1]:4000", 200),
        ("[2001:db8::1]:4001", 429),
    ] {
        assert_eq!(gateway.send(get("/").from(address)).status(), status, "{address}");
    }
}

#[test]
fn keys_are_counted_apart() {
    let gateway = gateway(
        r#"{ "limits": [{ "name": "client", "rate": "1/min", "key": ["address/24", "header:x-tenant", "method"] }] }"#,
    );
    let ask = |address: &str, tenant: &str| {
        gateway.send(get("/").from(address).header("x-tenant", tenant)).status()
    };
    assert_eq!(ask("192.0.2.1:1000", "a"), 200);
    assert_eq!(ask("192.0.2.200:1000", "a"), 429, "the same network");
    assert_eq!(ask("192.0.3.1:1000", "a"), 200);
    assert_eq!(ask("192.0.2.1:1000", "b"), 200);
    assert_eq!(ask("[2001:db8::1]:1000", "a"), 200);
    assert_eq!(ask("[2001:db8::2]:1000", "a"), 429);
    assert_eq!(ask("[2001:db8:0:1::2]:1000", "a"), 200);
}

#[test]
fn who_sends_is_counted_as_auth_hands_it_on() {
    let gateway = gateway(
        r#"{ "limits": [
            { "name": "tenant", "rate": "3/min", "key": "claim:org.tenant", "missing": "skip" },
            { "name": "sender", "rate": "2/min", "key": ["subject | cookie:user | address/24", "path/1"] }
        ] }"#,
    );
    let known = |name: &str, tenant: &str, path: &str| {
        let request = get(path).property("auth.subject", name).property("auth.claim.org.tenant", tenant);
        gateway.send(request).status()
    };
    assert_eq!([known("ann", "acme", "/a"), known("ann", "acme", "/a/b?c")], [200; 2]);
    assert_eq!(known("ann", "acme", "/a/x"), 429, "the first segment is the same");
    assert_eq!(known("bob", "acme", "/a"), 200);
    assert_eq!(known("eve", "acme", "/a"), 429, "the tenant has had three");
    assert_eq!(known("ann", "other", "/b"), 200);
    let other = |name: &str, cookie: &str| {
        gateway.send(get("/a").header(name, cookie).from("192.0.2.7:1000")).status()
    };
    assert_eq!([other("cookie", "user=ann"), other("cookie", "user=ann")], [200; 2], "another ann");
    assert_eq!(other("cookie", "user=ann"), 429);
    assert_eq!([other("x-none", "x"), other("x-none", "x"), other("x-none", "x")], [200, 200, 429]);
    // No header is a claim, whatever it is called.
    assert_eq!(other("auth.claim.org.tenant", "acme"), 429);
}

#[test]
fn requests_without_a_part_are_counted_together_or_not_at_all() {
    for (missing, last) in [("count", 429), ("skip", 200)] {
        let gateway = gateway(&format!(
            r#"{{ "limits": [{{ "name": "user", "rate": "1/min", "key": "cookie:user", "missing": "{missing}" }}] }}"#
        ));
        assert_eq!(statuses(&gateway, 2), [200, last], "{missing}");
        assert_eq!(gateway.send(get("/").header("cookie", "a=1; user=ann")).status(), 200);
        assert_eq!(gateway.send(get("/").header("cookie", "user=ann")).status(), 429);
    }
}

#[test]
fn all_limits_must_allow_and_none_is_taken_otherwise() {
    let gateway = gateway(
        r#"{ "limits": [
            { "name": "wide", "rate": "3/min" },
            { "name": "narrow", "rate": "1/min", "key": "path" }
        ] }"#,
    );
    assert_eq!(gateway.send(get("/a")).status(), 200);
    let refused = gateway.send(get("/a?x=1"));
    assert_eq!(
        (refused.status(), refused.header("ratelimit")),
        (429, Some("\"wide\";r=2;t=60, \"narrow\";r=0;t=60"))
    );
    assert_eq!(gateway.send(get("/b")).status(), 200);
    assert_eq!(gateway.send(get("/c")).header("ratelimit"), Some("\"wide\";r=0;t=60, \"narrow\";r=0;t=60"));
    assert_eq!(gateway.send(get("/d")).status(), 429);
    assert_eq!(gateway.metric("rate_limit_refused_total"), 0, "it has a label");
}

#[test]
fn costs_come_from_headers_before_or_after() {
    let gateway = gateway(
        r#"{ "limits": [
            { "name": "units", "rate": "10/min", "cost": { "header": "x-units" } },
            { "name": "work", "rate": "100/min", "cost": { "response": "x-work", "default": 5 } }
        ] }"#,
    );
    let ask = |units: &str, work: &str| -> Answer {
        gateway.send(get("/").header("x-units", units).answered(Reply::new(200).header("x-work", work)))
    };
    assert_eq!(ask("4", "30").header("ratelimit"), Some("\"units\";r=6;t=60, \"work\";r=70;t=60"));
    assert_eq!(ask("none", "1").header("ratelimit"), Some("\"units\";r=5;t=60, \"work\";r=69;t=60"));
    assert_eq!(ask("6", "1").status(), 429);
    assert_eq!(ask("1", "900").header("ratelimit"), Some("\"units\";r=4;t=60, \"work\";r=0;t=60"));
    assert_eq!(ask("1", "1").status(), 429);
}

#[test]
fn a_shadow_only_watches() {
    for config in [
        r#"{ "limits": [{ "name": "all", "rate": "1/min", "shadow": true }] }"#,
        r#"{ "shadow": true, "limits": [{ "name": "all", "rate": "1/min" }] }"#,
    ] {
        let gateway = gateway(config);
        assert_eq!(statuses(&gateway, 3), [200, 200, 200]);
        assert_eq!(gateway.send(get("/")).header("ratelimit"), None);
    }
}

#[test]
fn quotas_buckets_and_what_goes_on_at_the_same_time() {
    let quota = gateway(r#"{ "limits": [{ "name": "daily", "rate": "2 per day" }] }"#);
    assert_eq!(statuses(&quota, 3), [200, 200, 429]);
    quota.advance(Duration::from_secs(86_400));
    assert_eq!(statuses(&quota, 1), [200]);

    let bucket = gateway(r#"{ "limits": [{ "name": "b", "rate": "1/s burst 3" }] }"#);
    assert_eq!(statuses(&bucket, 4), [200, 200, 200, 429]);
    bucket.advance(Duration::from_secs(2));
    assert_eq!(statuses(&bucket, 3), [200, 200, 429]);

    let now = gateway(r#"{ "limits": [{ "name": "now", "concurrent": 1 }] }"#);
    for _ in 0..3 {
        let answer = now.send(get("/"));
        assert_eq!((answer.status(), answer.header("ratelimit")), (200, Some("\"now\";r=0")));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"now\";q=1;qu=\"concurrent-requests\""));
    }
}

#[test]
fn refusals_look_as_they_are_configured() {
    let config = r#"{ "limits": [{ "name": "all", "rate": "1/min" }], "status": 503, "body": "later", "headers": "legacy" }"#;
    let gateway = gateway(config);
    let first = gateway.send(get("/"));
    assert_eq!((first.header("x-ratelimit-limit"), first.header("ratelimit")), (Some("1"), None));
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.text()), (503, "later\n".into()));
    assert_eq!(
        (answer.header("x-ratelimit-remaining"), answer.header("x-ratelimit-reset")),
        (Some("0"), Some("60"))
    );
}

/// An answer of the service.
fn told(code: u8) -> Vec<u8> {
    let (mut header, mut status) = (Vec::new(), vec![0x08, code]);
    put_bytes(1, b"X-Service", &mut header);
    put_bytes(2, b"asked", &mut header);
    put_bytes(4, &[0x08, 0x07], &mut status);
    let mut message = vec![0x08, code];
    put_bytes(2, &status, &mut message);
    put_bytes(3, &header, &mut message);
    put_bytes(4, &header, &mut message);
    message
}

const SERVICE: &str = r#"{ "service": { "upstream": "limits", "domain": "shop", "onError": "deny",
    "descriptors": [[{ "key": "tenant", "value": "header:x-tenant" }, { "key": "kind", "value": "text:api" }]] } }"#;

#[test]
fn a_service_decides_by_descriptors() {
    let gateway = Gateway::<RateLimit>::start(SERVICE).expect("a correct configuration");
    gateway.on_call("limits", |seen| {
        assert_eq!(seen.path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
        let body = seen.body();
        let wants = b"\n\x04shop\x12\x1c\n\x0d\n\x06tenant\x12\x03";
        assert!(body.starts_with(wants), "{}", body.escape_ascii());
        Reply::grpc(0, "").body(told(if body.windows(3).any(|part| part == b"bad") { 2 } else { 1 }))
    });
    let passed = gateway.send(get("/").header("x-tenant", "one"));
    assert_eq!((passed.status(), passed.header("x-service")), (200, Some("asked")));
    assert_eq!(passed.upstream().and_then(|seen| seen.header("x-service")), Some("asked"));
    let refused = gateway.send(get("/").header("x-tenant", "bad"));
    assert_eq!((refused.status(), refused.header("retry-after")), (429, Some("7")));
    assert_eq!(gateway.send(get("/")).header("x-service"), None, "no descriptor, no question");
}

#[test]
fn a_service_is_told_which_alternative_it_is() {
    let config = SERVICE.replace("header:x-tenant", "subject | cookie:user | address/24");
    let gateway = Gateway::<RateLimit>::start(&config).expect("a correct configuration");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bodies = seen.clone();
    gateway.on_call("limits", move |asked| {
        bodies.lock().expect("nobody panicked").push(asked.body().escape_ascii().to_string());
        Reply::grpc(0, "").body(told(1))
    });
    gateway.send(get("/").property("auth.subject", "ann"));
    gateway.send(get("/").header("cookie", "user=ann"));
    gateway.send(get("/").from("192.0.2.7:1000"));
    let mut seen = seen.lock().expect("nobody panicked");
    // Each is sent in several ways.
    seen.dedup();
    for (body, wanted) in seen.iter().zip(["subject=ann", "cookie:user=ann", "address=192.0.2.0/24"]) {
        assert!(body.contains(wanted), "{body}");
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_service_that_is_away_is_as_configured() {
    let ask = |config: &str| {
        let gateway = Gateway::<RateLimit>::start(config).expect("a correct configuration");
        gateway.on_call("limits", |_| Reply::none());
        gateway.send(get("/").header("x-tenant", "one")).status()
    };
    assert_eq!(ask(SERVICE), 503);
    assert_eq!(ask(&SERVICE.replace("deny", "allow")), 200);
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("{}", "config: no limit is listed in limits, and there is no service"),
        (
            r#"{ "limits": [{ "name": "a", "rate": "ten/s" }] }"#,
            "config.limits[0].rate: \"ten/s\" is not a rate, as \"100/s\", \"1000/min burst 50\" or \"5000 per day\" is",
        ),
        (
            r#"{ "limits": [{ "name": "a" }] }"#,
            "config: limits[0].rate: a limit has either a rate or concurrent",
        ),
        (
            r#"{ "limits": [{ "name": "a b", "rate": "1/s" }] }"#,
            "config: limits[0].name: \"a b\" is not a name of 1 to 64 letters, figures, - and _",
        ),
        (
            r#"{ "limits": [{ "name": "a", "rate": "1/s" }, { "name": "a", "rate": "1/s" }] }"#,
            "config: limits[1].name: \"a\" is the name of an earlier limit",
        ),
        (
            r#"{ "limits": [{ "name": "a", "rate": "5/s", "cost": 6 }] }"#,
            "config: limits[0].cost: 6 is more than there can be, which is 5",
        ),
        (
            r#"{ "limits": [{ "name": "a", "rate": "5/s" }], "status": 200 }"#,
            "config: status: 200 is no status of a refusal, 400 to 599",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<RateLimit>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
    let error =
        Gateway::<RateLimit>::start(r#"{ "limits": [{ "name": "a", "rate": "1/s", "key": "adress" }] }"#);
    let error = error.expect_err("a wrong configuration").to_string();
    assert!(
        error.starts_with("config.limits[0].key: \"adress\" is no part of a key; it may be address,"),
        "{error}"
    );
}

/// A filter whose one limit is counted in Redis.
fn global(more: &str) -> Gateway<RateLimit> {
    let config = format!(
        r#"{{ "redis": {{ "upstream": "store"{more} }}, "limits": [{{ "name": "all", "rate": "2/10s", "global": true }}] }}"#
    );
    Gateway::with(&config, Ways::plain()).expect("a correct configuration")
}

/// What the script replies: allowed, remaining, reset and wait in microseconds.
fn verdict(numbers: [i64; 4]) -> Option<Redis> {
    Some(Redis::List(numbers.map(Redis::Integer).into()))
}

#[test]
fn a_redis_that_does_not_know_the_script_is_sent_it() {
    let gateway = global("");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    gateway.on_redis("store", move |command| {
        let word = |at: usize| {
            command.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
        };
        noted.lock().expect("nobody panics with it").push(word(0));
        assert_eq!((word(2).as_str(), word(4).as_str()), ("1", "take"));
        match word(0).as_str() {
            "EVALSHA" => Some(Redis::Error("NOSCRIPT No matching script.".to_owned())),
            _ => verdict([1, 1, 10_000_000, 0]),
        }
    });
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.header("ratelimit")), (200, Some("\"all\";r=1;t=10")));
    assert_eq!(*seen.lock().expect("nobody panics with it"), ["EVALSHA", "EVAL"]);
}

#[test]
fn what_is_known_to_be_exhausted_is_not_asked_about_until_its_time_has_come() {
    let gateway = global("");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    gateway.on_redis("store", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        verdict([0, 0, 10_000_000, 4_000_000])
    });
    for left in ["4", "3"] {
        let answer = gateway.send(get("/"));
        assert_eq!((answer.status(), answer.header("retry-after")), (429, Some(left)));
        gateway.advance(Duration::from_secs(1));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    gateway.advance(Duration::from_secs(2));
    assert_eq!(gateway.send(get("/")).status(), 429);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn without_redis_it_is_as_configured() {
    for (on_error, wanted) in [("local", [200, 200, 429]), ("allow", [200; 3]), ("deny", [503; 3])] {
        let gateway = global(&format!(r#", "onError": "{on_error}""#));
        assert_eq!(statuses(&gateway, 3), wanted, "{on_error}, no connection");
        let gateway = global(&format!(r#", "onError": "{on_error}""#));
        gateway.on_redis("store", |_| Some(Redis::Bytes(b"what?".to_vec())));
        assert_eq!(statuses(&gateway, 3), wanted, "{on_error}, another reply");
    }
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("rate-limit", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/rate-limit.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
