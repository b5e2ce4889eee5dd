//! File descriptors that run out: it is told and counted, and then all is as before.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use tidegate_testkit::RawClient;

use crate::process::{Folder, Gateway, PROGRAM};

const FAILURES: &str = "tidegate_accept_failures_total{listener=\"web\"} ";

fn failures(admin: &mut RawClient) -> u64 {
    let page = admin.exchange("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let line = page.text().lines().find_map(|line| line.strip_prefix(FAILURES).map(str::to_owned));
    line.and_then(|count| count.parse().ok()).expect("a number")
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
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", PROGRAM]);
    command
        .current_dir(folder.path(""))
        .env("TIDEGATE_CACHE", folder.path(".cache"))
        .env_remove("TIDEGATE_LOG");
    let begun = Instant::now();
    let mut gateway = Gateway::start_by(command, "a.yaml");
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
