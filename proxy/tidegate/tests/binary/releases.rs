//! Releases in the running binary: it judges them by itself, shows them, and is steered where the configuration allows it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tidegate_testkit::{Answer, ScriptedUpstream};

use crate::process::{Folder, Gateway, lines, request, tidegate};

fn server(fails: Arc<AtomicBool>) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| match fails.load(Ordering::SeqCst) {
        true => Answer::reply("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
        false => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    })
}

fn configuration(old: &ScriptedUpstream, new: &ScriptedUpstream, steers: bool) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0, steerReleases: {steers} }}
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes:
  - name: shop
    rules:
      - name: all
        forward: [{{ upstream: old }}, {{ upstream: new }}]
        release: {{ to: new, steps: [50, 100], interval: 100ms, minRequests: 5, rollbackOn: {{ p99OverOld: 0 }} }}
upstreams: {{ old: {{ servers: ['{}'] }}, new: {{ servers: ['{}'] }} }}
",
        old.address(),
        new.address()
    )
}

fn release(gateway: &Gateway) -> Value {
    let (status, text) = gateway.admin("/releases");
    assert_eq!(status, 200);
    let shown: Value = serde_json::from_str(&text).expect("it is JSON");
    shown["releases"][0].clone()
}

fn steer(gateway: &Gateway, order: &str) -> u16 {
    request(gateway.admin, "POST", &format!("/releases/route/shop/all/{order}")).0
}

#[test]
fn a_release_takes_over_or_goes_back_by_itself_and_by_order() {
    let fails = Arc::new(AtomicBool::new(false));
    let (old, new) = (server(Arc::default()), server(Arc::clone(&fails)));
    let folder = Folder::new("releases");
    folder.write("a.yaml", configuration(&old, &new, true));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    (0..30).for_each(|_| assert_eq!(gateway.get("/").0, 200));
    let line = gateway.wait("release goes on");
    assert_eq!((line["release"].as_str(), line["percent"].as_f64()), (Some("route/shop/all"), Some(100.0)));
    (0..30).for_each(|_| assert_eq!(gateway.get("/").0, 200));
    gateway.wait("release has taken over");
    assert_eq!(release(&gateway)["state"], "promoted");

    assert_eq!(steer(&gateway, "pause"), 409);
    assert_eq!(steer(&gateway, "restart"), 200);
    assert_eq!(release(&gateway)["percent"], 50.0);
    fails.store(true, Ordering::SeqCst);
    (0..10).for_each(|_| drop(gateway.get("/")));
    let line = gateway.wait("release is rolled back");
    assert!(line["why"].as_str().is_some_and(|why| why.contains("of its requests failed")), "{line}");
    (0..10).for_each(|_| assert_eq!(gateway.get("/").0, 200));
    let shown = release(&gateway);
    assert_eq!((shown["state"].as_str(), shown["percent"].as_f64()), (Some("rolledBack"), Some(0.0)));
    assert_eq!(shown["why"], line["why"]);

    assert_eq!(steer(&gateway, "hurry"), 404);
    assert_eq!(request(gateway.admin, "POST", "/releases/route/shop/none/pause").0, 404);
    assert_eq!(request(gateway.admin, "PUT", "/releases").0, 405);
    let mut page = TcpStream::connect(gateway.admin).expect("it listens");
    let head =
        "POST /releases/route/shop/all/promote HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.test\r\n";
    page.write_all(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    page.read_to_string(&mut answer).expect("it answers in text");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(release(&gateway)["state"], "rolledBack");
    assert_eq!(gateway.admin("/releases/route/shop/all/promote").0, 405);
}

#[test]
fn nobody_steers_unless_the_configuration_says_so() {
    let (old, new) = (server(Arc::default()), server(Arc::default()));
    let folder = Folder::new("releases-closed");
    folder.write("a.yaml", configuration(&old, &new, false));
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(steer(&gateway, "promote"), 403);
    assert_eq!(
        (release(&gateway)["state"].clone(), release(&gateway)["step"].clone()),
        ("running".into(), 0.into())
    );
}

/// With the example that has all of it.
#[test]
fn explain_tells_of_releases_and_mirrors() {
    let folder = Folder::new("releases-explain");
    folder.write("a.yaml", include_str!("../../../../examples/release/tidegate.yaml"));
    let output = tidegate(&folder, &["explain", "a.yaml", "GET", "http://127.0.0.1:8080/"]);
    let text = lines(&output).join("\n");
    for part in [
        "forward to shop-v1 for 1 of 1 of the rest (127.0.0.1:3001)",
        "forward to shop-v2, which takes over: 5 %, then 25 %, then 100 % of the requests, at least 30s and 50 \
         requests each, back on more than 2 % errors or 1 % more than the old version, a p99 above 500ms, a p99 \
         above 2 times the old version's and 10 ms (127.0.0.1:3002)",
        "the same for the same cookie session",
        "copy 10 % to shop-v3, whose answers nobody gets, at most 128 at one time for 10s",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    folder.write(
        "b.yaml",
        "\
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { p: { module: a.wasm, canary: { module: b.wasm, percent: 5, stickyBy: address } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: p }], respond: {} }] }]
",
    );
    let text = lines(&tidegate(&folder, &["explain", "b.yaml", "GET", "http://127.0.0.1/"])).join("\n");
    let part = "another version for 5 % of the requests, back on more than 5 % errors or 1 % more than the old version, \
                a p99 above 2 times the old version's and 10 ms, more than 0 requests in which it breaks off, the same for the same \
                client address";
    assert!(text.contains(part), "{text}");
}
