//! Lets one request refresh a session's tokens while the others of that session wait for it, on whichever worker they
//! are. Providers take a refresh token once; a second use may end the session.
//!
//! The state is in the plugin's shared data, in a fixed number of values, which are there from the beginning: a change
//! of a value that exists is atomic, one of a value that does not is not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_sdk::{Outcome, shared, signal};

/// The refreshes of one provider's sessions.
pub(super) struct Turns {
    prefix: String,
}

/// What a request is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the one that refreshes.
    Mine,
    /// Another one does.
    Wait,
    /// Another one has.
    Done(End),
}

/// What came of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// The session with its new tokens, sealed.
    #[serde(rename = "n")]
    Renewed(String),
    /// The provider has ended the session.
    #[serde(rename = "o")]
    Over,
    /// The provider could not be asked.
    #[serde(rename = "a")]
    Away,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// The name of the refresh.
    n: String,
    /// Until when the entry holds, in milliseconds since 1970.
    u: u64,
    /// What came of it; nothing while it goes on.
    r: Option<End>,
    /// The instances that wait for it.
    #[serde(default)]
    w: Vec<u32>,
}

impl Turns {
    /// Makes the values, where they are not there yet.
    pub(super) fn new(provider: &str) -> Outcome<Self> {
        let turns = Turns { prefix: format!("oidc turn {provider}") };
        for place in 0..PLACES {
            let key = turns.key(place);
            if shared::get(&key)?.is_none() {
                shared::set(&key, EMPTY)?;
            }
        }
        Ok(turns)
    }

    /// Takes the turn, if nobody has it. Who has to wait is told of the end.
    pub(super) fn take(&self, name: &str, now: Duration, lease: Duration) -> Outcome<Turn> {
        let mut turn = Turn::Wait;
        self.change(name, now, |entries| match entries.iter_mut().find(|entry| entry.n == name) {
            Some(Entry { r: Some(result), .. }) => turn = Turn::Done(result.clone()),
            Some(Entry { w: waiting, .. }) => {
                turn = Turn::Wait;
                waiting.extend(signal::number().filter(|own| !waiting.contains(own)));
            }
            None => {
                turn = Turn::Mine;
                let u = millis(now.saturating_add(lease));
                entries.push(Entry { n: name.to_owned(), u, r: None, w: Vec::new() });
            }
        })?;
        Ok(turn)
    }

    /// Waits until the one that has the turn is through, or until it is time to look again.
    pub(super) async fn wait(&self, name: &str) {
        let longest = if signal::number().is_some() { PATIENCE } else { GLANCE };
        signal::wait(name, longest).await;
    }

    /// Tells the others what came of it. It is known for a while, since requests with the old cookie may be on their way.
    pub(super) fn end(&self, name: &str, now: Duration, end: &End) -> Outcome<()> {
        let known = if *end == End::Away { AGAIN } else { REMEMBERED };
        let mut waiting = Vec::new();
        self.change(name, now, |entries| {
            waiting =
                entries.iter().filter(|entry| entry.n == name).flat_map(|entry| entry.w.clone()).collect();
            entries.retain(|entry| entry.n != name);
            let u = millis(now.saturating_add(known));
            entries.push(Entry { n: name.to_owned(), u, r: Some(end.clone()), w: Vec::new() });
        })?;
        signal::tell(name, &waiting);
        Ok(())
    }

    fn change(&self, name: &str, now: Duration, mut change: impl FnMut(&mut Vec<Entry>)) -> Outcome<()> {
        let place = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let now = millis(now);
        shared::update(&self.key(place % PLACES), |old| {
            let mut entries: Vec<Entry> =
                old.and_then(|old| serde_json::from_slice(old).ok()).unwrap_or_default();
            entries.retain(|entry| entry.u > now);
            let kept = entries.len().saturating_sub(MOST);
            entries.drain(..kept);
            change(&mut entries);
            serde_json::to_vec(&entries).unwrap_or_else(|_| EMPTY.to_vec())
        })?;
        Ok(())
    }

    fn key(&self, place: usize) -> String {
        format!("{}/{place}", self.prefix)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a result is known.
const REMEMBERED: Duration = Duration::from_secs(120);

/// How long nobody tries after a provider could not be asked.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two looks of a request that waits and is told of the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// The same of one that is not told.
const GLANCE: Duration = Duration::from_millis(10);

/// Into how many values the sessions are divided.
const PLACES: usize = 64;

/// Entries of one value; the oldest ones make room.
const MOST: usize = 16;
const EMPTY: &[u8] = b"[]";
