//! What plugins of the access log are shown of an exchange: copies of its heads, kept only where there are such plugins.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Response, request, response};
use tidegate_config::plan::PluginIndex;
use tidegate_wasm::{Ended, Now, StreamInfo};

use crate::exchange::finish::Record;
use crate::filter::log;

/// The heads of an exchange as they went on last.
#[derive(Default)]
pub(crate) struct Heads {
    request: Option<Rc<request::Parts>>,
    response: Option<response::Parts>,
    trailers: Option<HeaderMap>,
}

impl Heads {
    /// As the request goes on now.
    pub(crate) fn note_request(&mut self, head: &Rc<request::Parts>) {
        self.request = Some(head.clone());
    }

    /// The answer as the client gets it.
    pub(crate) fn note_response(&mut self, head: &response::Parts) {
        let (mut copy, ()) = Response::new(()).into_parts();
        copy.status = head.status;
        copy.version = head.version;
        copy.headers = head.headers.clone();
        self.response = Some(copy);
    }

    /// Its trailers.
    pub(crate) fn note_trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = Some(trailers.clone());
    }
}

/// The plugins of the access log.
pub(crate) fn plugins(record: &Record) -> &[PluginIndex] {
    &record.view.snapshot.logs.plugins
}

/// Shows an exchange that is over.
#[cold]
pub(crate) fn tell(record: &Record, heads: &Heads, took: Duration) {
    let client = &record.client;
    let listener = record.view.listener(record.listener);
    let pool = record.upstream.as_ref().and_then(|(upstream, _)| record.view.pools.get(*upstream));
    let info = StreamInfo {
        listener: listener.map(|listener| listener.spec.name.as_str().into()),
        upstream: pool.map(|pool| pool.name.clone()),
        upstream_address: record.upstream.as_ref().map(|(_, server)| server.identity.address),
        facts: record.facts.clone(),
        ..StreamInfo::clone(&record.stream_info())
    };
    let reason = record.reason.map_or("", |reason| reason.word());
    let ended = Ended {
        opened: Now::new(record.start, client.local.clock.wall().saturating_sub(took)),
        request: heads.request.as_ref(),
        response: heads.response.as_ref(),
        trailers: heads.trailers.as_ref(),
        details: if record.details.is_empty() { reason } else { &record.details },
        received: record.progress.as_ref().map_or(0, |progress| progress.bytes.get()),
        sent: record.sent,
        of_bytes: false,
    };
    log::tell(&record.view.plugins, plugins(record), &info, &ended);
}
