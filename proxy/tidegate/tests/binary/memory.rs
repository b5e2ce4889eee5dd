//! Memory that runs out: what is new is refused, what is under way ends well, and then all is as before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tidegate_testkit::{Answer, Authority, Connection, Gate, RawClient, ScriptedUpstream, Step};

use crate::process::{Folder, Gateway};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn configuration(limit: &str, upstream: &str) -> String {
    format!(
        "
admin: {{ address: 127.0.0.1:0 }}
workers: 2
limits: {{ memory: {limit} }}
listeners: [{{ name: web, address: 127.0.0.1:0 }}, {{ name: bytes, address: 127.0.0.1:0, protocol: tcp }}]
routes:
  - name: all
    listeners: [web]
    rules: [{{ forward: [{{ upstream: up }}], retries: {{ attempts: 1, on: [503], bodyLimit: 64MiB }} }}]
  - {{ name: bytes, listeners: [bytes], rules: [{{ forward: [{{ upstream: up }}] }}] }}
upstreams: {{ up: {{ servers: ['{upstream}'] }} }}
"
    )
}

#[test]
fn a_limit_holds_for_what_is_new() {
    let upstream = ScriptedUpstream::start(|_| Answer::reply(OK));
    let address = upstream.address().to_string();
    let folder = Folder::new("memory-limit");
    folder.write("a.yaml", configuration("false", &address));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "ok".to_owned()));

    folder.write("a.yaml", configuration("16MiB", &address));
    let told = gateway.config()["addresses"]["bytes"][0].clone();
    let bytes: SocketAddr = told.as_str().and_then(|told| told.parse().ok()).expect("an address");
    let line = gateway.wait("memory is used up");
    assert_eq!(line["limit"], 16 << 20);
    assert_eq!(gateway.get("/"), (503, "overloaded\n".to_owned()));
    let mut client = TcpStream::connect(bytes).expect("it listens");
    // Where the system has the bytes and the connection is gone, that is an error.
    let read =
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").and_then(|()| client.read(&mut [0; 16]));
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let (_, metrics) = gateway.admin("/metrics");
    for line in [
        "tidegate_memory_full 1\n",
        "tidegate_memory_limit_bytes 16777216\n",
        "tidegate_request_failures_total{listener=\"web\",reason=\"out_of_memory\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    assert_eq!(gateway.admin("/readyz").0, 200, "others have no more memory, perhaps");

    folder.write("a.yaml", configuration("100%", &address));
    gateway.wait("memory is free again");
    assert_eq!(gateway.get("/"), (200, "ok".to_owned()));
}

/// A handshake would take memory that there is none of. What is open already is told why it is refused.
#[test]
fn tls_is_turned_away_before_its_handshake() {
    let authority = Authority::new();
    let certificate = authority.issue(&["gateway.test"]);
    let folder = Folder::new("memory-tls");
    folder.write("own.pem", &certificate.cert);
    folder.write("own.key", &certificate.key);
    let write = |limit: &str| {
        folder.write(
            "a.yaml",
            format!(
                "
admin: {{ address: 127.0.0.1:0 }}
workers: 1
limits: {{ memory: {limit} }}
listeners:
  - {{ name: web, address: 127.0.0.1:0, protocol: https, tls: {{ certificates: [{{ cert: own.pem, key: own.key }}] }} }}
routes: [{{ name: all, rules: [{{ respond: {{ status: 204 }} }}] }}]
"
            ),
        )
    };
    write("false");
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let client = || RawClient::connect_tls(gateway.web, &authority, "gateway.test", &["http/1.1"]);
    const GET: &str = "GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n";
    let mut old = client().expect("it shakes hands");
    assert_eq!(old.exchange(GET).status, 204);

    write("16MiB");
    gateway.wait("memory is used up");
    let client = || RawClient::connect_tls(gateway.web, &authority, "gateway.test", &["http/1.1"]);
    assert!(client().is_err(), "no handshake");
    let (_, metrics) = gateway.admin("/metrics");
    for line in [
        "tidegate_connections_refused_total{listener=\"web\"} 1\n",
        "tidegate_connections_total{listener=\"web\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let failures =
        |line: &&str| line.starts_with("tidegate_handshake_failures_total{") && !line.ends_with(" 0");
    assert_eq!(metrics.lines().find(failures), None, "no handshake has begun");
    assert_eq!(old.exchange(GET).status, 503);

    write("100%");
    gateway.wait("memory is free again");
    let client = || RawClient::connect_tls(gateway.web, &authority, "gateway.test", &["http/1.1"]);
    assert_eq!(client().expect("it shakes hands").exchange(GET).status, 204);
}

#[test]
fn what_is_under_way_ends_well_and_its_memory_is_free_again() {
    const BODY: usize = 60 << 20;
    let gate = Gate::new();
    let opened = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| match call.overall {
        0 => Answer::reply(OK),
        _ => Answer::steps([Step::ReadBody, Step::Wait(gate.clone()), Step::send(OK)]),
    });
    let address = upstream.address().to_string();
    let folder = Folder::new("memory-pressure");
    folder.write("a.yaml", configuration("false", &address));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "ok".to_owned()));
    let limit = resident(&gateway) as usize + 2 * BODY;
    folder.write("a.yaml", configuration(&limit.to_string(), &address));
    gateway.wait("configuration live on all workers");

    // Kept for a second attempt.
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n");
    let mut clients: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut client = TcpStream::connect(gateway.web).expect("it listens");
            client.write_all(head.as_bytes()).expect("it takes the head");
            client
        })
        .collect();
    let arrived =
        |connections: &[Connection]| connections.iter().map(|one| one.requests.len()).sum::<usize>();
    upstream.wait("all requests", |connections| arrived(connections) == 4);
    for client in &mut clients {
        client.write_all(&vec![b'x'; BODY]).expect("it takes the body");
    }
    gateway.wait("memory is used up");
    assert_eq!(gateway.get("/").0, 503);
    opened.open();
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    gateway.wait("memory is free again");
    assert_eq!(gateway.get("/").0, 200);
}

/// What a generation took is not kept by the threads that freed it.
#[test]
fn what_generations_took_is_given_back() {
    let write = |folder: &Folder, rules: usize| {
        let rule = |n| {
            format!(
                "{{ name: r{n}, matches: [{{ path: {{ prefix: /path/{n} }} }}], respond: {{ status: 204 }} }}"
            )
        };
        let rules: Vec<String> = (0..rules).map(rule).collect();
        folder.write(
            "a.yaml",
            format!(
                "
admin: {{ address: 127.0.0.1:0 }}
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ name: all, rules: [{}] }}]
",
                rules.join(",\n")
            ),
        );
    };
    let folder = Folder::new("memory-generations");
    write(&folder, 1);
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let before = resident(&gateway);
    let rounds: Vec<[f64; 2]> = (0..3)
        .map(|_| {
            [5000, 1].map(|rules| {
                write(&folder, rules);
                gateway.wait("configuration live on all workers");
                resident(&gateway) - before
            })
        })
        .collect();
    let (large, kept) = (rounds[0][0], rounds[2][1]);
    println!("a large generation took {large} bytes, three of them left {kept}: {rounds:?}");
    assert!(kept < large / 2.0, "{kept} bytes are kept of {large}: {rounds:?}");
}

/// Bytes that the gateway has in memory.
fn resident(gateway: &Gateway) -> f64 {
    let (_, metrics) = gateway.admin("/metrics");
    let resident = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    resident.and_then(|bytes| bytes.parse().ok()).expect("it is told")
}
