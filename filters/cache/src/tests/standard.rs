//! Single sentences of RFC 9111 and RFC 9110.

use tidegate_sdk_test::{Reply, Request, get, post};

use super::{START, gateway, hit, reply, seconds};

/// 5.1: of a list the first member counts.
#[test]
fn an_age_that_is_a_list_is_its_first_member() {
    for (age, kept) in [("59, 0", true), ("60, 0", false), ("0, 60", true), ("x, 60", true), ("-1", true)] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=60").header("age", age)));
        assert_eq!(hit(&gateway.send(get("/a"))), kept, "{age}");
    }
}

/// RFC 9110, 14.2: parts are for GET.
#[test]
fn the_answer_to_head_has_no_parts() {
    let gateway = gateway(START);
    gateway.send(get("/a").answered(reply("max-age=60")));
    let answer = gateway.send(Request::new("HEAD", "/a").header("range", "bytes=2-4"));
    assert_eq!((hit(&answer), answer.status(), answer.header("content-range")), (true, 200, None));
}

/// RFC 9110, 6.6.1.
#[test]
fn what_came_without_a_date_has_that_of_its_coming() {
    let gateway = gateway(START);
    gateway.send(get("/a").answered(reply("max-age=60")));
    let first = gateway.send(get("/a")).header("date").map(str::to_owned);
    assert_eq!(first.as_deref(), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    seconds(&gateway, 20);
    assert_eq!(gateway.send(get("/a")).header("date").map(str::to_owned), first);
    let dated = "Tue, 14 Nov 2023 22:13:10 GMT";
    gateway.send(get("/b").answered(reply("max-age=60").header("date", dated)));
    assert_eq!(gateway.send(get("/b")).header("date"), Some(dated));
    gateway.send(get("/c").answered(reply("max-age=60").header("date", "yesterday")));
    assert_eq!(gateway.send(get("/c")).header("date"), Some("Tue, 14 Nov 2023 22:13:40 GMT"));
}

/// 4.3.4: without a date of its own it is of now, not as old as what it confirms.
#[test]
fn a_confirmation_makes_fresh_whether_or_not_it_has_a_date() {
    for date in [None, Some("Tue, 14 Nov 2023 22:14:20 GMT")] {
        let gateway = gateway(START);
        let old = reply("max-age=10").header("date", "Tue, 14 Nov 2023 22:13:20 GMT");
        gateway.send(get("/a").answered(old));
        seconds(&gateway, 60);
        let unchanged = Reply::new(304).header("etag", "\"v1\"");
        let unchanged = date.iter().fold(unchanged, |reply, date| reply.header("date", *date));
        let answer = gateway.send(get("/a").answered(unchanged));
        assert_eq!((answer.status(), answer.header("age")), (200, Some("0")), "{date:?}");
        let again = gateway.send(get("/a"));
        assert_eq!((hit(&again), again.header("age")), (true, Some("0")), "{date:?}");
        assert_eq!(again.header("date"), Some("Tue, 14 Nov 2023 22:14:20 GMT"));
    }
}

/// 3.2: what does not belong to the bytes of the body is the confirmation's.
#[test]
fn a_confirmation_brings_headers_but_not_those_of_the_bytes() {
    let gateway = gateway(START);
    let policy = "content-security-policy";
    let old = reply("max-age=10").header(policy, "default-src *").header("content-encoding", "gzip");
    gateway.send(get("/a").answered(old.header("content-language", "de")));
    seconds(&gateway, 11);
    let unchanged = Reply::new(304)
        .header("etag", "\"v1\"")
        .header(policy, "default-src 'none'")
        .header("content-language", "en")
        .header("content-encoding", "br")
        .header("digest", "sha-256=other")
        .header("repr-digest", "sha-256=:other:")
        .header("content-length", "3");
    gateway.send(get("/a").answered(unchanged));
    let answer = gateway.send(get("/a"));
    assert!(hit(&answer));
    // A tag that is weak is of other bytes too (RFC 9530, 3).
    assert_eq!((answer.header("digest"), answer.header("repr-digest")), (None, None));
    assert_eq!(
        (answer.header(policy), answer.header("content-language"), answer.header("content-encoding")),
        (Some("default-src 'none'"), Some("en"), Some("gzip"))
    );
    assert_eq!(answer.text(), "0123456789");
}

/// 4.3.4: it must not be used to update what it does not name.
#[test]
fn a_confirmation_of_another_version_changes_nothing() {
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (name, known, other, is_same) in [
        ("etag", "\"v1\"", "\"v2\"", false),
        ("etag", "\"v1\"", "W/\"v1\"", true),
        ("last-modified", modified, "Sun, 06 Nov 1994 08:49:38 GMT", false),
        ("last-modified", modified, modified, true),
    ] {
        let gateway = gateway(START);
        let old = Reply::new(200).header("cache-control", "max-age=10").header(name, known).body("old");
        gateway.send(get("/a").answered(old));
        seconds(&gateway, 11);
        let unchanged = Reply::new(304).header(name, other).header("x-new", "1");
        let answer = gateway.send(get("/a").answered(unchanged));
        let case = format!("{name}: {other}");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "old"), "{case}");
        assert_eq!(answer.header(name), Some(if is_same { other } else { known }), "{case}");
        assert_eq!(answer.header("x-new"), is_same.then_some("1"), "{case}");
        assert_eq!(hit(&gateway.send(get("/a"))), is_same, "{case}");
    }
}

