//! The servers of an upstream, which change while it runs.
//!
//! Whoever has a new list puts it here; each worker takes what changed since it last looked. A server has a slot for as
//! long as it is in the list, so that a change costs its own size on each worker, and never the list's.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::ServerName;
use tidegate_config::plan::{ClientTls, Health};

use crate::upstream::server::{Cause, Identity, Key, Server};

/// Changes that are remembered. A worker that is further behind looks at every slot.
const CHANGES: usize = 4096;

/// A server in its slot.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Who it is.
    pub(crate) identity: Arc<Identity>,
    /// What the list says of it.
    pub(crate) server: Arc<Server>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// Held while a list is compared; workers never want it.
    list: Mutex<List>,
    /// Held for as long as a change takes to be copied.
    feed: Mutex<Feed>,
    version: AtomicU64,
    /// Counts changes of servers' health, so that workers know when to look.
    health: AtomicU64,
    /// A new server is not used before its first check was good.
    waits_for_check: bool,
}

#[derive(Debug, Default)]
struct List {
    slots: HashMap<Key, usize>,
    free: Vec<usize>,
    ids: usize,
    /// The list that a snapshot brought last.
    planned: Option<Vec<Server>>,
}

#[derive(Debug, Default)]
struct Feed {
    /// With the version of each one's last change.
    slots: Vec<(u64, Option<Entry>)>,
    /// Slots that changed, the last one with the present version.
    changed: VecDeque<usize>,
}

/// A server that TLS cannot name.
#[derive(Debug, thiserror::Error)]
#[error("\"{host}\" is not a name that a certificate can have")]
pub(crate) struct BadName {
    host: String,
}

impl Roster {
    /// Nobody is in it yet.
    pub(crate) fn new(health: Option<&Health>) -> Self {
        Self { waits_for_check: health.is_some_and(|rule| !rule.initially_healthy), ..Self::default() }
    }

    /// Differs from what it was when a list has changed since.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes these the servers. One that was there before keeps all that is known of it. How many changed.
    ///
    /// # Errors
    /// When a server has a host that TLS cannot ask for. Nothing is changed then.
    pub(crate) fn put(&self, servers: &[Server], tls: Option<&ClientTls>) -> Result<usize, BadName> {
        let mut list = lock(&self.list);
        let wanted = keyed(servers, tls)?;
        let gone: Vec<Key> = list.slots.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        // In the order of the list, so that equal lists lead to equal slots.
        let mut rest = wanted;
        let mut put = Vec::with_capacity(rest.len());
        for server in servers {
            let key = key(server, tls)?;
            if let Some(server) = rest.remove(&key) {
                put.push((key, server));
            }
        }
        Ok(self.change(&mut list, put, gone))
    }

    /// Adds or changes some servers and takes others away, whatever else there is. How many changed.
    ///
    /// # Errors
    /// As [`Roster::put`].
    pub(crate) fn amend(
        &self,
        put: &[Server],
        gone: &[Server],
        tls: Option<&ClientTls>,
    ) -> Result<usize, BadName> {
        let put = keyed(put, tls)?;
        let gone: Vec<Key> = gone.iter().map(|server| key(server, tls)).collect::<Result<_, _>>()?;
        let gone = gone.into_iter().filter(|key| !put.contains_key(key)).collect();
        let mut list = lock(&self.list);
        Ok(self.change(&mut list, put.into_iter().collect(), gone))
    }

    /// The list of a snapshot: it counts where it differs from the one before.
    ///
    /// # Errors
    /// As [`Roster::put`].
    pub(crate) fn plan(&self, servers: &[Server], tls: Option<&ClientTls>) -> Result<usize, BadName> {
        if lock(&self.list).planned.as_deref() == Some(servers) {
            return Ok(0);
        }
        let changed = self.put(servers, tls)?;
        lock(&self.list).planned = Some(servers.to_vec());
        Ok(changed)
    }

    /// The list of a snapshot for a roster that takes the place of another one: where the other's snapshot had the same
    /// list, what came since is taken over, and the health of its servers.
    ///
    /// # Errors
    /// As [`Roster::put`].
    pub(crate) fn follow(
        &self,
        before: &Self,
        servers: &[Server],
        tls: Option<&ClientTls>,
    ) -> Result<usize, BadName> {
        if lock(&before.list).planned.as_deref() != Some(servers) {
            return self.plan(servers, tls);
        }
        let changed = self.inherit(before, tls)?;
        lock(&self.list).planned = Some(servers.to_vec());
        Ok(changed)
    }

