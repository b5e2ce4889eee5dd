//! Calls, timers, several at once, tasks in the background, and what becomes of them when the request is gone.

use std::cell::Cell;
use std::time::Duration;

use tidegate_sdk::queue::Queue;
use tidegate_sdk::{
    Either, Filter, Flow, NoConfig, Plugin, Reply as Own, Request, Result, filter, grpc, http, join,
    join_all, log, race, random, shared, spawn, time,
};
use tidegate_sdk_test::machine::{CONFIGURED, Effect, Part, Side};
use tidegate_sdk_test::{Gateway, Machine, Native, Reply, get};

const MS: Duration = Duration::from_millis(1);

mod several {
    use super::*;

    pub(super) struct Several;

    #[filter]
    impl Filter for Several {
        fn new(_: NoConfig) -> Self {
            Several
        }

        async fn on_request(&self, request: &mut Request) -> Result<Flow> {
            match request.path().as_str() {
                "/join" => {
                    let (a, b) = join(http::get("/a").to("a"), http::get("/b").to("b")).await;
                    request.headers().set("x-got", format!("{} {}", a?.status(), b?.status()));
                }
                "/all" => {
                    let calls = (0..5).map(|n| http::get(format!("/{n}")).to("a"));
                    let answers = join_all(calls).await;
                    let bodies: Vec<String> = answers
                        .into_iter()
                        .flatten()
                        .map(|answer| format!("{}", answer.body().len()))
                        .collect();
                    request.headers().set("x-got", bodies.join(" "));
                }
                "/race" => match race(http::get("/a").to("a"), http::get("/b").to("b")).await {
                    Either::First(a) => request.headers().set("x-got", format!("a {}", a?.status())),
                    Either::Second(b) => request.headers().set("x-got", format!("b {}", b?.status())),
                },
                "/limit" => {
                    let answer = time::timeout(3 * MS, http::get("/a").to("a")).await;
                    request
                        .headers()
                        .set("x-got", answer.map_or_else(|e| e.to_string(), |_| "in time".into()));
                }
                "/sleep" => {
                    time::sleep(1500 * MS).await;
                    time::sleep(Duration::from_micros(10)).await;
                }
                "/bad" => {
                    let bad = http::get("/a").to("a").header("x-a", "b\r\nc").await;
                    request
                        .headers()
                        .set("x-got", bad.err().map(|error| error.to_string()).unwrap_or_default());
                }
                "/random" => {
                    let (one, two) = (random::bytes::<12>()?, random::bytes::<12>()?);
                    request.headers().set("x-got", format!("{}", one != two && one != [0; 12]));
                }
                "/nowhere" => {
                    http::get("/").to("").await?;
                }
                _ => {}
            }
            Ok(Flow::Continue)
        }
    }
}

fn several() -> Gateway<several::Several> {
    let gateway = Gateway::start("").expect("a correct configuration");
    gateway.on_call("a", |call| Reply::new(200).body("x".repeat(call.path().len())).after(5 * MS));
    gateway.on_call("b", |_| Reply::new(204).after(4 * MS));
    gateway
}

#[test]
fn random_bytes_differ_from_each_other_but_not_between_runs() {
    let answer = several().send(get("/random"));
    assert_eq!(answer.upstream().and_then(|seen| seen.header("x-got")), Some("true"));
}

#[test]
fn calls_run_at_the_same_time() {
    let gateway = several();
    for (path, got, time) in [
        ("/join", "200 204", 5 * MS),
        ("/all", "2 2 2 2 2", 5 * MS),
        ("/race", "b 204", 4 * MS),
        ("/limit", "it took too long", 3 * MS),
    ] {
        let answer = gateway.send(get(path));
        assert_eq!(answer.upstream().unwrap().header("x-got"), Some(got), "{path}");
        assert_eq!(answer.elapsed(), time, "{path}");
    }
}

