//! The filter `cache` in the gateway, with the configuration of `examples/cache`. `cargo xtask filters` builds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, Gate, RawClient, Response, ScriptedUpstream, Step, TestGateway,
};
use tidegate_wire::shipped;

/// Answers `/for/DIRECTIVES` with these in `cache-control`, and 304 to who knows its tag.
fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| {
        let control = call.head.target.strip_prefix("/for/").unwrap_or("no-store").to_owned();
        let head = format!("cache-control: {control}\r\netag: \"v1\"\r\nx-nth: {}\r\n", call.overall);
        match call.head.headers.get("if-none-match") {
            Some("\"v1\"") => Answer::reply(format!("HTTP/1.1 304 Not Modified\r\n{head}\r\n")),
            _ => Answer::reply(format!("HTTP/1.1 200 OK\r\n{head}content-length: 10\r\n\r\n0123456789")),
        }
    })
}

fn send(gateway: &TestGateway, method: &str, path: &str, headers: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n"));
    client.response(method).expect("a well-formed answer")
}

fn status_of(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

#[test]
fn a_fresh_response_is_given_on_all_workers() {
    let upstream = upstream();
    let gateway = shipped("cache", &upstream, |text| text);
    let first = send(&gateway, "GET", "/for/max-age=60", "");
    assert_eq!(status_of(&first), "tidegate; fwd=uri-miss; fwd-status=200; stored");
    for _ in 0..20 {
        let answer = send(&gateway, "GET", "/for/max-age=60", "");
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.header("x-nth")),
            (200, "0123456789", Some("0"))
        );
        assert!(status_of(&answer).starts_with("tidegate; hit; ttl="), "{answer:?}");
        assert!(answer.header("age").is_some_and(|age| age.parse::<u64>().is_ok()));
    }
    let head = send(&gateway, "HEAD", "/for/max-age=60", "");
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, Some("\"v1\"")));
    assert!(matches!(head.header("content-length"), None | Some("10")), "{head:?}");
    let part = send(&gateway, "GET", "/for/max-age=60", "range: bytes=2-4\r\n");
    assert_eq!(
        (part.status, part.text().as_str(), part.header("content-range")),
        (206, "234", Some("bytes 2-4/10"))
    );
    let unchanged = send(&gateway, "GET", "/for/max-age=60", "if-none-match: \"v1\"\r\n");
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let head =
        [(":method", "GET"), (":scheme", "http"), (":path", "/for/max-age=60"), (":authority", "a.test")];
    frames.send(&Frame::headers(1, &head, true));
    assert_eq!(frames.fate(1), Fate::Answered(200, b"0123456789".to_vec()));
    assert_eq!(upstream.requests().len(), 1);

    for path in ["/for/no-store", "/for/private,max-age=60", "/none"] {
        let before = upstream.requests().len();
        (0..3).for_each(|_| drop(send(&gateway, "GET", path, "")));
        assert_eq!(upstream.requests().len(), before + 3, "{path}");
    }
}

#[test]
fn what_is_stale_is_confirmed() {
    let upstream = upstream();
    let gateway = shipped("cache", &upstream, |text| text);
    send(&gateway, "GET", "/for/no-cache", "");
    let answer = send(&gateway, "GET", "/for/no-cache", "");
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.header("x-nth")),
        (200, "0123456789", Some("1"))
    );
    assert_eq!(status_of(&answer), "tidegate; fwd=stale; fwd-status=304; stored");
    let known = send(&gateway, "GET", "/for/no-cache", "if-none-match: \"v1\"\r\n");
    assert_eq!((known.status, known.body.len()), (304, 0));
    let requests = upstream.requests();
    assert!(
        requests.iter().skip(1).all(|seen| seen.header("if-none-match") == Some("\"v1\"")),
        "{requests:?}"
    );
}

