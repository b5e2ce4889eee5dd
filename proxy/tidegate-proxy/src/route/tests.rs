//! Cases of whole tables, those of the Gateway API among them, and a check against the definition of precedence.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use tidegate_config::plan::{
    Action, HostPattern, Listener, ListenerLimits, ListenerTimeouts, Match, PathPattern, Plan, Protocol,
    Respond, Retries, Route, Rule, RuleTimeouts, Split, ValuePattern,
};

use super::host::{intersect, with_normal};
use super::matching::{Conditions, Summary};
use super::path::CompiledPath;
use super::table::{Found, path_of};
use super::*;

pub(super) fn hosts(list: &[&str]) -> Vec<HostPattern> {
    list.iter()
        .map(|text| match text.strip_prefix('*') {
            Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
            None => HostPattern::Exact((*text).to_owned()),
        })
        .collect()
}

pub(super) fn listener(name: &str, hostnames: &[&str]) -> Listener {
    let second = Duration::from_secs(1);
    Listener {
        trusted_proxies: Vec::new(),
        name: name.to_owned(),
        addresses: vec!["127.0.0.1:8080".parse().expect("an address")],
        protocol: Protocol::Http,
        hostnames: hosts(hostnames),
        tls: None,
        filters: Vec::new(),
        timeouts: ListenerTimeouts { handshake: second, headers: second, body: second, idle: second },
        limits: ListenerLimits { header_bytes: 65_536, headers: 100, connections: 100, streams: 100 },
    }
}

/// A match from words: `=/exact`, `~regex`, `/prefix`, `POST`, `name:value`, `name:~regex`, `?name=value`.
pub(super) fn matching(words: &str) -> Match {
    let mut own = Match {
        path: PathPattern::Prefix("/".to_owned()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    };
    for word in words.split_whitespace() {
        if let Some(path) = word.strip_prefix('=') {
            own.path = PathPattern::Exact(path.to_owned());
        } else if let Some(pattern) = word.strip_prefix('~') {
            own.path = PathPattern::Regex(pattern.to_owned());
        } else if word.starts_with('/') {
            own.path = PathPattern::Prefix(word.to_owned());
        } else if let Some((name, value)) = word.strip_prefix('?').and_then(|pair| pair.split_once('=')) {
            own.query.push((name.to_owned(), ValuePattern::Exact(value.to_owned())));
        } else if let Some((name, pattern)) = word.split_once(":~") {
            own.headers.push((name.to_owned(), ValuePattern::Regex(pattern.to_owned())));
        } else if let Some((name, value)) = word.split_once(':') {
            own.headers.push((name.to_owned(), ValuePattern::Exact(value.to_owned())));
        } else {
            own.method = Some(word.to_owned());
        }
    }
    own
}

pub(super) fn rule(name: &str, matches: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        matches: matches.iter().map(|words| matching(words)).collect(),
        filters: Vec::new(),
        action: Action::Respond(Respond { status: 200, headers: Vec::new(), body: name.to_owned() }),
        timeouts: RuleTimeouts::default(),
        retries: Retries::default(),
        split: Split::default(),
    }
}

/// A route on the first listener; each rule has one list of matches and the name of its index.
pub(super) fn route(name: &str, hostnames: &[&str], rules: &[&[&str]]) -> Route {
    Route {
        name: name.to_owned(),
        listeners: vec![0],
        hostnames: hosts(hostnames),
        rules: rules.iter().enumerate().map(|(index, matches)| rule(&index.to_string(), matches)).collect(),
    }
}

pub(super) fn plan(hostnames: &[&str], routes: Vec<Route>) -> Plan {
    Plan { listeners: vec![listener("web", hostnames)], routes, ..Plan::default() }
}