    /// Takes over the servers of the roster that it comes after, with their health, wherever they came from.
    ///
    /// # Errors
    /// As [`Roster::put`].
    pub(crate) fn inherit(&self, before: &Self, tls: Option<&ClientTls>) -> Result<usize, BadName> {
        let known = before.entries();
        let present: Vec<Server> = known.iter().map(|entry| (*entry.server).clone()).collect();
        let changed = self.put(&present, tls)?;
        for (entry, server) in known.iter().zip(&present) {
            if let Some(identity) = self.find(&key(server, tls)?) {
                let causes = entry.identity.causes();
                for cause in Cause::ALL {
                    self.mark(&identity, cause, causes.contains(&cause));
                }
            }
        }
        Ok(changed)
    }

    fn change(&self, list: &mut List, put: Vec<(Key, Server)>, gone: Vec<Key>) -> usize {
        let mut feed = lock(&self.feed);
        let mut changed = 0;
        for key in gone {
            if let Some(slot) = list.slots.remove(&key) {
                self.set(&mut feed, slot, None);
                list.free.push(slot);
                changed += 1;
            }
        }
        for (key, server) in put {
            let slot = match list.slots.get(&key) {
                Some(slot) => *slot,
                None => {
                    let slot = list.free.pop().unwrap_or(list.slots.len());
                    list.slots.insert(key.clone(), slot);
                    slot
                }
            };
            let before = feed.slots.get(slot).and_then(|(_, entry)| entry.clone());
            let identity = match before {
                Some(before) if *before.server == server => continue,
                Some(before) => before.identity,
                None => {
                    list.ids += 1;
                    let identity = Identity::new(list.ids, key);
                    if self.waits_for_check {
                        self.mark(&identity, Cause::Check, true);
                    }
                    Arc::new(identity)
                }
            };
            self.set(&mut feed, slot, Some(Entry { identity, server: Arc::new(server) }));
            changed += 1;
        }
        changed
    }

    fn set(&self, feed: &mut Feed, slot: usize, entry: Option<Entry>) {
        let version = self.version.fetch_add(1, Ordering::Release) + 1;
        if feed.slots.len() <= slot {
            feed.slots.resize(slot + 1, (0, None));
        }
        if let Some(place) = feed.slots.get_mut(slot) {
            *place = (version, entry);
        }
        if feed.changed.len() >= CHANGES {
            feed.changed.pop_front();
        }
        feed.changed.push_back(slot);
    }

    /// The slots that changed since `version`, as they are now, and the version that this is.
    pub(crate) fn since(&self, version: u64) -> (u64, Vec<(usize, Option<Entry>)>) {
        if self.version.load(Ordering::Acquire) == version {
            return (version, Vec::new());
        }
        let feed = lock(&self.feed);
        let now = self.version.load(Ordering::Acquire);
        let behind = usize::try_from(now - version).unwrap_or(usize::MAX);
        let slot = |slot: usize| feed.slots.get(slot).map(|(_, entry)| (slot, entry.clone()));
        let changes = if behind <= feed.changed.len() {
            let mut slots: Vec<usize> =
                feed.changed.iter().skip(feed.changed.len() - behind).copied().collect();
            if behind > 1 {
                slots.sort_unstable();
                slots.dedup();
            }
            slots.into_iter().filter_map(slot).collect()
        } else {
            let changed = feed.slots.iter().enumerate().filter(|(_, (at, _))| *at > version);
            changed.map(|(slot, (_, entry))| (slot, entry.clone())).collect()
        };
        (now, changes)
    }

    /// All servers, in the order of their slots.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        lock(&self.feed).slots.iter().filter_map(|(_, entry)| entry.clone()).collect()
    }

    /// The server of a key.
    pub(crate) fn find(&self, key: &Key) -> Option<Arc<Identity>> {
        let slot = *lock(&self.list).slots.get(key)?;
        lock(&self.feed).slots.get(slot).and_then(|(_, entry)| Some(entry.as_ref()?.identity.clone()))
    }

    /// Says for all workers that a server is not to be used for this cause, or no longer; whether that is news.
    pub(crate) fn mark(&self, identity: &Identity, cause: Cause, bad: bool) -> bool {
        let news = identity.mark(cause, bad);
        if news {
            self.health.fetch_add(1, Ordering::Release);
        }
        news
    }

    /// Differs from what it was when a server's health has changed since.
    #[inline]
    pub(crate) fn health(&self) -> u64 {
        self.health.load(Ordering::Acquire)
    }
}

/// The servers by what tells them apart; one that is there twice has both shares.
fn keyed(servers: &[Server], tls: Option<&ClientTls>) -> Result<HashMap<Key, Server>, BadName> {
    let mut wanted: HashMap<Key, Server> = HashMap::with_capacity(servers.len());
    for server in servers {
        let weight = server.weight;
        wanted
            .entry(key(server, tls)?)
            .and_modify(|known| known.weight = known.weight.saturating_add(weight))
            .or_insert_with(|| server.clone());
    }
    Ok(wanted)
}

