//! Sessions at the upstreams of a rule.

use std::sync::Arc;

use tidegate_config::plan::UpstreamIndex;

use crate::upstream::cluster::Cluster;
use crate::upstream::session::{self, Session};

/// The session of each upstream of a rule: the rule's own, or the upstream's.
#[derive(Default)]
pub(crate) struct Sessions {
    own: Option<Arc<Session>>,
    of: Vec<Of>,
}

struct Of {
    upstream: UpstreamIndex,
    /// As tickets have it.
    name: u32,
    /// Of the upstream.
    session: Option<Arc<Session>>,
}

impl Sessions {
    /// `own`: the rule's.
    pub(super) fn new<'a>(
        own: Option<Arc<Session>>,
        upstreams: impl Iterator<Item = (UpstreamIndex, &'a Arc<Cluster>)>,
    ) -> Self {
        let of = |(upstream, cluster): (UpstreamIndex, &Arc<Cluster>)| Of {
            upstream,
            name: session::upstream_of(&cluster.spec.name),
            session: cluster.session.clone(),
        };
        Self { own, of: upstreams.map(of).collect() }
    }

    /// Whether no upstream has one.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_none() && self.of.iter().all(|of| of.session.is_none())
    }

    /// All there are.
    pub(crate) fn each(&self) -> impl Iterator<Item = &Arc<Session>> {
        let of = self.of.iter().filter_map(|of| of.session.as_ref()).filter(|_| self.own.is_none());
        self.own.iter().chain(of)
    }

    /// Of an upstream, if it is the rule's, or one of the rule's.
    pub(crate) fn of(&self, upstream: UpstreamIndex) -> Option<&Arc<Session>> {
        let of = || self.of.iter().find(|of| of.upstream == upstream)?.session.as_ref();
        self.own.as_ref().or_else(of)
    }

    /// The upstream that a ticket names.
    pub(crate) fn named(&self, name: u32) -> Option<UpstreamIndex> {
        self.of.iter().find(|of| of.name == name).map(|of| of.upstream)
    }
}
