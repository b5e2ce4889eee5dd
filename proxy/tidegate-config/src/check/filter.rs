//! `filters` of listeners and of rules.

use super::Check;
use super::plugin::Plugins;
use crate::document::{
    FilterDocument, HeaderChangesDocument, ListenerFilter, PathRewriteDocument, RewriteDocument,
};
use crate::node::Path;
use crate::plan::{Filter, HeaderChanges, PathRewrite, Rewrite};
use crate::problem::Fault;
use crate::types::{check_header_value, check_path, parse_changed_header, parse_new_host};
use std::collections::{BTreeMap, HashMap};

/// Where filters are written, and what their plugins' entries are named after.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) owner: &'a str,
    pub(super) path: &'a Path<'a>,
}

pub(super) fn listener_filters(
    check: &mut Check<'_>,
    place: Place<'_>,
    written: &[ListenerFilter],
    plugins: &mut Plugins,
) -> Vec<Filter> {
    let mut filters = Vec::with_capacity(written.len());
    for (index, filter) in written.iter().enumerate() {
        let path = place.path.index(index);
        match filter {
            ListenerFilter::Plugin(name) => {
                filters.extend(plugins.find(check, &path, name).map(Filter::Plugin));
            }
            ListenerFilter::Filter(written) => {
                let of_prefix =
                    written.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()?.prefix.as_ref());
                if of_prefix.is_some() {
                    let fault = Fault::new("a listener has no prefix that could be replaced");
                    check.fault(
                        &path.key("rewrite").key("path").key("prefix"),
                        fault.hint("full, or a filter of a rule"),
                    );
                }
                filter_steps(check, Place { path: &path, ..place }, written, (plugins, &mut filters));
            }
        }
    }
    filters
}

pub(super) fn rule_filters(
    check: &mut Check<'_>,
    place: Place<'_>,
    written: &[FilterDocument],
    plugins: &mut Plugins,
) -> Vec<Filter> {
    let mut filters = Vec::with_capacity(written.len());
    for (index, filter) in written.iter().enumerate() {
        let path = place.path.index(index);
        filter_steps(check, Place { path: &path, ..place }, filter, (plugins, &mut filters));
    }
    filters
}

/// One item of a list of filters. That it holds exactly one of the steps was checked with its shape.
fn filter_steps(
    check: &mut Check<'_>,
    place: Place<'_>,
    written: &FilterDocument,
    (plugins, filters): (&mut Plugins, &mut Vec<Filter>),
) {
    let path = place.path;
    if let Some(name) = &written.plugin
        && let Some(found) = plugins.find(check, &path.key("plugin"), name)
    {
        let limits = written.limits.as_ref();
        let limits = limits.and_then(|written| plugins.narrowed(check, &path.key("limits"), found, written));
        let plugin = plugins.changed(found, place.owner, (written.config.as_ref(), limits));
        filters.push(Filter::Plugin(plugin));
    }
    if let Some(changes) = &written.request_headers {
        filters.push(Filter::RequestHeaders(header_changes(check, &path.key("requestHeaders"), changes)));
    }
    if let Some(changes) = &written.response_headers {
        filters.push(Filter::ResponseHeaders(header_changes(check, &path.key("responseHeaders"), changes)));
    }
    if let Some(written) = &written.rewrite {
        filters.push(Filter::Rewrite(rewrite(check, &path.key("rewrite"), written)));
    }
}

fn header_changes(check: &mut Check<'_>, path: &Path<'_>, written: &HeaderChangesDocument) -> HeaderChanges {
    let (set, add, remove) = (path.key("set"), path.key("add"), path.key("remove"));
    let names = written.remove.iter().enumerate();
    let removed =
        names.filter_map(|(index, name)| check.take(&remove.index(index), parse_changed_header(name)));
    let removed = removed.collect();
    if written.set.is_empty() && written.add.is_empty() && written.remove.is_empty() && check.intact(path) {
        let fault = Fault::new("no header is changed");
        check.warn(path, fault.hint("set: { name: value }, add: { name: value } or remove: [name]"));
    }
    HeaderChanges {
        set: headers(check, &set, &written.set),
        add: headers(check, &add, &written.add),
        remove: removed,
    }
}

/// Headers that are set, names in lower case.
pub(super) fn headers(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut headers = Vec::with_capacity(written.len());
    let mut seen = HashMap::new();
    for (key, value) in written {
        let place = path.key(key);
        check.take(&place, check_header_value(value));
        let Some(name) = check.take(&place, parse_changed_header(key)) else { continue };
        if let Some(other) = seen.insert(name.clone(), key) {
            let fault = Fault::new(format!("{key:?} is the same header as {other:?}"));
            check.fault(&place, fault.hint("upper and lower case make no difference: keep one of them"));
        }
        headers.push((name, value.clone()));
    }
    headers
}

fn rewrite(check: &mut Check<'_>, path: &Path<'_>, written: &RewriteDocument) -> Rewrite {
    let hostname = written.hostname.as_ref();
    let hostname = hostname.and_then(|hostname| check.take(&path.key("hostname"), parse_new_host(hostname)));
    let rewritten = written.path.as_ref().and_then(|rewrite| path_rewrite(check, &path.key("path"), rewrite));
    Rewrite { hostname, path: rewritten }
}

/// What becomes of the path of a rewrite or of a redirect.
pub(super) fn path_rewrite(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PathRewriteDocument,
) -> Option<PathRewrite> {
    if let Some(full) = &written.full {
        check.take(&path.key("full"), check_path(full));
        return Some(PathRewrite::Full(full.clone()));
    }
    let prefix = written.prefix.as_ref()?;
    check.take(&path.key("prefix"), check_path(prefix));
    Some(PathRewrite::Prefix(prefix.clone()))
}
