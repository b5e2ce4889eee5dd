//! Names: answers that do not fit, servers that are written down by name, search lists of the system.

use tidegate_testkit::NameServer;

use super::{NAME, any_port, named, start};
use crate::process::{Folder, Gateway};

#[test]
fn answers_that_do_not_fit_into_a_datagram_are_asked_for_over_tcp() {
    let names = NameServer::start();
    let up = named(any_port([127, 0, 0, 1]), "one");
    names.put(NAME, 60, &[up.address().ip()]);
    names.cut(true);
    let folder = Folder::new("discovery-tcp");
    let (port, resolver) = (up.address().port(), names.address());
    let dns = format!("{{ address: \"{NAME}:{port}\", resolver: \"{resolver}\", family: ipv4 }}");
    let gateway = start(&folder, &format!("discover: {{ dns: {dns} }}"));
    gateway.until("an answer", |gateway| gateway.get("/") == (200, "one".to_owned()));
    assert_eq!(names.questions_by_tcp(), 1);
    assert_eq!(gateway.error(), "");
}

/// A gateway with a server that is written down by its name.
fn by_name(folder: &Folder, resolver: &str, server: &str) -> Gateway {
    let configuration = super::configuration(&format!("servers: [\"{server}\"]"));
    folder.write("a.yaml", format!("{resolver}\n{configuration}"));
    Gateway::start(folder, "a.yaml")
}

#[test]
fn servers_by_name_follow_its_time_to_live() {
    let names = NameServer::start();
    let one = named(any_port([127, 0, 0, 1]), "one");
    let port = one.address().port();
    let _two = named(([127, 0, 0, 2], port).into(), "two");
    names.put(NAME, 0, &[[127, 0, 0, 1].into()]);
    let folder = Folder::new("discovery-servers");
    let resolver = format!("resolver: {{ address: \"{}\", minTtl: 50ms, maxTtl: 100ms }}", names.address());
    let mut gateway = by_name(&folder, &resolver, &format!("{NAME}:{port}"));
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
    names.put(NAME, 0, &[[127, 0, 0, 2].into()]);
    gateway.until_answered("two");
    // Neither a name that is gone nor a name server that is away takes the servers along.
    names.put(NAME, 0, &[]);
    let line = gateway.wait("cannot look up a server's name, keeping its addresses");
    assert!(line["message"].as_str().is_some_and(|text| text.contains("no such records")), "{line}");
    names.be_silent(true);
    gateway.wait("cannot look up a server's name, keeping its addresses");
    assert_eq!(gateway.get("/"), (200, "two".to_owned()));
    names.put(NAME, 0, &[[127, 0, 0, 1].into()]);
    names.be_silent(false);
    gateway.until_answered("one");
}

#[test]
fn the_names_of_this_machine_need_no_name_server() {
    let up = named(any_port([127, 0, 0, 1]), "one");
    let folder = Folder::new("discovery-localhost");
    let gateway = by_name(&folder, "", &format!("localhost:{}", up.address().port()));
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
}