/// 5.2.2.2: such a response is never given unconfirmed. What is no more at the upstream is not asked about again.
#[test]
fn what_must_be_confirmed_is_not_given_where_another_version_is() {
    for (control, request, status) in [
        ("max-age=10", "", 200),
        ("max-age=10, must-revalidate", "", 504),
        ("max-age=10, proxy-revalidate", "", 504),
        ("s-maxage=10", "", 504),
        ("no-cache", "", 504),
        ("max-age=10", "no-cache", 504),
        ("max-age=10", "max-age=0", 504),
    ] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply(control)));
        seconds(&gateway, 11);
        let other = Reply::new(304).header("etag", "\"v2\"");
        let asked = get("/a").header("cache-control", request);
        let answer = gateway.send(asked.answered(other));
        let case = format!("{control}; {request}");
        seconds(&gateway, 1);
        assert_eq!(answer.status(), status, "{case}");
        assert_eq!(answer.details(), if status == 504 { "cache_unconfirmed" } else { "cache_hit" }, "{case}");
        let next = gateway.send(get("/a").answered(reply("max-age=60")));
        let sent = next.upstream().expect("the upstream is asked");
        assert_eq!(sent.header("if-none-match"), None, "{case}");
        assert!(hit(&gateway.send(get("/a"))), "{case}");
    }
}

/// 4.3.5.
#[test]
fn the_answer_to_head_tells_whether_what_is_kept_is_right() {
    let told = |tag: &str, length: &str| {
        Reply::new(200)
            .header("etag", tag)
            .header("cache-control", "max-age=60")
            .header("content-length", length)
    };
    for (answer, is_right, is_fresh) in [
        (told("\"v1\"", "10"), true, true),
        (told("\"v2\"", "10"), false, false),
        (told("\"v1\"", "11"), false, false),
        (Reply::new(503), true, false),
    ] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=10, stale-if-error=600")));
        seconds(&gateway, 11);
        let name = format!("{answer:?}");
        let head = gateway.send(Request::new("HEAD", "/a").answered(answer.clone()));
        assert!(head.upstream().is_some());
        let next = gateway.send(get("/a").answered(Reply::new(500)));
        assert_eq!(next.status(), if is_right { 200 } else { 500 }, "{name}");
        assert_eq!(hit(&gateway.send(get("/a"))), is_fresh, "{name}");
    }
}

/// RFC 9110, 4.2.3: with the usual port it is the same target.
#[test]
fn a_usual_port_makes_no_other_target() {
    let gateway = gateway(START);
    gateway.send(get("/a").host("shop.test").answered(reply("max-age=60")));
    assert!(hit(&gateway.send(get("/a").host("Shop.test:80"))));
    assert!(!hit(&gateway.send(get("/a").host("shop.test:8080"))));
    gateway.send(post("/a").host("shop.test:80"));
    assert!(!hit(&gateway.send(get("/a").host("shop.test").answered(reply("max-age=60")))));
    let created = Reply::new(201).header("location", "http://shop.test:80/a");
    gateway.send(post("/x").host("shop.test").answered(created));
    assert!(!hit(&gateway.send(get("/a").host("shop.test"))));
}

/// 4.4: what a response names is invalid, also where the name has another one in its query.
#[test]
fn a_reference_with_another_in_its_query_is_of_this_origin() {
    let gateway = gateway(START);
    gateway.send(get("/a?to=http://other.test/").answered(reply("max-age=60")));
    gateway.send(post("/x").answered(Reply::new(201).header("location", "/a?to=http://other.test/")));
    assert!(!hit(&gateway.send(get("/a?to=http://other.test/"))));
}

