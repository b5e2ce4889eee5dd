//! Modules over the network, with a real gateway, registries and web servers on loopback sockets.

use tidegate_testkit::Authority;

use crate::process::{Folder, Gateway, lines, tidegate};
use crate::registry::{Registry, digest, hex};

/// A module that answers every request with this text.
pub(crate) fn module(text: &str) -> Vec<u8> {
    let source = format!(
        r#"(module
            (import "env" "proxy_send_local_response"
                (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{text}")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 16)
                    (i32.const {}) (i32.const 0) (i32.const 0) (i32.const -1)))
                (i32.const 1)))"#,
        text.len()
    );
    wat::parse_str(source).expect("the text is a module")
}

/// `/f` passes the plugin, everything else does not.
fn configuration(plugin: &str) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0 }}
workers: 1
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
plugins: {{ guest: {{ {plugin} }} }}
routes:
  - name: all
    rules:
      - {{ matches: [{{ path: {{ prefix: /f }} }}], filters: [{{ plugin: guest }}], respond: {{ body: passed }} }}
      - respond: {{ body: other }}
"
    )
}

fn start(folder: &Folder, plugin: &str) -> Gateway {
    folder.write("a.yaml", configuration(plugin));
    Gateway::start(folder, "a.yaml")
}

fn ok(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

fn why(gateway: &Gateway) -> String {
    gateway.config()["plugins"]["guest"].to_string()
}

#[test]
fn a_web_server_gives_the_module_with_the_digest() {
    let (folder, authority) = (Folder::new("fetch-https"), Authority::new());
    let server = Registry::secure(&authority);
    folder.write("ca.pem", authority.pem());
    let wasm = module("one");
    server.shelves().files.insert("/guest.wasm".to_owned(), wasm.clone());
    let plugin = |digest: &str| {
        format!(
            "module: \"https://{}/guest.wasm\", sha256: \"{digest}\", fetch: {{ ca: ca.pem }}",
            server.address
        )
    };
    let gateway = start(&folder, &plugin(&hex(&wasm)));
    assert_eq!(gateway.get("/f"), ok("one"));
    drop(gateway);

    // With another digest it is another module, which the server does not have.
    let other = hex(b"other");
    let mut gateway = start(&folder, &plugin(&other));
    assert_eq!((gateway.get("/f").0, gateway.get("/")), (503, ok("other")));
    let told = why(&gateway);
    assert!(told.contains("loading") && told.contains(&other) && told.contains(&hex(&wasm)), "{told}");
    folder.write("a.yaml", configuration(&plugin(&hex(&wasm))));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("one"), "from the cache");
}

#[test]
fn an_answer_that_is_cut_off_is_no_module() {
    let (folder, authority) = (Folder::new("fetch-cut"), Authority::new());
    let server = Registry::secure(&authority);
    folder.write("ca.pem", authority.pem());
    let wasm = module("whole");
    server.shelves().files.insert("/guest.wasm".to_owned(), wasm.clone());
    server.shelves().cut = 10;
    let plugin = format!(
        "module: \"https://{}/guest.wasm\", sha256: \"{}\", fetch: {{ ca: ca.pem }}",
        server.address,
        hex(&wasm)
    );
    let mut gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f").0, 503);
    assert!(why(&gateway).contains("broke off"), "{}", why(&gateway));
    server.shelves().cut = 0;
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("whole"));
}

