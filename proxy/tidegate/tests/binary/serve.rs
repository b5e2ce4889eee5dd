//! A running gateway: answers, the admin API, the end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use tidegate_testkit::{Nobody, ScriptedUpstream};

use crate::process::{Folder, Gateway, request};

fn configuration(body: &str) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0 }}
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes: [{{ name: all, rules: [{{ respond: {{ status: 200, body: {body} }} }}] }}]
"
    )
}

#[test]
fn it_serves_and_ends_with_zero_after_sigterm() {
    let folder = Folder::new("serve-end");
    folder.write("a.yaml", configuration("hello"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
    assert_eq!(gateway.admin("/readyz").0, 200);
    gateway.signal("TERM");
    gateway.wait("draining");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_folder_of_files_is_one_configuration() {
    let folder = Folder::new("serve-folder");
    std::fs::create_dir(folder.path("conf")).expect("a new folder");
    let text = configuration("from a folder");
    let (first, routes) = text.split_at(text.find("routes").expect("it has routes"));
    folder.write("conf/a.yaml", first);
    folder.write("conf/b.yaml", routes);
    let gateway = Gateway::start(&folder, "conf");
    assert_eq!(gateway.get("/"), (200, "from a folder".to_owned()));
}

#[test]
fn the_admin_api_shows_and_changes_nothing() {
    let folder = Folder::new("serve-admin");
    folder.write("a.yaml", configuration("hello"));
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.admin("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(gateway.admin("/nothing").0, 404);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(request(gateway.admin, method, "/config").0, 405, "{method}");
    }
    let config = gateway.config();
    assert_eq!(config["generation"], 1);
    assert_eq!(config["addresses"]["web"][0], gateway.web.to_string());
    assert_eq!(config["rejected"], serde_json::Value::Null);
    let (status, metrics) = gateway.admin("/metrics");
    assert_eq!(status, 200);
    for line in ["tidegate_config_generation 1", "tidegate_config_rejected_total 0", "tidegate_ready 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let (_, generations) = gateway.admin("/ledger");
    assert!(generations.contains("\"generation\": 1"), "{generations}");
}

#[test]
fn a_broken_module_costs_only_its_routes() {
    let folder = Folder::new("serve-broken");
    folder.write("broken.wasm", "not wasm");
    folder.write(
        "a.yaml",
        "\
admin: { address: 127.0.0.1:0 }
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { broken: { module: broken.wasm }, lenient: { module: broken.wasm, onFailure: open } }
routes:
  - name: all
    rules:
      - { matches: [{ path: { prefix: /closed } }], filters: [{ plugin: broken }], respond: { status: 200 } }
      - { matches: [{ path: { prefix: /open } }], filters: [{ plugin: lenient }], respond: { status: 200 } }
      - { respond: { status: 200, body: fine } }
",
    );
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "fine".to_owned()));
    assert!((500..600).contains(&gateway.get("/closed").0));
    assert_eq!(gateway.get("/open").0, 200);
    assert_eq!(gateway.config()["plugins"]["broken"]["state"], "failed");
}

/// A name server may come up later than the gateway; what has an address is served meanwhile.
#[test]
fn a_server_without_an_address_costs_only_its_upstream() {
    let folder = Folder::new("serve-nameless");
    // No name server has names below `invalid` (RFC 6761, section 6.4).
    let text = "\
admin: { address: 127.0.0.1:0 }
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: all
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { respond: { status: 200, body: fine } }
upstreams: { lost: { servers: [\"NAME:80\"] } }
";
    folder.write("a.yaml", text.replace("NAME", "a.invalid"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "fine".to_owned()));
    assert_eq!(gateway.get("/lost").0, 503);
    // The next configuration is taken over although the name is still lost.
    folder.write("a.yaml", text.replace("NAME", "a.invalid").replace("fine", "better"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/"), (200, "better".to_owned()));
    // A new name that does not work replaces nothing.
    folder.write("a.yaml", text.replace("NAME", "b.invalid"));
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/"), (200, "better".to_owned()));
}

#[test]
fn requests_in_flight_are_finished_and_a_second_signal_ends_at_once() {
    let folder = Folder::new("serve-drain");
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = upstream.local_addr().expect("it is bound");
    folder.write(
        "a.yaml",
        format!(
            "\
admin: {{ address: 127.0.0.1:0 }}
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes: [{{ name: all, rules: [{{ forward: [{{ upstream: slow }}] }}] }}]
upstreams: {{ slow: {{ servers: [\"{address}\"] }} }}
"
        ),
    );
    for second in [false, true] {
        let mut gateway = Gateway::start(&folder, "a.yaml");
        let web = gateway.web;
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(web).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").expect("the connection is open");
            let mut answer = Vec::new();
            // A reset is what a client sees that is cut off.
            _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        let (mut asked, _) = upstream.accept().expect("the gateway connects");
        let mut head = [0; 1024];
        assert!(asked.read(&mut head).expect("the request comes") > 0);
        gateway.signal("TERM");
        gateway.wait("draining");
        assert_eq!(gateway.admin("/readyz"), (503, "draining\n".to_owned()));
        if second {
            gateway.signal("TERM");
            assert_eq!(gateway.ended().code(), Some(1));
        } else {
            asked.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").expect("the gateway waits");
            assert_eq!(gateway.ended().code(), Some(0));
        }
        let answer = client.join().expect("the client ends");
        assert_eq!(answer.ends_with("late"), !second, "{answer}");
    }
}

/// What the kernel was told for the end of the first does not outlive it.
#[test]
fn a_process_that_is_ended_at_once_leaves_all_workers_of_the_next_their_connections() {
    let folder = Folder::new("serve-cut-off");
    folder.write("a.yaml", configuration("first"));
    let mut first = Gateway::start(&folder, "a.yaml");
    let mut busy = TcpStream::connect(first.web).expect("it listens");
    busy.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n").expect("it is open");
    let next = configuration("next").replace("workers: 2", "workers: 4");
    folder.write(
        "b.yaml",
        next.replace("web, address: 127.0.0.1:0", &format!("web, address: '{}'", first.web)),
    );
    let next = Gateway::start(&folder, "b.yaml");
    first.signal("TERM");
    first.wait("draining");
    first.signal("TERM");
    assert_eq!(first.ended().code(), Some(1));
    let clients: Vec<_> = (0..200).map(|_| TcpStream::connect(next.web).expect("it listens")).collect();
    let list = || {
        let told = next.admin("/connections?limit=1000").1;
        let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
        told["list"].as_array().cloned().unwrap_or_default()
    };
    while list().len() < clients.len() {}
    let workers: BTreeSet<_> = list().iter().filter_map(|one| one["worker"].as_u64()).collect();
    assert_eq!(workers, (0..4).collect());
}

#[test]
fn the_log_says_why_a_server_is_left_out() {
    let up = ScriptedUpstream::plain();
    let away = Nobody::new();
    let nobody = away.address();
    let folder = Folder::new("serve-ejection");
    folder.write(
        "a.yaml",
        format!(
            "\
admin: {{ address: 127.0.0.1:0 }}
workers: 1
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes: [{{ name: all, rules: [{{ forward: [{{ upstream: up }}] }}] }}]
upstreams: {{ up: {{ servers: [\"{nobody}\", \"{}\"], balance: roundRobin, ejection: {{ failures: 1 }} }} }}
",
            up.address()
        ),
    );
    let mut gateway = Gateway::start(&folder, "a.yaml");
    // The retry has the answer.
    assert_eq!([gateway.get("/"), gateway.get("/")].map(|(status, _)| status), [200, 200]);
    let line = gateway.wait("server fails and is left out");
    assert_eq!((&line["why"], &line["server"]), (&"upstream_connect".into(), &nobody.to_string().into()));
}
