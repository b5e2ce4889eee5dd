//! Guests from other toolchains do the same work in the real gateway: two versions of the public Rust SDK,
//! AssemblyScript, C and Go. `cargo xtask guests` builds them; what they do is in `conformance/guests/README.md`.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use tidegate_testkit::{Answer, RawClient, Received, Response, ScriptedUpstream, State, TestGateway, fill};

const GUESTS: [&str; 5] = ["rust_0_1", "rust_0_2", "assemblyscript", "c", "go"];

/// One guest in one gateway, before two upstreams.
struct Site {
    name: &'static str,
    gateway: TestGateway,
    upstream: ScriptedUpstream,
    auth: ScriptedUpstream,
}

fn module(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/guests/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}

impl Site {
    fn start(name: &'static str) -> Self {
        keep_lines();
        let upstream = ScriptedUpstream::plain();
        let auth = ScriptedUpstream::start(|_| {
            Answer::reply("HTTP/1.1 202 Accepted\r\ncontent-length: 7\r\n\r\nwelcome")
        });
        let addresses =
            [("up", &upstream.address() as &dyn Display), ("auth", &auth.address()), ("name", &name)];
        let yaml = fill(CONFIG, &addresses);
        let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", &module(name))]);
        Self { name, gateway, upstream, auth }
    }

    /// The configuration with another place for the calls.
    fn config(&self, auth: &str) -> String {
        fill(CONFIG, &[("up", &self.upstream.address()), ("auth", &auth), ("name", &self.name)])
    }

