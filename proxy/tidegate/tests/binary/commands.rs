//! check, explain, schema, and a run that is refused.

use crate::process::{Folder, lines, tidegate};

const GOOD: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: shop
    rules:
      - name: orders
        matches: [{ path: { prefix: /orders } }]
        respond: { status: 200, body: orders }
      - name: rest
        respond: { status: 404 }
";

#[test]
fn check_tells_every_problem_with_its_line() {
    let folder = Folder::new("check-problems");
    folder.write(
        "a.yaml",
        "listners: []\nlisteners:\n  - name: web\n    address: nowhere\n    protocol: http\n",
    );
    let output = tidegate(&folder, &["check", "a.yaml"]);
    let lines = lines(&output);
    assert_eq!(output.status.code(), Some(1), "{lines:?}");
    let has =
        |start: &str, part: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(part));
    assert!(has("a.yaml:1: ", "listeners"), "{lines:?}");
    assert!(has("a.yaml:4: listeners[0].address: ", "nowhere"), "{lines:?}");
}

#[test]
fn check_accepts_a_good_configuration() {
    let folder = Folder::new("check-good");
    folder.write("a.yaml", GOOD);
    let output = tidegate(&folder, &["check", "a.yaml"]);
    assert_eq!((output.status.code(), lines(&output)), (Some(0), vec!["a.yaml: ok".to_owned()]));
}

#[test]
fn check_looks_at_the_files_too() {
    let folder = Folder::new("check-files");
    folder.write(
        "a.yaml",
        "\
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: https, tls: { certificates: [{ cert: gone.pem, key: gone.key }] } }
plugins:
  broken: { module: broken.wasm }
routes: [{ name: r, rules: [{ filters: [{ plugin: broken }], respond: { status: 200 } }] }]
",
    );
    folder.write("broken.wasm", "not wasm");
    let output = tidegate(&folder, &["check", "a.yaml"]);
    let text = lines(&output).join("\n");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in
        ["a.yaml:2: listeners[0].tls.certificates[0].cert: ", "gone.key", "a.yaml:4: plugins.broken: "]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn explain_tells_the_rule_and_why_another_lost() {
    let folder = Folder::new("explain");
    folder.write("a.yaml", GOOD);
    let output =
        tidegate(&folder, &["explain", "a.yaml", "GET", "http://shop.test/orders/7", "-H", "x-a: b"]);
    let text = lines(&output).join("\n");
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["web", "shop", "orders", "rest"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// With the example that shows it.
#[test]
fn explain_tells_who_is_taken_for_the_client() {
    let folder = Folder::new("explain-client");
    folder.write("a.yaml", include_str!("../../../../examples/behind-proxies/tidegate.yaml"));
    let of = |more: &[&str]| {
        let request =
            ["explain", "a.yaml", "GET", "http://127.0.0.1:8080/", "-H", "x-forwarded-for: 192.0.2.1"];
        let output = tidegate(&folder, &[&request[..], more].concat());
        let client = lines(&output).into_iter().find(|line| line.starts_with("client"));
        client.unwrap_or_default().trim_start_matches("client").trim_start().to_owned()
    };
    assert!(of(&["--client-address", "10.0.0.1"]).starts_with("192.0.2.1: the last of x-forwarded-for"));
    assert!(of(&["--client-address", "203.0.113.5"]).starts_with("203.0.113.5: not a trusted proxy, so"));
    assert!(of(&[]).contains("unless that is one of 127.0.0.1/32, 10.0.0.0/8: --client-address"));
}

/// What plugins may choose is not seen in the rule.
#[test]
fn explain_tells_what_plugins_may_choose() {
    let folder = Folder::new("explain-choices");
    let plugins = "\
plugins:
  free: { module: a.wasm }
  named: { module: a.wasm, capabilities: { forwardTo: [one, two], routeTo: [shop/beta] } }
  bound: { module: a.wasm, capabilities: { forwardTo: [], routeTo: [] } }
  silent: { module: a.wasm, capabilities: { functions: [proxy_log, 'foreign:tidegate_redis'] } }
  half: { module: a.wasm, capabilities: { functions: ['foreign:tidegate_set_*'], routeTo: [] } }
upstreams: { one: { servers: ['127.0.0.1:1'] }, two: { servers: ['127.0.0.1:2'] } }
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http, filters: [free] }]
routes:
  - name: shop
    rules:
      - { name: all, filters: [{ plugin: named }, { plugin: bound }, { plugin: silent }, { plugin: half }, { plugin: named }], forward: [{ upstream: one }] }
";
    folder.write("a.yaml", plugins);
    let output = tidegate(&folder, &["explain", "a.yaml", "GET", "http://shop.test/"]);
    let text = lines(&output).join("\n");
    let expected = "\
choices   plugin free may choose any upstream, any route
          plugin named may choose upstream one or two, route shop/beta
          plugin half may choose any upstream
action    forward to one";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn explain_refuses_what_is_not_a_url() {
    let folder = Folder::new("explain-url");
    folder.write("a.yaml", GOOD);
    let output = tidegate(&folder, &["explain", "a.yaml", "GET", "/orders"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("whole URL"));
}

#[test]
fn the_schema_is_json() {
    let output = tidegate(&Folder::new("schema"), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert!(schema["properties"]["listeners"].is_object());
}

#[test]
fn a_configuration_that_cannot_run_is_not_run() {
    let folder = Folder::new("run-refused");
    folder.write("a.yaml", "listeners: 7\n");
    for file in ["a.yaml", "gone.yaml"] {
        let output = tidegate(&folder, &["run", file]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(file), "{text}");
    }
}

/// Whoever starts it is told what would help.
#[test]
fn a_port_that_is_taken_is_told_with_what_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let folder = Folder::new("run-taken");
    folder.write("a.yaml", GOOD.replace("127.0.0.1:0", &address));
    let output = tidegate(&folder, &["run", "a.yaml"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = format!("listener \"web\": cannot listen at {address}: ");
    assert!(text.contains(&told) && text.contains("end what listens there, or take another port"), "{text}");
}

/// A folder of something else has thousands of problems.
#[test]
fn check_tells_the_first_problems_and_how_many_more_there_are() {
    let folder = Folder::new("check-many");
    folder.write("a.yaml", (0..80).map(|n| format!("key{n}: 1\n")).collect::<String>());
    let output = tidegate(&folder, &["check", "a.yaml"]);
    let told = lines(&output);
    let (first, last) = (told.first().map(String::as_str), told.last().map(String::as_str));
    assert_eq!((output.status.code(), told.len()), (Some(1), 51), "{told:?}");
    assert!(first.is_some_and(|line| line.starts_with("a.yaml:1: ")), "{first:?}");
    assert!(
        last.is_some_and(|line| line.starts_with("… and ") && line.contains(" more problems; ")),
        "{last:?}"
    );
    let all = lines(&tidegate(&folder, &["check", "--all", "a.yaml"]));
    assert!(all.len() >= 80 && all.iter().all(|line| line.starts_with("a.yaml:")), "{all:?}");
    let run = tidegate(&folder, &["run", "a.yaml"]);
    let told = String::from_utf8_lossy(&run.stderr).lines().filter(|line| line.contains("a.yaml:")).count();
    assert_eq!(told, 50);
}
