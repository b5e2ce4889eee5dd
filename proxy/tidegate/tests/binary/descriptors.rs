//! File descriptors that run out: it is told and counted, and then all is as before.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use tidegate_testkit::{Answer, Gate, RawClient, ScriptedUpstream, Step};

use crate::process::{Folder, Gateway, PROGRAM, configuration};

const FAILURES: &str = "tidegate_accept_failures_total{listener=\"web\"} ";

fn failures(admin: &mut RawClient) -> u64 {
    let page = admin.exchange("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let line = page.text().lines().find_map(|line| line.strip_prefix(FAILURES).map(str::to_owned));
    line.and_then(|count| count.parse().ok()).expect("a number")
}

/// The gateway with fewer descriptors, of the configuration `a.yaml`.
fn limited(folder: &Folder, how: &str) -> Gateway {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{how}; exec \"$0\" \"$@\""), PROGRAM]);
    command
        .current_dir(folder.path(""))
        .env("TIDEGATE_CACHE", folder.path(".cache"))
        .env_remove("TIDEGATE_LOG");
    Gateway::start_by(command, "a.yaml")
}

/// It fails twenty times a second and worker: not each is worth a line.
#[test]
fn connections_that_cannot_be_accepted_are_told_now_and_then() {
    let folder = Folder::new("descriptors");
    folder.write(
        "a.yaml",
        "
admin: { address: 127.0.0.1:0 }
workers: 1
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ name: r, rules: [{ respond: { status: 200, body: ok } }] }]
",
    );
    let begun = Instant::now();
    let mut gateway = limited(&folder, "ulimit -n 64");
    let mut admin = RawClient::connect(gateway.admin);
    assert_eq!(failures(&mut admin), 0);
    let clients: Vec<_> =
        (0..64).map(|_| TcpStream::connect(gateway.web).expect("the system takes connections")).collect();
    let line = gateway.wait("connections cannot be accepted");
    assert_eq!((line["listener"].as_str(), line["failures"].as_u64()), (Some("web"), Some(1)));
    while failures(&mut admin) < 10 {}
    drop(clients);
    assert_eq!(gateway.get("/"), (200, "ok".to_owned()));
    gateway.signal("TERM");
    let (lines, _) = gateway.up_to("draining");
    let told = lines.iter().filter(|line| line["message"] == "connections cannot be accepted").count();
    assert!(told as u64 <= begun.elapsed().as_secs() / 10, "{lines:?}");
    assert!(gateway.ended().success());
}

/// Clients may take most descriptors, but not those by which their requests are served.
#[test]
fn descriptors_are_left_for_servers_files_and_the_admin_api() {
    let upstream = ScriptedUpstream::plain();
    let folder = Folder::new("descriptors-left");
    let configuration = format!(
        "
admin: {{ address: 127.0.0.1:0 }}
workers: 1
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ name: r, rules: [{{ forward: [{{ upstream: up }}] }}] }}]
upstreams: {{ up: {{ servers: ['{}'] }} }}
",
        upstream.address()
    );
    folder.write("a.yaml", &configuration);
    let mut gateway = limited(&folder, "ulimit -n 96");
    let mut clients: Vec<_> = (0..96).map(|_| RawClient::connect(gateway.web)).collect();
    gateway.wait("connections cannot be accepted");
    for client in clients.iter_mut().take(4) {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    }
    folder.write("a.yaml", configuration.replace("name: r,", "name: s,"));
    gateway.wait("configuration published");
    assert_eq!(gateway.admin("/readyz").0, 200);
    // Whoever waits takes the place of those that go.
    let mut last = clients.pop().expect("there are many");
    drop(clients);
    assert_eq!(last.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
}

/// Where all who are connected ask at once, requests without a descriptor for a connection of their own wait for those of others.
#[test]
fn requests_wait_for_descriptors() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let folder = Folder::new("descriptors-wait");
    folder.write(
        "a.yaml",
        format!(
            "
admin: {{ address: 127.0.0.1:0 }}
workers: 1
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ name: r, rules: [{{ forward: [{{ upstream: up }}] }}] }}]
upstreams: {{ up: {{ servers: ['{}'], ejection: {{ failures: 1 }} }} }}
",
            upstream.address()
        ),
    );
    let mut gateway = limited(&folder, "ulimit -n 96");
    let mut clients: Vec<_> = (0..96).map(|_| RawClient::connect(gateway.web)).collect();
    gateway.wait("connections cannot be accepted");
    clients.truncate(40);
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    }
    upstream.wait("as many as there can be", |all| {
        all.iter().filter(|one| !one.requests.is_empty()).count() > 14
    });
    gate.open();
    let statuses: Vec<_> =
        clients.iter_mut().map(|client| client.response("GET").expect("an answer").status).collect();
    assert_eq!(statuses, [200; 40]);
}

/// The soft limit is there for programs that cannot have more.
#[test]
fn descriptors_are_as_many_as_the_process_may_have() {
    let folder = Folder::new("descriptors-raised");
    folder.write("a.yaml", configuration("{ address: 127.0.0.1:0 }"));
    let gateway = limited(&folder, "ulimit -S -n 64; ulimit -H -n 512");
    let page = gateway.admin("/metrics").1;
    assert!(page.lines().any(|line| line == "process_max_fds 512"), "{page}");
}
