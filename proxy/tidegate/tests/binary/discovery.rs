//! Servers that come from DNS, files, web servers and Consul, over real sockets.

mod names;
mod registry;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::{Answer, Load, LoadOptions, NameServer, ScriptedUpstream};

use crate::process::{Folder, Gateway, request};
use registry::Registry;

/// A gateway whose upstream's servers come from somewhere.
fn start(folder: &Folder, discover: &str) -> Gateway {
    folder.write("a.yaml", configuration(discover));
    Gateway::start(folder, "a.yaml")
}

fn configuration(discover: &str) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0 }}
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
routes: [{{ name: all, rules: [{{ forward: [{{ upstream: up }}] }}] }}]
upstreams: {{ up: {{ {discover} }} }}
"
    )
}

/// A server that answers with its name.
fn named(address: SocketAddr, name: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start_at(address, move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    })
}

fn any_port(ip: [u8; 4]) -> SocketAddr {
    (ip, 0).into()
}

impl Gateway {
    fn upstream(&self) -> Value {
        let (status, body) = self.admin("/servers");
        assert_eq!(status, 200);
        let all: Value = serde_json::from_str(&body).expect("it is JSON");
        all["up"].clone()
    }

    fn servers(&self) -> Vec<String> {
        let upstream = self.upstream();
        let servers = upstream["servers"].as_array().expect("a list");
        let mut shown: Vec<String> = servers
            .iter()
            .map(|server| {
                let address = server["address"].as_str().expect("an address");
                format!("{address}*{}/{}", server["weight"], server["priority"])
            })
            .collect();
        shown.sort();
        shown
    }

    /// Waits until something is so.
    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {}", self.upstream());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Asks until the answer is this one; none may fail on the way.
    fn until_answered(&self, body: &str) {
        self.until(body, |gateway| {
            let answer = gateway.get("/");
            assert_eq!(answer.0, 200, "{answer:?}");
            answer.1 == body
        });
    }

    fn error(&self) -> String {
        self.upstream()["source"]["error"].as_str().unwrap_or_default().to_owned()
    }
}

const NAME: &str = "orders.internal";

#[test]
fn a_name_is_followed_by_its_time_to_live() {
    let names = NameServer::start();
    let one = named(any_port([127, 0, 0, 1]), "one");
    let port = one.address().port();
    let _two = named(([127, 0, 0, 2], port).into(), "two");
    let at = |last: u8| IpAddr::from([127, 0, 0, last]);
    names.put(NAME, 0, &[at(1)]);
    let folder = Folder::new("discovery-dns");
    let resolver = names.address();
    let dns = format!("{{ address: \"{NAME}:{port}\", resolver: \"{resolver}\", minTtl: 50ms }}");
    let gateway = start(&folder, &format!("discover: {{ dns: {dns} }}"));
    gateway.until("readiness", |gateway| gateway.admin("/readyz").0 == 200);
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
    names.put(NAME, 0, &[at(2)]);
    gateway.until_answered("two");
    names.put(NAME, 0, &[at(1), at(2)]);
    gateway.until("both", |gateway| gateway.servers().len() == 2);
    // Nobody answers: the last answer holds.
    names.be_silent(true);
    gateway.until("the failure", |gateway| !gateway.error().is_empty());
    assert_eq!(gateway.servers().len(), 2);
    assert_eq!(gateway.get("/").0, 200);
    let (_, metrics) = gateway.admin("/metrics");
    let failing = "tidegate_discovery_failing{upstream=\"up\",source=\"dns\"} 1";
    assert!(metrics.contains(failing), "{metrics}");
    // Nor does a name that is gone take its servers along.
    names.put(NAME, 0, &[]);
    names.be_silent(false);
    gateway.until("another failure", |gateway| gateway.error().contains("no such records"));
    assert_eq!(gateway.servers().len(), 2);
    names.put(NAME, 0, &[at(2)]);
    gateway.until("one again", |gateway| gateway.servers().len() == 1 && gateway.error().is_empty());
    assert_eq!(gateway.get("/"), (200, "two".to_owned()));
}

