//! `tidegate demo --check`: does what the demo shows, by real requests, and tells how it went.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use http::header::HeaderName;

use super::client;
use super::folder::{Folder, KEY, replace};
use super::upstreams::APP_VERSION;
use super::websocket::GREETING;
use crate::status::Status;

/// What the check works on.
pub(crate) struct Check {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: Rc<Folder>,
    pub(crate) status: Rc<Status>,
}

impl Check {
    /// Runs all steps, prints a line for each, and tells whether all went well.
    pub(crate) async fn run(&self) -> bool {
        let mut tally = Tally::default();
        tally.add("allowed: a request with a key reaches the app", self.allowed(KEY).await);
        tally.add("refused: a request without a key is answered 401 by the filter", self.refused().await);
        tally.add("canary: most requests reach v1, some v2", self.canary().await);
        tally.add("rewritten: /old/… reaches the app as /new/…", self.rewritten().await);
        tally.add("websocket: greeted and echoed", self.websocket().await);
        tally.add("admin: ready, with metrics, and shows no key", self.admin().await);
        tally.add("hot reload: a key that is added to keys.txt is accepted", self.new_key().await);
        tally.add("hot reload: changed weights send every canary request to v2", self.new_weights().await);
        tally.add("hot reload: a broken edit is refused and changes nothing", self.broken_edit().await);
        println!("demo check: {} passed, {} failed", tally.passed, tally.failed);
        tally.failed == 0
    }

    async fn allowed(&self, key: &str) -> Result<()> {
        let answer = client::get(self.gateway, "/orders", &[(API_KEY, key)]).await?;
        equal("status", answer.status, StatusCode::OK)?;
        let seen = answer.json();
        equal("app", seen["app"].as_str(), Some("v1"))?;
        equal("path", seen["path"].as_str(), Some("/orders"))?;
        equal("the key that the app sees", seen["headers"][API_KEY.as_str()].as_str(), None)
    }

    async fn refused(&self) -> Result<()> {
        for headers in [&[][..], &[(API_KEY, "wrong")]] {
            let answer = client::get(self.gateway, "/orders", headers).await?;
            equal("status", answer.status, StatusCode::UNAUTHORIZED)?;
            equal("app version", answer.headers.get(APP_VERSION), None)?;
        }
        Ok(())
    }

    async fn canary(&self) -> Result<()> {
        let second = self.canary_share().await?;
        // 10 % of 200 requests: chance alone leaves this range once in a million checks.
        match (4..=44).contains(&second) {
            true => Ok(()),
            false => bail!("{second} of {CANARY_REQUESTS} requests reached v2, about 20 were expected"),
        }
    }

    /// How many requests reach the second version.
    async fn canary_share(&self) -> Result<u32> {
        let mut second = 0;
        for _ in 0..CANARY_REQUESTS {
            let answer = client::get(self.gateway, "/canary", &[]).await?;
            equal("status", answer.status, StatusCode::OK)?;
            second += u32::from(answer.headers.get(APP_VERSION).is_some_and(|version| version == "v2"));
        }
        Ok(second)
    }

    async fn rewritten(&self) -> Result<()> {
        let answer = client::get(self.gateway, "/old/shoes?size=42", &[]).await?;
        equal("status", answer.status, StatusCode::OK)?;
        equal("path", answer.json()["path"].as_str(), Some("/new/shoes?size=42"))
    }

    async fn websocket(&self) -> Result<()> {
        let (greeting, echo) = client::websocket(self.gateway, "/ws", "ahoy").await?;
        equal("greeting", greeting.as_str(), GREETING)?;
        equal("echo", echo.as_str(), "ahoy")
    }

