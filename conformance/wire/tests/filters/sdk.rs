//! A filter that uses everything of the SDK, in the gateway: `conformance/sdk-guest`, whose other tests run it natively
//! and in the host alone.

use std::path::Path;

use tidegate_testkit::{Answer, RawClient, Response, ScriptedUpstream, TestGateway, fill};

struct Lab {
    gateway: TestGateway,
    upstream: ScriptedUpstream,
}

impl Lab {
    fn new(tick: &str) -> Self {
        let upstream = ScriptedUpstream::start(|call| {
            let wish = call.head.headers.get("x-response").unwrap_or_default().to_owned();
            match call.head.target.as_str() {
                "/call" => Answer::reply("HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\ngot hello"),
                _ => {
                    let trailers = if wish == "tail" { "x-sum: 9\r\n" } else { "" };
                    Answer::reply(format!(
                        "HTTP/1.1 200 OK\r\nx-do: {wish}\r\ntransfer-encoding: chunked\r\n\r\n\
                         4\r\nsome\r\n5\r\n text\r\n0\r\n{trailers}\r\n"
                    ))
                }
            }
        });
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guest:
    module: guest.wasm
    config: { upstream: up, tickMillis: ${tick} }
    capabilities: { upstreams: [up] }
routes:
  - { name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("tick", &tick)],
        );
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/sdk_guest.wasm");
        let module = std::fs::read(&module).expect("the module, which `cargo xtask filters` builds");
        Self { gateway: TestGateway::start_with(&yaml, &[("guest.wasm", &module)]), upstream }
    }

    /// Sends a request with these headers and a body in two chunks; returns the answer, and what the upstream got last.
    fn send(&self, headers: &str, body: [&str; 2]) -> (Response, Option<(String, String)>) {
        self.upstream.forget();
        let mut client = RawClient::connect(self.gateway.address("web"));
        let chunks: String = body
            .iter()
            .filter(|chunk| !chunk.is_empty())
            .map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()))
            .collect();
        let head = format!("POST /x HTTP/1.1\r\nhost: a.test\r\n{headers}transfer-encoding: chunked\r\n\r\n");
        client.send_pieces(&[head, chunks, "0\r\n\r\n".to_owned()]);
        let answer = client.response("POST").expect("a well-formed answer");
        let requests = self.upstream.requests();
        let last = requests.iter().rev().find(|request| request.target() == "/x");
        let got = last.map(|request| {
            let got = request.header("x-t-got").unwrap_or_default().to_owned();
            (got, String::from_utf8_lossy(&request.body).into_owned())
        });
        (answer, got)
    }
}

#[test]
fn requests_wait_for_calls_timers_and_bodies() {
    // With ticks and without: a plugin that can be woken at any time must be shown bodies all the same.
    for tick in ["0", "5"] {
        let lab = Lab::new(tick);
        for (wish, got, body) in [
            ("call", "call=201/got hello", "hello world"),
            ("whole", "whole=11", "[hello world]"),
            ("call sleep whole", "call=201/got hello sleep=slept whole=11", "[hello world]"),
            ("join upper", "join=200+200", "HELLO WORLD"),
            ("nowhere source", "nowhere=no answer source=127.0.0.1", "hello world"),
        ] {
            let (answer, reached) = lab.send(&format!("x-do: {wish}\r\n"), ["hello ", "world"]);
            assert_eq!((answer.status, answer.header("x-t-did")), (200, Some(wish)), "{wish}");
            assert_eq!(reached, Some((got.to_owned(), body.to_owned())), "{wish}, ticks {tick}");
        }
        let (empty, reached) = lab.send("x-do: whole\r\n", ["", ""]);
        assert_eq!((empty.status, reached), (200, Some(("whole=0".to_owned(), String::new()))));
    }
}

#[test]
fn a_filter_answers_in_place_of_the_upstream() {
    let lab = Lab::new("0");
    let (refused, reached) = lab.send("x-do: refuse\r\n", ["a", "b"]);
    assert_eq!((refused.status, &*refused.body, reached), (403, &b"refused\n"[..], None));
    let (late, reached) = lab.send("x-do: call whole refuse\r\n", ["a", "b"]);
    assert_eq!((late.status, reached), (403, None));
    let (failed, reached) = lab.send("x-do: bad-header\r\n", ["a", "b"]);
    assert_eq!((failed.status, reached), (500, None));
}

#[test]
fn responses_are_held_changed_and_wait_for_calls() {
    let lab = Lab::new("5");
    for (wish, body) in [
        ("upper", "SOME TEXT"),
        ("whole", "<some text>"),
        ("call whole", "<some text>"),
        // Behind the body, before its trailers.
        ("tail", "some text|9"),
    ] {
        let (answer, _) = lab.send(&format!("x-response: {wish}\r\n"), ["a", "b"]);
        assert_eq!((answer.status, &*answer.body), (200, body.as_bytes()), "{wish}");
        assert_eq!(answer.header("x-t-called"), wish.contains("call").then_some("200"), "{wish}");
    }
}
