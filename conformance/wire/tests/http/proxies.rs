//! Proxies in front of the gateway: who is believed what it says of its client.

use tidegate_testkit::{LogFile, RawClient, ScriptedUpstream, TestGateway, fill};

/// Answers with `source.address` in a field of the request.
const GUEST: &str = r#"(module
    (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "source\00addressx-source")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 14) (i32.const 2048) (i32.const 2052)))
        (drop (call $add (i32.const 0) (i32.const 14) (i32.const 8)
            (i32.load (i32.const 2048)) (i32.load (i32.const 2052))))
        (i32.const 0)))"#;

struct Front {
    upstream: ScriptedUpstream,
    _gateway: TestGateway,
    client: RawClient,
    log: LogFile,
}

impl Front {
    fn trusting(networks: &str) -> Self {
        let upstream = ScriptedUpstream::plain();
        let log = LogFile::default();
        let yaml = fill(
            "
accessLog: { path: '${log}' }
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http, trustedProxies: [${networks}] }]
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("log", &log.path().display()), ("networks", &networks), ("up", &upstream.address())],
        );
        let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", GUEST.as_bytes())]);
        let client = RawClient::connect(gateway.address("web"));
        Self { upstream, _gateway: gateway, client, log }
    }

    /// What the upstream is told in these fields.
    fn tells(&mut self, fields: &str, names: &[&str]) -> Vec<Option<String>> {
        let answer = self.client.exchange(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
        assert_eq!(answer.status, 200, "{fields}");
        let requests = self.upstream.requests();
        let last = requests.last().expect("a request");
        names.iter().map(|name| last.header(name).map(str::to_owned)).collect()
    }

    /// The clients in the lines of the log.
    fn clients(&self, count: usize) -> Vec<String> {
        let client = |line: &String| line.split(r#""client":""#).nth(1)?.split('"').next().map(str::to_owned);
        self.log.lines(count).iter().filter_map(client).collect()
    }
}

const NAMES: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-source"];
const CLAIMS: &str = "x-forwarded-for: 198.51.100.9, 192.0.2.1\r\nx-forwarded-proto: https\r\n\
    x-forwarded-host: shop.test\r\nforwarded: for=192.0.2.1\r\n";

#[test]
fn a_trusted_proxy_is_believed_and_the_list_goes_on() {
    let mut front = Front::trusting("127.0.0.0/8, 10.0.0.0/8");
    let told = front.tells(CLAIMS, &NAMES);
    let told: Vec<_> = told.iter().map(Option::as_deref).collect();
    assert_eq!(
        told,
        [
            Some("198.51.100.9, 192.0.2.1, 127.0.0.1"),
            Some("https"),
            Some("shop.test"),
            Some("for=192.0.2.1, for=127.0.0.1;proto=http"),
            Some("192.0.2.1:0"),
        ]
    );
    // On the same connection the next request may be somebody else's, come by one proxy more.
    let told = front.tells("x-forwarded-for: 203.0.113.5:99, 10.1.2.3\r\n", &NAMES);
    assert_eq!(told[0].as_deref(), Some("203.0.113.5:99, 10.1.2.3, 127.0.0.1"));
    assert_eq!((told[1].as_deref(), told[4].as_deref()), (Some("http"), Some("203.0.113.5:99")));
    let told = front.tells("", &NAMES);
    assert_eq!(told[0].as_deref(), Some("127.0.0.1"));
    let clients = front.clients(3);
    assert_eq!(clients[..2], ["192.0.2.1:0", "203.0.113.5:99"]);
    assert!(clients[2].starts_with("127.0.0.1:"), "{clients:?}");
}

#[test]
fn nobody_else_is() {
    for networks in ["", "192.0.2.0/24, '::1'"] {
        let mut front = Front::trusting(networks);
        let told = front.tells(CLAIMS, &NAMES);
        assert_eq!(
            told[..4].iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some("127.0.0.1"), Some("http"), Some("a.test"), None]
        );
        assert!(told[4].as_deref().is_some_and(|source| source.starts_with("127.0.0.1:")), "{told:?}");
        assert!(front.clients(1)[0].starts_with("127.0.0.1:"));
    }
}

/// `examples/behind-proxies`, with ports that the system chooses.
#[test]
fn the_example_runs() {
    let (upstream, log) = (ScriptedUpstream::plain(), LogFile::default());
    let mut yaml = include_str!("../../../../examples/behind-proxies/tidegate.yaml").to_owned();
    yaml = yaml.replace("servers: [127.0.0.1:3001]", &format!("servers: ['{}']", upstream.address()));
    for port in ["8080", "3001", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    yaml = yaml.replace("accessLog: {}", &format!("accessLog: {{ path: '{}' }}", log.path().display()));
    let gateway = TestGateway::start(&yaml);
    let claims = "x-forwarded-for: 198.51.100.9, 192.0.2.1\r\nx-forwarded-proto: https\r\n";
    let ask = |fields: &str| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.exchange(format!("GET /a HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"))
    };
    assert_eq!(ask(claims).status, 200);
    let plain = ask("");
    assert_eq!((plain.status, plain.header("location")), (302, Some("https://a.test/a")));
    gateway.reload(&yaml.replace("[127.0.0.1, 10.0.0.0/8]", "[10.0.0.0/8]"));
    assert_eq!(ask(claims).status, 302, "anybody can say so");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("x-forwarded-for"), Some("198.51.100.9, 192.0.2.1, 127.0.0.1"));
    let lines = log.lines(3);
    assert!(lines[0].contains(r#""client":"192.0.2.1:0""#), "{}", lines[0]);
    assert!(lines[2].contains(r#""client":"127.0.0.1:"#), "{}", lines[2]);
}
