//! The admin API: who may use it, what it tells of requests, what it does, the dashboard's files, other gateways.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Folder, Gateway, configuration, lines, request_with, tidegate};

/// An answer's head and body to a request with these fields.
fn ask(address: SocketAddr, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{head}\r\nconnection: close\r\n\r\n").expect("it can be written");
    split(&mut stream)
}

fn split(stream: &mut impl Read) -> (String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text and ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    (head.to_ascii_lowercase(), body.to_owned())
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let (status, text) = request_with(gateway.admin, "POST", path, &body.to_string());
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn counters_of_routes_and_upstreams_are_told_in_one_piece() {
    let folder = Folder::new("admin-stats");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0, name: edge }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    for (path, status) in [("/", 200), ("/x", 200), ("/tea", 418), ("/gone", 503)] {
        assert_eq!(gateway.get(path).0, status, "{path}");
    }
    let stats: Value = serde_json::from_str(&gateway.admin("/stats").1).expect("it is JSON");
    assert_eq!(
        (&stats["name"], &stats["generation"], &stats["rejected"]),
        (&json!("edge"), &json!(1), &Value::Null)
    );
    assert_eq!(stats["requests"]["total"], 4);
    assert_eq!(stats["requests"]["failures"], json!({ "upstream_connect": 1 }));
    let shop = &stats["routes"][0];
    assert_eq!((&shop["name"], &shop["classes"]), (&json!("shop"), &json!([0, 2, 0, 1, 1])));
    assert_eq!(shop["upstreams"], json!(["nobody"]));
    assert_eq!(
        stats["edges"],
        json!([{ "route": "shop", "upstream": "nobody", "requests": 1, "errors": 1 }])
    );
    let arrived = json!([{ "listener": "web", "route": "shop", "requests": 4, "errors": 1 }]);
    assert_eq!(stats["arrivals"], arrived);
    assert_eq!(stats["upstreams"][0]["servers"][0]["address"], "127.0.0.1:9");
    let counts = stats["latency"]["counts"].as_array().expect("a list");
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 4);
    assert_eq!(counts.len(), stats["latency"]["bounds"].as_array().expect("a list").len() + 1);
    for (path, key) in [
        ("/routes", "routes"),
        ("/upstreams", "upstreams"),
        ("/plugins", "modules"),
        ("/connections", "listeners"),
    ] {
        let part: Value = serde_json::from_str(&gateway.admin(path).1).expect("it is JSON");
        assert_eq!(part[key].as_array().map(Vec::len), stats[key].as_array().map(Vec::len), "{path}");
    }
}

/// Writes a request and reads the answer up to its last word.
fn send(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it can be written");
}

fn read_until(stream: &mut TcpStream, end: &str) {
    let (mut seen, mut byte) = (String::new(), [0]);
    while !seen.ends_with(end) {
        stream.read_exact(&mut byte).expect("the rest comes");
        seen.push(char::from(byte[0]));
    }
}

