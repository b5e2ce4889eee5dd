//! The example filter in each of its languages does the same in the real gateway. `cargo xtask guests` and `cargo xtask
//! filters` build them; what they do is in `examples/filters/README.md`.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use tidegate_testkit::{Answer, RawClient, Response, ScriptedUpstream, TestGateway, fill};

/// Folder of the example, and the module from the project's root.
const EXAMPLES: [(&str, &str); 5] = [
    ("rust-sdk", "target/filters/example_rust_sdk.wasm"),
    ("rust-proxy-wasm", "target/guests/example_rust_proxy_wasm.wasm"),
    ("assemblyscript", "target/guests/example_assemblyscript.wasm"),
    ("go", "target/guests/example_go.wasm"),
    ("c", "target/guests/example_c.wasm"),
];

const CONFIG: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guard:
    module: guard.wasm
    rootId: ${root}
    limits: { callTime: 2s, requestTime: 5s }
    capabilities: { upstreams: [auth] }
routes: [{ name: r, rules: [{ filters: [{ plugin: guard }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] }, auth: { servers: ['${auth}'] } }
";

fn module(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run `cargo xtask guests` and `cargo xtask filters`", path.display())
    })
}

/// A server that knows one token.
fn auth() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| match call.head.headers.get("authorization") {
        Some("good") => Answer::reply("HTTP/1.1 200 OK\r\nx-user: ann\r\ncontent-length: 0\r\n\r\n"),
        Some("nobody") => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        _ => Answer::reply("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
    })
}

fn get(gateway: &TestGateway, path: &str, token: &str) -> Response {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nauthorization: {token}\r\nx-user: forged\r\n\r\n");
    RawClient::connect(gateway.address("web")).exchange(&request)
}

#[test]
fn all_languages_do_the_same() {
    for (name, path) in EXAMPLES {
        let (upstream, auth) = (ScriptedUpstream::plain(), auth());
        // Only AssemblyScript's runtime wants to be asked for by name.
        let root = if name == "assemblyscript" { "guard" } else { "''" };
        let yaml = fill(CONFIG, &[("up", &upstream.address()), ("auth", &auth.address()), ("root", &root)]);
        let gateway = TestGateway::start_with(&yaml, &[("guard.wasm", &module(path))]);

        let answer = get(&gateway, "/private", "good");
        assert_eq!((answer.status, answer.text().trim_end()), (403, "private"), "{name}");
        assert!(auth.requests().is_empty(), "{name}");

        let answer = get(&gateway, "/orders", "bad");
        assert_eq!((answer.status, answer.text().trim_end()), (401, "who are you?"), "{name}");
        assert!(upstream.requests().is_empty(), "{name}");

        let answer = get(&gateway, "/orders", "good");
        assert_eq!((answer.status, answer.header("x-filter")), (200, Some(name)));
        assert_eq!(get(&gateway, "/orders", "nobody").status, 200, "{name}");
        let requests = upstream.requests();
        let [request, forged] = requests.as_slice() else { panic!("{name}: {requests:?}") };
        assert_eq!((request.header("x-user"), forged.header("x-user")), (Some("ann"), None), "{name}");
        let calls = auth.requests();
        assert!(calls.iter().all(|call| call.target() == "/check"), "{name}: {calls:?}");
    }
}
