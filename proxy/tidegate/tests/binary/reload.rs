//! Changes of files while the gateway runs.

use std::io::Write;
use std::time::Duration;

use tidegate_testkit::{Authority, RawClient};

use crate::fetch::module;
use crate::process::{Folder, Gateway};

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
fn an_edit_is_taken_over() {
    let folder = Folder::new("reload-edit");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/").1, "one");
    folder.write("a.yaml", configuration("two"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "two");
    // Written in place, not renamed over.
    std::fs::write(folder.path("a.yaml"), configuration("three")).expect("it is there");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "three");
}

#[test]
fn a_bad_edit_changes_nothing_and_a_good_one_mends_it() {
    let folder = Folder::new("reload-bad");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    folder.write("a.yaml", "listeners: [");
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/").1, "one");
    let config = gateway.config();
    assert_eq!(config["generation"], 1);
    assert!(config["rejected"]["problems"][0]["line"].is_number(), "{config}");
    assert_eq!(gateway.admin("/readyz").0, 200);

    folder.write("a.yaml", configuration("two"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "two");
    assert!(gateway.config()["rejected"].is_null());
}

/// What there is of a file may be a configuration already, one that would end what the rest of it serves.
#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let folder = Folder::new("reload-half");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let second = configuration("two");
    let mut file = std::fs::File::create(folder.path("a.yaml")).expect("it can be written");
    for line in second.split_inclusive('\n') {
        file.write_all(line.as_bytes()).expect("it can be written");
        // Longer than the quiet after which events count as over.
        std::thread::park_timeout(Duration::from_millis(150));
        assert_eq!(gateway.get("/").1, "one", "{line}");
    }
    drop(file);
    gateway.wait("configuration live on all workers");
    assert_eq!((gateway.get("/").1.as_str(), &gateway.config()["generation"]), ("two", &2.into()));
}

/// The admin API and every listener would be gone with it.
#[test]
fn a_file_of_comments_is_half_written() {
    let folder = Folder::new("reload-comments");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    for text in ["# The gateway of the shop.\n", "null\n"] {
        folder.write("a.yaml", text);
        gateway.wait("configuration rejected");
        assert_eq!(gateway.get("/").1, "one");
        let message = gateway.config()["rejected"]["problems"][0]["message"].to_string();
        assert!(message.contains("nothing but comments"), "{message}");
        folder.write("a.yaml", configuration("two"));
        gateway.wait("configuration live on all workers");
        folder.write("a.yaml", configuration("one"));
        gateway.wait("configuration live on all workers");
    }
}

/// It is what was written, and hardly what was wanted.
#[test]
fn a_configuration_without_listeners_is_warned_about() {
    let folder = Folder::new("reload-nothing");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    folder.write("a.yaml", "{ admin: { address: 127.0.0.1:0 } }\n");
    gateway.wait("a.yaml:1: warning: there is no listener, so nothing is served");
}

/// Whoever opens a pipe waits for its writer, and with it every later change.
#[test]
fn a_pipe_in_place_of_a_module_stops_nothing() {
    let folder = Folder::new("reload-pipe");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let made = std::process::Command::new("mkfifo").arg(folder.path("pipe.wasm")).status();
    assert!(made.expect("coreutils").success());
    folder.write("a.yaml", format!("{}plugins: {{ p: {{ module: pipe.wasm }} }}\n", configuration("two")));
    gateway.wait("configuration rejected");
    folder.write("a.yaml", configuration("three"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "three");
}

#[test]
fn a_file_that_is_deleted_may_return() {
    let folder = Folder::new("reload-return");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    std::fs::remove_file(folder.path("a.yaml")).expect("it is there");
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/").1, "one");
    folder.write("a.yaml", configuration("two"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "two");
}

#[test]
fn a_kubernetes_volume_swap_is_taken_over() {
    let folder = Folder::new("reload-kubernetes");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.path(name)).expect("a new link");
    for (version, body) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir(folder.path(version)).expect("a new folder");
        std::fs::write(folder.path(version).join("a.yaml"), configuration(body)).expect("a new file");
    }
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/").1, "one");
    link("..2", "..data_tmp");
    std::fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("both are in one folder");
    std::fs::remove_dir_all(folder.path("..1")).expect("the old version");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "two");
}

#[test]
fn a_secret_file_is_watched_and_never_shown() {
    let folder = Folder::new("reload-secret");
    folder.write("body.txt", "secret-one\n");
    folder.write("a.yaml", configuration("\"${file:body.txt}\""));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/").1, "secret-one");
    folder.write("body.txt", "secret-two\n");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").1, "secret-two");
    let config = gateway.config().to_string();
    assert!(!config.contains("secret-two") && config.contains("${file:body.txt}"), "{config}");
}