/// A sanitized request from words: method, target, `name:value`.
fn head(words: &str) -> Parts {
    let mut words = words.split_whitespace();
    let mut request = Request::builder()
        .method(words.next().unwrap_or_default())
        .uri(words.next().unwrap_or_default())
        .header("host", "set.by.the.case");
    for (name, value) in words.filter_map(|word| word.split_once(':')) {
        request = request.header(name, value);
    }
    let mut head = request.body(()).expect("a request").into_parts().0;
    crate::http::sanitize::request(&mut head).expect("is served");
    head
}

/// Finds `route/rule`.
fn find(plan: &Plan, host: &str, request: &str) -> Option<String> {
    let table = RouteTable::build(plan, 0).expect("builds");
    let found = table.find(host.as_bytes(), &head(request))?;
    let route = &plan.routes[found.route];
    Some(format!("{}/{}", route.name, route.rules[found.rule].name))
}

fn check(plan: &Plan, cases: &[(&str, &str, &str)]) {
    for (host, request, expected) in cases {
        assert_eq!(find(plan, host, request).as_deref().unwrap_or("none"), *expected, "{host} {request}");
    }
}

#[test]
fn paths_match_by_whole_segments() {
    let plan =
        plan(&[], vec![route("r", &[], &[&["/a"], &["/a/b"], &["=/a/b/c"], &["=/x/"], &["/long/er"]])]);
    check(
        &plan,
        &[
            ("h", "GET /a", "r/0"),
            ("h", "GET /a/", "r/0"),
            ("h", "GET /a/x/y", "r/0"),
            ("h", "GET /ab", "none"),
            ("h", "GET /a/b", "r/1"),
            ("h", "GET /a/b/", "r/1"),
            ("h", "GET /a/bc", "r/0"),
            ("h", "GET /a/b/c", "r/2"),
            ("h", "GET /a/b/c/", "r/1"),
            ("h", "GET /x/", "r/3"),
            ("h", "GET /x", "none"),
            ("h", "GET /long/er/still", "r/4"),
            ("h", "GET /long", "none"),
            ("h", "GET /", "none"),
            ("h", "GET /a?x=/a/b", "r/0"),
        ],
    );
}

#[test]
fn tricks_do_not_pass_by_a_prefix() {
    let plan = plan(&[], vec![route("r", &[], &[&["/admin"], &["/"]])]);
    for path in [
        "/admin;x/y",
        "/;x/admin/x",
        "/a/%2e%2e;/admin/x",
        "/a/..;/admin",
        "//admin",
        "/%61dmin",
        "/./admin/",
    ] {
        check(&plan, &[("h", &format!("GET {path}"), "r/0")]);
    }
}

#[test]
fn patterns_of_the_plan_are_made_canonical() {
    let plan = plan(&[], vec![route("r", &[], &[&["/caf\u{e9}"], &["=/%7euser"], &["/p/"]])]);
    check(&plan, &[("h", "GET /caf%c3%a9/x", "r/0"), ("h", "GET /~user", "r/1"), ("h", "GET /p", "r/2")]);
}

#[test]
fn exact_goes_before_pattern_before_prefix() {
    let plan =
        plan(&[], vec![route("r", &[], &[&["/"], &["/a/b/c/d"], &["~/a/.*"], &["=/a/b"], &["~/a/b/.*"]])]);
    check(
        &plan,
        &[
            ("h", "GET /a/b", "r/3"),
            ("h", "GET /a/b/c/d", "r/4"),
            ("h", "GET /a/x", "r/2"),
            ("h", "GET /b/a/x", "r/0"),
            ("h", "OPTIONS *", "r/0"),
        ],
    );
}