#[test]
fn answers_are_kept_for_as_long_as_they_live() {
    let names = NameServer::start();
    let up = named(any_port([127, 0, 0, 1]), "one");
    names.put(NAME, 3600, &[up.address().ip()]);
    let folder = Folder::new("discovery-ttl");
    let (port, resolver) = (up.address().port(), names.address());
    let dns = format!(
        "{{ address: \"{NAME}:{port}\", resolver: \"{resolver}\", minTtl: 1ms, maxTtl: 1h, family: ipv4 }}"
    );
    let gateway = start(&folder, &format!("discover: {{ dns: {dns} }}"));
    gateway.until("an answer", |gateway| gateway.get("/").0 == 200);
    for _ in 0..50 {
        assert_eq!(gateway.get("/").0, 200);
    }
    assert_eq!(names.questions(), 1, "it was asked for a name that it had told");
}

#[test]
fn services_have_ports_weights_and_priorities() {
    let names = NameServer::start();
    let up = named(any_port([127, 0, 0, 1]), "one");
    let port = up.address().port();
    names.put("a.internal", 60, &[[127, 0, 0, 1].into()]);
    names.put("b.internal", 60, &[[127, 0, 0, 2].into(), [127, 0, 0, 3].into()]);
    let service = "_http._tcp.orders.internal";
    names.put_services(service, 60, &[(10, 5, port, "a.internal"), (20, 0, 9, "b.internal")]);
    let folder = Folder::new("discovery-srv");
    let srv = format!("{{ name: {service}, resolver: \"{}\", minTtl: 50ms, maxTtl: 50ms }}", names.address());
    let gateway = start(&folder, &format!("discover: {{ srv: {srv} }}"));
    let expected =
        [format!("127.0.0.1:{port}*5/0"), "127.0.0.2:9*1/1".to_owned(), "127.0.0.3:9*1/1".to_owned()];
    gateway.until("the services", |gateway| gateway.servers() == expected);
    assert_eq!(gateway.upstream()["servers"][0]["host"], "a.internal");
    names.put_services(service, 60, &[(10, 7, port, "a.internal")]);
    gateway.until("the change", |gateway| gateway.servers() == [format!("127.0.0.1:{port}*7/0")]);
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
}

#[test]
fn a_file_is_followed_and_what_is_wrong_in_it_changes_nothing() {
    let (one, two) = (named(any_port([127, 0, 0, 1]), "one"), named(any_port([127, 0, 0, 1]), "two"));
    let folder = Folder::new("discovery-file");
    folder.write("servers.yaml", format!("- {}\n", one.address()));
    let mut gateway = start(&folder, "discover: { file: servers.yaml }");
    gateway.until("the first list", |gateway| gateway.get("/") == (200, "one".to_owned()));
    folder.write("servers.yaml", format!("[{{\"address\": \"{}\", \"weight\": 3}}]", two.address()));
    gateway.until_answered("two");
    assert_eq!(gateway.servers(), [format!("{}*3/0", two.address())]);
    folder.write("servers.yaml", format!("- {}\n- adress: a\n", one.address()));
    let line = gateway.wait("source of servers fails");
    let why = "servers.yaml:2: [1].adress: unknown key \"adress\" (did you mean \"address\"?)";
    assert!(line["message"].as_str().is_some_and(|message| message.contains(why)), "{line}");
    assert!(gateway.error().contains(why), "{}", gateway.error());
    assert_eq!(gateway.get("/"), (200, "two".to_owned()));
    std::fs::remove_file(folder.path("servers.yaml")).expect("it is there");
    gateway.until("its end", |gateway| gateway.error().contains("No such file"));
    assert_eq!(gateway.get("/"), (200, "two".to_owned()));
    folder.write("servers.yaml", format!("servers: [{}]", one.address()));
    gateway.until_answered("one");
    assert_eq!(gateway.error(), "");
    folder.write("servers.yaml", "[]");
    gateway.until("nobody", |gateway| gateway.servers().is_empty());
    assert_eq!(gateway.get("/").0, 503);
}

