//! The filter's behaviour and its configuration's errors, natively.

use tidegate_sdk_test::{Answer, Gateway, Reply, Request, get, post};

use crate::Transform;

fn gateway(config: &str) -> Gateway<Transform> {
    Gateway::start(config).expect("a correct configuration")
}

fn json(body: &str) -> Request {
    post("/orders/17?page=2&q=a%20b").header("content-type", "application/json").body(body)
}

fn seen(answer: &Answer) -> (&str, String) {
    let upstream = answer.upstream().expect("it reached the upstream");
    (upstream.path(), String::from_utf8_lossy(upstream.body()).into_owned())
}

#[test]
fn headers_and_query_of_requests_are_changed() {
    let gateway = gateway(
        r#"{ "request": [{
            "when": { "path": { "regex": "/(?<kind>[a-z]+)/([0-9]+)" } },
            "headers": {
                "copy": { "x-user": "x-copy" }, "rename": { "x-old": "x-new" }, "remove": ["x-secret"],
                "set": { "x-kind": "{path.kind}", "x-id": "{{{path.2}}}", "x-all": "{header.x-user} {query.q} {source.address} {request.id} {method} {host} {path}",
                         "x-none": "{header.x-none}", "x-default": "{query.none|no one}", "x-user": "set" },
                "add": { "x-tag": "two" }
            },
            "query": { "remove": ["page"], "set": { "user": "{header.x-user}", "q": "1&2" } }
        }] }"#,
    );
    let request = get("/orders/17?page=2&q=a+b&x=%2f")
        .header("x-user", "ann")
        .header("x-user", "bob")
        .header("x-old", "1")
        .header("x-secret", "s")
        .header("x-tag", "one");
    let answer = gateway.send(request);
    let upstream = answer.upstream().expect("passed");
    let all =
        |name: &str| upstream.headers().get_all(name).map(|v| v.to_str().unwrap_or("?")).collect::<Vec<_>>();
    assert_eq!(all("x-copy"), ["ann", "bob"]);
    assert_eq!((all("x-new"), all("x-old"), all("x-secret")), (vec!["1"], vec![], vec![]));
    assert_eq!((all("x-kind"), all("x-id"), all("x-user")), (vec!["orders"], vec!["{17}"], vec!["set"]));
    assert_eq!(all("x-all"), ["ann a b 127.0.0.1 test GET example.com /orders/17"]);
    assert_eq!((all("x-none"), all("x-default"), all("x-tag")), (vec![], vec!["no one"], vec!["one", "two"]));
    assert_eq!(upstream.path(), "/orders/17?q=1%262&x=%2f&user=ann");
    let other = gateway.send(get("/orders").header("x-secret", "s"));
    assert_eq!(other.upstream().and_then(|seen| seen.header("x-secret")), Some("s"));
}

#[test]
fn what_a_client_encodes_cannot_end_a_header() {
    let gateway = gateway(r#"{ "request": [{ "headers": { "set": { "x-q": "{query.q}" } } }] }"#);
    for query in ["a%0d%0ax-evil:%201", "%00", "%7f"] {
        let answer = gateway.send(get(&format!("/?q={query}")));
        assert_eq!((answer.status(), answer.details()), (400, "transform_value"), "{query}");
        assert!(answer.upstream().is_none());
    }
    assert_eq!(gateway.send(get("/?q=a%09b")).status(), 200);
}

const BODY: &str = r#"{ "request": [{
    "when": { "methods": ["POST"], "contentType": ["application/json"] },
    "body": {
        "rename": { "/old": "/user/name" }, "remove": ["/secret", "/list/0"],
        "set": { "/user/id": "{header.x-user}", "/page": "{query.page:json}", "/flag": true, "/n": 1.5, "/o": { "a": [null] }, "/none": "{header.none}", "/bad": "{query.q:json}" }
    }
}] }"#;

