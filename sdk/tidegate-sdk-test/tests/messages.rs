//! Heads, state, answers, failures, logs, metrics, connections of bytes.

use std::cell::RefCell;

use serde::Deserialize;
use tidegate_sdk::{
    Body, ConfigError, Connection, Counter, Failure, Filter, Finished, Flow, Gauge, Histogram, NoConfig,
    Reply as Own, Request, Response, Result, filter, log,
};
use tidegate_sdk_test::{Gateway, Reply, connect, get};

mod heads {
    use super::*;

    #[derive(Default)]
    pub(super) struct Seen(RefCell<Vec<String>>);

    pub(super) struct Heads;

    #[filter]
    impl Filter for Heads {
        type State = Seen;

        fn new(_: NoConfig) -> Self {
            Heads
        }

        async fn on_request(&self, request: &mut Request<Seen>) -> Result<Flow> {
            let headers = request.headers();
            request.state().0.borrow_mut().push(request.path());
            match request.query("do").as_deref() {
                Some("repeat") => {
                    let all: Vec<String> = headers.get_all("X-A").iter().map(|v| format!("{v:?}")).collect();
                    headers.set("x-all", all.join(" "));
                    headers.add("x-a", "third");
                    headers.remove("x-gone");
                }
                Some("bad") => headers.set("x-a", "b\nc"),
                Some("try") => {
                    let error = headers.try_set("x a", "b").err();
                    headers.set("x-error", error.map(|error| error.to_string()).unwrap_or_default());
                }
                Some("reply") => {
                    return Ok(Own::json(418, &["tea"])?.header("x-b", "c").details("teapot").into());
                }
                Some("broken-reply") => return Ok(Own::new(200).header("x b", "c").into()),
                Some("question-mark") => Err(Own::redirect(302, "/login"))?,
                Some("fails") => Err(Failure::new("out of luck"))?,
                Some("close") => return Ok(Flow::Close),
                Some("rewrite") => {
                    request.set_path("/new?x=1");
                    request.set_method("PUT");
                    request.set_authority("other.test");
                }
                _ => {}
            }
            Ok(Flow::Continue)
        }

        async fn on_response(&self, response: &mut Response<Seen>) {
            let seen = response.state().0.borrow().join(" ");
            response.headers().set("x-seen", seen);
            if response.status() == 500 {
                response.set_status(502);
            }
        }

        fn on_log(&self, finished: &Finished<Seen>) {
            let path = finished.request_headers().get(":path").unwrap_or_default();
            log::info!("{path:?} {} {}", finished.status(), finished.state().0.borrow().len());
        }
    }
}

fn heads() -> Gateway<heads::Heads> {
    Gateway::start("").expect("a correct configuration")
}

#[test]
fn headers_repeat_and_need_not_be_text() {
    let request =
        get("/?do=repeat").header("x-a", b"\xff".to_vec()).header("X-a", "two").header("x-gone", "1");
    let answer = heads().send(request);
    let seen = answer.upstream().unwrap();
    assert_eq!(seen.header("x-all"), Some("\"\\xff\" \"two\""));
    assert_eq!(seen.headers().get_all("x-a").count(), 3);
    assert_eq!(seen.header("x-gone"), None);
}

#[test]
fn a_change_that_is_not_possible_is_not_passed_over() {
    let answer = heads().send(get("/?do=bad"));
    assert_eq!((answer.status(), answer.details()), (500, "filter_failed"));
    assert!(answer.logged("header \"x-a\": the value has a line break"), "{:?}", answer.lines());
    let answer = heads().send(get("/?do=try"));
    let error = "header \"x a\": the name is not a header name";
    assert_eq!(answer.upstream().unwrap().header("x-error"), Some(error));
}