/// RFC 9110, 13.1.5: a date that two versions may share does not say which one a part is of.
#[test]
fn parts_are_asked_for_by_dates_that_are_certain() {
    let date = "Tue, 14 Nov 2023 22:13:20 GMT";
    for (modified, status) in [(date, 200), ("Tue, 14 Nov 2023 22:13:19 GMT", 206)] {
        let gateway = gateway(START);
        gateway.send(
            get("/a").answered(reply("max-age=60").header("date", date).header("last-modified", modified)),
        );
        let part = get("/a").header("range", "bytes=0-1").header("if-range", modified);
        assert_eq!(gateway.send(part).status(), status, "{modified}");
    }
}

/// 5.4: it is a list, as `cache-control` is.
#[test]
fn a_pragma_counts_among_others_and_without_cache_control() {
    for (pragma, control, is_hit) in
        [("x, No-Cache", None, false), ("no-cachex", None, true), ("no-cache", Some("max-age=100"), true)]
    {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=60")));
        let request = get("/a").header("pragma", pragma);
        let request =
            control.iter().fold(request, |request, control| request.header("cache-control", *control));
        assert_eq!(hit(&gateway.send(request)), is_hit, "{pragma} {control:?}");
    }
}

/// 5.2.1.4: they want it confirmed; RFC 5861, 4: unless they say what they take in place of an error.
#[test]
fn who_asks_for_a_confirmation_is_told_of_errors() {
    for (name, asked, status) in [
        ("cache-control", "no-cache", 503),
        ("pragma", "no-cache", 503),
        ("cache-control", "no-cache, stale-if-error=60", 200),
        // It is about age only.
        ("cache-control", "max-age=0", 200),
    ] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=10, stale-if-error=60")));
        seconds(&gateway, 1);
        let answer = gateway.send(get("/a").header(name, asked).answered(Reply::new(503)));
        assert_eq!(answer.status(), status, "{name}: {asked}");
        assert!(answer.upstream().is_some(), "{name}: {asked}");
    }
}

/// 4.3.4: what a confirmation says is this client's, whether or not it may be kept.
#[test]
fn a_confirmation_that_may_not_be_kept_reaches_its_client() {
    for (name, value) in [("set-cookie", "session=new"), ("cache-control", "private, max-age=60")] {
        let gateway = gateway(START);
        gateway.send(get("/a").answered(reply("max-age=10")));
        seconds(&gateway, 11);
        let unchanged = || Reply::new(304).header("etag", "\"v1\"").header(name, value);
        let answer = gateway.send(get("/a").answered(unchanged()));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "0123456789"), "{name}");
        assert_eq!((answer.header(name), answer.header("age")), (Some(value), Some("0")), "{name}");
        let next = gateway.send(get("/a").answered(Reply::new(304).header("etag", "\"v1\"")));
        assert!(next.upstream().is_some() && next.header("set-cookie").is_none(), "{name}");
    }
}

/// 3.5 and 4.1, of what auth has taken out of a request: it is none that never had credentials.
#[test]
fn who_had_credentials_is_not_taken_for_others() {
    let shared = "public, max-age=60";
    for (taken, control, vary, is_kept) in [
        ("authorization", "max-age=60", "", false),
        ("x-key,authorization", "max-age=60", "", false),
        ("authorization", shared, "", true),
        ("?", "max-age=60", "", false),
        ("?", shared, "", true),
        ("cookie", "max-age=60", "", true),
        ("cookie", "max-age=60", "accept, Cookie", false),
        ("cookie", shared, "cookie", false),
        ("x-key", shared, "accept", true),
        ("x-key", shared, "x-key", false),
    ] {
        let kept = || match vary {
            "" => reply(control),
            vary => reply(control).header("vary", vary),
        };
        let name = format!("{taken} {control} {vary}");
        let with = || get("/a").property("auth.taken", taken);
        // By one of them, for another, or for somebody without.
        let first = gateway(START);
        assert!(!hit(&first.send(with().answered(kept()))));
        for next in [with(), get("/a")] {
            assert_eq!(hit(&first.send(next.answered(Reply::new(500)))), is_kept, "{name}");
        }
        // By somebody without, for one of them.
        let second = gateway(START);
        second.send(get("/a").answered(kept()));
        assert!(hit(&second.send(get("/a"))));
        assert_eq!(hit(&second.send(with().answered(Reply::new(500)))), is_kept, "{name}");
    }
}