#[test]
fn a_gateway_starts_without_an_answer_and_says_so() {
    let up = named(any_port([127, 0, 0, 1]), "one");
    let folder = Folder::new("discovery-start");
    let gateway = start(&folder, "discover: { file: servers.yaml }");
    assert_eq!(gateway.get("/"), (503, "servers are not known yet\n".to_owned()));
    let (_, metrics) = gateway.admin("/metrics");
    let failures = metrics.lines().find(|line| {
        line.starts_with("tidegate_route_failures_total") && line.contains("reason=\"servers_unknown\"")
    });
    assert!(failures.is_some_and(|line| line.ends_with(" 1")), "{failures:?}");
    let ready = gateway.admin("/readyz");
    assert_eq!(ready, (503, "sources of servers have not answered yet\n".to_owned()));
    folder.write("servers.yaml", format!("- {}\n", up.address()));
    gateway.until("readiness", |gateway| gateway.admin("/readyz").0 == 200);
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
}

#[test]
fn another_source_keeps_the_servers_until_it_answers() {
    let up = named(any_port([127, 0, 0, 1]), "one");
    let folder = Folder::new("discovery-switch");
    let mut gateway = start(&folder, &format!("servers: [\"{}\"]", up.address()));
    assert_eq!(gateway.get("/").0, 200);
    for discover in ["discover: { file: one.yaml }", "discover: { file: other.yaml }, timeouts: { idle: 1s }"]
    {
        folder.write("a.yaml", configuration(discover));
        gateway.wait("configuration live on all workers");
        assert_eq!(gateway.get("/"), (200, "one".to_owned()));
    }
    folder.write("other.yaml", "[]");
    gateway.until("the list", |gateway| gateway.get("/").0 == 503);
}

#[test]
fn a_web_server_may_hold_its_answer_until_something_changes() {
    let (one, two) = (named(any_port([127, 0, 0, 1]), "one"), named(any_port([127, 0, 0, 1]), "two"));
    for by_index in [false, true] {
        let registry = if by_index { Registry::by_index() } else { Registry::by_etag() };
        registry.put(&format!("[\"{}\"]", one.address()));
        let folder = Folder::new(if by_index { "discovery-index" } else { "discovery-etag" });
        let http = format!(
            "{{ url: \"http://{}/orders?x=1\", headers: {{ authorization: Bearer t }}, wait: 20s }}",
            registry.address()
        );
        let gateway = start(&folder, &format!("discover: {{ http: {http} }}"));
        gateway.until("the first list", |gateway| gateway.get("/") == (200, "one".to_owned()));
        registry.wait_until_held();
        registry.put(&format!("[\"{}\"]", two.address()));
        gateway.until_answered("two");
        // What cannot be read changes nothing; what comes after it does.
        registry.put("[{}]");
        gateway.until("the failure", |gateway| gateway.error().contains("the key \"address\" is missing"));
        assert_eq!(gateway.get("/"), (200, "two".to_owned()));
        registry.put(&format!("[\"{}\"]", one.address()));
        gateway.until_answered("one");
        let requests = registry.requests();
        assert!(requests.len() < 20, "it is asked too often: {requests:?}");
        assert!(requests.iter().all(|request| request.contains("authorization: Bearer t")), "{requests:?}");
    }
}

