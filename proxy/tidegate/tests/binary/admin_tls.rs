//! The admin API by TLS: who is let in by certificate, by token, by neither; new and broken files; commands and other
//! gateways that ask it.

use std::net::SocketAddr;

use serde_json::Value;
use tidegate_testkit::{Authority, Certificate, RawClient};

use crate::process::{Folder, Gateway, request_with, tidegate};

/// What the tests ask for.
const STATS: &str = "GET /stats HTTP/1.1\r\nhost: gateway.test\r\n";

/// The certificates of a test: of servers, of clients.
struct Site {
    folder: Folder,
    servers: Authority,
    clients: Authority,
}

impl Site {
    fn new(name: &str) -> Self {
        let site = Self { folder: Folder::new(name), servers: Authority::new(), clients: Authority::new() };
        site.folder.write("servers.pem", site.servers.pem());
        site.folder.write("clients.pem", site.clients.pem());
        site.keep("own", &site.servers.issue(&["gateway.test"]));
        site.keep("client", &site.clients.issue(&["operator.test"]));
        site
    }

    fn keep(&self, name: &str, certificate: &Certificate) {
        self.folder.write(&format!("{name}.key"), &certificate.key);
        self.folder.write(&format!("{name}.pem"), &certificate.cert);
    }

    fn write(&self, file: &str, more: &str) {
        let text = format!(
            "admin: {{ address: 127.0.0.1:0, tls: {{ certificates: [{{ cert: own.pem, key: own.key }}] {more}\n\
             listeners: [{{ name: web, address: 127.0.0.1:0 }}]\n\
             routes: [{{ name: all, rules: [{{ respond: {{ status: 200 }} }}] }}]\n"
        );
        self.folder.write(file, text);
    }

    fn start(&self, more: &str) -> Gateway {
        self.write("a.yaml", more);
        Gateway::start(&self.folder, "a.yaml")
    }

    fn anyone(&self, address: SocketAddr) -> RawClient {
        RawClient::connect_tls(address, &self.servers, "gateway.test", &["http/1.1"]).expect("it is trusted")
    }

    fn shown(&self, address: SocketAddr, authority: &Authority) -> RawClient {
        let certificate = authority.issue(&["operator.test"]);
        RawClient::connect_with(address, &self.servers, "gateway.test", &certificate).expect("it is trusted")
    }
}

/// The status that a request is answered with; none: the connection ends without an answer.
fn status(mut client: RawClient, head: &str) -> Option<u16> {
    client.send(format!("{head}\r\n"));
    client.response("GET").ok().map(|answer| answer.status)
}

#[test]
fn clients_without_a_certificate_are_refused_where_one_is_required() {
    let site = Site::new("admin-mtls");
    let gateway = site.start(", clientAuth: { ca: clients.pem } } }");
    let mut known = site.shown(gateway.admin, &site.clients);
    assert_eq!(known.exchange(format!("{STATS}\r\n")).status, 200);
    let mut anyone = site.anyone(gateway.admin);
    assert_eq!(anyone.alpn().as_deref(), Some("http/1.1"));
    assert_eq!(status(anyone, STATS), None);
    assert_eq!(status(site.shown(gateway.admin, &site.servers), STATS), None, "another authority");
    assert_eq!(status(RawClient::connect(gateway.admin), STATS), None, "clear text");
    let listed = known.exchange("GET /certificates HTTP/1.1\r\nhost: gateway.test\r\n\r\n").text();
    let listed: Value = serde_json::from_str(&listed).expect("it is JSON");
    assert_eq!(listed["certificates"][0]["listener"], "(admin)", "{listed}");
    assert_eq!(listed["certificates"][0]["names"][0], "gateway.test", "{listed}");
    let page = known.exchange("GET /metrics HTTP/1.1\r\nhost: gateway.test\r\n\r\n").text();
    assert!(
        page.contains("tidegate_certificate_not_after_timestamp_seconds{listener=\"(admin)\","),
        "{page}"
    );
}

#[test]
fn a_token_is_wanted_beside_the_certificate_or_in_its_place() {
    let site = Site::new("admin-mtls-token");
    let token = format!("{STATS}authorization: Bearer 0123456789abcdef\r\n");
    let probe = "GET /readyz HTTP/1.1\r\nhost: gateway.test\r\n";
    let gateway = site.start(", clientAuth: { ca: clients.pem } }, token: 0123456789abcdef }");
    assert_eq!(status(site.shown(gateway.admin, &site.clients), STATS), Some(401));
    assert_eq!(status(site.shown(gateway.admin, &site.clients), &token), Some(200));
    let optional = ", clientAuth: { ca: clients.pem, mode: optional } }";
    let gateway = site.start(&format!("{optional}, token: 0123456789abcdef }}"));
    assert_eq!(status(site.shown(gateway.admin, &site.clients), STATS), Some(200));
    assert_eq!(status(site.anyone(gateway.admin), STATS), Some(401));
    assert_eq!(status(site.anyone(gateway.admin), &token), Some(200));
    let gateway = site.start(&format!("{optional} }}"));
    assert_eq!(status(site.shown(gateway.admin, &site.clients), STATS), Some(200));
    assert_eq!(status(site.anyone(gateway.admin), STATS), Some(403));
    assert_eq!(status(site.anyone(gateway.admin), probe), Some(200));
}