#[test]
fn both_layouts_are_pulled_by_tag_and_by_digest() {
    let registry = Registry::plain();
    let manifest = registry.put_artifact("filters/bare", "v1", &module("bare"));
    registry.put_image("packed", "v1", &module("packed"));
    let address = registry.address;
    for (number, (reference, body)) in [
        (format!("oci://{address}/filters/bare:v1"), "bare"),
        (format!("oci://{address}/filters/bare@{manifest}"), "bare"),
        (format!("oci://{address}/packed:v1"), "packed"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = Folder::new(&format!("fetch-layout-{number}"));
        let gateway = start(&folder, &format!("module: \"{reference}\""));
        assert_eq!(gateway.get("/f"), ok(body), "{reference}: {}", why(&gateway));
    }
}

#[test]
fn a_registry_with_tls_tokens_and_blobs_elsewhere() {
    let (folder, authority) = (Folder::new("fetch-token"), Authority::new());
    let (registry, elsewhere) = (Registry::secure(&authority), Registry::secure(&authority));
    folder.write("ca.pem", authority.pem());
    let wasm = module("token");
    registry.put_artifact("team/guest", "v1", &wasm);
    elsewhere.shelves().files.insert(format!("/blobs/{}", digest(&wasm)), wasm.clone());
    let address = registry.address;
    {
        let mut shelves = registry.shelves();
        // YW5uOnNlY3JldA== is ann:secret.
        shelves.token = Some(("Basic YW5uOnNlY3JldA==".to_owned(), "t0ken".to_owned()));
        let challenge = format!(
            "Bearer realm=\"https://{address}/token\",service=\"registry\",scope=\"repository:team/guest:pull\""
        );
        shelves.wants = Some(("Bearer t0ken".to_owned(), challenge));
        shelves.blobs_at = Some(format!("https://{}", elsewhere.address));
    }
    let secret = format!(r#"{{ "auths": {{ "{address}": {{ "auth": "YW5uOnNlY3JldA==" }} }} }}"#);
    folder.write("docker.json", secret);
    let plugin = format!(
        "module: \"oci://{address}/team/guest:v1\", fetch: {{ ca: ca.pem, pullSecret: docker.json }}"
    );
    let gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f"), ok("token"), "{}", why(&gateway));
    let seen = elsewhere.shelves().seen.clone();
    assert!(!seen.is_empty() && seen.iter().all(|(_, shown)| shown.is_none()), "{seen:?}");
}

#[test]
fn basic_authorization_comes_from_the_users_own_file() {
    let folder = Folder::new("fetch-basic");
    let registry = Registry::plain();
    registry.put_artifact("guest", "v1", &module("basic"));
    let challenge = "Basic realm=\"registry\"".to_owned();
    registry.shelves().wants = Some(("Basic YW5uOnNlY3JldA==".to_owned(), challenge));
    let plugin = format!("module: \"oci://{}/guest:v1\"", registry.address);
    let mut gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f").0, 503);
    assert!(why(&gateway).contains("wants a user and a password"), "{}", why(&gateway));

    std::fs::create_dir_all(folder.path(".docker")).expect("the folder can be written");
    let secret = format!(r#"{{ "auths": {{ "{}": {{ "auth": "YW5uOnNlY3JldA==" }} }} }}"#, registry.address);
    folder.write(".docker/config.json", secret);
    gateway.signal("HUP");
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("basic"));
}

#[test]
fn what_a_registry_changes_under_a_digest_is_refused() {
    let folder = Folder::new("fetch-digest");
    let registry = Registry::plain();
    let manifest = registry.put_artifact("guest", "v1", &module("good"));
    {
        let mut shelves = registry.shelves();
        let good = digest(&module("good"));
        shelves.blobs.insert(good, module("evil"));
    }
    let plugin = format!("module: \"oci://{}/guest@{manifest}\"", registry.address);
    let gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f").0, 503);
    let told = why(&gateway);
    assert!(told.contains("came with the digest") && told.contains(&digest(&module("evil"))), "{told}");
    drop(gateway);

    let other = registry.put_artifact("other", "v1", &module("evil"));
    let shelves = registry.shelves().manifests.get(&format!("other/{other}")).cloned();
    registry.shelves().manifests.insert(format!("guest/{manifest}"), shelves.expect("it was put there"));
    let gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f").0, 503);
    assert!(why(&gateway).contains("has the digest"), "{}", why(&gateway));
}

#[test]
fn an_outage_ends_by_itself_and_keeps_nothing_else_out() {
    let folder = Folder::new("fetch-outage");
    let registry = Registry::plain();
    registry.put_artifact("guest", "v1", &module("back"));
    registry.shelves().down = true;
    let plugin = format!("module: \"oci://{}/guest:v1\"", registry.address);
    let mut gateway = start(&folder, &plugin);
    assert_eq!((gateway.get("/f").0, gateway.get("/")), (503, ok("other")));

    folder.write("a.yaml", configuration(&format!("{plugin}, onFailure: {{ load: open }}")));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("passed"), "the policy may change meanwhile");
    registry.shelves().down = false;
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("back"));
    drop(gateway);

    registry.shelves().down = true;
    let gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f"), ok("back"), "a restart needs no registry");
}

#[test]
fn a_tag_that_moves_is_followed_and_a_bad_version_is_not() {
    let folder = Folder::new("fetch-moves");
    let registry = Registry::plain();
    registry.put_artifact("guest", "v1", &module("one"));
    let plugin = format!("module: \"oci://{}/guest:v1\", fetch: {{ pull: always }}", registry.address);
    let mut gateway = start(&folder, &plugin);
    assert_eq!(gateway.get("/f"), ok("one"));

    registry.put_artifact("guest", "v1", &module("two"));
    gateway.signal("HUP");
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("two"));

    registry.put_artifact("guest", "v1", b"no module");
    gateway.signal("HUP");
    gateway.wait("new version of a plugin refused");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("two"), "the last good one");
    let told = why(&gateway);
    assert!(told.contains("newer") && told.contains("WebAssembly"), "{told}");

    folder.write("a.yaml", configuration(&plugin).replace("other", "changed"));
    gateway.wait("configuration live on all workers");
    assert_eq!((gateway.get("/f"), gateway.get("/")), (ok("two"), ok("changed")));

    registry.put_artifact("guest", "v1", &module("three"));
    gateway.signal("HUP");
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("three"));
    assert!(!why(&gateway).contains("newer"));
}

#[test]
fn a_version_that_is_on_its_way_leaves_the_earlier_one_in_place() {
    let folder = Folder::new("fetch-earlier");
    let registry = Registry::plain();
    registry.put_artifact("guest", "v1", &module("one"));
    let plugin = |tag: &str| format!("module: \"oci://{}/guest:{tag}\"", registry.address);
    let mut gateway = start(&folder, &plugin("v1"));
    folder.write("a.yaml", configuration(&plugin("v2")).replace("other", "changed"));
    gateway.wait("plugin waits for its module, the earlier version serves");
    gateway.wait("configuration live on all workers");
    assert_eq!((gateway.get("/f"), gateway.get("/")), (ok("one"), ok("changed")));
    registry.put_artifact("guest", "v2", &module("two"));
    gateway.wait("module fetched");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/f"), ok("two"));
    assert!(gateway.admin("/metrics").1.contains("tidegate_module_fetches_total{result=\"fetched\"} 2"));
}

#[test]
fn check_fetches_and_tells() {
    let folder = Folder::new("fetch-check");
    let registry = Registry::plain();
    registry.put_artifact("guest", "v1", &module("one"));
    for (tag, code) in [("v1", 0), ("v2", 1)] {
        let plugin = format!("module: \"oci://{}/guest:{tag}\"", registry.address);
        folder.write("a.yaml", configuration(&plugin));
        let output = tidegate(&folder, &["check", "a.yaml"]);
        let lines = lines(&output);
        assert_eq!(output.status.code(), Some(code), "{lines:?}");
        let told = lines.iter().any(|line| line.contains("MANIFEST_UNKNOWN") && line.contains("404"));
        assert_eq!(told, tag == "v2", "{lines:?}");
    }
}