    async fn admin(&self) -> Result<()> {
        for path in ["/healthz", "/readyz"] {
            equal(path, client::get(self.admin, path, &[]).await?.status, StatusCode::OK)?;
        }
        let metrics = client::get(self.admin, "/metrics", &[]).await?;
        if !String::from_utf8_lossy(&metrics.body).contains("\ntidegate_config_generation ") {
            bail!("/metrics has no tidegate_config_generation");
        }
        let config = client::get(self.admin, "/config", &[]).await?;
        equal("generation", config.json()["generation"].as_u64(), Some(self.status.generation()))?;
        match String::from_utf8_lossy(&config.body).contains(KEY) {
            true => bail!("/config shows a key"),
            false => Ok(()),
        }
    }

    async fn new_key(&self) -> Result<()> {
        let path = self.folder.keys();
        let edit = |text: &str| Ok(format!("{text}{NEW_KEY}\n"));
        self.edit(&path, edit, || self.published_after(self.status.published.get())).await?;
        self.allowed(NEW_KEY).await?;
        self.allowed(KEY).await
    }

    async fn new_weights(&self) -> Result<()> {
        let path = self.folder.configuration();
        let edit = |text: &str| {
            let edited = text.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100");
            match edited == text {
                true => bail!("the configuration has no weights of 90 and 10 any more"),
                false => Ok(edited),
            }
        };
        self.edit(&path, edit, || self.published_after(self.status.published.get())).await?;
        equal("requests that reached v2", self.canary_share().await?, CANARY_REQUESTS)
    }

    async fn broken_edit(&self) -> Result<()> {
        let path = self.folder.configuration();
        let generation = self.status.generation();
        let good = std::fs::read(&path)?;
        let edit = |text: &str| Ok(text.replace("upstream: app-v2", "upstream: app-v3"));
        let refusals = self.status.rejections.get();
        let status = Rc::clone(&self.status);
        self.edit(&path, edit, || move || status.rejections.get() > refusals).await?;
        equal("generation", self.status.generation(), generation)?;
        self.allowed(KEY).await?;
        let config = client::get(self.admin, "/config", &[]).await?.json();
        let problem = config["rejected"]["problems"][0]["message"].as_str().unwrap_or_default().to_owned();
        if !problem.contains("app-v3") {
            bail!("/config does not name the problem, but {problem:?}");
        }
        let status = Rc::clone(&self.status);
        replace(&path, &good)?;
        self.until(move || status.rejected.borrow().is_none()).await
    }

    /// Whether all workers serve a configuration that was published later.
    fn published_after(&self, published: u64) -> impl Fn() -> bool + use<> {
        let status = Rc::clone(&self.status);
        move || status.published.get() > published && status.served.get() == status.generation()
    }

    /// Edits a file and waits for what is to come of it.
    async fn edit<D: Fn() -> bool>(
        &self,
        path: &Path,
        edit: impl FnOnce(&str) -> Result<String>,
        done: impl FnOnce() -> D,
    ) -> Result<()> {
        let done = done();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        replace(path, edit(&text)?.as_bytes())?;
        self.until(done).await.with_context(|| format!("after an edit of {}", path.display()))
    }

    async fn until(&self, done: impl Fn() -> bool) -> Result<()> {
        let mut settled = self.status.settled.subscribe();
        let waiting = settled.wait_for(|_| done());
        match tokio::time::timeout(LONGEST_RELOAD, waiting).await {
            Ok(_) => Ok(()),
            Err(_) => bail!("nothing happened within {} s", LONGEST_RELOAD.as_secs()),
        }
    }
}

/// What is found must be what is expected.
fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => bail!("{what} is {found:?}, expected {expected:?}"),
    }
}

/// The steps so far.
struct Tally {
    passed: u32,
    failed: u32,
    since: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self { passed: 0, failed: 0, since: Instant::now() }
    }
}

impl Tally {
    fn add(&mut self, step: &str, result: Result<()>) {
        let took = self.since.elapsed().as_millis();
        self.since = Instant::now();
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {step} ({took} ms)");
            }
            Err(error) => {
                self.failed += 1;
                println!("failed  {step}: {error:#}");
            }
        }
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const NEW_KEY: &str = "another-key";
const CANARY_REQUESTS: u32 = 200;
const LONGEST_RELOAD: Duration = Duration::from_secs(20);
