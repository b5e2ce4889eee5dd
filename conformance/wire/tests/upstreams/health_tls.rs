//! Health checks over real TLS: a server that the gateway does not trust is not well, however it answers.

use tidegate_testkit::{Answer, Authority, Circuit, RawClient, ScriptedUpstream, TestGateway, fill};

#[test]
fn checks_shake_hands_as_requests_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificate = authority.issue(&["back.test"]);
    let upstream = ScriptedUpstream::start_tls(certificate.server_config(&["http/1.1"]), |_| {
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    for (name, authority, circuit) in [
        ("back.test", &authority, Circuit::Closed),
        ("front.test", &authority, Circuit::Open),
        ("back.test", &other, Circuit::Open),
    ] {
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams:
  up:
    servers: ['${up}']
    tls: { serverName: ${name}, ca: ca.pem }
    health: { http: /healthz, interval: 20ms, unsettledInterval: 10ms, timeout: 5s, initial: unhealthy }
",
            &[("up", &upstream.address()), ("name", &name)],
        );
        let gateway = TestGateway::start_with(&yaml, &[("ca.pem", authority.pem().as_bytes())]);
        let word = if circuit == Circuit::Closed { "good" } else { "bad" };
        let result = format!("result=\"{word}\"");
        gateway.wait("checks", |gateway| gateway.metric("tidegate_upstream_checks_total", &result) >= 3.0);
        let state = gateway.control().servers("up").expect("it is there").remove(0);
        assert_eq!(state.circuit, circuit, "{name}: {state:?}");
        if circuit == Circuit::Open {
            let why = format!("{:?}", state.check);
            assert!(why.contains("certificate") || why.contains("TLS"), "{name}: {why}");
            continue;
        }
        let mut client = RawClient::connect(gateway.address("web"));
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").text(), "ok");
        let checks = upstream.requests().iter().filter(|request| request.target() == "/healthz").count();
        assert!(checks >= 3, "{checks}");
    }
}