#[test]
fn consul_is_asked_by_blocking_queries() {
    let (one, two) = (named(any_port([127, 0, 0, 1]), "one"), named(any_port([127, 0, 0, 1]), "two"));
    let registry = Registry::consul();
    let instance = |server: &ScriptedUpstream, own: bool| {
        let (ip, port) = (server.address().ip(), server.address().port());
        let (node, service) =
            if own { ("192.0.2.1".to_owned(), ip.to_string()) } else { (ip.to_string(), String::new()) };
        format!(
            r#"[{{"Node":{{"Node":"n","Address":"{node}"}},"Service":{{"Service":"orders","Address":"{service}",
            "Port":{port},"Weights":{{"Passing":4,"Warning":1}}}},"Checks":[{{"Status":"passing"}}]}}]"#
        )
    };
    registry.put(&instance(&one, false));
    let folder = Folder::new("discovery-consul");
    folder.write("token", "t-123\n");
    let consul = format!(
        "{{ service: orders, address: \"http://{}\", datacenter: dc1, tags: [v2], token: \"${{file:token}}\", wait: 20s }}",
        registry.address()
    );
    let gateway = start(&folder, &format!("discover: {{ consul: {consul} }}"));
    gateway.until("the first list", |gateway| gateway.get("/") == (200, "one".to_owned()));
    assert_eq!(gateway.servers(), [format!("{}*4/0", one.address())]);
    registry.wait_until_held();
    registry.put(&instance(&two, true));
    gateway.until_answered("two");
    let held = registry.wait_until_held();
    assert!(held.contains("/v1/health/service/orders?passing=1&dc=dc1&tag=v2&index="), "{held}");
    assert!(held.contains("&wait=20s") && held.contains("x-consul-token: t-123"), "{held}");
    // A server that began anew has a smaller index: it is asked without one, at once.
    registry.begin_anew(&instance(&one, false));
    gateway.until_answered("one");
    let without_index = || registry.requests().iter().filter(|request| !request.contains("index=")).count();
    gateway.until("a query without an index", |_| without_index() == 2);
    // It fails: the last list holds.
    registry.fail(true);
    gateway.until("the failure", |gateway| gateway.error().contains("it answered 500"));
    assert_eq!(gateway.get("/"), (200, "one".to_owned()));
    registry.fail(false);
    registry.put(&instance(&two, true));
    gateway.until_answered("two");
    let config = gateway.config().to_string();
    assert!(!config.contains("t-123"), "{config}");
}

/// Every address of 127.0.0.0/8 is this machine, so that one server can be many.
#[test]
fn a_thousand_changes_a_second_cost_no_request() {
    let up = named(any_port([0, 0, 0, 0]), "one");
    let port = up.address().port();
    let registry = Registry::by_index();
    // Of 400 servers each list has another half of every second one.
    let list = |turn: usize| {
        let servers = (0..400).filter(|number| number % 2 == 0 || (number / 2 + turn).is_multiple_of(2));
        let addresses: Vec<String> = servers
            .map(|number| format!("\"127.0.{}.{}:{port}\"", 1 + number / 200, 1 + number % 200))
            .collect();
        format!("[{}]", addresses.join(","))
    };
    registry.put(&list(0));
    let folder = Folder::new("discovery-churn");
    let gateway = start(&folder, &format!("discover: {{ http: \"http://{}/orders\" }}", registry.address()));
    gateway.until("the first list", |gateway| gateway.get("/").0 == 200);
    let load = Load::start(&LoadOptions::new(gateway.web));
    let (begun, mut put) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(4) || put.len() < 20 {
        registry.wait_until_held();
        registry.put(&list(put.len() + 1));
        put.push(Instant::now());
    }
    let (answered, failures) = load.finish();
    // From one list to the next 100 servers go and 100 come. What else the machine does slows some of
    // them: the fastest thousand changes in a row tell what the gateway can do.
    let thousands = put.windows(6).map(|six| six[5] - six[0]);
    let fastest = thousands.min().expect("there are more than six lists");
    println!("{} lists, 1000 changes in {fastest:?}, {answered} requests", put.len());
    assert_eq!(failures, [""; 0]);
    assert!(fastest <= Duration::from_secs(1), "{fastest:?} for a thousand changes");
    assert!(answered > 100, "{answered}");
}

/// Where there is a `consul` on the path, the protocol is the real one's.
#[test]
fn a_real_consul_is_followed() {
    let Some(consul) = registry::RealConsul::start() else {
        println!("no consul on the path: not tried");
        return;
    };
    let (one, two) = (named(any_port([127, 0, 0, 1]), "one"), named(any_port([127, 0, 0, 1]), "two"));
    consul.register("orders-1", one.address());
    let folder = Folder::new("discovery-real-consul");
    let source = format!("{{ service: orders, address: \"http://{}\" }}", consul.address());
    let gateway = start(&folder, &format!("discover: {{ consul: {source} }}"));
    gateway.until("the first list", |gateway| gateway.get("/") == (200, "one".to_owned()));
    consul.register("orders-2", two.address());
    gateway.until("the second one", |gateway| gateway.servers().len() == 2);
    consul.deregister("orders-1");
    gateway.until_answered("two");
    assert_eq!(request(gateway.web, "GET", "/").0, 200);
}
