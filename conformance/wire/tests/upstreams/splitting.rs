//! Shares of a rule's upstreams: exact over workers, the same for the same client, switched in one reload.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, TestGateway, fill};

/// A server that says who it is.
fn server(name: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |call| {
        let seen = call.head.headers.get("x-colour").unwrap_or("none").to_owned();
        let length = name.len();
        Answer::reply(format!(
            "HTTP/1.1 200 OK\r\nx-up: {name}\r\nx-seen: {seen}\r\ncontent-length: {length}\r\n\r\n{name}"
        ))
    })
}

fn gateway(old: &ScriptedUpstream, new: &ScriptedUpstream, rule: &str) -> TestGateway {
    TestGateway::start(&fill(
        "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: shop
    rules:
      - forward: [{ upstream: old, weight: 90 }, { upstream: new, weight: 10 }]
        ${rule}
upstreams: { old: { servers: ['${old}'] }, new: { servers: ['${new}'] } }
",
        &[("old", &old.address()), ("new", &new.address()), ("rule", &rule)],
    ))
}

fn get(client: &mut RawClient, headers: &str) -> String {
    client.exchange(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n")).text()
}

#[test]
fn a_tenth_of_ten_thousand_requests_over_two_workers_is_a_thousand() {
    let (old, new) = (server("old"), server("new"));
    let gateway = gateway(&old, &new, "");
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = RawClient::connect(gateway.address("web"));
                let new = (0..500).filter(|_| get(&mut client, "") == "new").count();
                taken.fetch_add(new as u64, Ordering::Relaxed);
            });
        }
    });
    let taken = taken.into_inner();
    assert!(taken.abs_diff(1000) <= 5, "{taken} of 10000");
}

#[test]
fn a_client_stays_with_its_upstream() {
    let (old, new) = (server("old"), server("new"));
    for (key, header) in [
        ("{ cookie: user }", "cookie: theme=dark; user="),
        ("{ cookie: user }", "cookie: a=b\r\ncookie: user="),
        ("{ header: X-User }", "x-user: "),
    ] {
        let gateway = gateway(&old, &new, &format!("stickyBy: {key}"));
        let mut clients = [(); 4].map(|()| RawClient::connect(gateway.address("web")));
        let mut taken = 0;
        for user in 0..200 {
            let header = format!("{header}user-{user}\r\n");
            let answers = clients.each_mut().map(|client| get(client, &header));
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{key} {user}: {answers:?}");
            taken += usize::from(answers[0] == "new");
        }
        assert!((8..=40).contains(&taken), "{key}: {taken} of 200 users");
        // Who does not say who it is is shared out like anyone.
        let taken = (0..100).filter(|_| get(&mut clients[0], "") == "new").count();
        assert!((8..=12).contains(&taken), "{taken}");
    }
    let gateway = gateway(&old, &new, "stickyBy: address");
    let answers = [(); 20].map(|()| get(&mut RawClient::connect(gateway.address("web")), ""));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// All that a rule says changes at once: a request has the old version of all of it, or the new one.
#[test]
fn a_switch_from_blue_to_green_mixes_nothing_and_fails_nothing() {
    let (blue, green) = (server("blue"), server("green"));
    let yaml = |colour: &str| {
        fill(
            "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: shop
    rules:
      - filters:
          - requestHeaders: { set: { x-colour: ${colour} } }
          - responseHeaders: { set: { x-rule: ${colour} } }
        forward: [{ upstream: ${colour} }]
upstreams: { blue: { servers: ['${blue}'] }, green: { servers: ['${green}'] } }
",
            &[("colour", &colour), ("blue", &blue.address()), ("green", &green.address())],
        )
    };
    let gateway = TestGateway::start(&yaml("blue"));
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = RawClient::connect(gateway.address("web"));
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let rule = answer.header("x-rule");
                    assert_eq!(answer.header("x-up"), rule, "{answer:?}");
                    assert_eq!(answer.header("x-seen"), rule, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..20 {
            let colour = if round % 2 == 0 { "green" } else { "blue" };
            gateway.reload(&yaml(colour));
            // All workers serve it: whoever asks from now on gets it.
            let answer =
                RawClient::connect(gateway.address("web")).exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert_eq!(answer.header("x-rule"), Some(colour));
            let goal = answered.load(Ordering::Relaxed) + 50;
            gateway.wait("traffic", |_| answered.load(Ordering::Relaxed) >= goal);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_example_runs() {
    let (one, two) = (server("v1"), server("v2"));
    let mut yaml = include_str!("../../../../examples/canary/tidegate.yaml").to_owned();
    for (server, upstream) in [("3001", &one), ("3002", &two)] {
        yaml = yaml.replace(&format!("[127.0.0.1:{server}]"), &format!("['{}']", upstream.address()));
        yaml = yaml.replace(&format!("address: 127.0.0.1:{server}"), "address: 127.0.0.1:0");
    }
    for port in ["8080", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    let gateway = TestGateway::start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    let taken = (0..100).filter(|_| get(&mut client, "") == "v2").count();
    assert!((9..=11).contains(&taken), "{taken} of 100");
    assert_eq!(get(&mut client, "x-version: v2\r\n"), "v2");
}
