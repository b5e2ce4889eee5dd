//! Limits in a filter: exact where the host counts, by shared data elsewhere, with the same answers.

use std::cell::RefCell;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::limit::{self, Ask, Limit, Permit};
use tidegate_sdk::{Filter, Flow, Reply, Request, Response, Result, filter};
use tidegate_sdk_test::{Gateway, Ways, get};

#[derive(Deserialize)]
struct Config {
    units: u64,
    kind: String,
}

struct Limited {
    limit: Limit,
    charges: bool,
}

#[filter]
impl Filter for Limited {
    type Config = Config;
    type State = RefCell<Permit>;

    fn new(config: Config) -> Self {
        let minute = Duration::from_secs(60);
        let limit = match config.kind.as_str() {
            "bucket" => Limit::bucket(config.units, minute, 2),
            "quota" => Limit::quota(config.units, minute),
            "atOnce" => Limit::at_once(config.units),
            _ => Limit::sliding(config.units, minute),
        };
        Limited { limit, charges: config.kind == "charged" }
    }

    async fn on_request(&self, request: &mut Request<Self::State>) -> Result<Flow> {
        let key = request.headers().get("x-key").unwrap_or_default();
        let other = Limit::sliding(100, Duration::from_secs(1));
        let taken = limit::take(&[Ask::new(&self.limit, &key), Ask::new(&other, b"all").advisory()])?;
        let [verdict, _] = taken.verdicts[..] else { return Ok(Reply::new(500).into()) };
        if !taken.allowed() {
            let wait = verdict.retry_after.div_ceil(1_000_000_000);
            return Ok(Reply::new(429).header("retry-after", wait.to_string()).into());
        }
        request.state().replace(taken.permit);
        Ok(Flow::Continue)
    }

    async fn on_response(&self, response: &mut Response<Self::State>) -> Result<()> {
        if let (true, Some(cost)) = (self.charges, response.headers().get("x-cost")) {
            let verdict = limit::charge(&self.limit, b"k", cost.parse().unwrap_or(0))?;
            response.headers().set("x-left", verdict.remaining.to_string());
        }
        Ok(())
    }
}

fn gateway(config: &str) -> Gateway<Limited> {
    Gateway::with(config, Ways::all().without_late_answers().portable()).expect("a correct configuration")
}

#[test]
fn windows_are_counted_by_key() {
    let gateway = gateway(r#"{ "kind": "window", "units": 2 }"#);
    let status =
        |gateway: &Gateway<Limited>, key: &[u8]| gateway.send(get("/").header("x-key", key)).status();
    assert_eq!([0; 3].map(|_| status(&gateway, b"a")), [200, 200, 429]);
    assert_eq!(status(&gateway, b"\xff\x00"), 200);
    assert_eq!(gateway.send(get("/").header("x-key", "a")).header("retry-after"), Some("60"));
    gateway.advance(Duration::from_secs(60));
    assert_eq!(status(&gateway, b"a"), 200);
}

#[test]
fn buckets_fill_and_quotas_begin_with_the_clock() {
    for (kind, first) in [("bucket", 2), ("quota", 3)] {
        let gateway = gateway(&format!(r#"{{ "kind": "{kind}", "units": 3 }}"#));
        let passed = (0..5).filter(|_| gateway.send(get("/")).status() == 200).count();
        assert_eq!(passed, first, "{kind}");
        gateway.advance(Duration::from_secs(60));
        assert_eq!(gateway.send(get("/")).status(), 200, "{kind}");
    }
}

#[test]
fn what_goes_on_is_given_back_at_the_end() {
    let gateway = gateway(r#"{ "kind": "atOnce", "units": 1 }"#);
    for _ in 0..3 {
        assert_eq!(gateway.send(get("/")).status(), 200);
    }
}

#[test]
fn costs_may_be_known_late() {
    let gateway = gateway(r#"{ "kind": "charged", "units": 10 }"#);
    let ask = |cost: &str| {
        let reply = tidegate_sdk_test::Reply::new(200).header("x-cost", cost);
        gateway.send(get("/").header("x-key", "k").answered(reply))
    };
    assert_eq!(ask("4").header("x-left"), Some("5"));
    assert_eq!(ask("20").header("x-left"), Some("0"));
    assert_eq!(ask("0").status(), 429);
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let gateway = gateway(r#"{ "kind": "window", "units": 0 }"#);
    assert_eq!(gateway.send(get("/")).status(), 500);
}
