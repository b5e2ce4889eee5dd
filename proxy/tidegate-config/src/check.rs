//! Document to plan: names become indices, texts become values, defaults are filled in. Everything that is wrong goes
//! into the report; the plan is complete only when nothing is.

mod access_log;
mod admin;
mod balance;
mod discover;
mod filter;
mod health;
mod listener;
mod loading;
mod matching;
mod metrics;
mod names;
mod otlp;
mod outliers;
mod overlap;
mod plugin;
mod policy;
mod reach;
mod recording;
mod release;
mod route;
mod sequence;
mod session;
mod stream;
mod tracing;
mod upstream;

pub(crate) use names::Names;
pub(crate) use upstream::servers_alone;

pub use loading::{is_local_registry, oci_reference};

use crate::document::Document;
use crate::node::{Node, Path};
use crate::plan::Plan;
use crate::problem::Fault;
use crate::report::Report;
use crate::types::Timeout;
use names::Kind;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

/// What a document was read from.
pub(crate) struct Origin<'a> {
    /// The tree, without what was wrong with its shape.
    pub(crate) tree: &'a Node,
    /// All names, those of parts that were taken out too.
    pub(crate) names: &'a Names,
    /// Names of the sources.
    pub(crate) sources: &'a [&'a str],
}

/// Checks the meaning of a document.
pub(crate) fn check(document: &Document, origin: Origin<'_>, base: &FilePath, report: &mut Report) -> Plan {
    let names = origin.names;
    let mut check = Check { tree: origin.tree, names, sources: origin.sources, base, report };
    let root = Path::ROOT;
    let admin = document.admin.as_ref().map(|written| admin::admin(&mut check, document, written));
    let resolver = discover::resolver(&mut check, document.resolver.as_ref());
    let upstreams = upstream::upstreams(&mut check, document, &resolver);
    let mut plugins = plugin::plugins(&mut check, document, &upstreams);
    let listeners = listener::listeners(&mut check, document, &mut plugins);
    overlap::addresses(&mut check, document, admin.as_ref().and_then(|admin| admin.address));
    let routes = route::routes(&mut check, document, &listeners, &upstreams, &mut plugins);
    let (access_logs, log_plugins) = access_log::access_logs(&mut check, document, &plugins);
    let tracing = document.tracing.as_ref().map(|written| tracing::tracing(&mut check, document, written));
    let service = otlp::service(document);
    let metrics = document.metrics.as_ref().map(|written| metrics::metrics(&mut check, written, service));
    // Where parts were taken out, what cannot be reached may only seem so.
    if !check.report.has_errors() {
        if document.listeners.is_empty() {
            let fault = Fault::new("there is no listener, so nothing is served");
            check.warn(&root, fault.hint("listeners: [{ name: web, address: 0.0.0.0:8080 }]"));
        }
        stream::reach(&mut check, &routes, &listeners);
        reach::hostnames(&mut check, &routes, &listeners);
        reach::rules(&mut check, &routes);
        sequence::sequence(&mut check, &routes, (&listeners, plugins.all()));
    }
    Plan {
        admin,
        resolver,
        workers: document.workers.and_then(|workers| NonZeroUsize::new(workers as usize)),
        memory: document.limits.and_then(|limits| limits.memory).unwrap_or_default(),
        listeners: listeners.into_inner(),
        plugins: plugins.into_inner(),
        routes,
        upstreams: upstreams.into_inner(),
        access_logs,
        log_plugins,
        metrics,
        tracing,
    }
}

/// What all checks need.
struct Check<'a> {
    tree: &'a Node,
    names: &'a Names,
    sources: &'a [&'a str],
    base: &'a FilePath,
    report: &'a mut Report,
}

impl Check<'_> {
    /// Reports a fault at a place.
    fn fault(&mut self, path: &Path<'_>, fault: Fault) {
        let (node, at, text) = path.locate(self.tree);
        self.report.add(at, text, fault.discreet(node.filled));
    }

    fn warn(&mut self, path: &Path<'_>, fault: Fault) {
        let (node, at, text) = path.locate(self.tree);
        self.report.warn(at, text, fault.discreet(node.filled));
    }

    /// Reports something that a later version may do.
    fn unsupported(&mut self, path: &Path<'_>, what: &str, hint: &str) {
        self.fault(path, Fault::new(format!("{what} is not supported by this version")).hint(hint));
    }

    /// The value of a result, or a report of its fault.
    fn take<T>(&mut self, path: &Path<'_>, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(path, fault)).ok()
    }

    /// Whether nothing was dropped from a map: only then its keys can be judged together.
    fn intact(&self, path: &Path<'_>) -> bool {
        path.locate(self.tree).0.intact
    }

    /// Where a place is, for messages about another place.
    fn place(&self, path: &Path<'_>) -> String {
        let at = path.locate(self.tree).1;
        format!("{}:{}", self.sources.get(at.source).copied().unwrap_or_default(), at.line)
    }

    /// A file name, relative to the base.
    fn file(&mut self, path: &Path<'_>, text: &str) -> PathBuf {
        if text.is_empty() || text.contains('\0') {
            self.fault(path, Fault::new(format!("{text:?} is not a file name")));
        }
        self.base.join(text)
    }

    /// A span of time that is not zero, or the default.
    fn positive(&mut self, path: &Path<'_>, timeout: Option<Timeout>, default: Duration) -> Duration {
        let time = timeout.map_or(default, |timeout| timeout.0);
        if time.is_zero() {
            self.fault(path, Fault::new("the time must not be zero").hint("for instance 5s"));
        }
        time
    }

    /// Reports a name that nothing has.
    fn dangling(&mut self, path: &Path<'_>, kind: Kind, name: &str) {
        // A part that has problems of its own was taken out, but its name is known.
        if self.names.has(kind, name) {
            return;
        }
        let fault = Fault::new(format!("no {} named {name:?}", kind.word()));
        let fault = fault.with_guess(name, self.names.candidates(kind));
        self.fault(path, fault);
    }
}
