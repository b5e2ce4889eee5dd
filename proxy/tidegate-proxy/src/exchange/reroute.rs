//! Another rule for a request that a rule's filter has changed.
//!
//! The rule's own rewrites do not count: rules match what the client, or a filter, wrote.

use std::rc::Rc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Uri};
use tidegate_config::plan::PluginIndex;

use crate::exchange::Exchange;
use crate::exchange::finish::Record;
use crate::filter::chain;
use crate::http::fail::{Fail, Reason};
use crate::local::View;
use crate::route::Found;
use crate::snapshot::Listener;

/// Rules that one request may leave; then the one that it has stays.
const LEFT: usize = 8;

/// What is known of a request's way from rule to rule.
#[derive(Default)]
pub(crate) struct Reroute {
    /// A filter has changed the head, or asked for it.
    wanted: bool,
    /// The rule that a filter has chosen by name, until the request has it.
    chosen: Option<usize>,
    /// The filter that chose the rule; changes of the head then do not lead to another.
    pub(crate) chosen_by: Option<PluginIndex>,
    /// Rules whose filters the request has passed before the one that it has now, in order.
    pub(crate) left: Vec<usize>,
    /// What the rule's rewrites have changed.
    rewritten: Option<Box<Rewritten>>,
}

/// Target and host of a request.
pub(crate) struct Before {
    uri: Uri,
    host: Option<HeaderValue>,
}

struct Rewritten {
    before: Before,
    after: Before,
}

impl Before {
    /// As they are.
    pub(crate) fn of(head: &Parts) -> Self {
        Self { uri: head.uri.clone(), host: head.headers.get(HOST).cloned() }
    }
}

impl Reroute {
    /// What a filter wants, after it let the head go: it changed what rules look at, or asked for a new choice.
    pub(crate) fn stepped(&mut self, changed: bool, asked: bool) {
        if asked {
            (self.chosen, self.chosen_by) = (None, None);
        }
        self.wanted |= asked || changed && self.chosen_by.is_none();
    }

    /// A filter has chosen a rule.
    pub(crate) fn choose(&mut self, rule: usize, by: PluginIndex) {
        (self.chosen, self.chosen_by, self.wanted) = (Some(rule), Some(by), true);
    }

    /// Whether the request has passed this rule's filters before; then it does not pass them again.
    pub(crate) fn comes_back(&mut self, rule: usize) -> bool {
        let before = self.left.len();
        self.left.retain(|left| *left != rule);
        self.left.len() < before
    }

    /// The rule has rewritten the head; the first form counts.
    pub(crate) fn rewritten(&mut self, before: Before, head: &Parts) {
        let before = self.rewritten.take().map_or(before, |rewritten| rewritten.before);
        self.rewritten = Some(Box::new(Rewritten { before, after: Before::of(head) }));
    }
}

impl Rewritten {
    /// Puts back what was there before the rewrite and was not written anew since.
    fn undo(&self, head: &mut Rc<Parts>) {
        let head = Rc::make_mut(head);
        if head.uri == self.after.uri {
            head.uri = self.before.uri.clone();
        }
        if head.headers.get(HOST) == self.after.host.as_ref()
            && let Some(host) = &self.before.host
        {
            head.headers.insert(HOST, host.clone());
        }
    }
}

impl Record {
    /// Whether rules of the listener look at fields of requests.
    pub(crate) fn reads_fields(&self) -> bool {
        self.view.listener(self.listener).is_some_and(|listener| listener.routes.reads_fields())
    }
}

impl Exchange {
    /// The rule for a request: the one that a filter has chosen, or else the one that its head leads to.
    ///
    /// # Errors
    /// When there is no rule for it.
    pub(crate) fn find(&mut self, view: &View, listener: &Listener, head: &Parts) -> Result<Found, Fail> {
        self.record.reroute.wanted = false;
        let chosen = self.record.reroute.chosen.take();
        let chosen =
            chosen.and_then(|rule| view.destinations(self.record.listener)?.found(rule, head.uri.path()));
        chosen
            .or_else(|| listener.routes.find(chain::host(head), head))
            .ok_or_else(|| Fail::client(Reason::NoRoute))
    }

    /// The rule that the request has now; none: the one that it had, or nobody asked.
    ///
    /// # Errors
    /// When there is no rule for it.
    pub(crate) fn reroute(
        &mut self,
        view: &View,
        listener: &Listener,
        head: &mut Rc<Parts>,
    ) -> Result<Option<Found>, Fail> {
        let way = &mut self.record.reroute;
        if !std::mem::take(&mut way.wanted) || way.left.len() >= LEFT {
            return Ok(None);
        }
        let rewritten = way.rewritten.take();
        let now = rewritten.is_some().then(|| Before::of(head));
        if let Some(rewritten) = &rewritten {
            rewritten.undo(head);
        }
        let found = self.find(view, listener, head)?;
        if Some(found.rule_id) != self.record.rule {
            self.record.reroute.left.extend(self.record.rule);
            return Ok(Some(found));
        }
        if let Some(now) = now {
            let head = Rc::make_mut(head);
            head.uri = now.uri;
            if let Some(host) = now.host {
                head.headers.insert(HOST, host);
            }
        }
        Ok(None)
    }
}
