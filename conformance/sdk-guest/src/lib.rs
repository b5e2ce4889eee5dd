//! A filter that does what a request's `x-do` header says, by everything that the SDK has. It runs natively, in the
//! project's host, in the gateway and in Envoy, and must do the same everywhere.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{
    Body, Counter, Filter, Finished, Flow, Plugin, Reply, Request, Response, Result, filter, foreign, grpc,
    http, join, log, random, shared, time,
};

/// What the plugin's `config` holds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The upstream that is called.
    upstream: String,
    /// How often the filter counts a tick.
    #[serde(default)]
    tick_millis: u64,
}

/// The filter.
pub struct Guest {
    config: Config,
    ticks: Cell<u32>,
}

/// What a request leaves for its response.
#[derive(Default)]
pub struct Seen {
    wish: RefCell<String>,
}

static SEEN: Counter = Counter::new("sdk_guest_requests_total");

#[filter]
impl Filter for Guest {
    type Config = Config;
    type State = Seen;

    fn new(config: Config, plugin: &Plugin) -> Self {
        if config.tick_millis > 0 {
            plugin.tick_every(Duration::from_millis(config.tick_millis));
        }
        Guest { config, ticks: Cell::new(0) }
    }

    async fn on_request(&self, request: &mut Request<Seen>, body: &mut Body) -> Result<Flow> {
        SEEN.increment();
        let wish = request.headers().get_str("x-do").unwrap_or_default();
        request.state().wish.replace(wish.clone());
        let mut got = Vec::new();
        for word in wish.split_ascii_whitespace() {
            match word {
                "refuse" => return Ok(Reply::text(403, "refused").header("x-why", "asked for").into()),
                "answer" => return Ok(Reply::json(200, &self.ticks.get())?.into()),
                "close" => return Ok(Flow::Close),
                "bad-header" => request.headers().set("x-bad", "a\r\nb"),
                "whole" => got.push(self.whole(body).await?),
                word if word.starts_with(LATER) => {}
                // Other hosts let the head go on before they show the body, as all do where it streams.
                "brackets" | "upper" => {
                    request.headers().set("x-t-got", got.join(" "));
                    got.clear();
                    match word {
                        "upper" => self.upper(body).await?,
                        _ => drop(self.whole(body).await?),
                    }
                }
                word => got.push(self.get(word, request).await?),
            }
        }
        if !got.is_empty() {
            request.headers().set("x-t-got", got.join(" "));
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, response: &mut Response<Seen>, body: &mut Body) -> Result<()> {
        response.headers().set("x-t-did", &*response.state().wish.borrow());
        let asked = response.state().wish.borrow().clone();
        let later = asked.split_ascii_whitespace().filter_map(|word| word.strip_prefix(LATER));
        let wishes = response.headers().get_str("x-do").unwrap_or_default();
        for wish in wishes.split_ascii_whitespace().chain(later) {
            match wish {
                "call" => {
                    let answer = http::get("/response").to(&self.config.upstream).await?;
                    response.headers().set("x-t-called", answer.status().to_string());
                }
                "upper" => self.upper(body).await?,
                "tail" => {
                    body.rewrite();
                    let mut bytes = 0;
                    while let Some(chunk) = body.next().await? {
                        bytes += chunk.len();
                    }
                    body.replace(format!("|{bytes}"))?;
                }
                "whole" => {
                    body.rewrite();
                    let bytes = body.collect(LIMIT).await?;
                    body.replace([b"<", bytes.as_slice(), b">"].concat())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn on_log(&self, finished: &Finished<Seen>) {
        log::info!("over: {} {:?}", finished.status(), finished.state().wish.borrow());
    }

    async fn on_tick(&self) {
        self.ticks.set(self.ticks.get().saturating_add(1));
    }
}

impl Guest {
    /// Reads a body whole, notes how long it was, and puts it in brackets.
    async fn whole(&self, body: &mut Body) -> Result<String> {
        body.rewrite();
        let bytes = body.collect(LIMIT).await?;
        if !bytes.is_empty() {
            body.replace([b"[", bytes.as_slice(), b"]"].concat())?;
        }
        Ok(format!("whole={}", bytes.len()))
    }

    async fn upper(&self, body: &mut Body) -> Result<()> {
        body.rewrite();
        while let Some(chunk) = body.next().await? {
            body.replace(chunk.to_ascii_uppercase())?;
        }
        Ok(())
    }

    /// Gets something that is shown as text.
    async fn get(&self, what: &str, request: &Request<Seen>) -> Result<String> {
        let upstream = &self.config.upstream;
        let got = match what {
            "call" => {
                let call = http::post("/call").to(upstream).header("x-from", request.path()).body("hello");
                let answer = call.timeout(Duration::from_secs(2)).await?;
                format!("{}/{}", answer.status(), answer.body().escape_ascii())
            }
            "join" => {
                let calls = join(http::get("/a").to(upstream), http::get("/b").to(upstream)).await;
                format!("{}+{}", calls.0?.status(), calls.1?.status())
            }
            "nowhere" => match http::get("/").to("no-such-upstream").await {
                Ok(answer) => answer.status().to_string(),
                Err(_) => "no answer".to_owned(),
            },
            "grpc" => match grpc::call("test.Test", "Echo").to(upstream).message("ping").await {
                Ok(answer) => answer.message().escape_ascii().to_string(),
                Err(error) => error.to_string(),
            },
            "sleep" => {
                time::sleep(Duration::from_millis(20)).await;
                "slept".to_owned()
            }
            "shared" => {
                let key = request.headers().get_str("x-key").unwrap_or_default();
                shared::add(&key, 1, Duration::from_secs(600))?.to_string()
            }
            "foreign" => match foreign::call("no_such_function", b"") {
                Ok(_) => "known".to_owned(),
                Err(error) => error.to_string().contains('1').to_string(),
            },
            "random" => {
                let drawn = random::bytes::<32>()?;
                (drawn != random::bytes()? && drawn != [0; 32]).to_string()
            }
            "source" => request.properties().source().ip().unwrap_or_default(),
            "repeated" => request.headers().get_all("x-a").len().to_string(),
            what => format!("{what}?"),
        };
        Ok(format!("{what}={got}"))
    }
}

/// What begins a wish that is for the response.
const LATER: &str = "later-";

/// Bytes of a body that are held.
const LIMIT: usize = 100_000;