#[test]
fn sleeping_takes_its_time_and_nobody_elses() {
    let gateway = several();
    let answer = gateway.send(get("/sleep"));
    assert_eq!((answer.status(), answer.elapsed()), (200, 1501 * MS));
    assert_eq!(gateway.send(get("/")).elapsed(), Duration::ZERO);
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    let gateway = several();
    let answer = gateway.send(get("/bad"));
    let problem = "header \"x-a\": the value has a line break or a zero byte in it";
    assert_eq!(answer.upstream().unwrap().header("x-got"), Some(problem));
    let answer = gateway.send(get("/nowhere"));
    assert_eq!(answer.status(), 500);
    assert!(answer.logged("cannot call the upstream \"\": the host answered 2"), "{:?}", answer.lines());
}

mod background {
    use super::*;

    /// Fetches a word when it starts and every minute, counts its ticks, tells an audit server of each request.
    pub(super) struct Background {
        word: std::cell::RefCell<String>,
        ticks: Cell<u32>,
        queue: Option<Queue>,
    }

    #[filter]
    impl Filter for Background {
        fn new(_: NoConfig, plugin: &Plugin) -> Result<Self, String> {
            plugin.tick_every(Duration::from_secs(10));
            let queue = Some(Queue::register("q").map_err(|error| error.to_string())?);
            Ok(Background { word: std::cell::RefCell::default(), ticks: Cell::new(0), queue })
        }

        async fn on_request(&self, request: &mut Request) -> Result<()> {
            request.headers().set("x-word", &*self.word.borrow());
            request.headers().set("x-ticks", self.ticks.get().to_string());
            let path = request.path();
            if let Some(queue) = &self.queue {
                queue.push(&path)?;
            }
            spawn(async move {
                let told = http::post("/seen").to("audit").body(path).await;
                log::info!("told: {}", told.map_or_else(|e| e.to_string(), |a| a.status().to_string()));
            });
            Ok(())
        }

        async fn on_tick(&self) {
            self.ticks.set(self.ticks.get() + 1);
        }

        async fn background(&self) {
            let fetch = async {
                loop {
                    if let Ok(answer) = http::get("/word").to("words").await {
                        self.word.replace(String::from_utf8_lossy(answer.body()).into_owned());
                    }
                    time::sleep(Duration::from_secs(60)).await;
                }
            };
            let read = async {
                let Some(queue) = &self.queue else { return };
                while let Ok(entry) = queue.pop().await {
                    log::info!("queue: {}", entry.escape_ascii());
                }
            };
            join(fetch, read).await;
        }
    }
}

#[test]
fn the_background_goes_on_beside_requests() {
    let gateway = Gateway::<background::Background>::start("").unwrap();
    gateway.on_call("words", |_| Reply::new(200).body("one"));
    gateway.on_call("audit", |call| Reply::new(if call.body() == b"/x" { 202 } else { 400 }));
    let first = gateway.send(get("/x"));
    assert_eq!(first.upstream().unwrap().header("x-word"), Some("one"));
    assert!(first.logged("told: 202") && first.logged("queue: /x"), "{:?}", first.lines());
    gateway.on_call("words", |_| Reply::new(200).body("two"));
    gateway.advance(Duration::from_secs(59));
    let later = gateway.send(get("/x"));
    let seen = later.upstream().unwrap();
    assert_eq!((seen.header("x-word"), seen.header("x-ticks")), (Some("one"), Some("5")));
    gateway.advance(Duration::from_secs(1));
    let later = gateway.send(get("/x"));
    let seen = later.upstream().unwrap();
    assert_eq!((seen.header("x-word"), seen.header("x-ticks")), (Some("two"), Some("6")));
}

#[test]
fn the_background_does_not_begin_in_an_instance_on_trial() {
    let mut native = Native::<background::Background>::start("", true).unwrap();
    let calls = |native: &mut Native<_>| {
        let effects = native.effects();
        effects.iter().filter(|effect| matches!(effect, Effect::HttpCall { .. })).count()
    };
    assert_eq!(calls(&mut native), 0);
    native.set_time(CONFIGURED + MS);
    native.tick().unwrap();
    assert_eq!(calls(&mut native), 1);
}

mod turns {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::{Poll, Waker};

    use super::*;

    /// One request at a time: the first waits for ever, the others for its end.
    #[derive(Default)]
    pub(super) struct Turns(Rc<RefCell<Option<Waker>>>, Cell<bool>);

    struct Turn(Rc<RefCell<Option<Waker>>>);