#[test]
fn sighup_reloads_at_once() {
    let folder = Folder::new("reload-hangup");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    gateway.signal("HUP");
    let line = gateway.wait("configuration unchanged");
    assert_eq!(line["cause"], "SIGHUP");
    assert_eq!(gateway.config()["generation"], 1);
}

#[test]
fn a_plugin_that_fails_does_not_take_the_place_of_what_runs() {
    let folder = Folder::new("reload-plugin");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    folder.write("broken.wasm", "not wasm");
    let broken = configuration("two").replace("rules: [{", "rules: [{ filters: [{ plugin: broken }],");
    folder.write("a.yaml", format!("{broken}plugins: {{ broken: {{ module: broken.wasm }} }}\n"));
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/").1, "one");
    let message = gateway.config()["rejected"]["problems"][0]["message"].to_string();
    assert!(message.contains("WebAssembly"), "{message}");
}

#[test]
fn an_address_that_is_taken_refuses_the_whole_configuration() {
    let folder = Folder::new("reload-address");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let second = format!("protocol: http }}, {{ name: second, address: \"{address}\", protocol: http }}]");
    folder.write("a.yaml", configuration("two").replace("protocol: http }]", &second));
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/").1, "one");
}

#[test]
fn the_admin_api_follows_its_address() {
    let folder = Folder::new("reload-admin");
    folder.write("a.yaml", configuration("one"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    folder.write("a.yaml", configuration("one").replace("127.0.0.1:0 }\nworkers", "127.0.0.2:0 }\nworkers"));
    let before = gateway.admin;
    gateway.admin = gateway.address("admin API listening");
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.config()["generation"], 2);
    assert!(std::net::TcpStream::connect(before).is_err(), "nothing listens at the old address");
}

/// Each kind of file that a configuration names, or is made of.
#[test]
fn certificates_keys_modules_and_files_of_a_folder_are_watched() {
    let authority = Authority::new();
    let folder = Folder::new("reload-kinds");
    let renew = || {
        let certificate = authority.issue(&["gateway.test"]);
        folder.write("own.key", &certificate.key);
        folder.write("own.pem", &certificate.cert);
        certificate.leaf()
    };
    let first = renew();
    folder.write("own.wasm", module("one"));
    std::fs::create_dir(folder.path("conf")).expect("a new folder");
    folder.write(
        "conf/a.yaml",
        "\
admin: { address: 127.0.0.1:0 }
workers: 1
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: https, tls: { certificates: [{ cert: ../own.pem, key: ../own.key }] } }
plugins: { own: { module: ../own.wasm } }
routes: [{ name: all, rules: [{ filters: [{ plugin: own }], respond: { status: 204 } }] }]
",
    );
    let mut gateway = Gateway::start(&folder, "conf");
    let shown = |gateway: &Gateway| {
        let client = RawClient::connect_tls(gateway.web, &authority, "gateway.test", &["http/1.1"]);
        let mut client = client.expect("it shakes hands");
        let body = client.exchange("GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n").text();
        (client.certificates()[0].clone(), body)
    };
    assert_eq!(shown(&gateway), (first, "one".to_owned()));
    let second = renew();
    gateway.wait("configuration live on all workers");
    assert_eq!(shown(&gateway), (second.clone(), "one".to_owned()));
    folder.write("own.wasm", module("two"));
    gateway.wait("configuration live on all workers");
    assert_eq!(shown(&gateway), (second, "two".to_owned()));

    folder.write("conf/b.yaml", "upstreams: { up: { servers: ['127.0.0.1:1'] } }\n");
    gateway.wait("configuration live on all workers");
    assert!(gateway.config().to_string().contains("127.0.0.1:1\""), "{}", gateway.config());
    std::fs::remove_file(folder.path("conf/b.yaml")).expect("it is there");
    gateway.wait("configuration live on all workers");
    assert!(!gateway.config().to_string().contains("127.0.0.1:1\""), "{}", gateway.config());
}

/// Where a listener is is told when it comes, not with each configuration that keeps it.
#[test]
fn only_new_addresses_are_told() {
    let folder = Folder::new("reload-addresses");
    let text = configuration("one");
    folder.write("a.yaml", &text);
    let mut gateway = Gateway::start(&folder, "a.yaml");
    folder.write("a.yaml", text.replace("one", "two"));
    let (lines, _) = gateway.up_to("configuration live on all workers");
    assert!(lines.iter().all(|line| line["message"] != "listening"), "{lines:?}");
    let more = "listeners: [{ name: more, address: 127.0.0.1:0 }, ";
    assert!(text.contains("listeners: ["), "{text}");
    folder.write("a.yaml", text.replace("listeners: [", more));
    let (lines, _) = gateway.up_to("configuration live on all workers");
    let told: Vec<_> = lines.iter().filter(|line| line["message"] == "listening").collect();
    assert!(told.len() == 1 && told[0]["listener"] == "more", "{lines:?}");
}