#[test]
fn handlers_answer_in_several_ways() {
    let gateway = heads();
    let tea = gateway.send(get("/?do=reply"));
    assert_eq!((tea.status(), tea.text().as_str(), tea.details()), (418, "[\"tea\"]", "teapot"));
    // The filter does not see its own answer.
    assert_eq!(tea.header("x-seen"), None);
    assert_eq!(gateway.send(get("/?do=broken-reply")).status(), 500);
    let login = gateway.send(get("/?do=question-mark"));
    assert_eq!((login.status(), login.header("location")), (302, Some("/login")));
    let failed = gateway.send(get("/?do=fails"));
    assert!(failed.status() == 500 && failed.logged("the filter failed: out of luck"));
    assert!(gateway.send(get("/?do=close")).is_broken());
}

#[test]
fn state_goes_from_request_to_response_and_log() {
    let answer = heads().send(get("/a?do=rewrite").answered(Reply::new(500)));
    assert_eq!((answer.status(), answer.header("x-seen")), (502, Some("/a?do=rewrite")));
    let seen = answer.upstream().unwrap();
    assert_eq!(
        (seen.method(), seen.path(), seen.header(":authority")),
        ("PUT", "/new?x=1", Some("other.test"))
    );
    assert!(answer.logged("\"/new?x=1\" 502 1"), "{:?}", answer.lines());
}

mod open {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Config {
        label: String,
    }

    pub(super) struct Open {
        denied: Counter,
    }

    static OPEN: Gauge = Gauge::new("open");
    static SIZE: Histogram = Histogram::new("size");

    #[filter]
    impl Filter for Open {
        type Config = Config;

        fn new(config: Config) -> Result<Self, ConfigError> {
            if config.label.is_empty() {
                return Err(ConfigError::at("label", "must not be empty"));
            }
            Ok(Open { denied: Counter::labelled("denied_total", &[("why", &config.label)]) })
        }

        async fn on_request(&self, _request: &mut Request) -> Result<()> {
            OPEN.add(2);
            OPEN.add(-1);
            SIZE.record(7);
            self.denied.increment();
            Err(Failure::new(format!("value {}", self.denied.value())))
        }

        fn on_error(&self, failure: &Failure) -> Flow {
            log::warn!("going on: {failure}");
            Flow::Continue
        }
    }
}

#[test]
fn a_filter_may_fail_open_and_count() {
    let gateway = Gateway::<open::Open>::start(r#"{ "label": "a\"b" }"#).unwrap();
    let answer = gateway.send(get("/"));
    assert_eq!(answer.status(), 200);
    assert!(answer.logged("going on: value 1"), "{:?}", answer.lines());
    assert_eq!((answer.metric("open"), answer.metric("size")), (1, 7));
    assert_eq!(answer.metric(r#"denied_total{why="a\"b"}"#), 1);
    let error = Gateway::<open::Open>::start(r#"{ "label": "" }"#).unwrap_err();
    assert_eq!(error.to_string(), "config.label: must not be empty");
}

mod tcp {
    use super::*;

    pub(super) struct Tcp;

    #[filter]
    impl Filter for Tcp {
        fn new(_: NoConfig) -> Self {
            Tcp
        }

        async fn on_connection(&self, connection: &mut Connection, client: &mut Body) -> Result<Flow> {
            if connection.properties().source().ip().as_deref() == Some("192.0.2.9") {
                return Ok(Flow::Close);
            }
            let mut start = Vec::new();
            while start.len() < 5 {
                match client.next().await? {
                    Some(bytes) => start.extend(bytes),
                    None => return Ok(Flow::Close),
                }
            }
            Ok(if start.starts_with(b"hello") { Flow::Continue } else { Flow::Close })
        }

        async fn on_server(&self, _connection: &mut Connection, server: &mut Body) -> Result<()> {
            while let Some(bytes) = server.next().await? {
                server.replace(bytes.to_ascii_uppercase())?;
            }
            Ok(())
        }
    }
}

#[test]
fn connections_are_led_closed_and_changed() {
    let gateway = Gateway::<tcp::Tcp>::start("").unwrap();
    let talk = gateway.connect(connect().sends("hello you").answered("welcome"));
    assert_eq!((talk.server_got(), talk.client_got()), (&b"hello you"[..], &b"WELCOME"[..]));
    assert!(gateway.connect(connect().sends("hell")).closed());
    assert!(gateway.connect(connect().from("192.0.2.9:1").sends("hello")).closed());
}