#[test]
fn method_headers_query_and_order_decide_in_turn() {
    let rules: &[&[&str]] = &[
        &["/a"],
        &["/a ?v=1"],
        &["/a x-a:1"],
        &["/a x-a:1 x-b:2"],
        &["/a POST"],
        &["/a"],
        &["/a x-a:1 ?v=1"],
        &["/a x-c:~[0-9]+"],
    ];
    let plan = plan(&[], vec![route("r", &[], rules)]);
    check(
        &plan,
        &[
            ("h", "GET /a", "r/0"),
            ("h", "GET /a?v=1", "r/1"),
            ("h", "GET /a x-a:1", "r/2"),
            ("h", "GET /a x-a:1 x-b:2", "r/3"),
            ("h", "GET /a?v=1 x-a:1 x-b:2", "r/3"),
            ("h", "POST /a?v=1 x-a:1 x-b:2", "r/4"),
            ("h", "GET /a?v=1 x-a:1", "r/6"),
            ("h", "GET /a x-c:12", "r/7"),
            ("h", "GET /a x-c:x", "r/0"),
        ],
    );
}

#[test]
fn failed_conditions_fall_back_to_less_specific_paths() {
    let plan =
        plan(&[], vec![route("r", &[], &[&["=/a/b POST"], &["~/a/b x-a:1"], &["/a/b x-b:1"], &["/a"]])]);
    check(
        &plan,
        &[
            ("h", "POST /a/b x-a:1", "r/0"),
            ("h", "GET /a/b x-a:1", "r/1"),
            ("h", "GET /a/b x-b:1", "r/2"),
            ("h", "GET /a/b", "r/3"),
        ],
    );
}

#[test]
fn rules_match_by_any_of_their_matches_across_routes() {
    let first = route("one", &[], &[&["/", "/v2"], &["/ version:two"]]);
    let second = route("two", &[], &[&["/v2"], &["/v2 version:two", "/v3"]]);
    let plan = plan(&[], vec![first, second]);
    check(
        &plan,
        &[
            ("h", "GET /", "one/0"),
            ("h", "GET /v2/x", "one/0"),
            ("h", "GET /v2/x version:two", "two/1"),
            ("h", "GET /x version:two", "one/1"),
            ("h", "GET /v3", "two/1"),
        ],
    );
}

#[test]
fn the_most_specific_host_wins_and_falls_through() {
    let plan = plan(
        &[],
        vec![
            route("any", &[], &[&["/"], &["=/exact"]]),
            route("wide", &["*.example.com"], &[&["/wide"]]),
            route("deep", &["*.deep.example.com"], &[&["/deep"]]),
            route("one", &["a.deep.example.com"], &[&["/one"], &["/get GET"]]),
        ],
    );
    check(
        &plan,
        &[
            ("a.deep.example.com", "GET /one", "one/0"),
            ("A.Deep.Example.COM:8080", "GET /one", "one/0"),
            ("a.deep.example.com.", "GET /one", "one/0"),
            ("a.deep.example.com", "GET /deep", "deep/0"),
            ("a.deep.example.com", "GET /wide", "wide/0"),
            ("a.deep.example.com", "GET /x", "any/0"),
            ("a.deep.example.com", "POST /get", "any/0"),
            ("b.deep.example.com", "GET /one", "any/0"),
            ("deep.example.com", "GET /deep", "any/0"),
            ("deep.example.com", "GET /wide", "wide/0"),
            ("example.com", "GET /wide", "any/0"),
            ("other", "GET /exact", "any/1"),
            ("", "GET /", "any/0"),
        ],
    );
}

