//! Properties: what can be read when, and what plugins set for each other.

use super::*;
use crate::{CertificateDetails, Facts, Outcome, TlsDetails, UpstreamFacts};
use std::rc::Rc;

/// Reads each of these paths in the request's head.
fn reads(paths: &[&str], stream: StreamInfo) -> Vec<String> {
    let mut body = String::new();
    for (n, path) in paths.iter().enumerate() {
        let at = 200 + n * 60;
        let path = path.replace('.', "\\00");
        let len = path.replace("\\00", ".").len();
        body += &format!(
            r#"(data (i32.const {at}) "{path}")
            (func $read{n}
                (i64.store (i32.const 2048) (i64.const 0))
                (call $say (call $property (i32.const {at}) (i32.const {len}) (i32.const 2048) (i32.const 2052)))
                (call $show))"#
        );
    }
    let calls: String = (0..paths.len()).map(|n| format!("(call $read{n})")).collect();
    let mut instance = start(&format!(
        r#";; logs a number of eight bytes as text, anything else as it is
        (func $show
            (if (i32.and (i32.eq (i32.load (i32.const 2052)) (i32.const 8))
                    (i32.eqz (i32.load8_u (i32.add (i32.load (i32.const 2048)) (i32.const 7)))))
                (then (call $say (i32.load (i32.load (i32.const 2048)))))
                (else (call $tell))))
        {body}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {calls} (i32.const 0))"#
    ));
    let id = instance.open_stream(stream, NOW);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    lines(&mut instance)
}

fn known() -> StreamInfo {
    let facts = Facts::new();
    facts.set_upstream(UpstreamFacts {
        name: Some("shop".into()),
        address: Some(([10, 0, 0, 9], 8080).into()),
        attempts: 2,
        failure: Some("refused".into()),
        ..UpstreamFacts::default()
    });
    facts.set_outcome(Outcome {
        details: Some("via_upstream".into()),
        flags: 0x20,
        latency: Some(Duration::from_nanos(500)),
        ends: Some("framing"),
    });
    let certificate = |name: &str| CertificateDetails {
        subject: format!("CN={name}"),
        uris: vec![format!("spiffe://{name}"), "second".into()],
        names: vec![format!("{name}.test")],
        sha256: "abcd".into(),
    };
    let tls = TlsDetails {
        server_name: "sni.test".into(),
        version: "TLSv1.3".into(),
        client_authenticated: true,
        local: certificate("us"),
        peer: certificate("them"),
    };
    StreamInfo {
        tls: true,
        route: Some("route".into()),
        rule: Some("rule".into()),
        listener: Some("web".into()),
        tls_details: Some(Rc::new(tls)),
        facts: Some(Rc::new(facts)),
        ..info()
    }
}

#[test]
fn what_the_gateway_knows_is_readable() {
    let rows = [
        ("request.url_path", "/path"),
        ("request.query", "query"),
        ("request.scheme", "https"),
        ("request.host", "example.com"),
        ("request.protocol", "HTTP/1.1"),
        ("request.headers.x-a", "1"),
        ("request.size", "000"),
        ("source.address", "10.0.0.1:4000"),
        ("destination.port", "080"),
        ("connection.id", "077"),
        ("connection_id", "077"),
        ("connection.mtls", "\\u{1}"),
        ("connection.requested_server_name", "sni.test"),
        ("connection.tls_version", "TLSv1.3"),
        ("connection.subject_local_certificate", "CN=us"),
        ("connection.subject_peer_certificate", "CN=them"),
        ("connection.uri_san_peer_certificate", "spiffe://them"),
        ("connection.dns_san_local_certificate", "us.test"),
        ("connection.sha256_peer_certificate_digest", "abcd"),
        ("upstream.address", "10.0.0.9:8080"),
        ("upstream.port", "8080"),
        ("upstream.request_attempt_count", "002"),
        ("upstream.transport_failure_reason", "refused"),
        ("response.code_details", "via_upstream"),
        ("response.flags", "032"),
        ("response.backend_latency", "500"),
        ("xds.cluster_name", "shop"),
        ("cluster_name", "shop"),
        ("xds.route_name", "rule"),
        ("xds.virtual_host_name", "route"),
        ("xds.filter_chain_name", "web"),
    ];
    // Numbers are said with three digits.
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| *value != "8080").collect();
    for rows in rows.chunks(15) {
        let paths: Vec<&str> = rows.iter().map(|(path, _)| *path).collect();
        let said = reads(&paths, known());
        for (n, (path, value)) in rows.iter().enumerate() {
            assert_eq!(said[2 * n..2 * n + 2], ["000", *value], "{path}");
        }
    }
}

#[test]
fn what_is_not_known_has_its_status() {
    let rows = [
        ("request.duration", "001"),
        ("request.nothing", "001"),
        ("response.code", "001"),
        ("response.code_details", "001"),
        ("response.flags", "000"),
        ("upstream.address", "001"),
        ("connection.tls_version", "001"),
        ("connection.requested_server_name", "000"),
        ("connection.mtls", "000"),
        ("filter_state", "003"),
        ("filter_state.nothing", "001"),
        ("metadata", "000"),
        ("metadata.filter_metadata", "001"),
        ("xds.cluster_name", "001"),
        ("nothing", "001"),
        ("", "001"),
    ];
    let paths: Vec<&str> = rows.iter().map(|(path, _)| *path).collect();
    let said = reads(&paths, info());
    for (n, (path, status)) in rows.iter().enumerate() {
        assert_eq!(said[2 * n], *status, "{path}");
    }
}

#[test]
fn what_plugins_set_is_read_by_all_of_the_request() {
    let guest = r#"(data (i32.const 0) "onefilter_state\00wasm.onetwo\00partsvalue")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $property (i32.const 0) (i32.const 3) (i32.const 2048) (i32.const 2052))) (call $tell)
            (call $say (call $set_property (i32.const 0) (i32.const 3) (i32.const 33) (i32.const 5)))
            (call $say (call $property (i32.const 3) (i32.const 21) (i32.const 2048) (i32.const 2052))) (call $tell)
            (call $say (call $set_property (i32.const 24) (i32.const 9) (i32.const 33) (i32.const 5)))
            (call $say (call $property (i32.const 24) (i32.const 9) (i32.const 2048) (i32.const 2052)))
            (i32.const 0))
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $set_property (i32.const 0) (i32.const 3) (i32.const 33) (i32.const 5))))"#;
    let (mut first, mut second) = (start(guest), start(guest));
    let info = StreamInfo { facts: Some(Rc::new(Facts::new())), ..info() };
    let id = first.open_stream(info.clone(), NOW);
    first.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut first), ["001", "", "000", "000", "value", "000", "001"]);
    first.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut first), ["001"], "a plugin itself has no properties to set");
    let id = second.open_stream(info, NOW);
    second.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut second)[..2], ["000", "value"]);
}

#[test]
fn a_property_that_was_declared_readonly_is_set_once() {
    let mut instance = start(
        r#"(data (i32.const 0) "declare_property") (data (i32.const 20) "\0a\01a\10\01")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (call $foreign (i32.const 0) (i32.const 16) (i32.const 20) (i32.const 5) (i32.const 0) (i32.const 0)))
            (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $set_property (i32.const 22) (i32.const 1) (i32.const 0) (i32.const 3)))
            (call $say (call $set_property (i32.const 22) (i32.const 1) (i32.const 0) (i32.const 4)))
            (call $say (call $property (i32.const 22) (i32.const 1) (i32.const 2048) (i32.const 2052))) (call $tell)
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "000", "002", "000", "dec"]);
}
