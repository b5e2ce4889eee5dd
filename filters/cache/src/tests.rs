//! The cache by RFC 9111, natively; the test's clock makes hours pass at once.

use std::time::Duration;

use tidegate_sdk_test::{Answer, Gateway, Reply, Request, Ways, get, post};

use crate::Cache;

mod standard;

const START: &str = "{}";

type Header = (&'static str, &'static str);

fn gateway(config: &str) -> Gateway<Cache> {
    // How long a body with trailers is nobody knows before, so it is not said to be stored.
    Gateway::with(config, Ways::all().without_trailers()).expect("a correct configuration")
}

fn reply(control: &str) -> Reply {
    Reply::new(200).header("cache-control", control).header("etag", "\"v1\"").body("0123456789")
}

fn seconds(gateway: &Gateway<Cache>, count: u64) {
    gateway.advance(Duration::from_secs(count));
}

fn hit(answer: &Answer) -> bool {
    answer.upstream().is_none() && answer.is_from_filter()
}

#[test]
fn a_fresh_response_is_given_again_with_its_age() {
    let gateway = gateway(START);
    let first = gateway.send(get("/a").answered(reply("max-age=60").header("x-a", "1")));
    assert_eq!((first.status(), hit(&first)), (200, false));
    assert_eq!(first.header("cache-status"), Some("tidegate; fwd=uri-miss; fwd-status=200; stored"));
    seconds(&gateway, 20);
    let second = gateway.send(get("/a"));
    assert!(hit(&second));
    assert_eq!(
        (second.status(), second.text().as_str(), second.header("x-a")),
        (200, "0123456789", Some("1"))
    );
    assert_eq!(
        (second.header("age"), second.header("cache-status")),
        (Some("20"), Some("tidegate; hit; ttl=40"))
    );
    assert!(
        !hit(&gateway.send(get("/b")))
            && !hit(&gateway.send(get("/a?x")))
            && !hit(&gateway.send(get("/a").host("other.test")))
    );
    seconds(&gateway, 40);
    let third = gateway.send(get("/a").answered(reply("max-age=60")));
    assert_eq!(third.upstream().and_then(|seen| seen.header("if-none-match")), Some("\"v1\""));
    assert_eq!(third.header("cache-status"), Some("tidegate; fwd=stale; fwd-status=200; stored"));
}

