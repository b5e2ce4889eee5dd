//! Connections of bytes keep the retry budget of their upstream too.

use tidegate_testkit::{Nobody, RawClient, TestGateway, fill};

#[test]
fn connections_to_servers_that_are_away_stay_within_the_budget() {
    let nobody = [(); 4].map(|()| Nobody::new());
    let away: Vec<String> = nobody.iter().map(|one| format!("'{}'", one.address())).collect();
    let yaml = |budget: &str| {
        fill(
            "
listeners: [{ name: bytes, address: '127.0.0.1:0', protocol: tcp }]
routes:
  - name: r
    listeners: [bytes]
    rules:
      - forward: [{ upstream: up }]
        retries: { attempts: 3, on: [connect], backoff: { base: 0ms, max: 0ms } }
upstreams: { up: { servers: [${servers}], ejection: false${budget} } }
",
            &[("servers", &away.join(", ")), ("budget", &budget)],
        )
    };
    let connections = 200;
    for (budget, most) in [("", 800.0), (", retryBudget: { percent: 20, min: 0 }", 240.0)] {
        let gateway = TestGateway::start(&yaml(budget));
        for _ in 0..connections {
            let (bytes, _) = RawClient::connect(gateway.address("bytes")).rest();
            assert_eq!(bytes, b"");
        }
        let attempts = gateway.metric("tidegate_upstream_requests_total", "");
        let stopped = gateway.metric("tidegate_upstream_retries_stopped_total", "by=\"budget\"");
        assert!(attempts <= most, "{budget}: {attempts} attempts");
        assert_eq!(stopped > 0.0, !budget.is_empty(), "{budget}: {stopped}");
        assert!(budget.is_empty() == (attempts == most) || attempts >= 220.0, "{budget}: {attempts}");
    }
}