#[test]
fn hosts_of_listener_and_route_intersect() {
    let plan = plan(
        &["very.specific.com", "*.wildcard.io", "*.anotherwildcard.io"],
        vec![
            route(
                "specific",
                &["non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"],
                &[&["/s1"]],
            ),
            route(
                "wildcard",
                &["non.matching.com", "wildcard.io", "foo.wildcard.io", "*.wildcard.io"],
                &[&["/s2"]],
            ),
            route("any", &[], &[&["/s3"]]),
            route("none", &["specific.but.wrong.com", "wildcard.io"], &[&["/s4"]]),
        ],
    );
    check(
        &plan,
        &[
            ("very.specific.com", "GET /s1", "specific/0"),
            ("non.matching.com", "GET /s1", "none"),
            ("foo.nonmatchingwildcard.io", "GET /s1", "none"),
            ("foo.wildcard.io", "GET /s1", "none"),
            ("foo.wildcard.io", "GET /s2", "wildcard/0"),
            ("bar.wildcard.io", "GET /s2", "wildcard/0"),
            ("foo.bar.wildcard.io", "GET /s2", "wildcard/0"),
            ("wildcard.io", "GET /s2", "none"),
            ("very.specific.com", "GET /s2", "none"),
            ("very.specific.com", "GET /s3", "any/0"),
            ("one.anotherwildcard.io", "GET /s3", "any/0"),
            ("other.com", "GET /s3", "none"),
            ("specific.but.wrong.com", "GET /s4", "none"),
            ("wildcard.io", "GET /s4", "none"),
        ],
    );
}

#[test]
fn only_routes_of_the_listener_count() {
    let mut plan =
        plan(&[], vec![route("a", &[], &[&["/a"], &["/b"]]), route("b", &[], &[&["/c"], &["/d"]])]);
    plan.listeners.push(listener("other", &[]));
    plan.routes[0].listeners = vec![1];
    let table = RouteTable::build(&plan, 0).expect("builds");
    assert_eq!(table.find(b"h", &head("GET /a")), None);
    let expected = Found { route: 1, rule: 1, rule_id: 3, matched_prefix_len: 2 };
    assert_eq!(table.find(b"h", &head("GET /d/e")), Some(expected), "ids count the rules of all routes");
}

#[test]
fn the_matched_prefix_leaves_a_rest_that_can_be_appended() {
    let plan = plan(&[], vec![route("r", &[], &[&["/"], &["/a"], &["=/b/c"], &["~/d.*"], &["/e/"]])]);
    let table = RouteTable::build(&plan, 0).expect("builds");
    for (path, rest) in [
        ("/", "/"),
        ("/x", "/x"),
        ("/a", ""),
        ("/a/", "/"),
        ("/a/b", "/b"),
        ("/b/c", ""),
        ("/d/e", ""),
        ("/e/f", "/f"),
    ] {
        let found = table.find(b"h", &head(&format!("GET {path}"))).expect("matches");
        assert_eq!(&path[found.matched_prefix_len..], rest, "{path}");
    }
}

#[test]
fn what_no_request_can_have_is_an_error() {
    for (words, message) in [
        ("/a/%2f", "route `r`, rule `0`: no request can have the path `/a/%2f`"),
        ("=/../a", "no request can have the path `/../a`"),
        ("~(", "`(` is no regular expression over bytes"),
        ("x-a:~(", "`(` is no regular expression over bytes"),
    ] {
        let error = RouteTable::build(&plan(&[], vec![route("r", &[], &[&[words]])]), 0).expect_err(words);
        assert!(error.to_string().contains(message), "{error}");
    }
}

