//! How a server is chosen, on real sockets: by what a request is known by, by priority, by label.

use tidegate_testkit::{
    Answer, Cause, LogFile, Nobody, RawClient, ScriptedUpstream, Server, TestGateway, fill,
};

const CONFIG: &str = "
${zone}
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [${forward}] }] }]
upstreams: { up: { servers: [${servers}]${rest} } }
accessLog: { path: ${log} }
";

/// Servers that answer with their numbers, and a gateway before them.
struct Lab {
    upstreams: Vec<ScriptedUpstream>,
    log: LogFile,
    gateway: TestGateway,
}

impl Lab {
    /// `traits` of each server, `rest` of the upstream.
    fn new(traits: &[&str], rest: &str) -> Self {
        Self::with(traits, rest, ("", "{ upstream: up }"))
    }

    fn with(traits: &[&str], rest: &str, (zone, forward): (&str, &str)) -> Self {
        let upstreams: Vec<_> = (0..traits.len())
            .map(|n| {
                ScriptedUpstream::start(move |_| {
                    Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}"))
                })
            })
            .collect();
        let server = |(upstream, traits): (&ScriptedUpstream, &&str)| {
            format!("{{ address: '{}'{traits} }}", upstream.address())
        };
        let servers: Vec<_> = upstreams.iter().zip(traits).map(server).collect();
        let log = LogFile::default();
        let gateway = TestGateway::start(&fill(
            CONFIG,
            &[
                ("zone", &zone),
                ("forward", &forward),
                ("servers", &servers.join(", ")),
                ("rest", &rest),
                ("log", &log.path().display()),
            ],
        ));
        Self { upstreams, log, gateway }
    }

    /// The server of each request, on one connection.
    fn servers<'a>(&self, requests: impl IntoIterator<Item = (&'a str, String)>) -> Vec<usize> {
        let mut client = RawClient::connect(self.gateway.address("web"));
        let server = |(path, fields): (&str, String)| {
            let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
            assert_eq!(answer.status, 200);
            String::from_utf8_lossy(&answer.body).parse().expect("a number")
        };
        requests.into_iter().map(server).collect()
    }

    fn plain(&self, requests: usize) -> Vec<usize> {
        self.servers((0..requests).map(|_| ("/", String::new())))
    }

    fn mark(&self, server: usize, bad: bool) {
        let server = Server::new(self.upstreams[server].address());
        self.gateway
            .control()
            // The gateway itself clears what checks of other upstreams may have left.
            .mark_server("up", &server, Cause::Source, bad)
            .expect("there is such an upstream");
    }

    fn is_logged(&self, what: &str) {
        let text = || std::fs::read_to_string(self.log.path()).unwrap_or_default();
        self.gateway.wait(what, |_| text().contains(what));
    }
}

#[test]
fn a_header_leads_to_its_server_on_every_connection_and_worker() {
    for method in ["ringHash", "maglev"] {
        let rest = format!(
            ", balance: {{ method: {method}, hash: [{{ header: X-User }}, {{ cookie: sid }}, {{ query: id }}, address] }}"
        );
        let lab = Lab::new(&[""; 5], &rest);
        // Where a server's keys are follows from its port, so there must be enough users for each of them.
        let users = || (0..200).map(|user| ("/", format!("x-user: {user}\r\n")));
        let first = lab.servers(users());
        assert_eq!(lab.servers(users()), first, "{method}");
        assert!((0..5).all(|server| first.contains(&server)), "{method}: {first:?}");
        let by_cookie = || (0..20).map(|user| ("/", format!("cookie: a=b; sid={user}\r\n")));
        // The value counts, wherever it is.
        assert_eq!(lab.servers(by_cookie()), first[..20]);
        assert_eq!(lab.servers([("/?x=1&id=7", String::new())]), first[7..8]);
        let mut by_address = lab.plain(10);
        by_address.dedup();
        assert_eq!(by_address.len(), 1);

        // One that cannot be used gives up its keys, the others keep theirs.
        lab.mark(first[0], false);
        lab.mark(first[0], true);
        let without = lab.servers(users());
        for (before, now) in first.iter().zip(&without) {
            assert!(before == now || *before == first[0] && *now != first[0], "{method}");
        }
        lab.mark(first[0], false);
        assert_eq!(lab.servers(users()), first);
        lab.is_logged(&format!("\"picked\":\"{method}, key\""));
    }
}

#[test]
fn the_next_priority_takes_over_and_gives_back() {
    let lab = Lab::new(&["", "", ", priority: 1"], ", balance: roundRobin");
    assert!(!lab.plain(20).contains(&2));
    lab.mark(0, true);
    // Half of the first priority bears 70 %.
    let spilled = lab.plain(200).iter().filter(|server| **server == 2).count();
    assert!((30..90).contains(&spilled), "{spilled}");
    lab.mark(1, true);
    assert_eq!(lab.plain(20), [2; 20]);
    lab.is_logged("\"picked\":\"roundRobin, priority 1\"");
    lab.mark(0, false);
    lab.mark(1, false);
    assert!(!lab.plain(20).contains(&2));
}