#[test]
fn one_of_many_goes_to_the_upstream() {
    const CLIENTS: usize = 40;
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        let bytes = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok";
        Answer::steps([Step::ReadBody, Step::Wait(held.clone()), Step::send(bytes)])
    });
    let gateway = Arc::new(shipped("cache", &upstream, |text| text));
    let started = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (gateway, started) = (gateway.clone(), started.clone());
            std::thread::spawn(move || {
                let mut client = RawClient::connect(gateway.address("web"));
                client.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n");
                started.wait();
                client.response("GET").expect("a well-formed answer")
            })
        })
        .collect();
    started.wait();
    upstream.wait("the first request", |connections| connections.iter().any(|c| !c.requests.is_empty()));
    gate.open();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client")).collect();
    assert!(answers.iter().all(|answer| (answer.status, answer.text().as_str()) == (200, "ok")));
    assert_eq!(answers.iter().filter(|answer| status_of(answer).contains("fwd=")).count(), 1);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn who_waits_is_not_held_by_one_that_goes_away() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| {
        let bytes = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok";
        match call.overall {
            0 => Answer::steps([Step::ReadBody, Step::Wait(held.clone()), Step::send(bytes)]),
            _ => Answer::reply(bytes),
        }
    });
    let gateway = shipped("cache", &upstream, |text| text.replace("wait: 5s", "wait: 1h"));
    let mut first = RawClient::connect(gateway.address("web"));
    first.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.wait("the first request", |connections| connections.iter().any(|c| !c.requests.is_empty()));
    let mut second = RawClient::connect(gateway.address("web"));
    second.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n");
    first.reset();
    assert_eq!(second.response("GET").expect("a well-formed answer").status, 200);
    assert_eq!(upstream.requests().len(), 2);
    gate.open();
}

#[test]
fn what_cannot_be_kept_is_not_waited_for() {
    // The first response says that nobody need wait: behind the second, which is held back, others would wait for an hour.
    let gate = Gate::new();
    let held = gate.clone();
    let slow = ScriptedUpstream::start(move |call| {
        let bytes = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\nok";
        match call.overall {
            1 => Answer::steps([Step::ReadBody, Step::Wait(held.clone()), Step::send(bytes)]),
            _ => Answer::reply(bytes),
        }
    });
    let gateway = shipped("cache", &slow, |text| text.replace("wait: 5s", "wait: 1h"));
    send(&gateway, "GET", "/none", "");
    let mut first = RawClient::connect(gateway.address("web"));
    first.send("GET /none HTTP/1.1\r\nhost: a.test\r\n\r\n");
    slow.wait("the second request", |connections| {
        connections.iter().map(|c| c.requests.len()).sum::<usize>() == 2
    });
    assert_eq!(send(&gateway, "GET", "/none", "").status, 200);
    gate.open();
    assert_eq!(first.response("GET").expect("a well-formed answer").status, 200);
}

/// Another's response is of no use to who wants one of their own: they do not wait for each other in turn.
#[test]
fn who_asks_for_a_confirmation_waits_for_nobody() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        let bytes = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok";
        Answer::steps([Step::ReadBody, Step::Wait(held.clone()), Step::send(bytes)])
    });
    let gateway = shipped("cache", &upstream, |text| text.replace("wait: 5s", "wait: 1h"));
    let mut clients: Vec<_> = ["cache-control: no-cache", "cache-control: max-age=0", "pragma: no-cache"]
        .into_iter()
        .map(|asks| {
            let mut client = RawClient::connect(gateway.address("web"));
            client.send(format!("GET /a HTTP/1.1\r\nhost: a.test\r\n{asks}\r\n\r\n"));
            client
        })
        .collect();
    upstream.wait("all of them", |connections| {
        connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == 3
    });
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").expect("a well-formed answer").status, 200);
    }
}

#[test]
fn stale_responses_stand_in_for_an_upstream_that_is_gone() {
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let upstream = ScriptedUpstream::start(move |_| match breaks.load(Ordering::SeqCst) {
        true => Answer::steps([Step::Close]),
        false => Answer::reply(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=0\r\netag: \"v1\"\r\ncontent-length: 2\r\n\r\nok",
        ),
    });
    let gateway = shipped("cache", &upstream, |text| text);
    assert_eq!(send(&gateway, "GET", "/a", "").status, 200);
    broken.store(true, Ordering::SeqCst);
    let answer = send(&gateway, "GET", "/a", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(status_of(&answer).starts_with("tidegate; fwd=stale; fwd-status=50"), "{answer:?}");
    assert!(send(&gateway, "GET", "/b", "").status >= 500);
}

#[test]
fn writes_and_who_may_take_responses_out() {
    let upstream = upstream();
    let gateway = shipped("cache", &upstream, |text| text);
    let path = "/for/max-age=60";
    let is_hit = || status_of(&send(&gateway, "GET", path, "")).contains("; hit");
    assert!(!is_hit() && is_hit());
    assert_eq!(send(&gateway, "POST", path, "content-length: 0\r\n").status, 200);
    assert!(!is_hit() && is_hit());
    let before = upstream.requests().len();
    assert_eq!(send(&gateway, "PURGE", path, "").status, 403);
    assert!(is_hit());
    assert_eq!(send(&gateway, "PURGE", path, "authorization: Bearer a-token-of-your-own\r\n").status, 204);
    assert_eq!(upstream.requests().len(), before);
    assert!(!is_hit());
}

#[test]
fn a_response_that_was_cut_off_is_not_kept() {
    let upstream = ScriptedUpstream::start(|call| match call.overall {
        0 => Answer::steps([
            Step::ReadBody,
            Step::send("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n0123"),
            Step::Close,
        ]),
        _ => Answer::reply("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok"),
    });
    let gateway = shipped("cache", &upstream, |text| text);
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.response("GET").is_err(), "it was cut off");
    assert_eq!(send(&gateway, "GET", "/a", "").text(), "ok");
}

