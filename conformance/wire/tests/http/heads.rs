//! Request lines, header fields and hosts of HTTP/1.

use tidegate_testkit::{Answer, State, Step};
use tidegate_wire::{Case, Expect, Lab, run};

const REFUSED: Expect = Expect::Refused(&[400]);
const REFUSED_ANY: Expect = Expect::Refused(&[]);
const EITHER: Expect = Expect::Either { target: "/case" };
const FORWARDED: Expect = Expect::Forwarded { target: "/case", body: "" };

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("cases are Latin-1")).collect()
}

fn table(rows: &[(&'static str, &str, Expect)], request: impl Fn(&str) -> String) -> Vec<Case> {
    rows.iter().map(|(name, part, expect)| Case::new(name, latin1(&request(part)), expect.clone())).collect()
}

const REQUEST_LINES: &[(&str, &str, Expect)] = &[
    ("plain", "GET /case HTTP/1.1", FORWARDED),
    ("unknown method", "BREW /case HTTP/1.1", EITHER),
    ("lower-case method", "get /case HTTP/1.1", EITHER),
    ("CRLF before", "\r\nGET /case HTTP/1.1", FORWARDED),
    ("two of them", "\r\n\r\nGET /case HTTP/1.1", REFUSED),
    ("LF before", "\nGET /case HTTP/1.1", REFUSED),
    ("space before", " GET /case HTTP/1.1", REFUSED),
    ("CR before", "\rGET /case HTTP/1.1", REFUSED),
    ("NUL before", "\0GET /case HTTP/1.1", REFUSED),
    ("method with a bracket", "GE(T /case HTTP/1.1", Expect::Refused(&[400, 405, 501])),
    ("method with a byte above ASCII", "GE\u{e9}T /case HTTP/1.1", Expect::Refused(&[400, 405, 501])),
    ("no method", "/case HTTP/1.1", REFUSED),
    ("no target", "GET HTTP/1.1", REFUSED),
    ("two spaces after the method", "GET  /case HTTP/1.1", REFUSED),
    ("two spaces after the target", "GET /case  HTTP/1.1", REFUSED),
    ("tab after the method", "GET\t/case HTTP/1.1", REFUSED),
    ("tab after the target", "GET /case\tHTTP/1.1", REFUSED),
    ("space at the end", "GET /case HTTP/1.1 ", REFUSED),
    ("word at the end", "GET /case HTTP/1.1 x", REFUSED),
    ("space in the target", "GET /case x HTTP/1.1", REFUSED),
    ("NUL in the target", "GET /ca\0se HTTP/1.1", REFUSED),
    ("CR in the target", "GET /ca\rse HTTP/1.1", REFUSED),
    ("tab in the target", "GET /ca\tse HTTP/1.1", REFUSED),
    ("DEL in the target", "GET /ca\u{7f}se HTTP/1.1", REFUSED),
    ("relative target", "GET case HTTP/1.1", Expect::Answered(&[400])),
    ("fragment", "GET /case#x HTTP/1.1", REFUSED),
    ("encoded fragment", "GET /case%23x HTTP/1.1", Expect::Either { target: "/case%23x" }),
    ("fragment in the query", "GET /case?x#y HTTP/1.1", REFUSED),
    ("fragment at the end", "GET /case# HTTP/1.1", REFUSED),
    ("fragment only", "GET # HTTP/1.1", REFUSED),
    ("backslash only", "GET \\case HTTP/1.1", REFUSED),
    ("star", "GET * HTTP/1.1", Expect::Answered(&[400])),
    ("no version", "GET /case", REFUSED_ANY),
    ("version 0.9", "GET /case HTTP/0.9", Expect::Refused(&[400, 505])),
    ("version 1.2", "GET /case HTTP/1.2", Expect::Refused(&[400, 505])),
    ("version 2.0", "GET /case HTTP/2.0", Expect::Refused(&[400, 505])),
    ("version 1.10", "GET /case HTTP/1.10", Expect::Refused(&[400, 505])),
    ("version 11.1", "GET /case HTTP/11.1", Expect::Refused(&[400, 505])),
    ("version 1", "GET /case HTTP/1", Expect::Refused(&[400, 505])),
    ("version 1.", "GET /case HTTP/1.", Expect::Refused(&[400, 505])),
    ("version with a comma", "GET /case HTTP/1,1", Expect::Refused(&[400, 505])),
    ("version in lower case", "GET /case http/1.1", Expect::Refused(&[400, 505])),
    ("other protocol", "GET /case ICY/1.1", Expect::Refused(&[400, 505])),
    ("space in the version", "GET /case HTTP /1.1", REFUSED),
    ("CR in the version", "GET /case HTTP/1.1\rx", REFUSED),
];

#[test]
fn request_lines() {
    let mut cases = table(REQUEST_LINES, |line| format!("{line}\r\nhost: a.test\r\n\r\n"));
    cases.push(Case::new("HTTP/0.9 in full", "GET /case\r\n", REFUSED_ANY));
    cases.push(Case::new("HTTP/0.9 with an empty line", "GET /case\r\n\r\n", REFUSED_ANY));
    cases.push(Case::new(
        "TLS in clear text",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        REFUSED_ANY,
    ));
    cases.push(Case::new("bare LF", "GET /case HTTP/1.1\nhost: a.test\n\n", REFUSED));
    cases.push(Case::new("bare LF at the end", "GET /case HTTP/1.1\r\nhost: a.test\r\n\n", REFUSED));
    cases.push(Case::new("bare CR at the end", "GET /case HTTP/1.1\r\nhost: a.test\r\n\rX", REFUSED_ANY));
    run(&Lab::new(), &cases);
}

#[test]
fn targets_in_absolute_form() {
    let rows: &[(&'static str, &str, Expect)] = &[
        ("plain", "http://a.test/case", FORWARDED),
        ("upper-case scheme", "HTTP://a.test/case", FORWARDED),
        ("other scheme", "ftp://a.test/case", EITHER),
        ("https in clear text", "https://a.test/case", EITHER),
        ("no path", "http://a.test", Expect::Forwarded { target: "/", body: "" }),
        ("query without path", "http://a.test?x=1", Expect::Either { target: "/?x=1" }),
        ("no host", "http:///case", REFUSED),
        ("no slashes", "http:case", Expect::Answered(&[400])),
        ("user", "http://b@a.test/case", EITHER),
        ("bad port", "http://a.test:x/case", REFUSED),
        ("port too large", "http://a.test:65536/case", REFUSED),
        ("fragment", "http://a.test/case#x", REFUSED),
        ("backslash in the host", "http://a.test\\b.test/case", REFUSED),
        ("guarded", "http://a.test/admin", Expect::Answered(&[403])),
    ];
    run(&Lab::new(), &table(rows, |target| format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n")));
}

/// RFC 9112 section 3.2.4: `OPTIONS` of a server as a whole, as it is asked of a proxy, is `*` for the server.
#[test]
fn options_of_a_whole_server() {
    let lab = Lab::new();
    for (target, want, host) in [
        ("*", "*", "a.test"),
        ("http://b.test:8080", "*", "b.test:8080"),
        ("HTTP://b.test", "*", "b.test"),
        ("http://b.test/", "/", "b.test"),
        ("http://b.test?x", "/?x", "b.test"),
        ("http://b.test/b.test", "/b.test", "b.test"),
        ("/", "/", "a.test"),
    ] {
        let answer = lab.exchange(format!("OPTIONS {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        assert_eq!(answer.status, 200, "{target}");
        let requests = lab.collect();
        let request = requests.last().expect("it was forwarded");
        assert_eq!((request.target(), request.header("host")), (want, Some(host)), "{target}");
    }
}

/// RFC 9110 section 7.6.2: `max-forwards` is counted down, and who gets 0 answers.
#[test]
fn options_are_forwarded_as_often_as_they_may_be() {
    for (fields, status, want) in [
        ("max-forwards: 0\r\n", 200, None),
        ("max-forwards: 00\r\n", 200, None),
        ("max-forwards: 1\r\n", 200, Some(Some("0"))),
        ("Max-Forwards: 010\r\n", 200, Some(Some("9"))),
        ("max-forwards: 99999999999999999999999\r\n", 200, Some(Some("18446744073709551614"))),
        ("", 200, Some(None)),
        ("max-forwards:\r\n", 400, None),
        ("max-forwards: -1\r\n", 400, None),
        ("max-forwards: 1, 2\r\n", 400, None),
        ("max-forwards: 1\r\nmax-forwards: 0\r\n", 400, None),
    ] {
        for target in ["*", "/case"] {
            let lab = Lab::new();
            let answer = lab.exchange(format!("OPTIONS {target} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
            assert_eq!(answer.status, status, "{fields}");
            let requests = lab.collect();
            let sent = requests.first().map(|request| request.header("max-forwards"));
            assert_eq!(sent, want, "{target} {fields}");
        }
    }
}

/// With other methods it means nothing, and what guards a route guards it here too. TRACE is not spoken at all.
#[test]
fn how_often_others_are_forwarded_is_not_counted() {
    let lab = Lab::new();
    let ask =
        |line: &str| lab.exchange(format!("{line} HTTP/1.1\r\nhost: a.test\r\nmax-forwards: 0\r\n\r\n"));
    assert_eq!(ask("GET /case").status, 200);
    assert_eq!(ask("OPTIONS /admin").status, 403);
    assert_eq!(ask("TRACE /case").status, 501);
    let requests = lab.collect();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].target(), requests[0].header("max-forwards")), ("/case", Some("0")));
}

/// RFC 9112 section 3.2.2: the target's authority replaces what the client put into `host`.
#[test]
fn an_absolute_target_replaces_the_host() {
    let lab = Lab::new();
    let answer = lab.exchange("GET http://b.test:8080/case?x HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
    let requests = lab.collect();
    assert_eq!((requests[0].target(), requests[0].header("host")), ("/case?x", Some("b.test:8080")));
}

#[test]
fn header_fields() {
    let rows: &[(&'static str, &str, Expect)] = &[
        ("plain", "x-a: b", FORWARDED),
        ("empty value", "x-a:", FORWARDED),
        ("no space", "x-a:b", FORWARDED),
        ("bytes above ASCII in the value", "x-a: \u{80}\u{e9}\u{ff}", EITHER),
        ("empty name", ": b", REFUSED),
        ("colon only", ":", REFUSED),
        ("no colon", "x-a", REFUSED),
        ("space before the colon", "x-a : b", REFUSED),
        ("tab before the colon", "x-a\t: b", REFUSED),
        ("space in the name", "x a: b", REFUSED),
        ("bracket in the name", "x(a: b", REFUSED),
        ("byte above ASCII in the name", "x\u{e9}: b", REFUSED),
        ("NUL in the name", "x\0a: b", REFUSED),
        ("CR in the name", "x\ra: b", REFUSED),
        ("NUL in the value", "x-a: b\0c", REFUSED),
        ("CR in the value", "x-a: b\rc", REFUSED),
        ("CR at the end of the value", "x-a: b\r", REFUSED_ANY),
        ("control byte in the value", "x-a: b\u{1}c", REFUSED),
        ("DEL in the value", "x-a: b\u{7f}c", REFUSED),
        ("LF between fields", "x-a: b\nx-c: d", REFUSED),
        ("folded by a space", "x-a: b\r\n c", REFUSED),
        ("folded by a tab", "x-a: b\r\n\tc", REFUSED),
        ("blank line of spaces", "x-a: b\r\n  \r\nx-c: d", REFUSED),
        ("space before the first field's name", " x-a: b", REFUSED),
    ];
    let mut cases = table(rows, |field| format!("GET /case HTTP/1.1\r\nhost: a.test\r\n{field}\r\n\r\n"));
    cases.push(Case::new(
        "folded first line",
        "GET /case HTTP/1.1\r\n host: a.test\r\nhost: a.test\r\n\r\n",
        REFUSED,
    ));
    cases.push(Case::new("folded host", "GET /case HTTP/1.1\r\nhost:\r\n a.test\r\n\r\n", REFUSED));
    let many = format!("GET /case HTTP/1.1\r\nhost: a.test\r\n{}\r\n", "x-a: b\r\n".repeat(200));
    cases.push(Case::new("200 fields", many, Expect::Refused(&[431])));
    let large = format!("GET /case HTTP/1.1\r\nhost: a.test\r\nx-a: {}\r\n\r\n", "b".repeat(100_000));
    cases.push(Case::new("100,000 bytes of value", large, Expect::Refused(&[431])));
    let long = format!("GET /case?{} HTTP/1.1\r\nhost: a.test\r\n\r\n", "b".repeat(100_000));
    cases.push(Case::new("100,000 bytes of target", long, Expect::Refused(&[414])));
    run(&Lab::new(), &cases);
}

#[test]
fn a_target_of_8000_bytes_is_taken() {
    let lab = Lab::new();
    let target = format!("/case?{}", "x".repeat(7_994));
    assert_eq!(
        lab.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n")).header("x-target"),
        Some(&*target)
    );
}

/// Servers that turn names into variables take `x_role` for `x-role`.
#[test]
fn names_with_an_underscore_do_not_pass() {
    let lab = Lab::new();
    lab.exchange("GET /case HTTP/1.1\r\nhost: a.test\r\nx_role: admin\r\nx-real: 1\r\n\r\n");
    for request in lab.collect() {
        assert!(!request.headers().has("x_role"), "{:?}", request.headers());
    }
}

#[test]
fn bytes_above_ascii_pass_unchanged() {
    let lab = Lab::new();
    lab.exchange(latin1("GET /case HTTP/1.1\r\nhost: a.test\r\nx-a: \u{80}\u{e9}\u{ff}\r\n\r\n"));
    for request in lab.collect() {
        assert_eq!(request.header("x-a"), Some("\u{80}\u{e9}\u{ff}"));
    }
}

#[test]
fn hosts() {
    let rows: &[(&'static str, &str, Expect)] = &[
        ("plain", "host: a.test\r\n", FORWARDED),
        ("upper case", "Host: A.TEST\r\n", FORWARDED),
        ("port", "host: a.test:8080\r\n", FORWARDED),
        ("IPv6", "host: [::1]:80\r\n", FORWARDED),
        ("final dot", "host: a.test.\r\n", EITHER),
        ("none", "", REFUSED),
        ("empty", "host:\r\n", REFUSED),
        ("two equal", "host: a.test\r\nhost: a.test\r\n", REFUSED),
        ("two different", "host: a.test\r\nhost: b.test\r\n", REFUSED),
        ("two, other field between", "host: a.test\r\nx: y\r\nHOST: b.test\r\n", REFUSED),
        ("list", "host: a.test, b.test\r\n", REFUSED),
        ("space inside", "host: a.test b.test\r\n", REFUSED),
        ("path", "host: a.test/b\r\n", REFUSED),
        ("query", "host: a.test?b\r\n", REFUSED),
        ("fragment", "host: a.test#b\r\n", REFUSED),
        ("user", "host: b@a.test\r\n", REFUSED),
        ("scheme", "host: http://a.test\r\n", REFUSED),
        ("backslash", "host: a.test\\b\r\n", REFUSED),
        ("port is no number", "host: a.test:b\r\n", REFUSED),
        ("port too large", "host: a.test:65536\r\n", REFUSED),
        ("port negative", "host: a.test:-1\r\n", REFUSED),
        ("two ports", "host: a.test:80:80\r\n", REFUSED),
        ("port without host", "host: :80\r\n", REFUSED),
        ("open bracket", "host: [::1\r\n", REFUSED),
        ("bracket without address", "host: []\r\n", REFUSED),
        ("NUL", "host: a.test\0\r\n", REFUSED),
        ("byte above ASCII", "host: \u{e9}.test\r\n", REFUSED),
        ("quoted", "host: \"a.test\"\r\n", REFUSED),
        ("space before the colon", "host : a.test\r\n", REFUSED),
    ];
    run(&Lab::new(), &table(rows, |host| format!("GET /case HTTP/1.1\r\n{host}\r\n")));
}

#[test]
fn version_1_0() {
    let rows: &[(&'static str, &str, Expect)] = &[
        ("plain", "GET /case HTTP/1.0\r\nhost: a.test\r\n\r\n", FORWARDED),
        ("no host", "GET /case HTTP/1.0\r\n\r\n", EITHER),
        ("two hosts", "GET /case HTTP/1.0\r\nhost: a.test\r\nhost: b.test\r\n\r\n", REFUSED),
        (
            "length",
            "POST /case HTTP/1.0\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc",
            Expect::Forwarded { target: "/case", body: "abc" },
        ),
        (
            "coding",
            "POST /case HTTP/1.0\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            REFUSED,
        ),
        (
            "coding and length",
            "POST /case HTTP/1.0\r\nhost: a.test\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n",
            REFUSED,
        ),
        (
            "coding with keep-alive",
            "POST /case HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            REFUSED,
        ),
        (
            "upgrade",
            "GET /case HTTP/1.0\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            EITHER,
        ),
    ];
    run(&Lab::new(), &table(rows, str::to_owned));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let lab = Lab::new();
    let mut client = lab.client();
    client.send(
        "GET /1 HTTP/1.1\r\nhost: a.test\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         GET /4 HTTP/1.1\r\nhost: a.test\r\n\r\nGARBAGE\r\n\r\n",
    );
    for target in ["/1", "/2", "/3", "/4"] {
        assert_eq!(client.response("GET").expect("well formed").header("x-target"), Some(target));
    }
    assert_eq!(client.response("GET").expect("well formed").status, 400);
    client.rest();
    let targets: Vec<_> = lab.collect().iter().map(|r| (r.target().to_owned(), r.state.clone())).collect();
    let expected: Vec<_> =
        ["/1", "/2", "/3", "/4"].iter().map(|t| ((*t).to_owned(), State::Complete)).collect();
    assert_eq!(targets, expected);
}

/// The rest of a body that the upstream did not want must not become the next request on any connection.
#[test]
fn an_early_answer_leaves_no_body_behind() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/case" => Answer::early("HTTP/1.1 200 OK\r\nx-target: /case\r\ncontent-length: 2\r\n\r\nok"),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        }
    });
    let hidden = "GET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    for framing in ["length", "chunks", "length with expectation"] {
        let (field, body) = match framing {
            "chunks" => {
                ("transfer-encoding: chunked", format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()))
            }
            "length" => ("content-length: 39", hidden.to_owned()),
            _ => ("expect: 100-continue\r\ncontent-length: 39", hidden.to_owned()),
        };
        assert_eq!(hidden.len(), 39);
        let mut client = lab.client();
        client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\n{field}\r\n\r\n"));
        assert_eq!(client.response("POST").expect("well formed").status, 200, "{framing}");
        client.send(&body);
        client.send("GET /admin/after HTTP/1.1\r\nhost: a.test\r\n\r\n");
        client.half_close();
        let (rest, _) = client.rest();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(!rest.contains("x-guard: admin"), "{framing}: the body became a request: {rest}");
        for request in lab.collect() {
            assert!(!matches!(request.state, State::Malformed(_)), "{framing}: {request:?}");
            assert_eq!(request.target(), "/case", "{framing}");
        }
    }
}

/// Until the upstream has answered 101, what follows an upgrade request is not the upgraded protocol.
#[test]
fn an_upgrade_that_is_refused_opens_no_tunnel() {
    let lab = Lab::new();
    let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    for (name, version) in [("1.1", "HTTP/1.1"), ("wrong version of the protocol", "HTTP/1.1\r\nx: y")] {
        let head = format!("GET /case {version}\r\nhost: a.test\r\n{fields}\r\n\r\n");
        let seen = lab.observe(&[format!("{head}GET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n")], "GET", 1);
        assert_eq!(seen.responses[0].status, 200, "{name}");
        assert_eq!(seen.requests.len(), 1, "{name}: {:?}", seen.requests);
        assert_eq!(
            (seen.requests[0].target(), &seen.requests[0].state),
            ("/case", &State::Complete),
            "{name}"
        );
    }
    let body = format!("POST /case HTTP/1.1\r\nhost: a.test\r\n{fields}\r\ncontent-length: 3\r\n\r\nabc");
    let seen = lab.observe(&[body], "POST", 1);
    assert!(
        seen.requests.iter().all(|r| r.state == State::Complete && r.target() == "/case"),
        "{:?}",
        seen.requests
    );
}

/// An upgrade to cleartext HTTP/2 would be a tunnel past every rule.
#[test]
fn an_upgrade_to_h2c_is_not_forwarded() {
    let lab = Lab::scripted(|call| match call.head.headers.get("upgrade") {
        Some(_) => Answer::steps([
            Step::send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
            Step::Echo,
        ]),
        None => Answer::reply(format!(
            "HTTP/1.1 200 OK\r\nx-target: {}\r\ncontent-length: 2\r\n\r\nok",
            call.head.target
        )),
    });
    for (name, fields) in [
        ("plain", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__"),
        (
            "upper case",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: H2C\r\nhttp2-settings: AAMAAABkAAQAAP__",
        ),
        ("without settings", "connection: upgrade\r\nupgrade: h2c"),
        ("in a list", "connection: upgrade\r\nupgrade: websocket, h2c"),
        ("two fields", "connection: upgrade\r\nupgrade: websocket\r\nupgrade: h2c"),
    ] {
        let answer = lab.exchange(format!("GET /case HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n\r\n"));
        assert_ne!(answer.status, 101, "{name}");
        for request in lab.collect() {
            let headers = request.headers();
            let offers = headers.all("upgrade").concat().to_ascii_lowercase();
            assert!(!offers.contains("h2c") && !headers.has("http2-settings"), "{name}: {headers:?}");
        }
    }
}

#[test]
fn connect_is_refused() {
    let hidden = "GET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let refused = Expect::Refused(&[400, 403, 404, 405, 501]);
    let rows: &[(&'static str, &str, Expect)] = &[
        ("authority", "CONNECT a.test:443", refused.clone()),
        ("authority without port", "CONNECT a.test", refused.clone()),
        ("origin form", "CONNECT /case", refused.clone()),
        ("absolute form", "CONNECT http://a.test/case", refused),
    ];
    run(&Lab::new(), &table(rows, |line| format!("{line} HTTP/1.1\r\nhost: a.test\r\n\r\n{hidden}")));
}

#[test]
fn expectations() {
    let lab = Lab::new();
    for (name, value) in [("unknown", "200-maybe"), ("list", "100-continue, 100-continue"), ("empty", "")] {
        let head =
            format!("POST /case HTTP/1.1\r\nhost: a.test\r\nexpect: {value}\r\ncontent-length: 3\r\n\r\nabc");
        let seen = lab.observe(&[head], "POST", 1);
        let status = seen.responses[0].status;
        assert!(status == 200 || (400..500).contains(&status), "{name}: {status}");
        assert!(
            seen.requests.iter().all(|r| r.state == State::Complete && r.body == b"abc"),
            "{name}: {:?}",
            seen.requests
        );
    }
}
