//! `plugins.NAME.record`.

use super::Check;
use crate::document::{PluginDocument, RecordedRequests, RecordingDocument};
use crate::node::Path;
use crate::plan::{Plugin, Recording, SECRETS};
use crate::problem::Fault;

pub(super) fn recording(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PluginDocument,
) -> Option<Recording> {
    let record = written.record.as_ref()?;
    let RecordingDocument { path: file, requests, percent, size, redact } = record;
    let redact = redact.clone().unwrap_or_default();
    let headers = match redact.headers {
        Some(names) => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        None => SECRETS.map(str::to_owned).to_vec(),
    };
    let size = size.map_or(64 << 20, |size| size.0);
    if size < LEAST {
        let fault = Fault::new(format!("a file of {size} bytes has no room for a request"));
        check.fault(&path.key("size"), fault.hint("1MiB or more"));
    }
    Some(Recording {
        path: check.file(&path.key("path"), file),
        all: *requests == Some(RecordedRequests::All),
        share: share(check, &path.key("percent"), percent.unwrap_or(100.0)),
        size,
        headers,
        bodies: redact.bodies.unwrap_or(true),
    })
}

/// Two plugins would mix their requests, and each begin the other's file anew.
pub(super) fn one_file_each(check: &mut Check<'_>, section: &Path<'_>, plugins: &[Plugin]) {
    for (index, plugin) in plugins.iter().enumerate() {
        let Some(recording) = &plugin.record else { continue };
        let before = plugins.iter().take(index);
        let same = |other: &&Plugin| other.record.as_ref().is_some_and(|other| other.path == recording.path);
        if let Some(other) = before.into_iter().find(same) {
            let fault = Fault::new(format!("the plugin {:?} is recorded in the same file", other.name));
            let place = section.key(&plugin.name);
            let place = place.key("record");
            check.fault(&place.key("path"), fault.hint("a file for each plugin"));
        }
    }
}

pub(super) fn share(check: &mut Check<'_>, path: &Path<'_>, percent: f64) -> u32 {
    if !(percent > 0.0 && percent <= 100.0) {
        let fault = Fault::new(format!("{percent} is no share of the requests in percent"));
        check.fault(path, fault.hint("more than 0, at most 100; leave the whole map out for none"));
        return 0;
    }
    // At most a million; what is smaller than one in a million is one in a million.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let share = (percent * 10_000.0).round() as u32;
    share.max(1)
}

/// The smallest file: the largest request has room in it.
const LEAST: u64 = 1 << 20;
