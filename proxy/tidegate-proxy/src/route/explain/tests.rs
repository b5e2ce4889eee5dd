//! Explanations of small plans, and that they never name another rule than the table does.

use std::time::Duration;

use tidegate_config::plan::{
    Action, Balance, Filter, HeaderChanges, PathRewrite, PoolSettings, Protocol, RetryOn, Rewrite, Server,
    Upstream, UpstreamLimits, UpstreamProtocol, WeightedUpstream,
};

use super::*;
use crate::route::tests::{listener, plan, route, rule};

fn request(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> ExplainRequest {
    ExplainRequest {
        method: method.to_owned(),
        scheme: "http".to_owned(),
        host: host.to_owned(),
        port: None,
        client: None,
        path_and_query: target.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn chosen(explanation: &Explanation) -> String {
    explanation.chosen.as_ref().map_or_else(|| "none".to_owned(), |own| format!("{}/{}", own.route, own.rule))
}

fn why<'a>(losers: &'a [Loser], name: &str) -> &'a str {
    losers.iter().find(|loser| loser.name == name).map_or("", |loser| loser.why.as_str())
}

#[test]
fn each_rule_is_told_why_it_lost() {
    let rules: &[&[&str]] = &[
        &["/orders POST x-env:staging"],
        &["/orders"],
        &["/", "/other"],
        &["=/orders"],
        &["/orders GET"],
        &["/orders x-env:~prod.*"],
        &["/orders x-env:staging"],
        &["/orders ?v=2"],
        &["/carts", "/baskets"],
        &["/orders POST x-env:staging"],
    ];
    let plan = plan(
        &["*.example.com"],
        vec![
            route("shop", &["shop.example.com"], rules),
            route("wide", &["*.example.com"], &[&["=/orders/1"]]),
            route("alien", &["other.test"], &[&["/"]]),
        ],
    );
    let request = request("POST", "Shop.example.com:8080", "/orders/1?v=1", &[("x-env", "staging")]);
    let explanation = explain(&plan, &request);
    assert_eq!(chosen(&explanation), "shop/0");
    assert_eq!(explanation.canonical, None);
    for (name, reason) in [
        ("shop/1", "matches too, but it asks for no method"),
        ("shop/2", "matches too, but its prefix is shorter"),
        ("shop/3", "path: is not exact path /orders"),
        ("shop/4", "method: is not GET"),
        ("shop/5", "header: no x-env like prod.*"),
        ("shop/6", "matches too, but it asks for no method"),
        ("shop/7", "query: no v: 2"),
        ("shop/8", "path: is not prefix /carts or prefix /baskets"),
        ("shop/9", "matches too, but it is as specific, but comes later in the document"),
        ("wide/0", "matches too, but its host is less specific"),
        ("alien/0", "host: the route is for other.test"),
    ] {
        assert_eq!(why(&explanation.others, name), reason, "{name}");
    }
    assert_eq!(explanation.others.len(), 11);
    assert!(why(&explanation.others[..1], &explanation.others[0].name).starts_with("matches too"));
}

#[test]
fn kinds_of_paths_and_counts_are_compared() {
    let rules: &[&[&str]] = &[&["=/a"], &["~/a"], &["/a"], &["=/a x-a:1"], &["=/a x-a:1 ?q=1"]];
    let plan = plan(&[], vec![route("r", &[], rules)]);
    let explanation = explain(&plan, &request("GET", "h", "/a?q=1", &[("x-a", "1")]));
    assert_eq!(chosen(&explanation), "r/4");
    for (name, reason) in [
        ("r/0", "matches too, but it asks for 0 headers, the chosen rule for 1"),
        ("r/1", "matches too, but an exact path goes before a regular expression"),
        ("r/2", "matches too, but an exact path goes before a prefix"),
        ("r/3", "matches too, but it asks for 0 query parameters, the chosen rule for 1"),
    ] {
        assert_eq!(why(&explanation.others, name), reason, "{name}");
    }
}

#[test]
fn the_listener_is_chosen_by_scheme_port_and_host() {
    let mut plan = plan(&["a.test"], vec![route("r", &[], &[&["/"]])]);
    plan.listeners.push(listener("wide", &["*.test"]));
    plan.listeners.push(listener("secure", &[]));
    plan.listeners[1].addresses = vec!["127.0.0.1:8081".parse().expect("an address")];
    plan.listeners[2].protocol = Protocol::Https;
    plan.routes[0].listeners = vec![0, 1, 2];
    for (scheme, host, port, expected) in [
        ("http", "a.test", None, Some("web")),
        ("http", "b.test", None, Some("wide")),
        ("http", "a.test", Some(8081), Some("wide")),
        ("http", "c.other", None, Some("web")),
        ("https", "c.other", None, Some("secure")),
        ("http", "a.test", Some(1), None),
        ("ftp", "a.test", None, None),
    ] {
        let request = ExplainRequest { scheme: scheme.to_owned(), port, ..request("GET", host, "/", &[]) };
        let explanation = explain(&plan, &request);
        assert_eq!(explanation.listener.as_deref(), expected, "{scheme} {host} {port:?}");
        let matches = expected.is_some() && host != "c.other" || scheme == "https";
        assert_eq!(explanation.chosen.is_some(), matches, "{scheme} {host} {port:?}");
    }
    let explanation =
        explain(&plan, &ExplainRequest { port: Some(8081), ..request("GET", "a.test", "/", &[]) });
    assert_eq!(why(&explanation.other_listeners, "web"), "does not listen on port 8081");
    assert_eq!(why(&explanation.other_listeners, "secure"), "speaks https, not http");
}

#[test]
fn canonical_targets_and_refusals_are_shown() {
    let plan = plan(&[], vec![route("r", &[], &[&["/admin"]])]);
    let explanation = explain(&plan, &request("GET", "h", "/x/..;/admin;a=b/%7e?q", &[]));
    assert_eq!(explanation.canonical.as_deref(), Some("/admin/~?q"));
    assert_eq!(chosen(&explanation), "r/0");
    for (request, expected) in [
        (request("GET", "h", "/a%2fb", &[]), "an encoded slash"),
        (request("GET", "h", "/..", &[]), "above the root"),
        (request("GET", "a b", "/", &[]), "`host` is not a host"),
        (request("TRACE", "h", "/", &[]), "the method TRACE is not passed on"),
        (request("G ET", "h", "/", &[]), "not a request"),
        (
            request("POST", "h", "/", &[("content-length", "1"), ("transfer-encoding", "chunked")]),
            "contradict",
        ),
    ] {
        let refused = explain(&plan, &request).refused.unwrap_or_default();
        assert!(refused.contains(expected), "{refused}");
    }
    let explanation = explain(&plan, &request("GET", "h", "/other", &[]));
    assert_eq!(chosen(&explanation), "none");
    assert!(explanation.to_string().contains("none: the answer is 404"));
}

fn upstream(name: &str, address: &str) -> Upstream {
    Upstream {
        discover: None,
        health: None,
        name: name.to_owned(),
        servers: vec![Server { address: address.to_owned(), weight: 1, ..Server::default() }],
        protocol: UpstreamProtocol::Http1,
        login: tidegate_config::plan::RedisLogin::default(),
        balance: Balance::LeastRequest,
        subset: None,
        balancing: tidegate_config::plan::Balancing::default(),
        ejection: None,
        tls: None,
        limits: UpstreamLimits::default(),
        retry_budget: None,
        pool: PoolSettings::default(),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
    }
}

#[test]
fn the_text_tells_the_whole_way() {
    let mut plan = plan(&[], vec![route("shop", &[], &[&["/orders"], &["/"]])]);
    plan.upstreams = vec![upstream("v1", "127.0.0.1:3001"), upstream("v2", "127.0.0.1:3002")];
    let mut orders = rule("orders", &["/orders GET"]);
    orders.filters = vec![
        Filter::RequestHeaders(HeaderChanges {
            set: vec![("x-key".to_owned(), "secret".to_owned())],
            remove: vec!["x-debug".to_owned()],
            ..HeaderChanges::default()
        }),
        Filter::Rewrite(Rewrite { hostname: None, path: Some(PathRewrite::Prefix("/".to_owned())) }),
    ];
    let share = |upstream, weight| WeightedUpstream { upstream, weight };
    orders.action = tidegate_config::plan::Action::Forward(vec![share(0, 90), share(1, 10)]);
    orders.retries.on = vec![RetryOn::Connect, RetryOn::Status(503)];
    plan.routes[0].rules[0] = orders;
    let text = explain(&plan, &request("GET", "h", "//orders?x=1", &[])).to_string();
    let expected = "\
GET http://h//orders?x=1
target    /orders?x=1 (in canonical form, as it is matched and sent upstream)
listener  web
route     shop
rule      orders by prefix /orders, method GET
filters   1. request headers: set x-key, remove x-debug
          2. rewrite: matched prefix to /
action    forward to v1 for 90 of 100 (127.0.0.1:3001)
          forward to v2 for 10 of 100 (127.0.0.1:3002)
timeouts  idle 60s
retries   up to 1 on connect, 503
others    1 not taken
          - shop/1: matches too, but its prefix is shorter
";
    assert_eq!(text, expected);
}

#[test]
fn what_keeps_a_client_at_a_server_is_told() {
    let mut plan = plan(&[], vec![route("shop", &[], &[&["/"]])]);
    plan.upstreams = vec![upstream("v1", "127.0.0.1:3001")];
    let session = |name: &str| tidegate_config::plan::Session {
        carrier: tidegate_config::plan::SessionCarrier::Header(name.to_owned()),
        absolute_timeout: None,
        idle_timeout: None,
        keys: Vec::new(),
    };
    let own = &mut plan.routes[0].rules[0];
    own.action = Action::Forward(vec![WeightedUpstream { upstream: 0, weight: 1 }]);
    let told = |plan: &Plan| explain(plan, &request("GET", "h", "/", &[])).to_string();
    assert!(!told(&plan).contains("names"));
    plan.upstreams[0].balancing.session = Some(session("x-a"));
    assert!(
        told(&plan).contains("server of v1: the one that the header x-a names, else by leastRequest\n"),
        "{}",
        told(&plan)
    );
    plan.routes[0].rules[0].split.session = Some(session("x-b"));
    assert!(
        told(&plan).contains("server of v1: the one that the header x-b names, else by leastRequest\n"),
        "{}",
        told(&plan)
    );
}

/// Who is taken for the client by which proxies are trusted, where the connection comes from and what the request says.
#[test]
fn the_client_is_told() {
    let mut plan = plan(&[], vec![route("r", &[], &[&["/"]])]);
    let told = |plan: &Plan, peer: Option<&str>, fields: &[(&str, &str)]| {
        let client = peer.map(|ip| format!("{ip}:0").parse().expect("an address"));
        explain(plan, &ExplainRequest { client, ..request("GET", "h", "/", fields) }).client
    };
    let list = [("x-forwarded-for", "198.51.100.7, 192.0.2.1, 10.2.3.4")];
    assert_eq!(told(&plan, None, &[]), None);
    let ignored = told(&plan, None, &list).unwrap_or_default();
    assert_eq!(ignored, "who connects: no proxy is trusted, so its x-forwarded-for is replaced");
    assert_eq!(told(&plan, Some("10.0.0.1"), &[]).as_deref(), Some("10.0.0.1: not a trusted proxy"));
    plan.listeners[0].trusted_proxies =
        vec![tidegate_config::Network::around("10.0.0.0".parse().expect("an address"), 8)];
    for (peer, fields, expected) in [
        (None, &[][..], "who connects, unless that is one of 10.0.0.0/8: --client-address tries one"),
        (Some("192.0.2.9"), &list, "192.0.2.9: not a trusted proxy, so its x-forwarded-for is replaced"),
        (Some("10.0.0.1"), &[], "10.0.0.1: a trusted proxy, but there is no x-forwarded-for"),
        (
            Some("10.0.0.1"),
            &list,
            "192.0.2.1: the last of x-forwarded-for that is not a trusted proxy; 10.0.0.1 is one",
        ),
        (
            Some("10.0.0.1"),
            &[("x-forwarded-for", "10.9.9.9, 10.8.8.8")],
            "10.9.9.9: the first of x-forwarded-for, all of which are trusted proxies",
        ),
        (
            Some("10.0.0.1"),
            &[("x-forwarded-for", "192.0.2.1, unknown")],
            "10.0.0.1: a trusted proxy, but its x-forwarded-for does not end with an address",
        ),
    ] {
        assert_eq!(told(&plan, peer, fields).as_deref(), Some(expected), "{peer:?} {fields:?}");
    }
}

#[test]
fn long_lists_are_cut() {
    let words: Vec<String> = (0..100).map(|index| format!("/r{index}")).collect();
    let rules: Vec<[&str; 1]> = words.iter().map(|words| [words.as_str()]).collect();
    let rules: Vec<&[&str]> = rules.iter().map(|words| &words[..]).collect();
    let explanation = explain(&plan(&[], vec![route("r", &[], &rules)]), &request("GET", "h", "/r5", &[]));
    assert_eq!(explanation.others.len(), 99);
    assert!(explanation.to_string().ends_with("- and 69 more\n"));
}

#[test]
fn connections_are_explained() {
    let mut plan = plan(&[], vec![route("db", &[], &[&["/"]]), route("a", &["a.test"], &[&["/"]])]);
    plan.listeners.push(listener("names", &["*.test", "other.example"]));
    plan.listeners[0].protocol = Protocol::Tcp;
    plan.listeners[1].protocol = Protocol::Tls;
    plan.routes[1].listeners = vec![1];
    plan.routes.push(route("rest", &["*.test"], &[&["/"]]));
    plan.routes[2].listeners = vec![1];
    for own in &mut plan.routes {
        own.rules[0].action = Action::Forward(vec![WeightedUpstream { upstream: 0, weight: 1 }]);
    }
    let of =
        |scheme: &str, host: &str| ExplainRequest { scheme: scheme.to_owned(), ..request("", host, "", &[]) };
    for (scheme, host, listener, rule) in [
        ("tcp", "127.0.0.1", Some("web"), "db/0"),
        ("tls", "a.test", Some("names"), "a/0"),
        ("tls", "b.test", Some("names"), "rest/0"),
        ("tls", "other.example", Some("names"), "none"),
        ("http", "a.test", None, "none"),
    ] {
        let explanation = explain(&plan, &of(scheme, host));
        assert_eq!(explanation.listener.as_deref(), listener, "{scheme} {host}");
        assert_eq!(chosen(&explanation), rule, "{scheme} {host}");
    }
    let explanation = explain(&plan, &of("tls", "a.test"));
    assert_eq!(why(&explanation.others, "rest/0"), "its host is less specific");
    assert_eq!(why(&explanation.others, "db/0"), "the route is not on this listener");
    let text = explain(&plan, &of("tls", "other.example")).to_string();
    assert!(text.contains("no route is for the host other.example: the connection is closed"), "{text}");
}
