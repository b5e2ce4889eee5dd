//! Other gateways that push what they count, so that one dashboard shows the services of all of them; and the push to
//! another one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tidegate_config::plan;
use tidegate_proxy::Stats;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::Shown;
use super::answer::AdminError;
use crate::fetch::{Call, Client};

/// What is known of others.
#[derive(Default)]
pub(super) struct Peers {
    name: RefCell<Option<String>>,
    known: RefCell<BTreeMap<String, Peer>>,
    pushing: RefCell<Option<Pushing>>,
    /// Whether the last push went well: only changes are logged.
    failing: Cell<bool>,
}

/// A push that goes on.
struct Pushing {
    to: plan::Push,
    tls: Option<Arc<ClientConfig>>,
    task: AbortHandle,
}

struct Peer {
    came: Instant,
    now: Pushed,
    before: Option<Pushed>,
}

/// What a gateway counts at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pushed {
    name: String,
    /// Seconds since the Unix epoch.
    time: f64,
    #[serde(flatten)]
    stats: Stats,
}

/// What `/peers` answers.
#[derive(Serialize)]
pub(super) struct Merged {
    pub(super) peers: Vec<Pair>,
}

/// The last two pushes of a gateway.
#[derive(Serialize)]
pub(super) struct Pair {
    name: String,
    now: Pushed,
    before: Pushed,
    seconds: f64,
}

impl Peers {
    /// What this gateway is called.
    pub(super) fn own_name(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        self.name.borrow().clone().or_else(|| host().ok()).unwrap_or_else(|| "tidegate".to_owned())
    }

    /// Keeps what another gateway pushed.
    pub(super) fn take(&self, pushed: Pushed) -> Result<(), AdminError> {
        let mut known = self.known.borrow_mut();
        known.retain(|_, peer| peer.came.elapsed() < SILENCE);
        if !(1..=LONGEST_NAME).contains(&pushed.name.chars().count()) {
            return Err(AdminError::new(StatusCode::BAD_REQUEST, "a gateway's name has 1 to 64 characters"));
        }
        if pushed.name == self.own_name() {
            let why = "this gateway has that name itself: give the other one `admin.name`";
            return Err(AdminError::new(StatusCode::CONFLICT, why));
        }
        if known.len() >= MOST_PEERS && !known.contains_key(&pushed.name) {
            return Err(AdminError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "64 gateways push to this one already",
            ));
        }
        let earlier = known.remove(&pushed.name);
        // With the second push there is a span of time to show.
        if earlier.as_ref().is_some_and(|peer| peer.before.is_none()) {
            info!(gateway = pushed.name, "another gateway pushes what it counts");
        }
        let before = earlier.map(|peer| peer.now).filter(|before| before.time < pushed.time);
        known.insert(pushed.name.clone(), Peer { came: Instant::now(), now: pushed, before });
        Ok(())
    }

    /// Those that have pushed twice and are not silent.
    pub(super) fn now(&self) -> Vec<Pair> {
        let known = self.known.borrow();
        let heard = known.values().filter(|peer| peer.came.elapsed() < SILENCE);
        heard
            .filter_map(|peer| {
                let (now, before) = (peer.now.clone(), peer.before.clone()?);
                Some(Pair { name: now.name.clone(), seconds: now.time - before.time, now, before })
            })
            .collect()
    }

    /// Pushes where this configuration says so.
    pub(super) fn follow(&self, settings: &plan::Admin, tls: Option<Arc<ClientConfig>>, shown: &Rc<Shown>) {
        self.name.borrow_mut().clone_from(&settings.name);
        let mut pushing = self.pushing.borrow_mut();
        let same = |pushing: &Pushing| {
            settings.push.as_ref() == Some(&pushing.to)
                && tls.as_ref().map(Arc::as_ptr) == pushing.tls.as_ref().map(Arc::as_ptr)
        };
        if pushing.as_ref().is_some_and(same) {
            return;
        }
        if let Some(before) = pushing.take() {
            before.task.abort();
        }
        if let Some(to) = &settings.push {
            let task = spawn_local(push_always(to.clone(), tls.clone(), Rc::downgrade(shown))).abort_handle();
            *pushing = Some(Pushing { to: to.clone(), tls, task });
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Some(pushing) = self.pushing.get_mut() {
            pushing.task.abort();
        }
    }
}

async fn push_always(push: plan::Push, tls: Option<Arc<ClientConfig>>, shown: Weak<Shown>) {
    let name = push.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let client = match tls {
        Some(config) => Ok(Client::with(config, name)),
        None => Client::new(None),
    };
    let client = match client {
        Ok(client) => client,
        Err(why) => return warn!(url = push.url, "cannot push to the other gateway: {why}"),
    };
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(shown) = shown.upgrade() else { return };
        let failed = tokio::time::timeout(PATIENCE, push_once(&client, &push, &shown)).await;
        let failed = failed.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let failing = failed.is_err();
        if shown.peers.failing.replace(failing) != failing {
            match failed {
                Ok(()) => info!(url = push.url, "pushing to the other gateway works"),
                Err(why) => warn!(url = push.url, "cannot push to the other gateway: {why}"),
            }
        }
    }
}

async fn push_once(client: &Client, push: &plan::Push, shown: &Shown) -> Result<(), String> {
    let url: Uri = format!("{}/peers", push.url).parse().map_err(|error| format!("{error}"))?;
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let stats = shown.gateway.stats(&shown.gateway.loads().await);
    let pushed = Pushed { name: shown.peers.own_name(), time: time.as_secs_f64(), stats };
    let body = serde_json::to_vec(&pushed).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = &push.token {
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let call =
        Call { method: Method::POST, url: &url, headers, body: Bytes::from(body), limit: LARGEST_ANSWER };
    let answer = client.send(call).await?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(format!("answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim())),
    }
}

const EVERY: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway that was not heard of for so long is not shown.
const SILENCE: Duration = Duration::from_secs(15);

const MOST_PEERS: usize = 64;

const LONGEST_NAME: usize = 64;

const LARGEST_ANSWER: usize = 4 << 10;
