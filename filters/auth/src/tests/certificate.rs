//! Identities of mutual TLS.

use tidegate_sdk_test::{Request, get};

use super::gateway;

fn shown(uri: &str, dns: &str) -> Request {
    let request = get("/").property("connection.mtls", vec![1]);
    let request = request.property("connection.subject_peer_certificate", "CN=client");
    let request = request.property("connection.uri_san_peer_certificate", uri);
    request.property("connection.dns_san_peer_certificate", dns)
}

const HEADERS: &str =
    r#""headers": { "subject": "x-id", "claims": { "x-domain": "trustDomain", "x-dn": "subject" } }"#;

#[test]
fn the_connections_certificate_tells_who_it_is() {
    let gateway = gateway(&format!(r#"{{ "ways": [{{ "certificate": {{}} }}], {HEADERS} }}"#));
    let cases = [
        ("spiffe://example.org/ns/a", "a.example", "spiffe://example.org/ns/a", Some("example.org")),
        ("", "a.example", "a.example", None),
        ("", "", "CN=client", None),
    ];
    for (uri, dns, subject, domain) in cases {
        let answer = gateway.send(shown(uri, dns).header("x-id", "forged"));
        let seen = answer.upstream().expect("it passes");
        let told = ["x-id", "x-domain", "x-dn"].map(|name| seen.header(name));
        assert_eq!(told, [Some(subject), domain, Some("CN=client")]);
    }
    let none = gateway.send(get("/").header("x-forwarded-client-cert", "URI=spiffe://example.org/ns/a"));
    assert_eq!((none.status(), none.details()), (401, "auth_missing"));
}

#[test]
fn names_and_trust_domains_are_accepted_where_they_are_listed() {
    let cases = [
        (r#""names": ["spiffe://example.org/ns/*", "*.example"]"#, [200, 403, 200]),
        (r#""trustDomains": ["Example.org"]"#, [200, 403, 403]),
        (r#""trustDomains": ["other.org"]"#, [403, 403, 403]),
    ];
    for (more, statuses) in cases {
        let gateway = gateway(&format!(r#"{{ "ways": [{{ "certificate": {{ {more} }} }}] }}"#));
        let sent = [
            shown("spiffe://example.org/ns/a", ""),
            shown("spiffe://example.org.evil/ns/a", ""),
            shown("", "b.example"),
        ];
        let got = sent.map(|request| gateway.send(request).status());
        assert_eq!(got, statuses, "{more}");
    }
}

#[test]
fn a_proxy_is_believed_only_where_it_is_trusted() {
    let config = r#"{ "ways": [{ "certificate": { "forwardedFrom": ["10.0.0.0/8"] } }], "headers": { "subject": "x-id" } }"#;
    let gateway = gateway(config);
    let header = "Hash=1;URI=spiffe://a/evil,Hash=2;Subject=\"CN=a\";URI=spiffe://a/good";
    for (from, passes) in [("10.1.2.3:5", true), ("11.1.2.3:5", false), ("[::1]:5", false)] {
        let answer = gateway.send(get("/").from(from).header("x-forwarded-client-cert", header));
        assert_eq!(answer.upstream().is_some(), passes, "{from}");
        if let Some(seen) = answer.upstream() {
            assert_eq!(seen.header("x-id"), Some("spiffe://a/good"));
            assert_eq!(seen.header("x-forwarded-client-cert"), None);
        }
    }
}
