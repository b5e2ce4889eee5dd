//! `tracing`.

use super::Check;
use super::otlp::{otlp, service};
use super::recording::share;
use crate::document::{Document, TraceFormat, TracingDocument};
use crate::node::Path;
use crate::plan::Tracing;
use crate::problem::Fault;
use std::time::Duration;

pub(super) fn tracing(check: &mut Check<'_>, document: &Document, tracing: &TracingDocument) -> Tracing {
    let path = Path::ROOT.key("tracing");
    let keep = tracing.keep.clone().unwrap_or_default();
    let percent = tracing.percent.unwrap_or(1.0);
    Tracing {
        otlp: otlp(check, &path.key("otlp"), &tracing.otlp, service(document)),
        // None is a share here: a gateway that only takes part in the traces of others.
        share: if percent == 0.0 { 0 } else { share(check, &path.key("percent"), percent) },
        follow_parent: tracing.follow_parent.unwrap_or(true),
        keep_errors: keep.errors.unwrap_or(false),
        keep_slower: keep.slower_than.map(|time| time.0).filter(|time| *time > Duration::ZERO),
        accept: formats(check, &path.key("accept"), tracing.accept.as_deref()),
        send: formats(check, &path.key("send"), tracing.send.as_deref()),
    }
}

fn formats(check: &mut Check<'_>, path: &Path<'_>, written: Option<&[TraceFormat]>) -> Vec<TraceFormat> {
    let mut formats = Vec::new();
    for (index, format) in written.unwrap_or(&[TraceFormat::W3c]).iter().enumerate() {
        if formats.contains(format) {
            check.fault(&path.index(index), Fault::new("the format is there twice"));
        } else {
            formats.push(*format);
        }
    }
    formats
}