    fn send(&self, bytes: &[&str]) -> Response {
        let mut client = RawClient::connect(self.gateway.address("web"));
        client.send_pieces(bytes);
        let method = if bytes.concat().starts_with("POST") { "POST" } else { "GET" };
        client.response(method).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn get(&self, path: &str) -> Response {
        self.send(&[&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-unwanted: 1\r\n\r\n")])
    }

    /// The only request that reached the upstream since the last time.
    fn forwarded(&self) -> Received {
        self.upstream.wait("a request", |all| {
            all.iter().flat_map(|c| &c.requests).any(|request| request.state == State::Complete)
        });
        let requests = self.upstream.requests();
        self.upstream.forget();
        let [request] = requests.as_slice() else { panic!("{}: {requests:?}", self.name) };
        request.clone()
    }
}

/// Runs a case for all guests, each in a gateway of its own.
fn each(case: impl Fn(&Site) + Sync) {
    for name in GUESTS {
        case(&Site::start(name));
    }
}

#[test]
fn request_fields() {
    each(|site| {
        let answer = site.get("/plain");
        assert_eq!((answer.status, answer.header("x-answer")), (200, Some("hello")), "{}", site.name);
        let request = site.forwarded();
        assert_eq!(request.header("x-guest"), Some("hello"), "{}", site.name);
        assert_eq!(request.header("x-unwanted"), None, "{}", site.name);
    });
}

#[test]
fn all_fields_at_once() {
    each(|site| {
        site.get("/pairs");
        let request = site.forwarded();
        let names = request.header("x-names").unwrap_or_default();
        for name in [":authority", ":method", ":path", ":scheme", "x-guest", "x-request-id"] {
            assert!(names.split(' ').any(|n| n == name), "{}: {name} is not in {names}", site.name);
        }
    });
}

#[test]
fn answers_of_the_guest() {
    each(|site| {
        let answer = site.get("/reply");
        let got = (answer.status, answer.header("x-by"), answer.text());
        assert_eq!(got, (403, Some("guest"), "denied by the guest".to_owned()), "{}", site.name);
        // The guest's answer passes the guest like any other.
        assert_eq!(answer.header("x-answer"), Some("hello"), "{}", site.name);
        assert!(site.upstream.requests().is_empty(), "{}", site.name);
    });
}

#[test]
fn a_call_resumes_the_request() {
    each(|site| {
        for _ in 0..3 {
            assert_eq!(site.get("/call").status, 200, "{}", site.name);
            assert_eq!(site.forwarded().header("x-auth"), Some("202 welcome"), "{}", site.name);
        }
        let calls = site.auth.requests();
        let [first, _, _] = calls.as_slice() else { panic!("{}: {calls:?}", site.name) };
        assert_eq!((first.target(), first.header("host")), ("/auth", Some("auth.test")), "{}", site.name);
        assert_eq!(first.body, b"token", "{}", site.name);
    });
}

/// The answer that a broken connection becomes.
#[test]
fn a_call_without_an_answer_resumes_the_request() {
    each(|site| {
        site.auth.close_all();
        site.gateway.reload(&site.config("127.0.0.1:1"));
        assert_eq!(site.get("/call").status, 200, "{}", site.name);
        let request = site.forwarded();
        let status = request.header("x-auth").unwrap_or_default();
        assert!(status.starts_with("503"), "{}: {status:?}", site.name);
    });
}

#[test]
fn a_tick_resumes_the_request() {
    each(|site| {
        assert_eq!(site.get("/tick").status, 200, "{}", site.name);
        assert_eq!(site.forwarded().header("x-woken"), Some("tick"), "{}", site.name);
    });
}

#[test]
fn shared_data_and_properties() {
    each(|site| {
        for hits in ["1", "2", "3"] {
            site.get("/shared");
            assert_eq!(site.forwarded().header("x-hits"), Some(hits), "{}", site.name);
        }
        site.get("/property");
        assert_eq!(site.forwarded().header("x-property"), Some("GET /property"), "{}", site.name);
    });
}

#[test]
fn request_bodies() {
    const HEAD: &str = "HTTP/1.1\r\nhost: a.test\r\n";
    each(|site| {
        let parts = ["content-length: 9\r\n\r\nab", "cdef", "ghi"];
        let chunks = ["transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", "7\r\ncdefghi\r\n0\r\n\r\n"];
        for (path, want) in
            [("/append", "abcdefghi and the guest"), ("/replace", "ABCDEFGHI"), ("/x", "abcdefghi")]
        {
            for pieces in [parts.as_slice(), chunks.as_slice()] {
                let head = format!("POST {path} {HEAD}");
                let answer = site.send(&[&[head.as_str()], pieces].concat());
                assert_eq!(answer.status, 200, "{} {path}", site.name);
                assert_eq!(String::from_utf8_lossy(&site.forwarded().body), want, "{} {path}", site.name);
            }
        }
    });
}

#[test]
fn response_bodies() {
    each(|site| {
        let answer = site.get("/answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "the guest's answer"), "{}", site.name);
    });
}

#[test]
fn log_lines_name_the_guest() {
    each(|site| {
        site.get("/logged");
        site.get("/call");
        for line in ["configured with 5 bytes", "served /logged", "answer with some fields"] {
            site.gateway.wait(line, |_| has_line(site.name, line));
        }
    });
}

/// A guest that refuses its configuration never takes the place of one that has accepted it.
#[test]
fn a_refused_configuration_changes_nothing() {
    each(|site| {
        let refused = site.gateway.try_reload(&site.config("127.0.0.1:1").replace("hello", "refuse"));
        assert!(refused.is_err_and(|error| error.contains("proxy_on_configure")), "{}", site.name);
        assert_eq!(site.get("/plain").header("x-answer"), Some("hello"), "{}", site.name);
    });
}

/// Memory of guests with collectors does not grow with the number of requests.
#[test]
fn thousands_of_requests_in_one_instance() {
    each(|site| {
        let mut client = RawClient::connect(site.gateway.address("web"));
        for _ in 0..2000 {
            let answer = client.exchange("GET /pairs HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert_eq!((answer.status, answer.header("x-answer")), (200, Some("hello")), "{}", site.name);
        }
    });
}

const CONFIG: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  ${name}:
    module: guest.wasm
    rootId: guest
    config: hello
    limits: { callTime: 500ms, requestTime: 2s }
    capabilities: { upstreams: [auth] }
routes:
  - name: r
    rules:
      - filters: [{ plugin: ${name} }]
        forward: [{ upstream: up }]
upstreams:
  up: { servers: ['${up}'] }
  auth: { servers: ['${auth}'] }
";

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps what the process logs.
fn keep_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Lines).init());
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn has_line(plugin: &str, text: &str) -> bool {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = String::from_utf8_lossy(&lines);
    lines.lines().any(|line| line.contains(text) && line.contains(&format!("plugin=\"{plugin}\"")))
}
