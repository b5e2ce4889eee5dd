//! OIDC login by the filter `auth` in the gateway, with the configuration of `examples/login`, a provider that signs with
//! a real key, and a browser that keeps cookies. `cargo xtask filters` builds the filter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tidegate_testkit::provider::{Provider, parse};
use tidegate_testkit::{RawClient, Response, ScriptedUpstream, TestGateway};
use tidegate_wire::shipped_example;

struct Lab {
    upstream: ScriptedUpstream,
    provider: Provider,
    gateway: TestGateway,
}

impl Lab {
    fn new(change: impl Fn(String) -> String) -> Self {
        let (upstream, provider) = (ScriptedUpstream::plain(), Provider::start());
        let gateway = shipped_example("login", "auth", &upstream, |text| {
            change(text.replace("127.0.0.1:3002", &provider.address().to_string()))
        });
        Lab { upstream, provider, gateway }
    }

    fn browser(&self) -> Browser {
        Browser { address: self.gateway.address("web"), cookies: BTreeMap::new() }
    }

    /// A browser that has logged in from this path.
    fn logged_in(&self, path: &str) -> Browser {
        let mut browser = self.browser();
        let begun = browser.get(path);
        assert_eq!(begun.status, 302, "{}", begun.text());
        let back = self.at_the_provider(&begun);
        let ended = browser.get(&back);
        assert_eq!((ended.status, ended.header("location")), (303, Some(path)), "{}", ended.text());
        browser
    }

    /// Follows the redirect to the provider; returns the path to which it sends the browser back.
    fn at_the_provider(&self, begun: &Response) -> String {
        let origin = format!("http://{}", self.provider.address());
        let path =
            begun.header("location").and_then(|to| to.strip_prefix(&origin)).expect("the provider's address");
        let mut client = RawClient::connect(self.provider.address());
        let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nhost: idp.test\r\n\r\n"));
        let location = answer.header("location").expect("the provider sends back");
        location.strip_prefix("http://shop.test").expect("to the gateway").to_owned()
    }

    /// What the upstream saw last, by header.
    fn seen(&self, name: &str) -> Option<String> {
        self.upstream.requests().last().and_then(|request| request.header(name).map(str::to_owned))
    }
}

/// Keeps cookies as a browser does, as far as one host goes.
#[derive(Clone)]
struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn get(&mut self, path: &str) -> Response {
        self.ask(path, "accept: text/html\r\n")
    }

    fn ask(&mut self, path: &str, headers: &str) -> Response {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies =
            if pairs.is_empty() { String::new() } else { format!("cookie: {}\r\n", pairs.join("; ")) };
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}{cookies}\r\n");
        let answer = RawClient::connect(self.address).exchange(request);
        for line in answer.headers.all("set-cookie") {
            let (pair, attributes) = line.split_once(';').expect("a cookie with attributes");
            let (name, value) = pair.split_once('=').expect("a cookie");
            assert!(attributes.contains("Path=/") && attributes.contains("HttpOnly"), "{line}");
            assert!(attributes.contains("SameSite=Lax"), "{line}");
            match attributes.contains("Max-Age=0;") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }
}

#[test]
fn a_whole_login() {
    let lab = Lab::new(|text| text);
    let mut browser = lab.logged_in("/orders?x=1");
    assert!(lab.upstream.requests().is_empty());
    assert_eq!(
        browser.cookies.keys().collect::<Vec<_>>(),
        ["tidegate-session"],
        "the attempt's cookie is gone"
    );

    let page = browser.ask("/orders?x=1", "accept: text/html\r\nx-user: admin\r\n");
    assert_eq!((page.status, page.header("x-target")), (200, Some("/orders?x=1")));
    assert_eq!(lab.seen("x-user").as_deref(), Some("ann"));
    assert_eq!(lab.seen("x-email").as_deref(), Some("ann@example.com"));
    assert_eq!(lab.seen("cookie"), None, "the upstream sees no session");
    assert_eq!(
        browser.ask("/api", "accept: application/json\r\n").status,
        200,
        "a script has the session too"
    );
    assert_eq!(lab.provider.behaviour().granted, [("authorization_code".to_owned(), 200)]);

    let out = browser.get("/oauth2/logout");
    let location = out.header("location").expect("a redirect").to_owned();
    assert!(
        location.starts_with(&format!("{}/logout?id_token_hint=ey", lab.provider.issuer())),
        "{location}"
    );
    assert!(browser.cookies.is_empty());
    assert_eq!(browser.get("/").status, 302);
    assert_eq!(browser.ask("/", "accept: */*\r\n").status, 401);
}

