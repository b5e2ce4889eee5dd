//! A running gateway: answers, the admin API, the end.

use crate::process::{Folder, Gateway, request};

fn configuration(body: &str) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0 }}
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes: [{{ name: all, rules: [{{ respond: {{ status: 200, body: {body} }} }}] }}]
"
    )
}

#[test]
fn it_serves_and_ends_with_zero_after_sigterm() {
    let folder = Folder::new("serve-end");
    folder.write("a.yaml", configuration("hello"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
    assert_eq!(gateway.admin("/readyz").0, 200);
    gateway.signal("TERM");
    gateway.wait("draining");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_folder_of_files_is_one_configuration() {
    let folder = Folder::new("serve-folder");
    std::fs::create_dir(folder.path("conf")).expect("a new folder");
    let text = configuration("from a folder");
    let (first, routes) = text.split_at(text.find("routes").expect("it has routes"));
    folder.write("conf/a.yaml", first);
    folder.write("conf/b.yaml", routes);
    let gateway = Gateway::start(&folder, "conf");
    assert_eq!(gateway.get("/"), (200, "from a folder".to_owned()));
}

#[test]
fn the_admin_api_shows_and_changes_nothing() {
    let folder = Folder::new("serve-admin");
    folder.write("a.yaml", configuration("hello"));
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.admin("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(gateway.admin("/nothing").0, 404);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(request(gateway.admin, method, "/config").0, 405, "{method}");
    }
    let config = gateway.config();
    assert_eq!(config["generation"], 1);
    assert_eq!(config["addresses"]["web"][0], gateway.web.to_string());
    assert_eq!(config["rejected"], serde_json::Value::Null);
    let (status, metrics) = gateway.admin("/metrics");
    assert_eq!(status, 200);
    for line in ["tidegate_config_generation 1", "tidegate_config_rejected_total 0", "tidegate_ready 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let (_, generations) = gateway.admin("/generations");
    assert!(generations.contains("\"generation\": 1"), "{generations}");
}

#[test]
fn a_broken_module_costs_only_its_routes() {
    let folder = Folder::new("serve-broken");
    folder.write("broken.wasm", "not wasm");
    folder.write(
        "a.yaml",
        "\
admin: { address: 127.0.0.1:0 }
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { broken: { module: broken.wasm }, lenient: { module: broken.wasm, onFailure: open } }
routes:
  - name: all
    rules:
      - { matches: [{ path: { prefix: /closed } }], filters: [{ plugin: broken }], respond: { status: 200 } }
      - { matches: [{ path: { prefix: /open } }], filters: [{ plugin: lenient }], respond: { status: 200 } }
      - { respond: { status: 200, body: fine } }
",
    );
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "fine".to_owned()));
    assert!((500..600).contains(&gateway.get("/closed").0));
    assert_eq!(gateway.get("/open").0, 200);
    assert_eq!(gateway.config()["plugins"]["broken"]["state"], "failed");
}