#[test]
fn stale_responses_are_got_anew_in_the_background() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| {
        let control = "cache-control: max-age=0, stale-while-revalidate=3600";
        let bytes =
            format!("HTTP/1.1 200 OK\r\n{control}\r\nx-nth: {}\r\ncontent-length: 2\r\n\r\nok", call.overall);
        match call.overall {
            1 => Answer::steps([Step::ReadBody, Step::Wait(held.clone()), Step::send(bytes)]),
            _ => Answer::reply(bytes),
        }
    });
    let gateway = shipped("cache", &upstream, |text| text);
    let nth = || {
        let answer = send(&gateway, "GET", "/a", "");
        (answer.header("x-nth").unwrap_or_default().to_owned(), status_of(&answer).contains("; hit"))
    };
    assert_eq!(nth(), ("0".to_owned(), false));
    // The one that has it got anew is answered while the upstream still holds the new one back.
    assert_eq!(nth(), ("0".to_owned(), true));
    upstream.wait("the second request", |connections| {
        connections.iter().map(|c| c.requests.len()).sum::<usize>() == 2
    });
    assert_eq!(nth(), ("0".to_owned(), true));
    gate.open();
    gateway.wait("the new response", |_| nth().0 != "0");
    assert!(upstream.requests().iter().all(|seen| seen.header("host") == Some("a.test")));
}

#[test]
fn many_responses_are_taken_out_at_once_on_all_workers() {
    let upstream = ScriptedUpstream::start(|call| {
        let tag = call.head.target.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncache-tag: all {tag}\r\n");
        Answer::reply(format!("{head}content-length: 2\r\n\r\nok"))
    });
    let gateway = shipped("cache", &upstream, |text| text);
    let is_hit = |path: &str| status_of(&send(&gateway, "GET", path, "")).contains("; hit");
    let fill = || ["/shop/1", "/shop/2", "/blog/1"].map(|path| (is_hit(path), is_hit(path)).1);
    let purge = |path: &str, what: &str| {
        send(&gateway, "PURGE", path, &format!("authorization: Bearer a-token-of-your-own\r\n{what}\r\n"))
            .status
    };
    let kept = || ["/shop/1", "/shop/2", "/blog/1"].map(|path| [(); 6].map(|()| is_hit(path))[0]);
    assert_eq!(fill(), [true; 3]);
    assert_eq!(purge("/shop", "purge-prefix: true"), 204);
    assert_eq!(kept(), [false, false, true]);
    assert_eq!(fill(), [true; 3]);
    assert_eq!(purge("/", "purge-tags: blog, none"), 204);
    assert_eq!(kept(), [true, true, false]);
    assert_eq!(purge("/", "purge-tags: all"), 204);
    assert_eq!(kept(), [false; 3]);
}

/// A response that is cut off by the server, or by its client, keeps nobody waiting who asks for the same afterwards.
#[test]
fn responses_that_break_off_keep_nobody_waiting() {
    let upstream = ScriptedUpstream::start(|call| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\n";
        match call.overall {
            0 => Answer::reply(format!("{head}ha")).then(Step::Close),
            1 => Answer::reply(format!("{head}ha")).then(Step::UntilClosed),
            _ => Answer::reply(format!("{head}whole")),
        }
    });
    let gateway = shipped("cache", &upstream, |text| text.replace("wait: 5s", "wait: 1h"));
    let ask = || {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("GET /same HTTP/1.1\r\nhost: a.test\r\n\r\n");
        client
    };
    assert!(ask().response("GET").is_err(), "it was cut off");
    let mut leaving = ask();
    leaving.wire().exactly(15).expect("the beginning");
    drop(leaving);
    upstream.wait("the gateway to give it up", |c| c.iter().filter(|c| c.finished).count() == 2);
    let last = ask().response("GET").expect("nobody is waited for");
    assert_eq!((last.text().as_str(), upstream.requests().len()), ("whole", 3));
}
