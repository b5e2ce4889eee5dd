//! Taps by the admin API and by the command line: who may, what is asked for, the end, readers that hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Folder, Gateway, command, configuration, request, tidegate};

const LONGEST: Duration = Duration::from_secs(30);

fn start(name: &str, admin: &str) -> (Folder, Gateway) {
    let folder = Folder::new(name);
    folder.write("a.yaml", configuration(admin));
    let gateway = Gateway::start(&folder, "a.yaml");
    (folder, gateway)
}

/// An open tap, of which the head has come: all workers know of it.
struct Tap(BufReader<TcpStream>);

impl Tap {
    fn open(admin: SocketAddr, query: &str) -> Self {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        stream.set_read_timeout(Some(LONGEST)).expect("not zero");
        write!(stream, "GET /tap?{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("it can be written");
        let mut tap = Self(BufReader::new(stream));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(tap.line()).filter(|line| !line.is_empty())).collect();
        let head = head.join("\n").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("application/x-ndjson"), "{head}");
        tap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it comes in time");
        line.trim_end().to_owned()
    }

    /// The objects until the end.
    fn rest(mut self) -> Vec<Value> {
        let mut all = String::new();
        self.0.read_to_string(&mut all).expect("it ends in time");
        // Between them are the sizes of chunks.
        let objects = all.lines().filter(|line| line.starts_with('{'));
        objects.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

#[test]
fn requests_are_shown_until_there_are_enough() {
    let (_folder, gateway) = start("tap-limit", "{ address: 127.0.0.1:0 }");
    let tap = Tap::open(gateway.admin, "status=4xx&limit=2&route=shop");
    for (path, status) in [("/", 200), ("/tea/1", 418), ("/gone", 503), ("/tea/2", 418), ("/tea/3", 418)] {
        assert_eq!(gateway.get(path).0, status, "{path}");
    }
    let shown = tap.rest();
    let paths: Vec<_> = shown.iter().map(|one| one["path"].as_str()).collect();
    assert_eq!(paths, [Some("/tea/1"), Some("/tea/2"), None], "{shown:?}");
    assert_eq!((&shown[0]["rule"], &shown[0]["others"][0]["name"]), (&json!("teapot"), &json!("shop/rest")));
    let dropped = json!({ "rate": 0, "queue": 0, "load": 0 });
    assert_eq!(shown[2], json!({ "end": "limit", "shown": 2, "dropped": dropped }));
    is_closed(&gateway);
}

/// Waits until no tap is open.
fn is_closed(gateway: &Gateway) {
    let deadline = Instant::now() + LONGEST;
    while !gateway.admin("/metrics").1.contains("tidegate_tap_open 0\n") {
        assert!(Instant::now() < deadline, "it is open still");
    }
}

#[test]
fn it_ends_by_itself_read_or_not() {
    let (_folder, gateway) = start("tap-time", "{ address: 127.0.0.1:0 }");
    let shown = Tap::open(gateway.admin, "time=50ms").rest();
    assert_eq!(shown[0]["end"], "time", "{shown:?}");
    // Nobody reads it; no request waits for that.
    let hangs = Tap::open(gateway.admin, "time=3s&rate=1000&limit=10000");
    assert!(gateway.admin("/metrics").1.contains("tidegate_tap_open 1\n"));
    for _ in 0..50 {
        assert_eq!(gateway.get("/").0, 200);
    }
    is_closed(&gateway);
    drop(hangs);
    // One whose reader is gone ends as well.
    drop(Tap::open(gateway.admin, ""));
    is_closed(&gateway);
}

#[test]
fn what_is_asked_for_must_be_right() {
    let (_folder, gateway) = start("tap-asked", "{ address: 127.0.0.1:0 }");
    for (query, expected) in [
        ("rout=shop", (400, "rout: no such parameter; did you mean route?\n")),
        ("route=sho", (400, "route=sho: no route of that name runs; did you mean shop?\n")),
        ("limit=0", (400, "limit=0: a whole number from 1 to 10000\n")),
        ("body=10", (403, "bodies are shown where admin.tap.bodies is true\n")),
    ] {
        let (status, why) = gateway.admin(&format!("/tap?{query}"));
        assert_eq!((status, why.as_str()), expected, "{query}");
    }
    let taps: Vec<Tap> = (0..4).map(|_| Tap::open(gateway.admin, "")).collect();
    assert_eq!(gateway.admin("/tap"), (429, "4 taps are open already; end one of them\n".to_owned()));
    drop(taps);
}

#[test]
fn who_asks_must_know_the_token_and_bodies_be_allowed() {
    let (folder, gateway) =
        start("tap-token", "{ address: 127.0.0.1:0, token: 0123456789abcdef, tap: { bodies: true } }");
    assert_eq!(request(gateway.admin, "GET", "/tap").0, 401);
    let admin = format!("http://{}", gateway.admin);
    let refused = tidegate(&folder, &["tap", "--admin", &admin]);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("answered 401") && why.contains("authorization: Bearer TOKEN"), "{why}");
    let (mut child, _log) = tap(
        &folder,
        &["--admin", &admin, "--token", "0123456789abcdef", "--limit", "1", "--body", "3", "--json"],
    );
    assert_eq!(gateway.get("/?a").0, 200);
    let shown = output(&mut child);
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["responseBody"], &lines[1]["end"]), (&json!("hel"), &json!("limit")), "{shown}");
}

/// `tidegate tap`, waiting for requests.
fn tap(folder: &Folder, arguments: &[&str]) -> (Child, impl BufRead + use<>) {
    let mut child = command(&folder.path(""))
        .arg("tap")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut log = BufReader::new(child.stderr.take().expect("it was asked for"));
    let mut line = String::new();
    log.read_line(&mut line).expect("it writes to its log");
    assert_eq!(line, "waiting for requests\n");
    (child, log)
}

fn output(child: &mut Child) -> String {
    let mut shown = String::new();
    child.stdout.take().expect("it was asked for").read_to_string(&mut shown).expect("it is text");
    assert!(child.wait().expect("it was started").success(), "{shown}");
    shown
}

#[test]
fn the_command_line_shows_requests_as_text() {
    let (folder, gateway) = start("tap-text", "{ address: 127.0.0.1:0 }");
    let admin = format!("http://{}", gateway.admin);
    let arguments =
        ["--admin", &admin, "--route", "shop/gone", "--status", "5xx", "--limit", "1", "-H", "host"];
    let (mut child, mut log) = tap(&folder, &arguments);
    assert_eq!(gateway.get("/tea").0, 418);
    assert_eq!(gateway.get("/gone").0, 503);
    let shown = output(&mut child);
    for expected in [
        "  503  GET localhost/gone  ",
        "  rule     shop/gone  ",
        "           not shop/teapot: ",
        "  attempt  1  nobody 127.0.0.1:9 (leastRequest): upstream_connect after ",
        "  end      upstream_connect, head after ",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
    }
    assert!(!shown.contains('\x1b') && !shown.contains("localhost/tea"), "{shown}");
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("it is text");
    assert_eq!(rest, "as many as asked for: 1 shown\n");
    let wrong = tidegate(&folder, &["tap", "--admin", &admin, "--slower-than", "5"]);
    let why = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && why.contains("slowerThan=5: a span of time"), "{why}");
}
