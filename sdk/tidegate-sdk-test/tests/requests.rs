//! What filters read of a request besides headers, and where they send it.

use std::time::Duration;

use tidegate_sdk::{Filter, Flow, NoConfig, Reply as Own, Request, Result, filter, time};
use tidegate_sdk_test::{Gateway, get};

mod read {
    use super::*;

    pub(super) struct Read;

    #[filter]
    impl Filter for Read {
        fn new(_: NoConfig) -> Self {
            Read
        }

        async fn on_request(&self, request: &mut Request) -> Flow {
            let cookie = request.cookie("session").map(|value| value.to_str().map(str::to_owned));
            let names: Vec<String> = request.cookies().into_iter().map(|(name, _)| name).collect();
            let seen = (cookie, names, request.query("q"), request.query_decoded("q"));
            Own::text(200, format!("{seen:?}")).into()
        }
    }
}

#[test]
fn cookies_and_queries_are_read() {
    let gateway = Gateway::<read::Read>::start("").expect("starts");
    let answer = gateway.send(get("/?q=a%20b+c").header("cookie", "a=1; session=x=y; session=2"));
    assert_eq!(
        answer.text(),
        "(Some(Some(\"x=y\")), [\"a\", \"session\", \"session\"], Some(\"a%20b+c\"), Some(\"a b c\"))\n"
    );
    assert_eq!(gateway.send(get("/")).text(), "(None, [], None, None)\n");
}

mod choose {
    use super::*;

    pub(super) struct Choose;

    #[filter]
    impl Filter for Choose {
        fn new(_: NoConfig) -> Self {
            Choose
        }

        async fn on_request(&self, request: &mut Request) -> Result<Flow> {
            match request.query("do").unwrap_or_default().as_str() {
                "upstream" => request.set_upstream("canary")?,
                "route" => request.set_route("shop/beta")?,
                "unnamed" => request.set_upstream("")?,
                "header" => request.route_by_header("x-variant", "b")?,
                "reset" => return Ok(Flow::reset("injected")),
                "wait" => {
                    let late = time::timeout(Duration::from_millis(5), time::sleep(Duration::from_secs(60)));
                    if late.await.is_err() {
                        time::sleep(Duration::from_micros(1500)).await;
                    }
                }
                _ => {}
            }
            Ok(Flow::Continue)
        }
    }
}

#[test]
fn a_filter_chooses_where_a_request_goes() {
    let gateway = Gateway::<choose::Choose>::start("").expect("a correct configuration");
    let sent = gateway.send(get("/?do=upstream"));
    assert_eq!((sent.chosen_upstream(), sent.chosen_route()), (Some("canary"), None));
    let sent = gateway.send(get("/?do=route"));
    assert_eq!((sent.chosen_upstream(), sent.chosen_route()), (None, Some("shop/beta")));
    let sent = gateway.send(get("/?do=unnamed"));
    assert_eq!(sent.status(), 500);
    assert!(
        sent.logged("cannot choose the upstream \"\": the host answered 1 (not found)"),
        "{:?}",
        sent.lines()
    );
    let sent = gateway.send(get("/?do=header"));
    assert_eq!(sent.upstream().expect("it went on").header("x-variant"), Some("b"));
}

#[test]
fn elsewhere_a_header_chooses() {
    let gateway = Gateway::<choose::Choose>::elsewhere("").expect("a correct configuration");
    assert_eq!(gateway.send(get("/?do=upstream")).status(), 500);
    let sent = gateway.send(get("/?do=header"));
    assert_eq!(sent.upstream().expect("it went on").header("x-variant"), Some("b"));
}

#[test]
fn an_exchange_is_broken_off_with_a_reason() {
    let gateway = Gateway::<choose::Choose>::start("").expect("a correct configuration");
    let sent = gateway.send(get("/?do=reset"));
    assert_eq!((sent.is_broken(), sent.details()), (true, "injected"));
    let gateway = Gateway::<choose::Choose>::elsewhere("").expect("a correct configuration");
    assert!(gateway.send(get("/?do=reset")).is_broken());
}

#[test]
fn timers_go_off_when_it_is_time() {
    for gateway in [Gateway::<choose::Choose>::start(""), Gateway::elsewhere("")] {
        let sent = gateway.expect("a correct configuration").send(get("/?do=wait"));
        assert_eq!((sent.status(), sent.elapsed()), (200, Duration::from_millis(7)));
    }
}

mod origin {
    use super::*;

    pub(super) struct Origin;

    #[filter]
    impl Filter for Origin {
        fn new(_: NoConfig) -> Self {
            Origin
        }

        async fn on_request(&self, request: &mut Request) -> Own {
            let source = request.properties().source();
            Own::text(200, format!("{:?} {:?} {:?}", source.address(), source.ip(), source.port()))
        }
    }
}

#[test]
fn a_request_comes_from_where_the_test_says() {
    let gateway = Gateway::<origin::Origin>::start("").expect("starts");
    for (from, told) in [
        ("192.0.2.7:1000", "Some(\"192.0.2.7:1000\") Some(\"192.0.2.7\") Some(1000)\n"),
        ("[2001:db8::1]:7", "Some(\"[2001:db8::1]:7\") Some(\"2001:db8::1\") Some(7)\n"),
    ] {
        assert_eq!(gateway.send(get("/").from(from)).text(), told);
    }
}