#[test]
fn what_may_be_kept() {
    let cases: [(Reply, bool); 20] = [
        (reply("max-age=60"), true),
        (reply("s-maxage=60, max-age=0"), true),
        (reply("s-maxage=0, max-age=60"), false),
        (reply("max-age=60, no-store"), false),
        (reply("max-age=60, private"), false),
        (reply("max-age=60, private=\"x\""), false),
        (reply("max-age=60").header("set-cookie", "a=b"), false),
        (reply("max-age=60").header("vary", "*"), false),
        (reply("max-age=60").header("vary", "accept"), true),
        (reply("max-age=60").header("age", "60"), false),
        (reply("max-age=60").header("age", "59"), true),
        (reply("x"), false),
        (Reply::new(200).header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), false),
        (Reply::new(200).header("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), true),
        (Reply::new(200).header("expires", "0").header("etag", "\"x\""), false),
        (Reply::new(404).header("cache-control", "max-age=60"), true),
        (Reply::new(500).header("cache-control", "max-age=60"), false),
        (Reply::new(206).header("cache-control", "max-age=60"), false),
        (Reply::new(301).header("cache-control", "max-age=60").header("location", "/x"), true),
        (Reply::new(204).header("cache-control", "max-age=60"), true),
    ];
    for (nth, (reply, kept)) in cases.into_iter().enumerate() {
        let gateway = gateway(START);
        let (status, body) = (format!("{reply:?}"), nth);
        gateway.send(get("/a").answered(reply));
        assert_eq!(hit(&gateway.send(get("/a"))), kept, "{body}: {status}");
    }
}

#[test]
fn a_heuristic_lifetime_is_a_setting() {
    let old = || Reply::new(200).header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT").body("x");
    let gateway = gateway(r#"{ "heuristic": true }"#);
    gateway.send(get("/a").answered(old()));
    seconds(&gateway, 3600);
    assert!(hit(&gateway.send(get("/a"))));
    seconds(&gateway, 86_400);
    assert!(!hit(&gateway.send(get("/a"))));
}

#[test]
fn the_upstream_confirms_what_is_stale() {
    let gateway = gateway(START);
    gateway.send(get("/a").answered(reply("max-age=10").header("x-a", "old").header("x-b", "kept")));
    seconds(&gateway, 11);
    let unchanged =
        Reply::new(304).header("cache-control", "max-age=100").header("x-a", "new").header("etag", "\"v1\"");
    // The client's own condition is another one.
    let answer = gateway.send(get("/a").header("if-none-match", "\"v0\"").answered(unchanged.clone()));
    assert_eq!(answer.upstream().and_then(|seen| seen.header("if-none-match")), Some("\"v1\""));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "0123456789"));
    assert_eq!(
        (answer.header("x-a"), answer.header("x-b"), answer.header("age")),
        (Some("new"), Some("kept"), Some("0"))
    );
    assert_eq!(answer.header("cache-status"), Some("tidegate; fwd=stale; fwd-status=304; stored"));
    seconds(&gateway, 90);
    let answer = gateway.send(get("/a"));
    assert!(hit(&answer));
    assert_eq!((answer.header("x-a"), answer.header("age")), (Some("new"), Some("90")));
    seconds(&gateway, 20);
    let answer = gateway.send(get("/a").header("if-none-match", "\"v1\"").answered(unchanged));
    assert_eq!((answer.status(), answer.body().len()), (304, 0));
}

