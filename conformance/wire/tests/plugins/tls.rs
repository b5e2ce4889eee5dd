//! What plugins read of the client's TLS.

use std::fmt::Write;

use tidegate_testkit::{Answer, Authority, RawClient, ScriptedUpstream, TestGateway, fill};

const NAMES: [&str; 10] = [
    "mtls",
    "tls_version",
    "requested_server_name",
    "subject_local_certificate",
    "subject_peer_certificate",
    "dns_san_local_certificate",
    "dns_san_peer_certificate",
    "uri_san_local_certificate",
    "uri_san_peer_certificate",
    "sha256_peer_certificate_digest",
];

/// Writes each property of `whose` that is known into a field of the answer, `x-0` and so on.
fn guest(whose: &str, names: &[&str]) -> Vec<u8> {
    let (mut data, mut code) = (String::new(), String::new());
    for (nth, name) in names.iter().enumerate() {
        let at = 1000 + 100 * nth;
        write!(
            data,
            r#"(data (i32.const {at}) "{whose}\00{name}") (data (i32.const {}) "x-{nth}")"#,
            at + 80
        )
        .expect("strings take it");
        write!(
            code,
            "(if (i32.eqz (call $property (i32.const {at}) (i32.const {}) (i32.const 64) (i32.const 68))) (then
               (drop (call $add (i32.const 2) (i32.const {}) (i32.const 3) (i32.load (i32.const 64)) (i32.load (i32.const 68))))))",
            whose.len() + 1 + name.len(),
            at + 80
        )
        .expect("strings take it");
    }
    // A truth value is a byte, which no field may have: it becomes a digit.
    format!(
        r#"(module
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) {data}
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $add (param i32 i32 i32) (param $at i32) (param $len i32) (result i32)
    (if (i32.eq (local.get $len) (i32.const 1)) (then
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.load8_u (local.get $at))))))
    (call $write (local.get 0) (local.get 1) (local.get 2) (local.get $at) (local.get $len)))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {code} (i32.const 0)))"#
    )
    .into_bytes()
}

#[test]
fn certificates_are_properties() {
    let authority = Authority::new();
    let (own, clients) =
        (authority.issue(&["a.test", "b.test"]), authority.issue(&["client.test", "other.test"]));
    let gateway = TestGateway::start_with(
        "
listeners:
  - name: web
    address: '127.0.0.1:0'
    protocol: https
    tls: { certificates: [{ cert: a.pem, key: a.key }], clientAuth: { ca: clients.pem, mode: optional } }
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], respond: { status: 200 } }] }]
",
        &[
            ("a.pem", own.cert.as_bytes()),
            ("a.key", own.key.as_bytes()),
            ("clients.pem", authority.pem().as_bytes()),
            ("guest.wasm", &guest("connection", &NAMES)),
        ],
    );
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let read = |mut client: RawClient| {
        let answer = client.exchange(request);
        (0..NAMES.len()).map(|nth| answer.header(&format!("x-{nth}")).map(str::to_owned)).collect::<Vec<_>>()
    };
    let known = |text: &str| Some(text.to_owned());
    let address = gateway.address("web");
    let with = RawClient::connect_with(address, &authority, "a.test", &clients).expect("it is accepted");
    let subject = known("CN=rcgen self signed cert");
    let want = vec![
        known("1"),
        known("TLSv1.3"),
        known("a.test"),
        subject.clone(),
        subject.clone(),
        known("a.test"),
        known("client.test"),
        None,
        None,
        known(&clients.sha256()),
    ];
    assert_eq!(read(with), want);
    let without =
        RawClient::connect_tls(address, &authority, "a.test", &["http/1.1"]).expect("it need show none");
    let seen = read(without);
    assert_eq!((&seen[0], &seen[3], &seen[5]), (&known("0"), &subject, &known("a.test")));
    assert_eq!((&seen[6], &seen[9]), (&None, &None));
}

#[test]
fn the_upstreams_tls_is_a_property() {
    let authority = Authority::new();
    let certificate = authority.issue(&["server.test", "other.test"]);
    let upstream = ScriptedUpstream::start_tls(certificate.server_config(&["http/1.1"]), |_| {
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let names = [
        "tls_version",
        "subject_peer_certificate",
        "dns_san_peer_certificate",
        "sha256_peer_certificate_digest",
        "local_address",
        "address",
        "subject_local_certificate",
        "dns_san_local_certificate",
    ];
    let own = authority.issue(&["gateway.test"]);
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'], tls: { ca: ca.pem, serverName: server.test, clientCertificate: { cert: own.pem, key: own.key } } } }
",
        &[("up", &upstream.address())],
    );
    let ca = authority.pem();
    let files = [
        ("guest.wasm", &guest("upstream", &names)[..]),
        ("ca.pem", ca.as_bytes()),
        ("own.pem", own.cert.as_bytes()),
        ("own.key", own.key.as_bytes()),
    ];
    let gateway = TestGateway::start_with(&yaml, &files);
    let mut client = RawClient::connect(gateway.address("web"));
    let mut ends = Vec::new();
    // The second one finds the connection of the first.
    for _ in 0..2 {
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let seen = |nth: usize| answer.header(&format!("x-{nth}")).map(str::to_owned);
        let known = |text: &str| Some(text.to_owned());
        assert_eq!((seen(0), seen(1)), (known("TLSv1.3"), known("CN=rcgen self signed cert")));
        assert_eq!((seen(2), seen(3)), (known("server.test"), known(&certificate.sha256())));
        assert_eq!(
            (seen(5), seen(6)),
            (known(&upstream.address().to_string()), known("CN=rcgen self signed cert"))
        );
        assert_eq!(seen(7), known("gateway.test"));
        ends.push(seen(4).expect("an address"));
    }
    assert!(ends[0].starts_with("127.0.0.1:") && ends[0] == ends[1], "{ends:?}");
}
