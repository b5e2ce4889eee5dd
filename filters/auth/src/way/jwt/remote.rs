//! Keys that the issuer publishes: fetched by one instance at a time, shared by all, and kept when the issuer is away.
//!
//! Two shared values belong to a set: its state ([`State`]), which is compared and swapped, and the text itself, read only
//! when the state tells of a new one.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::units::Span;
use tidegate_sdk::{Counter, Outcome, http, log, shared, signal, time};

use super::keys::KeySet;

/// Keys that the issuer publishes as a JWK set.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RemoteDocument {
    /// The upstream that serves them.
    pub(super) upstream: String,
    /// The path there, as `/.well-known/jwks.json`.
    pub(super) path: String,
    /// The host that is asked for; the upstream's name when it is left out.
    pub(super) authority: Option<String>,
    /// They are fetched again this long after they were.
    #[serde(default = "refresh")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub(super) refresh: Span,
    /// The least time between two fetches: after a failed one, and when tokens name keys that are not known.
    #[serde(default = "cooldown")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub(super) cooldown: Span,
    /// How long a fetch may take.
    #[serde(default = "timeout")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub(super) timeout: Span,
}

fn refresh() -> Span {
    Span::seconds(600)
}

fn cooldown() -> Span {
    Span::seconds(30)
}

fn timeout() -> Span {
    Span::seconds(5)
}

/// A set of keys somewhere else.
pub(super) struct Remote {
    document: RemoteDocument,
    state_name: String,
    text_name: String,
    fetched: Counter,
    failed: Counter,
}

/// What all instances know of a set, in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// When it was fetched; 0 when it was not.
    fetched: u64,
    /// Nobody may fetch before.
    not_before: u64,
    /// Somebody fetches now, and is given up at `not_before`.
    busy: bool,
    /// Grows with each set.
    generation: u64,
    /// Instances that wait for the end of a fetch.
    waiting: Vec<u32>,
}

impl State {
    fn read(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        let instance = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let waiting = bytes.get(32..).unwrap_or_default().chunks_exact(4).filter_map(instance).collect();
        State {
            fetched: number(0),
            not_before: number(8),
            busy: number(16) == 1,
            generation: number(24),
            waiting,
        }
    }

    fn written(&self) -> Vec<u8> {
        let numbers = [self.fetched, self.not_before, u64::from(self.busy), self.generation];
        let mut bytes = numbers.map(u64::to_le_bytes).concat();
        bytes.extend(self.waiting.iter().flat_map(|instance| instance.to_le_bytes()));
        bytes
    }
}

impl Remote {
    pub(super) fn new(document: RemoteDocument, issuer: &str) -> Self {
        let place = format!(
            "{}|{}|{}",
            document.upstream,
            document.authority.as_deref().unwrap_or_default(),
            document.path
        );
        let counter = |outcome| {
            Counter::labelled("auth_jwks_fetches_total", &[("issuer", issuer), ("outcome", outcome)])
        };
        let remote = Remote {
            state_name: format!("auth/jwks/state/{place}"),
            text_name: format!("auth/jwks/text/{place}"),
            fetched: counter("ok"),
            failed: counter("failed"),
            document,
        };
        // Only a value that is there can be compared and swapped. Of several instances that begin together one may fetch
        // already when another comes here, so nothing that is there is written over.
        if let Err(error) = shared::set_if(&remote.state_name, State::default().written(), ABSENT) {
            log::error!("key sets cannot be shared: {error}");
        }
        remote
    }

    /// The newest set, if it is another one than that of this generation.
    pub(super) fn newer_than(&self, generation: u64) -> Option<KeySet> {
        let state = self.state();
        if state.generation == generation {
            return None;
        }
        let text = shared::get(&self.text_name).ok().flatten()?;
        match KeySet::read(&text.value, state.generation) {
            Ok(set) => Some(set),
            Err(problem) => {
                log::error!("the shared key set of {} {problem}", self.document.upstream);
                None
            }
        }
    }

    /// Fetches the set, or waits while another instance does; returns at once when it is too early.
    pub(super) async fn fetch(&self) {
        let before = self.state().generation;
        let give_up = time::now().saturating_add(self.document.timeout.0);
        while !self.try_fetch().await {
            let left = give_up.saturating_sub(time::now());
            if left.is_zero() || !self.waits_for(before) {
                return;
            }
            let longest = if signal::number().is_some() { PATIENCE } else { PAUSE };
            signal::wait(&self.state_name, longest.min(left)).await;
        }
    }