#[test]
fn a_priority_that_fails_is_left_and_tried_again() {
    let lab = Lab::new(
        &["", ", priority: 1"],
        ", balance: roundRobin, ejection: { failures: 1, time: 50ms, percent: 100 }",
    );
    assert_eq!(lab.plain(5), [0; 5]);
    let dead = Nobody::new();
    let second = Server { priority: 1, ..Server::new(lab.upstreams[1].address()) };
    lab.gateway.put_servers("up", &[Server::new(dead.address()), second]);
    // The first request is repeated at the other one; the trials later are, too.
    assert_eq!(lab.plain(50), [1; 50]);
}

#[test]
fn the_own_zone_is_preferred() {
    let traits = [", zone: east", ", zone: west", ", zone: east", ", zone: west"];
    let lab = Lab::with(&traits, ", balance: leastRequest", ("zone: west", "{ upstream: up }"));
    assert!(lab.plain(40).iter().all(|server| server % 2 == 1));
    lab.is_logged("\"picked\":\"leastRequest, own zone\"");
    lab.mark(1, true);
    lab.mark(3, true);
    assert!(lab.plain(40).iter().all(|server| server % 2 == 0));
}

#[test]
fn rules_forward_to_subsets_by_weight() {
    let traits =
        [", labels: { version: v1 }", ", labels: { version: v2 }", ", labels: { version: v1, cpu: arm }"];
    let forward = "{ upstream: up, subset: { version: v1 }, weight: 3 }, { upstream: up, subset: { version: v2 }, weight: 1 }";
    let lab = Lab::with(&traits, ", balance: roundRobin", ("", forward));
    let count = |servers: &[usize], server| servers.iter().filter(|known| **known == server).count();
    let servers = lab.plain(80);
    assert_eq!([0, 1, 2].map(|server| count(&servers, server)), [30, 20, 30]);
    lab.is_logged("\"upstream\":\"up{version=v2}\"");

    // The list is one: servers that come are in the subset of their labels.
    let mut known: Vec<Server> =
        lab.gateway.control().servers("up").expect("known").into_iter().map(|s| s.server).collect();
    known[0].labels.insert("version".to_owned(), "v2".to_owned());
    lab.gateway.put_servers("up", &known);
    let servers = lab.plain(80);
    assert_eq!([0, 1, 2].map(|server| count(&servers, server)), [10, 10, 60]);
    // So is what is known of their health.
    lab.mark(1, true);
    let servers = lab.plain(80);
    assert_eq!([0, 1, 2].map(|server| count(&servers, server)), [20, 0, 60]);
}

#[test]
fn peak_ewma_sends_little_to_a_slow_server() {
    let lab = Lab::new(&["", ""], ", balance: { method: peakEwma, decay: 60s }");
    let slow = ScriptedUpstream::start(|_| {
        // So that it is slow beside the others, whatever else the machine does.
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n9")
    });
    let mut servers: Vec<Server> =
        lab.upstreams.iter().map(|upstream| Server::new(upstream.address())).collect();
    servers.push(Server::new(slow.address()));
    lab.gateway.put_servers("up", &servers);
    let picked = lab.plain(300);
    // Less than one of a hundred: their 99th percentile is that of the others.
    assert!(picked.iter().filter(|server| **server == 9).count() <= 2, "{picked:?}");
}

/// `examples/balancing`, with ports that the system chooses.
#[test]
fn the_example_does_what_it_says() {
    let upstreams: Vec<_> = (1..=3)
        .map(|n| {
            ScriptedUpstream::start(move |_| {
                Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}"))
            })
        })
        .collect();
    let log = LogFile::default();
    let mut yaml =
        include_str!("../../../../examples/balancing/tidegate.yaml").replace("0.0.0.0:8080", "127.0.0.1:0");
    yaml = yaml.replace("accessLog: {}", &format!("accessLog: {{ path: {} }}", log.path().display()));
    for (n, upstream) in upstreams.iter().enumerate() {
        yaml = yaml.replace(&format!("127.0.0.1:{}", 3001 + n), &upstream.address().to_string());
    }
    let gateway = TestGateway::start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    let mut ask = |path: &str, user: usize| {
        let answer =
            client.exchange(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-user: {user}\r\n\r\n"));
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    let mut users = || (0..20).map(|user| ask("/", user)).collect::<Vec<_>>();
    let first = users();
    assert_eq!(users(), first);
    let reports: Vec<_> = (0..40).map(|_| ask("/reports", 0)).collect();
    assert_eq!(reports.iter().filter(|server| *server == "3").count(), 4, "{reports:?}");
    assert_eq!(reports.iter().filter(|server| *server == "2").count(), 0, "{reports:?}");
    let mut client = RawClient::connect(gateway.address("web"));
    let mut order = |cookie: &str| {
        client.exchange(format!("GET /order HTTP/1.1\r\nhost: a.test\r\ncookie: {cookie}\r\n\r\n"))
    };
    let first = order("a=b");
    let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session");
    assert_eq!(order(cookie).text(), first.text());
    let text = || std::fs::read_to_string(log.path()).unwrap_or_default();
    for picked in ["maglev, key", "peakEwma, own zone", "peakEwma, other zone", "session"] {
        gateway.wait(picked, |_| text().contains(&format!("\"picked\":\"{picked}\"")));
    }
}