#[test]
fn clients_conditions_and_ranges_are_answered() {
    let gateway = gateway(START);
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    gateway.send(get("/a").answered(
        reply("max-age=60").header("last-modified", modified).header("content-type", "text/plain"),
    ));
    let cases: [(&[Header], u16, &str); 14] = [
        (&[("if-none-match", "\"v1\"")], 304, ""),
        (&[("if-none-match", "\"v0\", W/\"v1\"")], 304, ""),
        (&[("if-none-match", "*")], 304, ""),
        (&[("if-none-match", "\"v0\"")], 200, "0123456789"),
        (&[("if-none-match", "\"v0\""), ("if-modified-since", modified)], 200, "0123456789"),
        (&[("if-modified-since", modified)], 304, ""),
        (&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], 200, "0123456789"),
        (&[("range", "bytes=2-4")], 206, "234"),
        (&[("range", "bytes=-2")], 206, "89"),
        (&[("range", "bytes=0-1, 3-4")], 200, "0123456789"),
        (&[("range", "bytes=10-")], 416, ""),
        (&[("range", "bytes=2-4"), ("if-range", "\"v1\"")], 206, "234"),
        (&[("range", "bytes=2-4"), ("if-range", "\"v0\"")], 200, "0123456789"),
        (&[("range", "bytes=2-4"), ("if-range", modified)], 206, "234"),
    ];
    for (headers, status, body) in cases {
        let request = headers.iter().fold(get("/a"), |request, (name, value)| request.header(name, *value));
        let answer = gateway.send(request);
        assert!(hit(&answer), "{headers:?}");
        assert_eq!((answer.status(), answer.text().as_str()), (status, body), "{headers:?}");
    }
    let part = gateway.send(get("/a").header("range", "bytes=2-4"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let unchanged = gateway.send(get("/a").header("if-none-match", "\"v1\""));
    assert_eq!((unchanged.header("etag"), unchanged.header("content-type")), (Some("\"v1\""), None));
    for name in ["if-match", "if-unmodified-since"] {
        assert!(!hit(&gateway.send(get("/a").header(name, "\"v1\""))), "{name}");
    }
    let answer = gateway.send(Request::new("HEAD", "/a"));
    assert!(hit(&answer));
    let missed = gateway.send(get("/b").header("range", "bytes=0-1").answered(reply("max-age=60")));
    assert_eq!(missed.upstream().and_then(|seen| seen.header("range")), Some("bytes=0-1"));
    assert!(!hit(&gateway.send(get("/b"))), "a part is not kept");
}

#[test]
fn responses_that_differ_by_request_headers_are_kept_apart() {
    let gateway = gateway(START);
    let in_language = |language: &str| {
        reply("max-age=60").header("vary", "Accept-Language, x-a").header("content-language", language)
    };
    gateway.send(get("/a").header("accept-language", "de").answered(in_language("de")));
    let english = gateway.send(get("/a").header("accept-language", "en").answered(in_language("en")));
    assert_eq!(english.header("cache-status"), Some("tidegate; fwd=vary-miss; fwd-status=200; stored"));
    for language in ["de", "en"] {
        let answer = gateway.send(get("/a").header("accept-language", language));
        assert_eq!((hit(&answer), answer.header("content-language")), (true, Some(language)));
    }
    assert!(!hit(&gateway.send(get("/a"))));
    assert!(!hit(&gateway.send(get("/a").header("accept-language", "de").header("x-a", ""))));
    // All of them are gone together.
    gateway.send(post("/a"));
    assert!(!hit(&gateway.send(get("/a").header("accept-language", "de"))));
}

#[test]
fn requests_with_credentials_need_a_response_for_all() {
    for (control, kept) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ] {
        let gateway = gateway(START);
        let ann = || get("/a").header("authorization", "Basic x");
        gateway.send(ann().answered(reply(control)));
        assert_eq!(hit(&gateway.send(ann())), kept, "{control}");
        gateway.send(get("/b").answered(reply(control)));
        assert_eq!(hit(&gateway.send(get("/b").header("authorization", "Basic x"))), kept, "{control}");
    }
}