    /// Whether another instance fetches the set after this one; it will tell this instance of its end.
    fn waits_for(&self, generation: u64) -> bool {
        let own = signal::number();
        for _ in 0..shared::TRIES {
            let Ok(Some(found)) = shared::get(&self.state_name) else { return false };
            let mut state = State::read(&found.value);
            if !state.busy || state.generation != generation {
                return false;
            }
            let Some(own) = own.filter(|own| !state.waiting.contains(own)) else { return true };
            state.waiting.push(own);
            if !matches!(shared::set_if(&self.state_name, state.written(), found.version), Ok(false)) {
                return true;
            }
        }
        true
    }

    /// How long it is until the set is to be fetched again.
    pub(super) fn due_in(&self) -> Duration {
        let (state, now) = (self.state(), millis(time::now()));
        let due = match state.fetched {
            0 => 0,
            fetched => fetched.saturating_add(millis(self.document.refresh.0)),
        };
        Duration::from_millis(due.max(state.not_before).saturating_sub(now))
    }

    /// Whether this instance had its turn.
    async fn try_fetch(&self) -> bool {
        let Ok(Some(found)) = shared::get(&self.state_name) else { return false };
        let (old, now) = (State::read(&found.value), millis(time::now()));
        if now < old.not_before {
            return false;
        }
        let lease = now.saturating_add(millis(self.document.timeout.0)).saturating_add(millis(GRACE));
        let mine = State { busy: true, not_before: lease, ..old.clone() };
        if !matches!(shared::set_if(&self.state_name, mine.written(), found.version), Ok(true)) {
            return false;
        }
        let outcome = self.ask(old.generation + 1).await;
        let now = millis(time::now());
        let free =
            State { busy: false, not_before: now.saturating_add(millis(self.document.cooldown.0)), ..old };
        match outcome {
            Ok(()) => {
                self.fetched.increment();
                self.tell(State { fetched: now.max(1), generation: old.generation + 1, ..free });
            }
            Err(problem) => {
                self.failed.increment();
                let kept = if old.generation > 0 { "the last ones go on" } else { "there are none yet" };
                log::warn!(
                    "no keys from {}{}: {problem}; {kept}",
                    self.document.upstream,
                    self.document.path
                );
                self.tell(free);
            }
        }
        true
    }

    /// Asks the server and shares what it says, if it can be used.
    async fn ask(&self, generation: u64) -> Result<(), String> {
        let document = &self.document;
        let mut call = http::get(&document.path).to(&document.upstream).timeout(document.timeout.0);
        if let Some(authority) = &document.authority {
            call = call.authority(authority);
        }
        let answer = call.header("accept", "application/json").await.map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("the status is {}, not 200", answer.status()));
        }
        if answer.body().len() > TEXT_BYTES {
            return Err(format!("the set has {} bytes, {TEXT_BYTES} are allowed", answer.body().len()));
        }
        KeySet::read(answer.body(), generation).map_err(|problem| format!("the set {problem}"))?;
        shared::set(&self.text_name, answer.body()).map_err(|error| error.to_string())
    }

    fn state(&self) -> State {
        let found: Outcome<_> = shared::get(&self.state_name);
        found.ok().flatten().map(|found| State::read(&found.value)).unwrap_or_default()
    }

    /// Says what came of a fetch, also to those that wait for it.
    fn tell(&self, state: State) {
        let free = State { waiting: Vec::new(), ..state };
        let mut waiting = Vec::new();
        let written = shared::update(&self.state_name, |old| {
            waiting = old.map(|old| State::read(old).waiting).unwrap_or_default();
            free.written()
        });
        match written {
            Ok(_) => signal::tell(&self.state_name, &waiting),
            Err(error) => log::error!("key sets cannot be shared: {error}"),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A version that no value has: writes where there is none.
const ABSENT: u32 = u32::MAX;

/// Between two looks at whether another instance is through, where nobody tells.
const PAUSE: Duration = Duration::from_millis(20);

/// The same where it does.
const PATIENCE: Duration = Duration::from_millis(500);

/// Beyond the time limit of a fetch, until its instance is taken for lost.
const GRACE: Duration = Duration::from_secs(1);

/// The largest set.
const TEXT_BYTES: usize = 256 * 1024;