/// What tells a server from others of its upstream.
pub(crate) fn key(server: &Server, tls: Option<&ClientTls>) -> Result<Key, BadName> {
    let Some(tls) = tls else { return Ok((server.address, None)) };
    let host = match (&tls.server_name, &server.host) {
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => server.address.ip().to_string(),
    };
    match ServerName::try_from(host.clone()) {
        Ok(name) => Ok((server.address, Some(name))),
        Err(_) => Err(BadName { host }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> Server {
        Server::new(([127, 0, 0, 1], port).into())
    }

    fn ports(changes: &[(usize, Option<Entry>)]) -> Vec<(usize, Option<u16>)> {
        changes.iter().map(|(slot, entry)| (*slot, entry.as_ref().map(|e| e.server.address.port()))).collect()
    }

    #[test]
    fn a_change_costs_its_own_size() {
        let roster = Roster::default();
        let mut servers: Vec<Server> = (1..=1000).map(server).collect();
        assert_eq!(roster.put(&servers, None).ok(), Some(1000));
        let (version, all) = roster.since(0);
        assert_eq!(all.len(), 1000);
        servers[7].weight = 5;
        servers.remove(3);
        servers.push(server(2000));
        assert_eq!(roster.put(&servers, None).ok(), Some(3));
        let (now, changes) = roster.since(version);
        // The new one has the slot of the one that went.
        assert_eq!(ports(&changes), [(3, Some(2000)), (7, Some(8))]);
        assert_eq!(roster.since(now).1.len(), 0);
        assert_eq!(roster.put(&servers, None).ok(), Some(0));
    }

    #[test]
    fn who_stays_is_who_it_was_and_who_comes_back_is_new() {
        let roster = Roster::default();
        roster.put(&[server(1), server(2)], None).expect("no TLS");
        let before = roster.entries();
        assert!(roster.mark(&before[0].identity, Cause::Check, true));
        assert!(!roster.mark(&before[0].identity, Cause::Check, true), "that is no news");
        roster.put(&[Server { weight: 9, ..server(1) }], None).expect("no TLS");
        roster.put(&[server(1), server(2)], None).expect("no TLS");
        let after = roster.entries();
        assert!(Arc::ptr_eq(&before[0].identity, &after[0].identity));
        assert_eq!(after[0].identity.causes(), [Cause::Check]);
        assert_ne!(before[1].identity.id, after[1].identity.id);
    }

    #[test]
    fn a_worker_that_is_far_behind_gets_everything_once() {
        let roster = Roster::default();
        roster.put(&[server(1), server(2)], None).expect("no TLS");
        let (version, _) = roster.since(0);
        for weight in 0..=CHANGES as u32 {
            roster.amend(&[Server { weight, ..server(2) }], &[], None).expect("no TLS");
        }
        let (_, changes) = roster.since(version);
        assert_eq!(ports(&changes), [(1, Some(2))]);
        let weight = changes[0].1.as_ref().map(|entry| entry.server.weight);
        assert_eq!(weight, Some(CHANGES as u32));
    }

    #[test]
    fn a_plan_that_did_not_change_leaves_what_came_since() {
        let roster = Roster::default();
        assert_eq!(roster.plan(&[server(1)], None).ok(), Some(1));
        roster.put(&[server(2), server(3)], None).expect("no TLS");
        assert_eq!(roster.plan(&[server(1)], None).ok(), Some(0));
        assert_eq!(roster.entries().len(), 2);
        let next = Roster::default();
        roster.mark(&roster.entries()[0].identity, Cause::Source, true);
        assert_eq!(next.follow(&roster, &[server(1)], None).ok(), Some(2));
        assert_eq!(next.entries()[0].identity.causes(), [Cause::Source]);
        assert_eq!(next.plan(&[server(1)], None).ok(), Some(0));
        assert_eq!(roster.plan(&[server(1), server(2)], None).ok(), Some(2));
        assert_eq!(Roster::default().follow(&roster, &[server(7)], None).ok(), Some(1));
    }

    #[test]
    fn a_host_that_tls_cannot_ask_for_changes_nothing() {
        let roster = Roster::default();
        let tls = ClientTls { server_name: None, ca: None, certificate: None };
        roster.put(&[server(1)], Some(&tls)).expect("an address is a name");
        let bad = Server { host: Some("not a name".to_owned()), ..server(2) };
        let refused = roster.put(&[bad], Some(&tls)).expect_err("that is no name");
        assert_eq!(refused.to_string(), "\"not a name\" is not a name that a certificate can have");
        assert_eq!(roster.entries().len(), 1);
    }
}