#[test]
fn connections_are_listed_and_requests_in_flight_counted_by_server() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = Folder::new("admin-connections");
    let upstream = server.local_addr().expect("it is bound").to_string();
    let text = configuration("{ address: 127.0.0.1:0 }").replace("127.0.0.1:9", &upstream);
    folder.write("a.yaml", format!("workers: 1\n{text}"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let told = |path: &str| serde_json::from_str::<Value>(&gateway.admin(path).1).expect("it is JSON");
    assert_eq!(told("/connections")["list"], json!([]));

    let mut first = TcpStream::connect(gateway.web).expect("it listens");
    for _ in 0..2 {
        send(&mut first, "/");
        read_until(&mut first, "hello");
    }
    let mut second = TcpStream::connect(gateway.web).expect("it listens");
    send(&mut second, "/gone");
    let (mut held, _) = server.accept().expect("the request comes");
    read_until(&mut held, "\r\n\r\n");

    assert_eq!(told("/servers")["nobody"]["servers"][0]["inFlight"], 1);
    assert_eq!(told("/stats")["upstreams"][0]["servers"][0]["inFlight"], 1);
    let address = |stream: &TcpStream| json!(stream.local_addr().expect("it is open").to_string());
    let newest = told("/connections")["list"].clone();
    let all: Vec<_> = newest.as_array().into_iter().flatten().collect();
    assert_eq!(all.len(), 2, "{newest}");
    for (one, client, requests, active) in [(all[0], &second, 1, 1), (all[1], &first, 2, 0)] {
        assert_eq!(one["client"], address(client));
        assert_eq!((&one["requests"], &one["active"]), (&json!(requests), &json!(active)), "{one}");
        assert_eq!((&one["listener"], &one["protocol"]), (&json!("web"), &json!("http1")), "{one}");
        // `first` asked twice for `/`, `second` once for `/gone` and has no answer yet.
        let received = if active == 0 { 2 * "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".len() } else { 39 };
        assert_eq!(one["received"], json!(received), "{one}");
        assert_eq!(one["sent"].as_u64().is_some_and(|sent| sent > 100), active == 0, "{one}");
        assert_eq!((&one["tls"], one["ageSeconds"].is_f64()), (&json!(false), true), "{one}");
    }
    let oldest = told("/connections?order=oldest&limit=1&listener=web")["list"].clone();
    assert_eq!((oldest.as_array().map(Vec::len), &oldest[0]["client"]), (Some(1), &address(&first)));
    let (status, why) = gateway.admin("/connections?listener=wob");
    assert_eq!((status, why.as_str()), (400, "listener=wob: there is no such listener\n"));

    held.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("it can be written");
    read_until(&mut second, "ok");
    assert_eq!(told("/servers")["nobody"]["servers"][0]["inFlight"], 0);
    drop(second);
    let left =
        |list: &Value| list.as_array().map(Vec::len) == Some(1) && list[0]["client"] == address(&first);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !left(&told("/connections")["list"]) {
        assert!(Instant::now() < deadline, "it is told of after its end: {}", told("/connections"));
    }
}

#[test]
fn a_request_is_explained_and_a_candidate_compared_without_running_it() {
    let folder = Folder::new("admin-explain");
    let file = folder.write("a.yaml", configuration("{ address: 127.0.0.1:0 }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let url = "http://any.example/tea/green";
    let told = post(&gateway, "/explain", &json!({ "method": "GET", "url": url, "headers": [["x-a", "b"]] }));
    assert_eq!((&told["chosen"]["route"], &told["chosen"]["rule"]), (&json!("shop"), &json!("teapot")));
    assert_eq!(told["others"].as_array().map(Vec::len), Some(2));
    for wrong in [
        json!({ "url": url }),
        json!({ "method": "GET", "url": "/tea" }),
        json!({ "method": "GET", "uri": url }),
    ] {
        let (status, text) = request_with(gateway.admin, "POST", "/explain", &wrong.to_string());
        assert_eq!(status, 400, "{wrong}: {text}");
    }

    let running = std::fs::read_to_string(file).expect("it was written");
    let candidate = running.replace("prefix: /tea", "exact: /tea");
    let asked =
        json!([{ "method": "GET", "url": url }, { "method": "GET", "url": "http://any.example/tea" }]);
    let told = post(&gateway, "/diff", &json!({ "document": candidate, "requests": asked }));
    assert_eq!((&told["compared"], &told["problems"]), (&json!(2), &json!([])));
    assert_eq!(
        told["changes"][0]["differs"][0],
        json!({ "what": "rule", "before": "shop/teapot", "after": "shop/rest" })
    );
    assert_eq!(told["changes"].as_array().map(Vec::len), Some(1));
    let told = post(&gateway, "/diff", &json!({ "document": running.replace("nobody }", "nobdy }") }));
    assert!(told["problems"][0]["message"].as_str().is_some_and(|text| text.contains("nobdy")), "{told}");
    assert_eq!(gateway.get("/tea/green").0, 418, "nothing has changed");
}

/// What the access log has is asked about, by the command line.
#[test]
fn recorded_requests_are_compared() {
    let folder = Folder::new("admin-diff");
    let own = configuration("{ address: 127.0.0.1:0 }");
    let file = folder.write("a.yaml", format!("accessLog: {{ path: access.log }}\n{own}"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    for path in ["/tea/green", "/tea", "/tea/green", "/other"] {
        gateway.get(path);
    }
    let running = std::fs::read_to_string(file).expect("it was written");
    let admin = format!("http://{}", gateway.admin);
    let diff = |more: &[&str]| tidegate(&folder, &[&["diff", "--admin", &admin], more].concat());
    folder.write("b.yaml", running.replace("prefix: /tea", "exact: /tea"));
    folder.write("wrong.yaml", running.replace("nobody }", "nobdy }"));
    folder.write("listed", "{\"method\":\"GET\",\"url\":\"http://any.test/tea/black\"}\n");
    folder.write("none", "GET / HTTP/1.1\n");
    let told = diff(&["b.yaml", "--requests", "listed"]);
    assert!(told.status.success(), "{told:?}");
    let expected = ["GET http://any.test/tea/black", "  rule      - shop/teapot", "  rule      + shop/rest"];
    assert_eq!(lines(&told)[..3], expected);
    assert_eq!(
        lines(&told).last().map(String::as_str),
        Some("1 request compared, 1 would be treated otherwise")
    );
    let told = diff(&["wrong.yaml"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(lines(&told)[0].contains("no upstream named \"nobdy\""), "{told:?}");
    let told = diff(&["b.yaml", "--requests", "none"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("none, line 1: no JSON object"), "{told:?}");
    // A log is written a little later than its answers; its end, all that waits.
    gateway.signal("TERM");
    assert!(gateway.ended().success());
    let gateway = Gateway::start(&folder, "a.yaml");
    let admin = format!("http://{}", gateway.admin);
    let told =
        tidegate(&folder, &["diff", "b.yaml", "--requests", "access.log", "--json", "--admin", &admin]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("it is JSON");
    assert_eq!(told["compared"], 3, "what came twice is one: {told}");
    assert_eq!(told["changes"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["changes"][0]["request"], "GET http://localhost/tea/green");
}

/// Probes are answered, whoever holds connections open.
#[test]
fn silent_clients_keep_nobody_out() {
    let folder = Folder::new("admin-silent");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0 }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let mut tap = TcpStream::connect(gateway.admin).expect("it listens");
    write!(tap, "GET /tap HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it can be written");
    let mut first = [0; 12];
    tap.read_exact(&mut first).expect("the head comes at once");
    let beginnings =
        ["", "GET /stats", "POST /explain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"];
    let mut silent = Vec::new();
    for turn in 0..200 {
        let mut stream = TcpStream::connect(gateway.admin).expect("it listens");
        stream.write_all(beginnings[turn % 3].as_bytes()).expect("it can be written");
        silent.push(stream);
    }
    assert_eq!(gateway.admin("/readyz").0, 200);
    // Whoever has asked for something that takes its time stays.
    assert_eq!(gateway.get("/tea").0, 418);
    let mut line = [0; 512];
    assert!(tap.read(&mut line).expect("the connection stays") > 0);
}

#[test]
fn a_token_is_wanted_by_all_but_probes() {
    let folder = Folder::new("admin-token");
    folder.write("token", "0123456789abcdef");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0, token: '${file:token}' }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    for open in ["/healthz", "/readyz", "/dashboard/", "/dashboard/app.js", "/openapi.json"] {
        assert_eq!(gateway.admin(open).0, 200, "{open}");
    }
    let asked = |path: &str, fields: &str| {
        ask(gateway.admin, &format!("GET {path} HTTP/1.1\r\nhost: localhost{fields}"))
    };
    for path in ["/stats", "/config", "/metrics", "/ledger"] {
        let (head, _) = asked(path, "");
        assert!(head.starts_with("http/1.1 401") && head.contains("www-authenticate: bearer"), "{head}");
        assert!(asked(path, "\r\nauthorization: Bearer 0123456789abcdeX").0.starts_with("http/1.1 401"));
    }
    let (head, body) = asked("/config", "\r\nauthorization: Bearer 0123456789abcdef");
    assert!(head.starts_with("http/1.1 200") && !body.contains("0123456789abcdef"), "{head}\n{body}");
}

#[test]
fn other_names_and_sites_are_refused() {
    let folder = Folder::new("admin-names");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0 }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let status = |head: &str| ask(gateway.admin, head).0.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(status("GET /config HTTP/1.1\r\nhost: rebound.example"), "421");
    assert_eq!(
        status(
            "POST /reload HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\ncontent-length: 0"
        ),
        "403"
    );
    // Nothing is done that the configuration does not allow.
    for (method, path) in [("POST", "/reload"), ("POST", "/drain"), ("PUT", "/log-levels")] {
        let (status, why) = request_with(gateway.admin, method, path, "");
        assert_eq!((status, why.as_str()), (403, "admin.operate is not set\n"), "{path}");
    }
}

#[test]
fn a_unix_socket_serves_the_same() {
    let folder = Folder::new("admin-socket");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0, socket: admin.sock }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let path = folder.path("admin.sock");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("it can be written");
    assert_eq!(split(&mut stream).1, "ready\n");
    // Commands ask there too.
    let explain =
        |admin: &str| tidegate(&folder, &["explain", "--admin", admin, "GET", "http://any.test/tea/1"]);
    let told = explain("unix:admin.sock");
    assert!(told.status.success() && lines(&told).concat().contains("teapot by prefix /tea"), "{told:?}");
    for (admin, expected) in [
        ("unix:nowhere.sock", "cannot connect to nowhere.sock: No such file"),
        ("unix:", "\"unix:\" is not the address of an admin API, as http://127.0.0.1:9900 and unix:/run/"),
        ("ftp://127.0.0.1:1", "\"ftp://127.0.0.1:1\" is not the address of an admin API"),
    ] {
        let told = explain(admin);
        let why = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.code() == Some(1) && why.contains(expected), "{admin}: {why}");
    }
    drop(gateway);
    // Killed: the socket stays behind, and the next one takes its place.
    assert!(path.exists());
    let mut gateway = Gateway::start(&folder, "a.yaml");
    gateway.signal("TERM");
    assert!(gateway.ended().success());
    assert!(!path.exists(), "the end removes it");
}

#[test]
fn levels_are_set_and_the_end_is_begun() {
    let folder = Folder::new("admin-does");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0, operate: true }"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.admin("/log-levels"), (200, "info\n".to_owned()));
    assert_eq!(request_with(gateway.admin, "PUT", "/log-levels", "tidegate=loud").0, 400);
    assert_eq!(request_with(gateway.admin, "PUT", "/log-levels", "info,tidegate_proxy=debug").0, 204);
    assert!(gateway.admin("/log-levels").1.contains("tidegate_proxy=debug"));
    assert_eq!(gateway.get("/gone").0, 503);
    gateway.wait("request failed");
    assert_eq!(request_with(gateway.admin, "POST", "/reload", "").0, 202);
    gateway.wait("configuration unchanged");
    assert_eq!(request_with(gateway.admin, "POST", "/drain", "").0, 202);
    assert!(gateway.ended().success());
}

#[test]
fn one_gateway_shows_what_another_counts() {
    let folder = Folder::new("admin-peers");
    folder.write("hub.yaml", configuration("{ address: 127.0.0.1:0, name: hub, token: 0123456789abcdef }"));
    let mut hub = Gateway::start(&folder, "hub.yaml");
    let push = format!("{{ url: 'http://{}', token: 0123456789abcdef }}", hub.admin);
    folder
        .write("edge.yaml", configuration(&format!("{{ address: 127.0.0.1:0, name: edge, push: {push} }}")));
    let edge = Gateway::start(&folder, "edge.yaml");
    assert_eq!(edge.get("/").0, 200);
    // Two pushes make a span; the gateway tells of both in its log.
    hub.wait("another gateway pushes");
    let (_, body) =
        ask(hub.admin, "GET /peers HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer 0123456789abcdef");
    let peers: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(peers["peers"][0]["name"], "edge", "{peers}");
    assert_eq!(peers["peers"][0]["now"]["routes"][0]["name"], "shop");
}

#[test]
fn the_dashboard_is_served_with_its_policy() {
    let folder = Folder::new("admin-dashboard");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0 }"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let (head, _) = ask(gateway.admin, "GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html,*/*");
    assert!(head.starts_with("http/1.1 302") && head.contains("location: /dashboard/"), "{head}");
    let (head, body) = ask(gateway.admin, "GET /dashboard/ HTTP/1.1\r\nhost: localhost");
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    assert!(body.contains("<title>Tidegate</title>"));
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("it has a tag").to_owned();
    let (head, _) =
        ask(gateway.admin, &format!("GET /dashboard/ HTTP/1.1\r\nhost: localhost\r\nif-none-match: {tag}"));
    assert!(head.starts_with("http/1.1 304"), "{head}");
    assert_eq!(gateway.admin("/dashboard/../Cargo.toml").0, 404);
    let (head, _) = ask(gateway.admin, "GET /dashboard HTTP/1.1\r\nhost: localhost");
    assert!(head.starts_with("http/1.1 301") && head.contains("location: /dashboard/\r\n"), "{head}");
}

/// Nobody listens at either of two servers: one of them is left out, since both would be too many.
#[test]
fn explain_tells_of_servers_that_get_no_requests() {
    let folder = Folder::new("admin-left-out");
    let text = configuration("{ address: 127.0.0.1:0 }").replace("127.0.0.1:9", "127.0.0.1:9, 127.0.0.2:9");
    folder.write("a.yaml", format!("workers: 1\n{text}"));
    let gateway = Gateway::start(&folder, "a.yaml");
    let asked = json!({ "method": "GET", "url": "http://localhost/gone" });
    let told = || post(&gateway, "/explain", &asked)["chosen"]["leftOut"].clone();
    assert_eq!(told(), json!([]));
    assert_eq!(gateway.get("/gone").0, 503);
    let servers: Value = serde_json::from_str(&gateway.admin("/servers").1).expect("it is JSON");
    let of = |server: &Value| (server["address"].as_str().map(str::to_owned), server["failure"].clone());
    let all: Vec<_> = servers["nobody"]["servers"].as_array().into_iter().flatten().map(of).collect();
    let out: Vec<_> = all.iter().filter(|(_, failure)| *failure == json!("upstream_connect")).collect();
    let [(Some(address), _)] = out.as_slice() else { panic!("{all:?}") };
    let why = format!("{address}: left out after upstream_connect, by workers: 1");
    assert_eq!(told(), json!([why]));
    let admin = format!("http://{}", gateway.admin);
    let explained = tidegate(&folder, &["explain", "--admin", &admin, "GET", "http://localhost/gone"]);
    let line = format!("left out  {why}");
    assert!(lines(&explained).contains(&line), "{:?}", lines(&explained));
}