#[test]
fn requests_say_what_they_take() {
    let cases = [
        ("no-cache", false),
        ("max-age=0", false),
        ("max-age=5", false),
        ("max-age=15", true),
        ("min-fresh=51", false),
        ("min-fresh=50", true),
        ("no-store", false),
        ("only-if-cached", true),
    ];
    for (control, is_hit) in cases {
        let (respecting, ignoring) = (gateway(START), gateway(r#"{ "requestDirectives": "ignore" }"#));
        for (gateway, expected) in [(&respecting, is_hit), (&ignoring, control != "no-store")] {
            gateway.send(get("/a").answered(reply("max-age=60")));
            seconds(gateway, 10);
            assert_eq!(hit(&gateway.send(get("/a").header("cache-control", control))), expected, "{control}");
        }
    }
    let gateway = gateway(START);
    gateway.send(get("/a").answered(reply("max-age=10")));
    assert!(!hit(&gateway.send(get("/a").header("pragma", "no-cache").answered(reply("max-age=10")))));
    seconds(&gateway, 15);
    assert!(hit(&gateway.send(get("/a").header("cache-control", "max-stale=6"))));
    let only = gateway.send(get("/b").header("cache-control", "only-if-cached"));
    assert_eq!((only.status(), only.upstream().is_some()), (504, false));
    assert!(!hit(&gateway.send(get("/a").header("cache-control", "max-stale=3"))));
}

#[test]
fn stale_responses_stand_in_for_errors() {
    let broken = || Reply::new(503).body("broken");
    for (control, config, stands) in [
        ("max-age=10, stale-if-error=60", START, true),
        ("max-age=10", START, false),
        ("max-age=10", r#"{ "staleIfError": "1m" }"#, true),
        ("max-age=10, must-revalidate", r#"{ "staleIfError": "1m" }"#, false),
        ("max-age=10, no-cache", r#"{ "staleIfError": "1m" }"#, false),
    ] {
        let gateway = gateway(config);
        gateway.send(get("/a").answered(reply(control)));
        seconds(&gateway, 20);
        let answer = gateway.send(get("/a").answered(broken()));
        assert_eq!(answer.status(), if stands { 200 } else { 503 }, "{control} {config}");
        if stands {
            assert_eq!(answer.header("cache-status"), Some("tidegate; fwd=stale; fwd-status=503"));
            seconds(&gateway, 60);
            assert_eq!(gateway.send(get("/a").answered(broken())).status(), 503, "the time is over");
        }
    }
}

#[test]
fn the_first_to_find_it_stale_gets_a_new_one() {
    let gateway = gateway(START);
    gateway.send(get("/a").answered(reply("max-age=10, stale-while-revalidate=60")));
    seconds(&gateway, 20);
    let answer = gateway.send(get("/a").answered(Reply::new(304).header("cache-control", "max-age=10")));
    assert!(answer.upstream().is_some());
    assert!(hit(&gateway.send(get("/a"))));
}

#[test]
fn unsafe_methods_invalidate() {
    for (request, gone) in [
        (post("/a"), true),
        (Request::new("DELETE", "/a"), true),
        (post("/a").answered(Reply::new(500)), false),
        (post("/x").answered(Reply::new(201).header("location", "/a")), true),
        (post("/x").answered(Reply::new(201).header("content-location", "http://example.com/a#x")), true),
        (post("/x").answered(Reply::new(201).header("location", "HTTP://example.com/a")), true),
        (post("/x").answered(Reply::new(201).header("location", "http://other.test/a")), false),
        (Request::new("OPTIONS", "/a"), false),
    ] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=60")));
        let name = format!("{request:?}");
        gateway.send(request);
        assert_eq!(!hit(&gateway.send(get("/a"))), gone, "{name}");
    }
}

#[test]
fn only_who_may_purges() {
    let gateway = gateway(r#"{ "purge": { "token": "0123456789abcdef" } }"#);
    gateway.send(get("/a").answered(reply("max-age=60")));
    let purge = |token: &str| Request::new("PURGE", "/a").header("authorization", format!("Bearer {token}"));
    for refused in [Request::new("PURGE", "/a"), purge("0123456789abcdeg"), purge("")] {
        let answer = gateway.send(refused);
        assert_eq!((answer.status(), answer.upstream().is_some()), (403, false));
    }
    assert!(hit(&gateway.send(get("/a"))));
    assert_eq!(gateway.send(purge("0123456789abcdef")).status(), 204);
    assert!(!hit(&gateway.send(get("/a"))));
    assert_eq!(gateway.send(purge("0123456789abcdef")).status(), 404);
}

#[test]
fn memory_is_bounded() {
    let gateway = Gateway::<Cache>::with(
        r#"{ "entrySize": "10KiB", "totalSize": "50KiB", "entries": 100 }"#,
        Ways::plain(),
    )
    .expect("a correct configuration");
    let large = |size: usize| Reply::new(200).header("cache-control", "max-age=600").body(vec![b'x'; size]);
    for nth in 0..40 {
        gateway.send(get(&format!("/{nth}")).answered(large(8000)));
    }
    let kept = (0..40).filter(|nth| hit(&gateway.send(get(&format!("/{nth}"))))).count();
    assert!((3..=6).contains(&kept), "{kept} of 8000 bytes in 50KiB");
    gateway.send(get("/large").answered(large(10 * 1024 + 1)));
    assert!(!hit(&gateway.send(get("/large"))));
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        (r#"{ "entrySize": "5MiB" }"#, "config.entrySize: must be between 1 and 4MiB"),
        (
            r#"{ "totalSize": "1KiB" }"#,
            "config.totalSize: must be at least entrySize and at most 60MiB, since shared data ends at 64MiB",
        ),
        (r#"{ "entries": 0 }"#, "config.entries: must be between 1 and 30000"),
        (r#"{ "name": "a b" }"#, "config.name: is not a name, as \"tidegate\" is"),
        (r#"{ "purge": { "token": "short" } }"#, "config.purge.token: must have at least 16 characters"),
        (
            r#"{ "purge": { "token": "0123456789abcdef", "method": "GET" } }"#,
            "config.purge.method: must be a method of its own, as PURGE is",
        ),
        (
            r#"{ "coalesce": { "wait": 5 } }"#,
            "config.coalesce.wait: invalid type: integer, expected a span of time as 20ms, 5s, 1m30s or 1h, at most 8760h",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<Cache>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("cache", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/cache.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}

#[test]
fn many_are_purged_by_prefix_and_by_tag() {
    let gateway = gateway(r#"{ "purge": { "token": "0123456789abcdef" } }"#);
    let tagged = |tags: &'static str| reply("max-age=3600").header("cache-tag", tags);
    let fill = |path: &str, tags: &'static str| {
        gateway.send(get(path).answered(tagged(tags)));
        assert!(hit(&gateway.send(get(path))), "{path}");
    };
    fill("/shop/1?x", "one, all");
    fill("/shop/2", "two all");
    fill("/blog", "one");
    let purge = |path: &str| Request::new("PURGE", path).header("authorization", "Bearer 0123456789abcdef");
    gateway.advance(Duration::from_millis(1));
    assert_eq!(gateway.send(purge("/any").header("purge-tags", "two")).status(), 204);
    gateway.advance(Duration::from_millis(1));
    assert!(!hit(&gateway.send(get("/shop/2").answered(tagged("two all")))));
    assert!(hit(&gateway.send(get("/shop/2"))) && hit(&gateway.send(get("/shop/1?x"))));
    gateway.advance(Duration::from_millis(1));
    assert_eq!(gateway.send(purge("/shop?y").header("purge-prefix", "true")).status(), 204);
    assert!(!hit(&gateway.send(get("/shop/2"))) && !hit(&gateway.send(get("/shop/1?x"))));
    assert!(hit(&gateway.send(get("/blog"))));
    assert_eq!(gateway.send(purge("/any").header("purge-tags", ", ")).status(), 400);
    assert_eq!(gateway.send(Request::new("PURGE", "/").header("purge-tags", "one")).status(), 403);
    assert!(hit(&gateway.send(get("/blog"))));
}

#[test]
fn what_is_stale_is_got_anew_behind_the_clients_back() {
    let gateway = gateway(r#"{ "refresh": { "upstream": "shop" } }"#);
    gateway.on_call("shop", |asked| {
        assert_eq!((asked.path(), asked.header("if-none-match")), ("/a?b", Some("\"v1\"")));
        assert_eq!((asked.header(":authority"), asked.header("range")), (Some("test.example"), None));
        reply("max-age=10, stale-while-revalidate=60").header("x-nth", "2")
    });
    let first = reply("max-age=10, stale-while-revalidate=60").header("x-nth", "1");
    gateway.send(get("/a?b").host("test.example").answered(first));
    seconds(&gateway, 11);
    let stale = gateway.send(get("/a?b").host("test.example").header("range", "bytes=0-1"));
    assert!(hit(&stale), "only whole ones are got anew");
    let stale = gateway.send(get("/a?b").host("test.example"));
    assert!(hit(&stale));
    assert_eq!(
        (stale.header("x-nth"), stale.header("cache-status")),
        (Some("1"), Some("tidegate; hit; ttl=-1"))
    );
    let fresh = gateway.send(get("/a?b").host("test.example"));
    assert!(hit(&fresh));
    assert_eq!((fresh.header("x-nth"), fresh.header("age")), (Some("2"), Some("0")));
}