    impl Drop for Turn {
        fn drop(&mut self) {
            if let Some(waker) = self.0.take() {
                waker.wake();
            }
        }
    }

    #[filter]
    impl Filter for Turns {
        fn new(_: NoConfig) -> Self {
            Turns::default()
        }

        async fn on_request(&self, _: &mut Request) -> Result<()> {
            if !self.1.replace(true) {
                let _turn = Turn(self.0.clone());
                std::future::pending::<()>().await;
            }
            let mut asked = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut asked, true) {
                    return Poll::Ready(());
                }
                self.0.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            Ok(())
        }
    }
}

#[test]
fn the_end_of_one_request_wakes_another() {
    let mut native = Native::<turns::Turns>::start("", true).unwrap();
    let open = |native: &mut Native<turns::Turns>| {
        let stream = native.open(&Vec::new());
        let head = [(":method", "GET"), (":path", "/")].into_iter().collect();
        native.part(stream, Side::Request, Part::Head(head, true)).unwrap();
        stream
    };
    let (first, second) = (open(&mut native), open(&mut native));
    assert_eq!(native.effects(), []);
    native.close(first).unwrap();
    assert_eq!(native.effects(), [Effect::Resume { stream: second, side: Side::Request }]);
}

mod remote {
    use super::*;

    pub(super) struct Remote;

    #[filter]
    impl Filter for Remote {
        fn new(_: NoConfig) -> Self {
            Remote
        }

        async fn on_request(&self, request: &mut Request) -> Result<Flow> {
            let call = grpc::call("auth.Auth", "Check").to("auth").metadata("x-a", "b");
            if request.path() == "/stream" {
                let mut stream = call.open()?;
                stream.send("one")?;
                let first = stream.next().await?.unwrap_or_default();
                stream.send("three")?;
                let second = stream.next().await?.unwrap_or_default();
                stream.finish()?;
                let end = stream.next().await?;
                let text = format!("{} {} {end:?}", first.escape_ascii(), second.escape_ascii());
                request.headers().set("x-got", text);
                return Ok(Flow::Continue);
            }
            match call.message(request.path()).await {
                Ok(answer) => request.headers().set("x-got", answer.message()),
                Err(error) => return Ok(Own::text(403, error.to_string()).into()),
            }
            Ok(Flow::Continue)
        }
    }
}

#[test]
fn grpc_calls_and_streams_are_awaited() {
    let gateway = Gateway::<remote::Remote>::start("").unwrap();
    gateway.on_call("auth", |call| match (call.path(), call.body()) {
        ("/auth.Auth/Check", b"/no") => Reply::grpc(7, "not you"),
        ("/auth.Auth/Check", body) => Reply::new(200).body(body.to_ascii_uppercase()),
        _ => Reply::none(),
    });
    assert_eq!(gateway.send(get("/yes")).upstream().unwrap().header("x-got"), Some("/YES"));
    let refused = gateway.send(get("/no"));
    assert_eq!((refused.status(), refused.text().as_str()), (403, "gRPC status 7: not you\n"));
    assert_eq!(gateway.send(get("/stream")).upstream().unwrap().header("x-got"), Some("ONE THREE None"));
}

mod limiter {
    use super::*;

    pub(super) struct Limiter;

    #[filter]
    impl Filter for Limiter {
        fn new(_: NoConfig) -> Self {
            Limiter
        }

        async fn on_request(&self, request: &mut Request) -> Result<Flow> {
            let client = request.properties().source().ip().unwrap_or_default();
            match shared::add(&client, 1, Duration::from_secs(60))? {
                0..=2 => Ok(Flow::Continue),
                _ => Ok(Own::text(429, "too many").into()),
            }
        }
    }
}

#[test]
fn shared_counters_end() {
    let gateway = Gateway::<limiter::Limiter>::start("").unwrap();
    let statuses = || [(); 3].map(|()| gateway.send(get("/").from("192.0.2.1:5")).status());
    assert_eq!(statuses(), [200, 200, 429]);
    assert_eq!(gateway.send(get("/").from("[2001:db8::1]:5")).status(), 200);
    gateway.advance(Duration::from_secs(60));
    assert_eq!(statuses(), [200, 200, 429]);
}
