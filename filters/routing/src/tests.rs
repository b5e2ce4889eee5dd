//! The filter's behaviour and its configuration's errors, natively. Where requests go is seen by a header here.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_sdk_test::{Answer, Gateway, Reply, Request, Ways, get};

use crate::Routing;

fn gateway(config: &str) -> Gateway<Routing> {
    Gateway::start(config).expect("a correct configuration")
}

/// A place, as configurations write it.
fn to(value: &str) -> String {
    format!(r#"{{ "header": {{ "name": "x-to", "value": "{value}" }} }}"#)
}

/// Where a request went.
fn went(answer: &Answer) -> Option<&str> {
    answer.upstream().expect("it goes on").header("x-to")
}

fn split(rest: &str, old: u32, new: u32) -> String {
    let to = to("new");
    format!(
        r#"{{ "rules": [{{ "name": "canary", "split": {{
            "arms": [{{ "name": "old", "weight": {old} }}, {{ "name": "new", "weight": {new}, "to": {to} }}]{rest} }} }}],
            "tell": {{ "upstream": "x-arm", "client": "X-Arm" }} }}"#
    )
}

#[test]
fn a_canary_gets_its_share_by_chance() {
    let gateway = Gateway::<Routing>::with(&split("", 95, 5), Ways::plain()).expect("correct");
    let new = (0..4000).filter(|_| went(&gateway.send(get("/"))) == Some("new")).count();
    // Four standard deviations of a binomial distribution: 55.
    assert!((145..=255).contains(&new), "{new}");
    let counted =
        |arm: &str| gateway.metric(&format!(r#"routing_requests_total{{rule="canary",arm="{arm}"}}"#));
    assert_eq!((counted("new"), counted("old")), (new as i64, 4000 - new as i64));
}

#[test]
fn an_identity_keeps_its_arm_everywhere() {
    let config = split(r#", "by": { "header": "x-user" }"#, 1, 1);
    let (one, other) = (gateway(&config), gateway(&config));
    let arm = |gateway: &Gateway<Routing>, user: u32| {
        let answer = gateway.send(get("/").header("x-user", format!("user-{user}")));
        assert_eq!(answer.header("x-arm"), answer.upstream().expect("it goes on").header("x-arm"));
        answer.header("x-arm").expect("told").to_owned()
    };
    let forward: Vec<_> = (0..200).map(|user| arm(&one, user)).collect();
    let mut backward: Vec<_> = (0..200).rev().map(|user| arm(&other, user)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let new = forward.iter().filter(|arm| *arm == "new").count();
    assert!((72..=128).contains(&new), "{new}");
}

#[test]
fn shares_of_identities_are_exact_and_independent_of_other_rules() {
    let rule = |name: &str| {
        crate::split::Split::new(
            &serde_json::from_str(
                r#"{ "arms": [{ "name": "a", "weight": 1 }, { "name": "b", "weight": 2 }, { "name": "c", "weight": 7 }],
                    "by": { "header": "x" } }"#,
            )
            .expect("a split"),
            "",
            name,
            "",
        )
        .expect("correct")
        .0
    };
    let (one, other) = (rule("one"), rule("other"));
    let mut counts = BTreeMap::new();
    for user in 0..100_000 {
        let identity = format!("user-{user}");
        *counts.entry((one.arm_of(&identity), other.arm_of(&identity))).or_insert(0_i32) += 1;
    }
    for (first, share) in [0.1, 0.2, 0.7].into_iter().enumerate() {
        for (second, second_share) in [0.1, 0.2, 0.7].into_iter().enumerate() {
            let wanted = share * second_share * 100_000.0;
            let found = f64::from(counts.get(&(first, second)).copied().unwrap_or(0));
            assert!(
                (found - wanted).abs() < 5.0 * wanted.sqrt(),
                "{first} {second}: {found}, {wanted} wanted"
            );
        }
    }
}

#[test]
fn a_cookie_keeps_an_arm() {
    let gateway = gateway(&split(r#", "cookie": { "name": "arm", "maxAge": "1h", "secure": true }"#, 1, 1));
    let first = gateway.send(get("/"));
    let arm = first.header("x-arm").expect("told").to_owned();
    let cookie = first.header("set-cookie").expect("set");
    assert_eq!(cookie, format!("arm={arm}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"));
    for _ in 0..20 {
        for arm in ["old", "new"] {
            let answer = gateway.send(get("/").header("cookie", format!("a=b; arm={arm}")));
            assert_eq!((answer.header("x-arm"), answer.header("set-cookie")), (Some(arm), None));
        }
    }
    let forged = gateway.send(get("/").header("cookie", "arm=admin"));
    assert!(forged.header("set-cookie").is_some());
}

#[test]
fn an_arm_without_weight_is_given_to_nobody() {
    let gateway = gateway(&split(r#", "cookie": { "name": "arm" }"#, 1, 0));
    let answer = gateway.send(get("/").header("cookie", "arm=new"));
    assert_eq!((went(&answer), answer.header("x-arm")), (None, Some("old")));
    assert!(answer.header("set-cookie").expect("set anew").starts_with("arm=old;"));
}

#[test]
fn the_first_rule_that_fits_and_decides_counts() {
    let (gold, beta, posts, rest) = (to("gold"), to("beta"), to("posts"), to("rest"));
    let gateway = gateway(&format!(
        r#"{{ "rules": [
            {{ "name": "plan", "values": {{ "from": {{ "header": "X-Plan" }}, "arms": {{ "gold": {gold} }} }} }},
            {{ "name": "beta", "match": {{ "cookies": {{ "beta": "*" }} }}, "to": {beta} }},
            {{ "name": "posts", "match": {{ "path": "/a(/.*)?", "methods": ["POST"] }}, "to": {posts} }},
            {{ "name": "rest", "match": {{ "headers": {{ "x-any": "1" }} }}, "to": {rest} }}
        ], "tell": {{ "upstream": "x-arm" }} }}"#
    ));
    let place = |request: Request| went(&gateway.send(request)).map(str::to_owned);
    assert_eq!(place(get("/").header("x-plan", "gold").header("cookie", "beta=1")).as_deref(), Some("gold"));
    assert_eq!(place(get("/").header("x-plan", "tin").header("cookie", "beta=")).as_deref(), Some("beta"));
    assert_eq!(place(Request::new("POST", "/a/b?c")).as_deref(), Some("posts"));
    assert_eq!(place(Request::new("POST", "/ab").header("x-any", "1")).as_deref(), Some("rest"));
    let none = gateway.send(get("/").header("x-arm", "gold").header("x-any", "2"));
    assert_eq!((went(&none), none.upstream().expect("it goes on").header("x-arm")), (None, None));
}

#[test]
fn values_come_from_all_of_the_request() {
    for (source, request) in [
        (r#"{ "query": "t" }"#, get("/?a=b&t=x")),
        (r#"{ "cookie": "t" }"#, get("/").header("cookie", "t=x")),
        (r#"{ "segment": 1 }"#, get("/t/x/y")),
        (r#"{ "property": "filter_state.tenant" }"#, get("/").property("filter_state.tenant", "x")),
        (r#"{ "claim": "org.tenant" }"#, get("/").property("auth.claim.org.tenant", "x")),
        (r#""subject""#, get("/").property("auth.subject", "x")),
        (r#""host""#, get("/").host("X:8080")),
        (r#""subdomain""#, get("/").host("x.example.com")),
    ] {
        let place = to("there");
        let gateway = gateway(&format!(
            r#"{{ "rules": [{{ "name": "r", "values": {{ "from": {source}, "arms": {{ "x": {place} }} }} }}] }}"#
        ));
        assert_eq!(went(&gateway.send(request)), Some("there"), "{source}");
        assert_eq!(went(&gateway.send(get("/other"))), None, "{source}");
    }
}

#[test]
fn upstreams_and_rules_are_named() {
    let gateway = gateway(
        r#"{ "rules": [
            { "name": "u", "match": { "path": "/u" }, "to": { "upstream": "shop-2" } },
            { "name": "r", "to": { "route": "shop/other" } }
        ] }"#,
    );
    assert_eq!(gateway.send(get("/u")).chosen_upstream(), Some("shop-2"));
    assert_eq!(gateway.send(get("/r")).chosen_route(), Some("shop/other"));
}

#[test]
fn languages_are_chosen_by_preference() {
    let (de, en) = (to("de"), to("en"));
    let gateway = gateway(&format!(
        r#"{{ "rules": [{{ "name": "l", "language": {{ "arms": {{ "DE": {de} }}, "default": {en} }} }}] }}"#
    ));
    let place =
        |accept: &str| went(&gateway.send(get("/").header("accept-language", accept))).map(str::to_owned);
    assert_eq!(place("fr, de-CH;q=0.5, en;q=0.4").as_deref(), Some("de"));
    assert_eq!(place("fr").as_deref(), Some("en"));
    assert_eq!(went(&gateway.send(get("/"))), Some("en"));
}

const TOKEN: &str = "0123456789abcdef";

#[test]
fn a_switch_is_switched_by_its_path() {
    let (blue, green) = (to("blue"), to("green"));
    let gateway = gateway(&format!(
        r#"{{ "rules": [{{ "name": "shop", "switch": {{ "arms": {{ "blue": {blue}, "green": {green} }},
            "initial": "blue", "control": {{ "path": "/_switch", "token": "{TOKEN}" }} }} }}] }}"#
    ));
    let ask = |method: &str, path: &str, token: &str| {
        let answer =
            gateway.send(Request::new(method, path).header("authorization", format!("Bearer {token}")));
        assert!(answer.upstream().is_none());
        (answer.status(), answer.text())
    };
    assert_eq!(went(&gateway.send(get("/"))), Some("blue"));
    assert_eq!(ask("GET", "/_switch", TOKEN), (200, "blue\n".to_owned()));
    assert_eq!(ask("POST", "/_switch?to=green", TOKEN), (200, "green\n".to_owned()));
    assert_eq!(went(&gateway.send(get("/"))), Some("green"));
    assert_eq!(ask("POST", "/_switch?to=red", TOKEN).0, 400);
    assert_eq!(ask("POST", "/_switch?to=blue", "0123456789abcdeg").0, 401);
    assert_eq!(ask("POST", "/_switch?to=blue", "").0, 401);
    assert_eq!(ask("DELETE", "/_switch", TOKEN).0, 405);
    assert_eq!(went(&gateway.send(get("/_switch/x"))), Some("green"));
}

#[test]
fn tables_name_upstreams() {
    let config = |table: &str| {
        let place = to("default");
        format!(
            r#"{{ "rules": [{{ "name": "t", "table": {{ "from": {{ "header": "x-tenant" }}, {table}, "default": {place} }} }}] }}"#
        )
    };
    for table in [
        r#""entries": { "acme": "shop-2" }"#,
        r##""text": "# tenants\nbig  shop-1\n\n acme\tshop-2 # small\n""##,
    ] {
        let gateway = gateway(&config(table));
        let answer = gateway.send(get("/").header("x-tenant", "acme"));
        assert_eq!((answer.status(), answer.chosen_upstream()), (200, Some("shop-2")));
        assert_eq!(answer.metric(r#"routing_requests_total{rule="t",arm="found"}"#), 1);
        assert_eq!(went(&gateway.send(get("/").header("x-tenant", "other"))), Some("default"));
        assert_eq!(went(&gateway.send(get("/"))), Some("default"));
    }
}

#[test]
fn a_table_of_a_server_stays_when_the_server_goes() {
    let config = r#"{ "rules": [{ "name": "t", "table": { "from": { "header": "x-tenant" },
        "http": { "upstream": "tenants", "path": "/t.json", "refresh": "10s" } } }] }"#;
    let gateway = gateway(config);
    let answer = gateway.send(get("/").header("x-tenant", "acme"));
    assert_eq!((answer.status(), answer.details()), (503, "routing_table_missing"));
    let ask = |tenant: &str| {
        let answer = gateway.send(get("/").header("x-tenant", tenant));
        answer.chosen_upstream().unwrap_or_default().to_owned()
    };
    gateway.on_call("tenants", |_| Reply::new(200).body(r#"{ "acme": "shop-2" }"#));
    gateway.advance(Duration::from_secs(11));
    assert_eq!((ask("acme").as_str(), ask("other").as_str()), ("shop-2", ""));
    for broken in
        [Reply::none(), Reply::new(500), Reply::new(200).body("{"), Reply::new(200).body(r#"{ "a": 1 }"#)]
    {
        gateway.on_call("tenants", move |_| broken.clone());
        gateway.advance(Duration::from_secs(16));
        assert_eq!((ask("acme").as_str(), ask("other").as_str()), ("shop-2", ""));
    }
    assert!(gateway.metric("routing_table_failures_total") >= 4);
    gateway.on_call("tenants", |_| Reply::new(200).body(r#"{ "other": "shop-2" }"#));
    gateway.advance(Duration::from_secs(16));
    assert_eq!((ask("acme").as_str(), ask("other").as_str()), ("", "shop-2"));
}

#[test]
fn paths_are_rewritten_and_redirected() {
    let gateway = gateway(
        r#"{ "redirects": [
                { "path": "/old/(.*)", "to": "/new/$1" },
                { "path": "/(?<lang>de|en)/moved", "to": "https://example.com/?lang=${lang}", "status": 302 },
                { "path": "/x(.*)", "to": "/$1", "status": 307, "keepQuery": false }
            ],
            "rewrites": [{ "path": "/v1/(\\w+)/([0-9]+)", "to": "/$1?id=$2" }] }"#,
    );
    let redirected = |path: &str| {
        let answer = gateway.send(get(path));
        (answer.status(), answer.header("location").map(str::to_owned))
    };
    assert_eq!(redirected("/old/a/b?c=d"), (308, Some("/new/a/b?c=d".to_owned())));
    assert_eq!(redirected("/de/moved?a=b"), (302, Some("https://example.com/?lang=de&a=b".to_owned())));
    assert_eq!(redirected("/x/evil.example?q"), (307, Some("/evil.example".to_owned())));
    let path = |path: &str| gateway.send(get(path)).upstream().expect("it goes on").path().to_owned();
    assert_eq!(path("/v1/items/7?x=y"), "/items?id=7&x=y");
    assert_eq!(path("/v1/items/7a"), "/v1/items/7a");
    assert_eq!(gateway.metric("routing_redirects_total"), 3);
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("", "config: has neither redirects nor rewrites nor rules"),
        (
            r#"{ "rules": [{ "name": "a" }] }"#,
            "config.rules[0]: has one of to, split, values, language, switch and table",
        ),
        (
            r#"{ "rules": [{ "name": "a b", "to": { "upstream": "u" } }] }"#,
            "config.rules[0].name: \"a b\" has something else than letters, digits, _, - and .",
        ),
        (
            r#"{ "rules": [{ "name": "a", "to": { "upstream": "u" } }, { "name": "a", "to": { "upstream": "u" } }] }"#,
            "config.rules[1].name: there is a rule \"a\" already",
        ),
        (
            r#"{ "rules": [{ "name": "a", "to": { "upstream": "" } }] }"#,
            "config.rules[0].to: the name is empty",
        ),
        (
            r#"{ "rules": [{ "name": "a", "split": { "arms": [{ "name": "x", "weight": 0 }] } }] }"#,
            "config.rules[0].split.arms: have no weight, so no request could be given one",
        ),
        (
            r#"{ "rules": [{ "name": "a", "split": { "arms": [{ "name": "x" }, { "name": "x" }] } }] }"#,
            "config.rules[0].split.arms[1].name: there is an arm \"x\" already",
        ),
        (
            r#"{ "rules": [{ "name": "a", "switch": { "arms": {}, "initial": "x" } }] }"#,
            "config.rules[0].switch.initial: there is no arm \"x\"",
        ),
        (
            r#"{ "rules": [{ "name": "a", "switch": { "arms": { "x": { "upstream": "u" } }, "initial": "x",
                "control": { "path": "/s", "token": "short" } } }] }"#,
            "config.rules[0].switch.control.token: has fewer than 16 bytes",
        ),
        (
            r#"{ "rules": [{ "name": "a", "table": { "from": "host" } }] }"#,
            "config.rules[0].table: has one of entries, text and http",
        ),
        (
            r#"{ "rules": [{ "name": "a", "table": { "from": "host", "text": "a b\nc" } }] }"#,
            "config.rules[0].table.text: line 2: has not two words, a value and a name",
        ),
        (
            r#"{ "redirects": [{ "path": "/a", "to": "/$1" }] }"#,
            "config.redirects[0].to: the pattern has no group \"1\"; write $$ for a dollar sign",
        ),
        (
            r#"{ "redirects": [{ "path": "/(.*)", "to": "https://$1/" }] }"#,
            "config.redirects[0].to: needs a host in which nothing is captured",
        ),
        (
            r#"{ "redirects": [{ "path": "/a", "to": "b" }] }"#,
            "config.redirects[0].to: \"b\" is neither a path nor a URL of http or https",
        ),
        (
            r#"{ "redirects": [{ "path": "/a", "to": "/b", "status": 200 }] }"#,
            "config.redirects[0].status: 200 is no redirect: 301, 302, 303, 307 or 308",
        ),
        (
            r#"{ "rewrites": [{ "path": "/a", "to": "b" }] }"#,
            "config.rewrites[0].to: \"b\" does not begin with a slash",
        ),
        (
            r#"{ "rewrites": [{ "path": "/a", "to": "/b" }], "tell": { "client": "a b" } }"#,
            "config.tell.client: \"a b\" is not a header name, as \"x-user\" is",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<Routing>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
    let error = Gateway::<Routing>::start(r#"{ "rewrites": [{ "path": "/(a", "to": "/b" }] }"#);
    let error = error.expect_err("no regular expression").to_string();
    assert!(error.starts_with("config.rewrites[0].path: \"/(a\" is no regular expression: "), "{error}");
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("routing", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/routing.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
