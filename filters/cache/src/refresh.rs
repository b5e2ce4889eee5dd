//! Stale responses that are got anew in the background, while clients get the stale ones.

use std::rc::Rc;

use tidegate_sdk::{Fields, http, log, spawn, time};

use crate::answer::Asked;
use crate::config::Refresh;
use crate::control::Control;
use crate::fetch::{ERRORS, Fetch, is_fresh};
use crate::freshness::{self, Times};
use crate::{CONFIRMED, Inner, MISSES};

impl Inner {
    /// Has the claim of a request go on in the background; false: there is no upstream for that.
    pub(crate) fn refresh_behind(self: &Rc<Self>, fetch: &mut Fetch) -> bool {
        let Some(refresh) = self.config.refresh.clone() else { return false };
        let mut behind =
            Fetch::new(fetch.key.clone(), fetch.fields.clone(), Asked::default(), Control::default());
        behind.taken.clone_from(&fetch.taken);
        behind.stale.clone_from(&fetch.stale);
        behind.claim = fetch.claim.take();
        let cache = self.clone();
        spawn(async move { cache.refresh(behind, &refresh).await });
        true
    }

    async fn refresh(&self, mut fetch: Fetch, refresh: &Refresh) {
        MISSES.increment();
        let part = |name: &str| fetch.fields.get_str(name).unwrap_or_default().to_owned();
        let mut call = http::get(part(":path")).to(&refresh.upstream).authority(part(":authority"));
        if let Some(timeout) = &refresh.timeout {
            call = call.timeout(timeout.0);
        }
        let answer = call.headers(&self.question(&fetch)).await;
        let kept = match answer {
            Ok(answer) => self.renew(&mut fetch, answer.status(), answer.headers(), answer.body()),
            Err(error) => {
                log::warn!("a stale response could not be got anew from {}: {error}", refresh.upstream);
                // Others may still have the stale one.
                true
            }
        };
        self.let_go(&fetch, kept);
    }

    /// The headers of the request: the client's, but for those that are about its connection or its own copy.
    fn question(&self, fetch: &Fetch) -> Fields {
        let goes =
            |name: &str| !(name.starts_with(':') || DROPPED.contains(&name) || name.starts_with("if-"));
        let mut fields: Fields = fetch.fields.iter().filter(|(name, _)| goes(name)).collect();
        let stale = fetch.stale.as_ref().filter(|stale| stale.has_validator());
        for (condition, validator) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
            if let Some(value) = stale.and_then(|stale| stale.headers.get(validator)) {
                fields.set(condition, value);
            }
        }
        fields
    }

    /// Takes in what the upstream has answered; true when the next request may be answered from the cache.
    fn renew(&self, fetch: &mut Fetch, status: u16, headers: &Fields, body: &[u8]) -> bool {
        let now = time::now().as_secs();
        let times = Times { asked: fetch.started / 1_000_000_000, answered: now };
        let headers: Fields = headers.iter().filter(|(name, _)| !name.starts_with(':')).collect();
        let stale = fetch.stale.take();
        if let Some(old) = stale.filter(|old| status == 304 && old.has_validator()) {
            if !freshness::is_same(&old, &headers) {
                // Asked about again it would never be another.
                self.forget(&fetch.key);
                return false;
            }
            CONFIRMED.increment();
            let confirmed = freshness::confirmed(&self.config, &old, &headers, fetch.is_authorized(), times);
            return confirmed.is_some_and(|entry| self.keep(fetch, &entry) && is_fresh(&entry, now));
        }
        if ERRORS.contains(&status) {
            return true;
        }
        let entry = freshness::entry(&self.config, &headers, status, fetch.is_authorized(), times);
        let fits = body.len() <= self.config.entry_size.0 && fetch.vary(&headers).is_some();
        entry.filter(|_| fits).is_some_and(|mut entry| {
            entry.body = body.to_vec();
            self.keep(fetch, &entry) && is_fresh(&entry, now)
        })
    }
}

/// Headers of the client's request that are not for this one.
const DROPPED: [&str; 11] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "range",
    "cache-control",
    "pragma",
    "expect",
    "proxy-authorization",
];
