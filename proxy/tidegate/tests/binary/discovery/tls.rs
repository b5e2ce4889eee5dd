//! A web server with a list, over TLS: only one that the gateway trusts is believed.

use tidegate_testkit::{Answer, Authority, ScriptedUpstream};

use super::{any_port, named, start};
use crate::process::Folder;

#[test]
fn a_list_over_tls_is_believed_where_its_server_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let up = named(any_port([127, 0, 0, 1]), "one");
    let list = format!("[\"{}\"]", up.address());
    let certificate = authority.issue(&["localhost"]);
    let registry = ScriptedUpstream::start_tls(certificate.server_config(&["http/1.1"]), move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len()))
    });
    let folder = Folder::new("discovery-https");
    folder.write("ca.pem", authority.pem());
    folder.write("other.pem", other.pem());
    let port = registry.address().port();
    let http = |ca: &str, host: &str| {
        format!("discover: {{ http: {{ url: \"https://{host}:{port}/orders\", ca: {ca}, interval: 50ms }} }}")
    };
    let gateway = start(&folder, &http("ca.pem", "localhost"));
    gateway.until("the list", |gateway| gateway.get("/") == (200, "one".to_owned()));
    assert_eq!(gateway.error(), "");
    drop(gateway);
    for (ca, host) in [("other.pem", "localhost"), ("ca.pem", "127.0.0.1")] {
        let seen = registry.requests().len();
        let gateway = start(&folder, &http(ca, host));
        gateway.until("the failure", |gateway| gateway.error().contains("certificate"));
        assert_eq!(gateway.get("/").0, 503, "{ca} {host}");
        assert_eq!(registry.requests().len(), seen, "{ca} {host}: nothing was asked");
    }
}
