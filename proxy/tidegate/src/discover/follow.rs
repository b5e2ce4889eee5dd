//! Follows one source: asks it, looks names up, and gives the gateway what has changed.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tidegate_config::plan::{Discover, Resolver};
use tidegate_proxy::{Gateway, Server};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::book::{Book, News};
use super::hosts::{Hosts, Looked};
use super::pace::{self, Pace};
use super::source::{Found, Source, Told, Trouble, Turn};

/// Follows the source of an upstream for as long as the future lives.
pub(super) async fn follow(
    upstream: String,
    (spec, resolver): (Discover, Resolver),
    gateway: Gateway,
    book: Rc<Book>,
) {
    let (send, turns) = mpsc::channel(1);
    let follower = Follower {
        hosts: Hosts::new(&spec, &resolver),
        upstream,
        gateway,
        book,
        list: None,
        put: None,
        names_due: None,
        troubles: Vec::new(),
    };
    // Names are looked up again while the source holds its answer.
    tokio::join!(ask(spec, send), follower.run(turns));
}

/// Asks again and again, as the source and its pace want.
async fn ask(spec: Discover, turns: mpsc::Sender<Result<Told, String>>) {
    let mut pace = Pace::new(pace::seed());
    let mut source = loop {
        match Source::new(&spec) {
            Ok(source) => break source,
            // A file of authorities that is not there, for instance: it may come.
            Err(why) => {
                if turns.send(Err(why)).await.is_err() {
                    return;
                }
                tokio::time::sleep(pace.failed()).await;
            }
        }
    };
    loop {
        let (told, pause) = match source.ask().await {
            Ok(Turn { told, pause }) => {
                pace.succeeded();
                (Ok(told), pace.about(pause))
            }
            Err(Trouble { why, at_once: true }) => (Err(why), Duration::ZERO),
            Err(Trouble { why, at_once: false }) => (Err(why), pace.failed()),
        };
        if turns.send(told).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

struct Follower {
    upstream: String,
    gateway: Gateway,
    book: Rc<Book>,
    hosts: Hosts,
    /// What the source said last.
    list: Option<Vec<Found>>,
    /// What the gateway was given last.
    put: Option<Vec<Server>>,
    names_due: Option<Instant>,
    /// Names that could not be looked up last.
    troubles: Vec<String>,
}

impl Follower {
    async fn run(mut self, mut turns: mpsc::Receiver<Result<Told, String>>) {
        loop {
            let due = self.names_due.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                turn = turns.recv() => match turn {
                    None => return,
                    Some(Ok(told)) => {
                        if let Told::Servers(list) = told {
                            self.list = Some(list);
                            self.put().await;
                        }
                        if self.book.answered(&self.upstream, SystemTime::now()) == News::Mended {
                            info!(upstream = self.upstream, "source of servers answers again");
                        }
                    }
                    Some(Err(why)) => self.failed(why),
                },
                () = tokio::time::sleep_until(due), if self.names_due.is_some() => self.put().await,
            }
        }
    }

    fn failed(&self, why: String) {
        let kept = self.put.as_ref().map_or(0, Vec::len);
        match self.book.failed(&self.upstream, why.clone(), SystemTime::now()) {
            News::Fails => {
                warn!(upstream = self.upstream, kept, "source of servers fails, the last list holds: {why}")
            }
            _ => debug!(upstream = self.upstream, "source of servers still fails: {why}"),
        }
    }

    /// Gives the gateway the list as it is now.
    async fn put(&mut self) {
        let Some(list) = &self.list else { return };
        let Looked { servers, due, troubles } = self.hosts.look_up(list).await;
        self.names_due = due.map(|due| Instant::now() + due);
        if troubles != self.troubles {
            for why in &troubles {
                warn!(upstream = self.upstream, "cannot look up a server's name: {why}");
            }
            self.troubles = troubles;
        }
        // That no name can be looked up says more about the resolver than about the servers.
        if servers.is_empty() && !self.troubles.is_empty() && self.put.is_some() {
            return;
        }
        if self.put.as_ref() == Some(&servers) {
            return;
        }
        match self.gateway.put_servers(&self.upstream, &servers) {
            Ok(_) => {
                let (before, now) = (self.put.as_ref().map_or(0, Vec::len), servers.len());
                debug!(upstream = self.upstream, before, now, "servers changed");
                if self.put.is_none() {
                    info!(upstream = self.upstream, servers = now, "source of servers has answered");
                }
                self.book.listed(&self.upstream, now, SystemTime::now());
                self.put = Some(servers);
            }
            Err(error) => self.failed(error.to_string()),
        }
    }
}

/// While no name is due.
const IDLE: Duration = Duration::from_secs(3600);
