//! Discovery: where the servers of upstreams come from while the gateway runs. Each source is asked by a task of the
//! control thread; what it says last is kept for as long as it says nothing else.

mod book;
mod consul;
mod file;
mod follow;
mod hosts;
mod http;
mod names;
mod pace;
mod resolver;
mod server_names;
mod source;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::plan::{Discover, Plan, Resolver};
use tidegate_proxy::Gateway;
use tokio::task::{AbortHandle, spawn_local};

pub(crate) use book::{Book, SourceState};
pub(crate) use server_names::{Addresses, NameFailure, ServerNames};

/// The sources of the configuration that runs.
pub(crate) struct Discovery {
    gateway: Gateway,
    running: BTreeMap<String, Running>,
    book: Rc<Book>,
}

/// A source that is followed for an upstream; dropped, it is not.
struct Running {
    spec: Discover,
    resolver: Resolver,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Follows nothing yet.
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self { gateway, running: BTreeMap::new(), book: Rc::default() }
    }

    /// What the sources said.
    pub(crate) fn book(&self) -> Rc<Book> {
        Rc::clone(&self.book)
    }

    /// From now on follows the sources of this plan, which was published. Those that did not change go on.
    pub(crate) fn follow(&mut self, plan: &Plan) {
        let wanted: BTreeMap<&str, &Discover> = plan
            .upstreams
            .iter()
            .filter_map(|upstream| Some((upstream.name.as_str(), upstream.discover.as_ref()?)))
            .collect();
        self.running.retain(|name, running| {
            let same = wanted.get(name.as_str()).is_some_and(|spec| **spec == running.spec);
            same && running.resolver == plan.resolver
        });
        self.book.retain(|name| wanted.contains_key(name));
        for (name, spec) in wanted {
            if !self.running.contains_key(name) {
                self.book.begin(name, spec);
                let source = (spec.clone(), plan.resolver);
                let follow = follow::follow(name.to_owned(), source, self.gateway.clone(), self.book());
                let task = spawn_local(follow).abort_handle();
                let running = Running { spec: spec.clone(), resolver: plan.resolver, task };
                self.running.insert(name.to_owned(), running);
            }
        }
    }

    /// Waits until each source has answered, or has had the time that a start waits for it.
    pub(crate) fn first_answers(&self) -> impl Future<Output = ()> + 'static {
        let book = self.book();
        async move {
            let all = book.all_told();
            // Later, requests for such upstreams are answered by the gateway, with a reason of their own.
            let _ = tokio::time::timeout(FIRST_ANSWER, all).await;
        }
    }
}

/// How long a gateway that starts is not ready because of a source that has not answered yet.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