#[test]
fn new_files_take_effect_and_bad_ones_change_nothing() {
    let site = Site::new("admin-tls-files");
    let mut gateway = site.start(", clientAuth: { ca: clients.pem } } }");
    let mut known = site.shown(gateway.admin, &site.clients);
    assert_eq!(known.exchange(format!("{STATS}\r\n")).status, 200);
    let before = known.certificates();

    site.folder.write("clients.pem", "no certificate");
    gateway.wait("configuration rejected");
    let problem = gateway.wait("a.yaml")["message"].to_string();
    assert!(problem.contains("admin.tls.clientAuth.ca: ") && problem.contains("clients.pem"), "{problem}");
    assert_eq!(known.exchange(format!("{STATS}\r\n")).status, 200, "the last good ones serve on");

    let others = Authority::new();
    site.folder.write("clients.pem", others.pem());
    gateway.wait("configuration live on all workers");
    let (rest, _) = known.rest();
    assert!(rest.is_empty(), "a client that would not be let in now is let go");
    assert_eq!(status(site.shown(gateway.admin, &site.clients), STATS), None);
    let mut new = site.shown(gateway.admin, &others);
    assert_eq!(new.exchange(format!("{STATS}\r\n")).status, 200);
    assert_eq!(new.certificates(), before);

    // From TLS to clear text: what spoke TLS ends, the address stays.
    site.folder.write("a.yaml", "admin: { address: 127.0.0.1:0 }\nlisteners: [{ name: web, address: 127.0.0.1:0 }]\nroutes: [{ name: all, rules: [{ respond: { status: 204 } }] }]\n");
    gateway.wait("configuration live on all workers");
    assert!(new.rest().0.is_empty());
    assert_eq!(gateway.admin("/readyz").0, 200);
}

#[test]
fn commands_show_a_certificate() {
    let site = Site::new("admin-tls-commands");
    let gateway = site.start(", clientAuth: { ca: clients.pem } } }");
    let url = format!("https://{}", gateway.admin);
    let name = ["--server-name", "gateway.test", "--ca", "servers.pem"];
    let told = |arguments: &[&str]| {
        let output = tidegate(&site.folder, &[&["top", &url], arguments].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // An answer has come: all that is missing is a terminal.
    let with = told(&[&name[..], &["--cert", "client.pem", "--key", "client.key"]].concat());
    assert!(with.contains("no terminal"), "{with}");
    let without = told(&name);
    assert!(!without.contains("no terminal") && without.contains(&url), "{without}");
    let untrusted = told(&["--server-name", "gateway.test"]);
    assert!(untrusted.contains("TLS"), "{untrusted}");
    let swapped = told(&[&name[..], &["--cert", "client.key", "--key", "client.key"]].concat());
    assert!(swapped.contains("client.key: no certificate in it"), "{swapped}");
    assert!(told(&["--cert", "client.pem"]).contains("--key"));

    let certificate = ["--cert", "client.pem", "--key", "client.key", "--admin", &url];
    // The address has the name that it has in other commands, or none; not both.
    let named = tidegate(&site.folder, &[&["top"], &name[..], &certificate].concat());
    assert_eq!(String::from_utf8_lossy(&named.stderr), with);
    let twice = told(&["--admin", &url]);
    assert!(twice.contains("cannot be used with"), "{twice}");
    let explain = |more: &[&str]| {
        tidegate(&site.folder, &[&["explain"], &name[..], more, &["GET", "http://any.test/x"]].concat())
    };
    let output = explain(&certificate);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("action    answer 200"), "{text}");
    let refused = explain(&["--admin", &url]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    let tap = [&["tap", "--time", "10ms"], &name[..], &certificate[..]].concat();
    let output = tidegate(&site.folder, &tap);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("waiting for requests"), "{told}");
}

#[test]
fn a_gateway_pushes_by_tls_with_its_certificate() {
    let site = Site::new("admin-tls-push");
    site.write("hub.yaml", ", clientAuth: { ca: clients.pem } }, name: hub }");
    let mut hub = Gateway::start(&site.folder, "hub.yaml");
    let tls = "{ serverName: gateway.test, ca: servers.pem, clientCertificate: { cert: client.pem, key: client.key } }";
    let push = format!("{{ url: 'https://{}', tls: {tls} }}", hub.admin);
    let edge = format!(
        "admin: {{ address: 127.0.0.1:0, name: edge, push: {push} }}\n\
         listeners: [{{ name: web, address: 127.0.0.1:0 }}]\n\
         routes: [{{ name: all, rules: [{{ respond: {{ status: 200 }} }}] }}]\n"
    );
    site.folder.write("edge.yaml", edge);
    let edge = Gateway::start(&site.folder, "edge.yaml");
    assert_eq!(request_with(edge.web, "GET", "/", "").0, 200);
    hub.wait("another gateway pushes");
    let mut client = site.shown(hub.admin, &site.clients);
    let peers = client.exchange("GET /peers HTTP/1.1\r\nhost: gateway.test\r\n\r\n").text();
    let peers: Value = serde_json::from_str(&peers).expect("it is JSON");
    assert_eq!(peers["peers"][0]["name"], "edge", "{peers}");
}
