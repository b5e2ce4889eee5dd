//! Requests of a plugin are recorded, as far as the document asks for it, and can be told to it again.

use std::path::PathBuf;

use tidegate_testkit::{ByteServer, End, RawClient, ScriptedUpstream, TestGateway, fill};

const FAULT: &[u8] = include_bytes!("../guests/fault.wat");

/// A folder for records, removed with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-records-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    /// The only record.
    fn record(&self, gateway: &TestGateway) -> String {
        let read = || std::fs::read_to_string(self.0.join("guest.jsonl")).unwrap_or_default();
        gateway.wait("a record", |_| read().ends_with('\n'));
        let text = read();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn gateway(upstream: &ScriptedUpstream, folder: &Folder, record: &str) -> TestGateway {
    let path = folder.0.join("guest.jsonl").display().to_string();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm, onFailure: closed, record: { path: '${path}', ${record} } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("path", &path), ("record", &record)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", FAULT)])
}

fn ask(gateway: &TestGateway, field: &str) -> u16 {
    let request = format!("GET /a?b HTTP/1.1\r\nhost: a.test\r\ncookie: secret\r\n{field}\r\n");
    RawClient::connect(gateway.address("web")).exchange(&request).status
}

#[test]
fn all_requests_are_recorded_without_secrets() {
    let upstream = ScriptedUpstream::plain();
    let folder = Folder::new("all");
    let gateway = gateway(&upstream, &folder, "requests: all");
    assert_eq!(ask(&gateway, ""), 200);
    let text = folder.record(&gateway);
    assert!(text.contains(r#""plugin":"guest""#) && text.contains(r#""status":200"#), "{text}");
    assert!(text.contains(r#"[":path","/a?b"]"#) && text.contains(r#"["x-filter","one"]"#), "{text}");
    assert!(!text.contains("secret") && text.contains(r#"["cookie",{"redacted":6}]"#), "{text}");
}

#[test]
fn only_what_fails_is_recorded_where_nothing_else_is_asked_for() {
    let upstream = ScriptedUpstream::plain();
    let folder = Folder::new("failing");
    let gateway = gateway(&upstream, &folder, "percent: 100");
    assert_eq!(ask(&gateway, ""), 200);
    assert!(ask(&gateway, "x-fault: trap\r\n") >= 500);
    let text = folder.record(&gateway);
    assert!(text.contains(r#""event":"trap""#), "{text}");
    assert_eq!(gateway.metric("tidegate_plugin_recorded_total", "guest"), 1.0);
}

/// Lets bytes of the client go on.
const BYTES: &str = r#"(module (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 0)))"#;

#[test]
fn connections_of_bytes_are_recorded() {
    let server = ByteServer::start();
    let folder = Folder::new("bytes");
    let path = folder.0.join("guest.jsonl").display().to_string();
    let yaml = fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp, filters: [guest] }]
plugins: { guest: { module: guest.wat, record: { path: '${path}', requests: all } } }
routes: [{ name: db, listeners: [db], rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &server.address()), ("path", &path)],
    );
    let gateway = TestGateway::start_with(&yaml, &[("guest.wat", BYTES.as_bytes())]);
    let mut client = RawClient::connect(gateway.address("db"));
    client.send("secret");
    let mut wire = server.accept();
    assert_eq!(wire.exactly(6).expect("they come"), b"secret");
    client.half_close();
    wire.half_close();
    assert_eq!(client.rest().1, End::Closed);
    let text = folder.record(&gateway);
    assert!(text.contains(r#""ofBytes":true"#) && text.contains(r#""event":"connected""#), "{text}");
    assert!(text.contains(r#""event":"data","side":"request","body":{"redacted":6}"#), "{text}");
    assert!(text.contains(r#""event":"sideClosed""#) && !text.contains("secret"), "{text}");
}