#[test]
fn json_bodies_are_changed_and_numbers_keep_their_text() {
    let gateway = gateway(BODY);
    let answer = gateway.send(
        json(r#"{"old":"a\/b","secret":1,"list":[1,2.50],"big":12345678901234567890.123}"#)
            .header("x-user", "a\"b"),
    );
    assert_eq!(
        seen(&answer).1,
        r#"{"list":[2.50],"big":12345678901234567890.123,"user":{"name":"a\/b","id":"a\"b"},"page":2,"flag":true,"n":1.5,"o":{"a":[null]}}"#
    );
    assert_eq!(answer.metric("transform_bodies_total"), 1);
    for request in [
        json("[1]"),
        post("/").header("content-type", "text/plain").body("{}"),
        Request::new("PUT", "/").header("content-type", "application/json").body("{}"),
        json(""),
    ] {
        let body = request.clone();
        let answer = gateway.send(request);
        assert_eq!(answer.status(), 200, "{body:?}");
        assert_eq!(answer.metric("transform_bodies_total"), 0, "{body:?}");
    }
}

#[test]
fn no_way_of_writing_a_document_gets_past_a_rule() {
    let gateway = gateway(
        r#"{ "request": [{ "body": {
            "rename": { "/old": "/user/name" }, "remove": ["/user/admin"], "set": { "/user/id": "{header.x-user}" }
        } }] }"#,
    );
    let cases = [
        // Half a character is a name to many readers.
        (r#"{"\ud800":1,"user":{"id":"eve","admin":true}}"#, r#"{"\ud800":1,"user":{"id":"ann"}}"#),
        (r#"{"user":{"\udc00":1,"id":"eve","admin":true}}"#, r#"{"user":{"\udc00":1,"id":"ann"}}"#),
        // Readers take the first of two or the last.
        (r#"{"user":{"admin":true},"user":{"id":"eve"}}"#, r#"{"user":{"id":"ann"}}"#),
        (r#"{"user":{"id":"eve"},"user":{"admin":true}}"#, r#"{"user":{"id":"ann"}}"#),
        (r#"{"user":5,"user":{"id":"eve"}}"#, r#"{"user":{"id":"ann"}}"#),
        (r#"{"\u0075ser":{"id":"eve","\u0061dmin":true}}"#, r#"{"\u0075ser":{"id":"ann"}}"#),
        // There is no place for it, so it stays.
        (r#"{"user":5,"old":"x"}"#, r#"{"user":5,"old":"x"}"#),
    ];
    for (body, expected) in cases {
        let answer = gateway.send(json(body).header("x-user", "ann"));
        assert_eq!(seen(&answer).1, expected, "{body}");
    }
    // Readers take the first of two types or the last.
    for kinds in
        [["text/plain", "application/json"], ["application/json", "text/plain"], ["", "a/b, a/c+JSON; q=1"]]
    {
        let request = post("/").header("content-type", kinds[0]).header("content-type", kinds[1]);
        let answer = gateway.send(request.body(r#"{"user":{"admin":true}}"#));
        assert_eq!(seen(&answer).1, r#"{"user":{}}"#, "{kinds:?}");
    }
}

#[test]
fn bodies_that_cannot_be_changed_are_refused_or_pass() {
    let set = r#""request": [{ "body": { "set": { "/a": 1 } } }], "response": [{ "body": { "set": { "/a": 1 } } }], "maxBody": 20"#;
    let refusing = gateway(&format!("{{ {set} }}"));
    let passing =
        gateway(&format!(r#"{{ {set}, "onTooLarge": "pass", "onInvalid": "pass", "onEncoded": "pass" }}"#));
    let large = r#"{"b":"0123456789012345678901234567890123456789"}"#;
    let cases = [
        (large, "identity", 413, "transform_too_large"),
        ("{\"a\":", "identity", 400, "transform_invalid"),
        ("{}", "gzip", 415, "transform_encoded"),
    ];
    for (body, coding, status, details) in cases {
        let request = json(body).header("content-encoding", coding);
        let answer = refusing.send(request.clone());
        assert_eq!((answer.status(), answer.details()), (status, details));
        assert_eq!(answer.metric("transform_refused_total"), 1);
        let answer = passing.send(request.clone());
        assert_eq!(answer.status(), 200, "{details}");
        let passed = answer.upstream().map(|seen| seen.body().to_vec());
        assert_eq!(passed.as_deref(), Some(body.as_bytes()), "{details}");
    }
    let reply = |body: &str| Reply::new(200).header("content-type", "application/json").body(body);
    for (reply, details) in [
        (reply(large), "transform_too_large"),
        (reply("x"), "transform_invalid"),
        (reply("{}").header("content-encoding", "br"), "transform_encoded"),
    ] {
        let answer = refusing.send(get("/").answered(reply.clone()));
        assert_eq!((answer.status(), answer.details()), (502, details));
        assert_eq!(passing.send(get("/").answered(reply)).status(), 200);
    }
}

#[test]
fn responses_are_changed_by_status_and_by_what_the_request_was() {
    let gateway = gateway(
        r#"{ "response": [
            { "when": { "status": ["5xx", 404], "path": { "prefix": "/orders" } },
              "headers": { "set": { "x-was": "{status} {request.header.x-user|-} {query.page} {path}" }, "remove": ["server"] } },
            { "when": { "status": [200], "contentType": ["application/*"] }, "body": { "remove": ["/secret"], "set": { "/for": "{request.header.x-user}" } } }
        ] }"#,
    );
    let failed = Reply::new(503).header("server", "s/1");
    let answer = gateway.send(get("/orders/1?page=3").header("x-user", "ann").answered(failed.clone()));
    assert_eq!((answer.header("x-was"), answer.header("server")), (Some("503 ann 3 /orders/1"), None));
    assert_eq!(
        gateway.send(get("/orders/1?page=3").answered(failed.clone())).header("x-was"),
        Some("503 - 3 /orders/1")
    );
    assert_eq!(gateway.send(get("/ordersx").answered(failed)).header("server"), Some("s/1"));

    let good = Reply::new(200)
        .header("content-type", "application/problem+json; charset=utf-8")
        .header("etag", "\"v1\"")
        .header("content-md5", "x")
        .header("accept-ranges", "bytes")
        .body(r#"{"secret":1,"b":1.0}"#);
    let answer = gateway.send(
        get("/x")
            .header("x-user", "ann")
            .header("accept-encoding", "br")
            .header("range", "bytes=0-1")
            .answered(good),
    );
    assert_eq!(answer.text(), r#"{"b":1.0,"for":"ann"}"#);
    assert_eq!(
        (answer.header("etag"), answer.header("content-md5"), answer.header("accept-ranges")),
        (Some("W/\"v1\""), None, None)
    );
    let upstream = answer.upstream().expect("passed");
    assert_eq!((upstream.header("accept-encoding"), upstream.header("range")), (Some("identity"), None));
    let same = Reply::new(200).header("content-type", "application/json").header("etag", "\"v1\"").body("{}");
    assert_eq!(gateway.send(get("/x").answered(same)).header("etag"), Some("\"v1\""), "nothing was changed");
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        (
            r#"{ "request": [{ "headers": { "set": { "a b": "" } } }] }"#,
            "config.request[0].headers.set: \"a b\" is not a header name, as \"x-user\" is",
        ),
        (
            r#"{ "response": [{ "headers": { "remove": ["Content-Length"] } }] }"#,
            "config.response[0].headers.remove: \"content-length\" is of one connection only, or says where a message ends; the gateway writes it",
        ),
        (
            r#"{ "request": [{}, { "headers": { "set": { "x": "{path.1}" } } }] }"#,
            "config.request[1].headers.set.x: \"{path.1}\": the rule's when.path has no such group of a pattern",
        ),
        (
            r#"{ "request": [{ "body": { "remove": ["a"] } }] }"#,
            "config.request[0].body.remove: \"a\" is not a JSON Pointer: it must begin with a slash, as \"/user/id\" does",
        ),
        (
            r#"{ "request": [{ "body": { "rename": { "/a": "/a/b" } } }] }"#,
            "config.request[0].body.rename: a value cannot be moved into itself",
        ),
        (
            r#"{ "response": [{ "when": { "status": ["6xx"] } }] }"#,
            "config.response[0].when.status[0]: is not a status, as 404 or \"5xx\" is",
        ),
        (
            r#"{ "request": [{ "when": { "path": { "prefix": "a" } } }] }"#,
            "config.request[0].when.path: \"a\" must begin with a slash",
        ),
        (
            r#"{ "request": [{ "when": { "contentType": ["json"] } }] }"#,
            "config.request[0].when.contentType[0]: \"json\" is not a type, as \"application/json\" or \"text/*\" is",
        ),
        (
            r#"{ "maxBody": "2MiB" }"#,
            "config.maxBody: 2MiB is more than 768KiB, three quarters of the 1MiB that `limits.heldBody` of the plugin allows",
        ),
        (
            r#"{ "onInvalid": "drop" }"#,
            "config.onInvalid: unknown variant `drop`, expected `refuse` or `pass`",
        ),
        (
            r#"{ "request": [{ "header": {} }] }"#,
            "config.request[0].header: unknown field `header`, expected one of `when`, `headers`, `query`, `body`",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<Transform>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("transform", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/transform.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