/// Precedence by its definition: of all matches that hold, the one with the most specific host, then the greatest
/// summary.
fn best_by_definition(plan: &Plan, host: &str, head: &Parts) -> Option<(usize, usize)> {
    let mut best = None;
    for (route_index, route) in plan.routes.iter().enumerate() {
        let keys = intersect(&route.hostnames, &plan.listeners[0].hostnames);
        let host = with_normal(host.as_bytes(), |host| keys.into_iter().filter(|key| key.has(host)).max());
        let Some(host) = host else { continue };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            for (index, own) in rule.matches.iter().enumerate() {
                let path = CompiledPath::build(&own.path).expect("compiles");
                let conditions = Conditions::build(own).expect("compiles");
                if path.fits(path_of(head)) && conditions.is_none_or(|conditions| conditions.hold(head)) {
                    let rank =
                        (host.clone(), Summary::new(own, path.rank(), (route_index, rule_index, index)));
                    best = best.max(Some((rank, (route_index, rule_index))));
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// A small generator with a fixed start, so that failures repeat.
struct Dice(u64);

impl Dice {
    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list[(self.0 >> 33) as usize % list.len()]
    }
}

#[test]
fn tables_agree_with_the_definition() {
    const HOSTS: [&str; 6] = ["a.b.c", "*.b.c", "*.c", "x.c", "b.c", ""];
    const PATHS: [&str; 12] =
        ["/", "/a", "/a/b", "/a/b/c", "=/a", "=/a/b", "=/", "~/a.*", "~/a/b", "~.*c", "/ab", "=/a/"];
    const MORE: [&str; 8] = ["", "", "GET", "POST", "x-a:1", "x-b:~[0-9]", "?q=1", "?q=2"];
    let mut dice = Dice(7);
    for _ in 0..300 {
        let routes = (0..4)
            .map(|index| {
                let host = dice.pick(&HOSTS);
                let hostnames = if host.is_empty() { Vec::new() } else { vec![host] };
                let words: Vec<String> = (0..4)
                    .map(|_| [dice.pick(&PATHS), dice.pick(&MORE), dice.pick(&MORE)].join(" "))
                    .collect();
                let rules: Vec<[&str; 1]> = words.iter().map(|words| [words.as_str()]).collect();
                let rules: Vec<&[&str]> = rules.iter().map(|words| &words[..]).collect();
                route(&index.to_string(), &hostnames, &rules)
            })
            .collect();
        let listener = dice.pick(&["", "", "*.c", "a.b.c"]);
        let plan = plan(if listener.is_empty() { &[] } else { std::slice::from_ref(&listener) }, routes);
        let table = RouteTable::build(&plan, 0).expect("builds");
        for _ in 0..40 {
            let host = dice.pick(&["a.b.c", "A.b.C:1", "x.c", "b.c", "c", "d"]);
            let path = dice.pick(&[
                "/",
                "/a",
                "/a/",
                "/a/b",
                "/a/b/c",
                "/ab",
                "/abc",
                "/x",
                "/a?q=1",
                "/a/b?q=2&q=1",
            ]);
            let request =
                [dice.pick(&["GET", "POST"]), path, dice.pick(&["", "x-a:1", "x-b:2 x-a:2"])].join(" ");
            let head = head(&request);
            let found = table.find(host.as_bytes(), &head).map(|found| (found.route, found.rule));
            assert_eq!(found, best_by_definition(&plan, host, &head), "{host} {request} {:#?}", plan.routes);
        }
    }
}

#[test]
fn rules_have_names_where_they_are_clear() {
    let mut shop = route("shop", &[], &[&[], &[]]);
    shop.rules = vec![rule("old", &["/a", "/a/b"]), rule("new", &["/"])];
    let mut alone = route("new", &[], &[]);
    alone.rules = vec![rule("only", &["/"])];
    let mut away = route("away", &[], &[]);
    (away.listeners, away.rules) = (vec![1], vec![rule("far", &["/"])]);
    let last = route("last", &[], &[&["/"], &["/"]]);
    let plan = plan(&[], vec![shop, alone, away, last]);
    let rules = super::NamedRules::new(&plan, 0);
    for (name, want) in [
        ("shop", Some(0)),
        ("shop/old", Some(0)),
        ("shop/new", Some(1)),
        ("new", Some(2)),
        ("only", Some(2)),
        ("far", None),
        ("away", None),
        ("last/1", Some(5)),
        ("old", Some(0)),
        ("", None),
    ] {
        assert_eq!(rules.find(name), want, "{name}");
    }
    for (path, want) in [("/a/b/c", 4), ("/a/bc", 2), ("/ab", 0), ("/", 0)] {
        assert_eq!(rules.found(&plan, 0, path).unwrap().matched_prefix_len, want, "{path}");
    }
    assert_eq!(rules.found(&plan, 3, "/"), None);
}
