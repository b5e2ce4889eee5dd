//! Access logs: forms, fields, places, choices of exchanges, what is taken out, rotations.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;
use tidegate_testkit::{
    Answer, Gate, LogFile, PATIENCE, RawClient, ScriptedUpstream, Step, TestGateway, fill,
};

const ROUTES: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: shop
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { matches: [{ path: { prefix: /none } }], respond: { status: 404 } }
      - { name: up, forward: [{ upstream: up }] }
upstreams:
  up: { servers: ['${up}'] }
  lost: { servers: ['127.0.0.1:1'] }
";

fn start(logs: &str) -> (ScriptedUpstream, TestGateway) {
    let up = ScriptedUpstream::plain();
    let yaml = fill(&format!("{ROUTES}{logs}"), &[("up", &up.address())]);
    (up, TestGateway::start(&yaml))
}

fn get(client: &mut RawClient, path: &str, fields: &str) -> u16 {
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")).status
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).expect("a line is JSON")
}

#[test]
fn each_log_has_its_form_and_its_exchanges() {
    let [all, chosen, errors, found, text] = [(); 5].map(|()| LogFile::default());
    let path = |log: &LogFile| log.path().display().to_string();
    let logs = fill(
        "
accessLog:
  - { path: '${all}' }
  - { path: '${chosen}', fields: [status, route, header.x-a, response_header.content-type] }
  - { path: '${errors}', only: { errors: true }, fields: [path, reason] }
  - { path: '${found}', only: { statuses: [404, 2xx], routes: [shop] }, fields: [status] }
  - { path: '${text}', format: '%{client} 100%% \"%{method} %{path}\" %{status} %{reason} [%{header.x-a}]' }
",
        &[
            ("all", &path(&all)),
            ("chosen", &path(&chosen)),
            ("errors", &path(&errors)),
            ("found", &path(&found)),
            ("text", &path(&text)),
        ],
    );
    let (up, gateway) = start(&logs);
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/a?b=c", "x-a: \"1\"\r\n"), 200);
    assert_eq!(get(&mut client, "/lost", ""), 503);
    assert_eq!(get(&mut client, "/none", ""), 404);
    let lines = all.lines(3);
    let first = json(&lines[0]);
    assert_eq!(
        (first["status"].as_u64(), first["rule"].as_str(), first["server"].as_str()),
        (Some(200), Some("up"), Some(&*up.address().to_string()))
    );
    assert!(first["upstream_us"].as_u64() > Some(0) && first["wait_us"].is_u64(), "{first}");
    assert!(
        first["time_ms"].is_u64() && first.get("time").is_none() && first.get("reason").is_none(),
        "{first}"
    );
    let shown: Vec<Value> = chosen.lines(3).iter().map(|line| json(line)).collect();
    assert_eq!(shown[0]["header.x-a"], "\"1\"");
    assert_eq!(shown[1], serde_json::json!({ "status": 503, "route": "shop" }).with(&shown[1]));
    assert_eq!(errors.lines(1), [r#"{"path":"/lost","reason":"upstream_connect"}"#]);
    assert_eq!(found.lines(2), [r#"{"status":200}"#, r#"{"status":404}"#]);
    let lines = text.lines(3);
    assert!(lines[0].starts_with("127.0.0.1:"), "{}", lines[0]);
    assert!(lines[0].ends_with(r#" 100% "GET /a?b=c" 200 - [\"1\"]"#), "{}", lines[0]);
    assert!(lines[1].ends_with(r#" 100% "GET /lost" 503 upstream_connect [-]"#), "{}", lines[1]);
}

/// The same object with what another one has besides: the answer's own type.
trait With {
    fn with(self, other: &Value) -> Self;
}

impl With for Value {
    fn with(mut self, other: &Value) -> Self {
        if let Some(kind) = other.get("response_header.content-type") {
            self["response_header.content-type"] = kind.clone();
        }
        self
    }
}

#[test]
fn secrets_are_taken_out() {
    let log = LogFile::default();
    let yaml = "accessLog: { path: 'LOG', redact: { query: [token] }, fields: [path, header.authorization, header.x-b] }";
    let (_up, gateway) = start(&yaml.replace("LOG", &log.path().display().to_string()));
    let mut client = RawClient::connect(gateway.address("web"));
    let path = "/a?token=s3cret&b=1&%74oken=s3cret&token";
    assert_eq!(get(&mut client, path, "authorization: Basic s3cret\r\nx-b: b\r\n"), 200);
    let line = json(&log.lines(1)[0]);
    assert_eq!(line["path"], "/a?token=***&b=1&%74oken=***&token");
    assert_eq!((&line["header.authorization"], &line["header.x-b"]), (&"***".into(), &"b".into()));
}

#[test]
fn a_file_that_was_renamed_is_opened_again() {
    let (log, old) = (LogFile::default(), LogFile::default());
    let yaml = format!("accessLog: {{ path: '{}', format: '%{{path}}' }}", log.path().display());
    let (_up, gateway) = start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/1", ""), 200);
    assert_eq!(log.lines(1), ["/1"]);
    // As logrotate does with `create`: there is a file of the name at once.
    std::fs::rename(log.path(), old.path()).expect("both are in one folder");
    std::fs::write(log.path(), "").expect("a file");
    assert_eq!(get(&mut client, "/2", ""), 200);
    assert_eq!((log.lines(1), old.lines(1)), (vec!["/2".to_owned()], vec!["/1".to_owned()]));
    std::fs::remove_file(log.path()).expect("it is there");
    assert_eq!(get(&mut client, "/3", ""), 200);
    assert_eq!(log.lines(1), ["/3"]);
}

#[test]
fn what_is_in_flight_at_a_sudden_end_has_its_lines() {
    const MANY: usize = 100;
    let (log, held) = (LogFile::default(), Gate::new());
    let never = held.clone();
    let up = ScriptedUpstream::start(move |_| Answer::steps([Step::Wait(never.clone())]));
    let logs = format!("accessLog: {{ path: '{}', format: '%{{path}} %{{reason}}' }}", log.path().display());
    let gateway = TestGateway::start(&fill(&format!("{ROUTES}{logs}"), &[("up", &up.address())]));
    let send = |_| {
        let mut client = RawClient::connect(gateway.address("web"));
        assert!(client.send("GET /held HTTP/1.1\r\nhost: shop.test\r\n\r\n"));
        client
    };
    let _clients: Vec<_> = (0..MANY).map(send).collect();
    up.wait("all requests", |connections| {
        connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == MANY
    });
    drop(gateway);
    held.open();
    assert!(log.lines(MANY).iter().all(|line| line.starts_with("/held ")));
}

#[test]
fn what_cannot_be_written_is_counted_and_the_rest_goes_on() {
    let log = LogFile::default();
    let yaml = format!(
        "accessLog: [{{ path: /nowhere/at/all.log }}, {{ path: '{}', format: '%{{path}}' }}]",
        log.path().display()
    );
    let (_up, gateway) = start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/1", ""), 200);
    assert_eq!(log.lines(1), ["/1"]);
    gateway.wait("a line to be lost", |gateway| {
        gateway.metric("tidegate_access_log_lost_total", "log=\"0\"") == 1.0
    });
    assert_eq!(gateway.metric("tidegate_access_log_lost_total", "log=\"1\""), 0.0);
}

#[test]
fn a_log_server_gets_a_datagram_for_each() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    udp.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let path = std::env::temp_dir().join(format!("tidegate-syslog-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let unix = UnixDatagram::bind(&path).expect("a path");
    unix.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let yaml = fill(
        "
accessLog:
  - { syslog: { address: '${udp}' }, format: '%{path} %{status}' }
  - { syslog: { address: 'unix:${unix}', facility: daemon, app: edge }, fields: [status] }
",
        &[("udp", &udp.local_addr().expect("it is bound")), ("unix", &path.display())],
    );
    let (_up, gateway) = start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/a", ""), 200);
    assert_eq!(get(&mut client, "/lost", ""), 503);
    let mut buffer = [0; 2048];
    let mut text = |receive: &dyn Fn(&mut [u8]) -> std::io::Result<usize>| {
        let length = receive(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    // local0 is 16, informational 6, warning 4; daemon is 3.
    for (priority, rest) in [("<134>1 ", " access - /a 200"), ("<132>1 ", " access - /lost 503")] {
        let datagram = text(&|buffer| udp.recv(buffer));
        assert!(datagram.starts_with(priority) && datagram.ends_with(rest), "{datagram}");
        let words: Vec<&str> = datagram.split(' ').collect();
        assert!(words[1].ends_with('Z') && words[3] == "tidegate", "{datagram}");
        assert_eq!(words[4], std::process::id().to_string());
    }
    for (priority, rest) in
        [("<30>1 ", r#" access - {"status":200}"#), ("<28>1 ", r#" access - {"status":503}"#)]
    {
        let datagram = text(&|buffer| unix.recv(buffer));
        assert!(datagram.starts_with(priority) && datagram.ends_with(rest), "{datagram}");
        assert!(datagram.contains(" edge "), "{datagram}");
    }
    drop(std::fs::remove_file(&path));
}

/// A reload with the same place keeps its writer: no line is lost, none comes twice.
#[test]
fn a_reload_may_change_what_is_said() {
    let log = LogFile::default();
    let (up, gateway) =
        start(&format!("accessLog: {{ path: '{}', format: '%{{path}}' }}", log.path().display()));
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/1", ""), 200);
    assert_eq!(log.lines(1), ["/1"]);
    let yaml =
        format!("{ROUTES}accessLog: {{ path: '{}', format: '%{{status}} %{{path}}' }}", log.path().display());
    gateway.reload(&fill(&yaml, &[("up", &up.address())]));
    assert_eq!(get(&mut client, "/2", ""), 200);
    assert_eq!(log.lines(2), ["/1", "200 /2"]);
}

/// The first server answers 503, so the second one is asked, which is not there: the wait of the first attempt is not that
/// of the last one.
#[test]
fn an_attempt_without_a_connection_has_waited_for_none() {
    let log = LogFile::default();
    let bad = ScriptedUpstream::start(|_| Answer::reply("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"));
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: shop
    rules: [{ forward: [{ upstream: up }], retries: { attempts: 1, on: [503], backoff: { base: 0ms, max: 0ms } } }]
upstreams: { up: { servers: ['${bad}', { address: '127.0.0.1:1', priority: 1 }], ejection: false } }
accessLog: { path: '${log}', fields: [attempts, reason, wait_us] }
",
        &[("bad", &bad.address()), ("log", &log.path().display().to_string())],
    ));
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/", ""), 503);
    let lost = json(&log.lines(1)[0]);
    assert_eq!((&lost["reason"], &lost["attempts"]), (&"upstream_connect".into(), &2.into()), "{lost:?}");
    assert_eq!(lost.get("wait_us"), None, "{lost:?}");
}

#[test]
fn the_example_does_what_it_says() {
    let (access, errors) = (LogFile::default(), LogFile::default());
    let mut yaml = include_str!("../../../../examples/observability/tidegate.yaml").to_owned();
    for (from, to) in [
        ("127.0.0.1:8080, protocol", "127.0.0.1:0, protocol".to_owned()),
        ("path: access.log", format!("path: '{}'", access.path().display())),
        ("path: errors.json", format!("path: '{}'", errors.path().display())),
    ] {
        assert!(yaml.contains(from), "{from}");
        yaml = yaml.replace(from, &to);
    }
    let gateway = TestGateway::start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(get(&mut client, "/?token=secret", "user-agent: curl\r\n"), 200);
    assert_eq!(get(&mut client, "/slow", ""), 503);
    let lines = access.lines(2);
    assert!(lines[0].contains(r#" "GET /?token=*** HTTP/1.1" 200 6 "curl" "#), "{}", lines[0]);
    assert_eq!(json(&errors.lines(1)[0])["reason"], "upstream_connect");
}