#[test]
fn logins_that_are_tampered_with_fail() {
    let lab = Lab::new(|text| text);
    let mut browser = lab.browser();
    let begun = browser.get("/");
    let kept = browser.clone();
    let back = lab.at_the_provider(&begun);
    let query = parse(back.split_once('?').expect("a query").1);

    // Another browser, as a victim's that was lured to the attacker's link.
    assert_eq!(lab.browser().get(&back).status, 400);
    let wrong_state = back.replace(&query["state"], &query["state"].chars().rev().collect::<String>());
    assert_eq!(kept.clone().get(&wrong_state).status, 400);
    let wrong_code = back.replace("code=code", "code=guess");
    assert_eq!(kept.clone().get(&wrong_code).status, 400);
    let mut tampered = kept.clone();
    tampered.cookies.values_mut().for_each(|value| value.replace_range(40..44, "AAAA"));
    assert_eq!(tampered.get(&back).status, 400);

    assert_eq!(kept.clone().get(&back).status, 303);
    // The code was used; also with the attempt's cookie, which a browser would not have any more.
    assert_eq!(kept.clone().get(&back).status, 400);
    assert_eq!(lab.provider.behaviour().granted.last(), Some(&("authorization_code".to_owned(), 400)));
    assert!(lab.upstream.requests().is_empty());
}

#[test]
fn tokens_that_prove_nothing_are_refused() {
    let lab = Lab::new(|text| text);
    let log_in = || {
        let mut browser = lab.browser();
        let begun = browser.get("/");
        let back = lab.at_the_provider(&begun);
        let answer = browser.get(&back);
        assert!(browser.cookies.is_empty() || answer.status == 303, "{:?}", browser.cookies);
        answer.status
    };
    lab.provider.behaviour().nonce = Some("of-another-login".to_owned());
    assert_eq!(log_in(), 401);
    lab.provider.behaviour().nonce = None;
    lab.provider.behaviour().foreign_key = true;
    assert_eq!(log_in(), 401);
    lab.provider.behaviour().foreign_key = false;
    for (status, answered) in [(500, 502), (503, 503)] {
        lab.provider.behaviour().token_status = Some(status);
        assert_eq!(log_in(), answered);
    }
    lab.provider.behaviour().token_status = None;
    lab.provider.behaviour().mute = true;
    assert_eq!(log_in(), 503);
    lab.provider.behaviour().mute = false;
    assert_eq!(log_in(), 303);
}

#[test]
fn changed_cookies_are_no_session() {
    let lab = Lab::new(|text| text);
    let browser = lab.logged_in("/");
    for at in [0, 30, 200] {
        let mut changed = browser.clone();
        for value in changed.cookies.values_mut() {
            let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
            value.replace_range(at..=at, other);
        }
        assert_eq!(changed.ask("/", "accept: */*\r\n").status, 401);
    }
    assert!(lab.upstream.requests().is_empty());
    assert_eq!(browser.clone().get("/").status, 200);
}

#[test]
fn long_sessions_are_cut_into_cookies() {
    let lab = Lab::new(|text| text);
    lab.provider.behaviour().padding = 5000;
    let mut browser = lab.logged_in("/");
    assert!(browser.cookies.len() > 1, "{}", browser.cookies.len());
    assert_eq!((browser.get("/").status, lab.seen("cookie")), (200, None));
}

#[test]
fn one_request_refreshes_for_all_workers() {
    // Tokens that are about to end all the time: each cookie is refreshed by the next request.
    let lab =
        Lab::new(|text| format!("workers: 2\n{}", text.replace("refreshBefore: 30s", "refreshBefore: 1h")));
    let browser = lab.logged_in("/");
    lab.provider.behaviour().granted.clear();
    let cookies: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|_| {
                let mut browser = browser.clone();
                scope.spawn(move || (browser.get("/").status, browser.cookies))
            })
            .collect();
        asked.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    assert!(
        cookies.iter().all(|(status, _)| *status == 200),
        "{:?}",
        cookies.iter().map(|(s, _)| s).collect::<Vec<_>>()
    );
    assert_eq!(lab.provider.behaviour().granted, [("refresh_token".to_owned(), 200)]);
    let mut anew: Vec<_> =
        cookies.into_iter().map(|(_, cookies)| cookies).filter(|c| *c != browser.cookies).collect();
    anew.dedup();
    assert_eq!(anew.len(), 1, "all who got a new cookie got the same");

    // The provider ends the session.
    lab.provider.behaviour().token_status = Some(400);
    let mut next = Browser { cookies: anew.remove(0), ..browser };
    assert_eq!(next.get("/").status, 200, "the old tokens are good, whatever the provider says");
}

#[test]
fn a_session_ends() {
    let lab = Lab::new(|text| text);
    {
        let mut behaviour = lab.provider.behaviour();
        (behaviour.expires_in, behaviour.refresh) = (1, false);
    }
    let mut browser = lab.logged_in("/");
    let asked = browser.clone();
    lab.gateway.wait("the end of the tokens", |_| asked.clone().ask("/", "accept: */*\r\n").status == 401);
    assert_eq!(browser.get("/").status, 302);
}
