//! The steps of a rule or a listener.

use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use tidegate_config::plan::{PathRewrite, PluginIndex};

use crate::http::headers::{self, CompiledChanges};

/// One step; the response passes them in reverse.
pub(crate) enum Step {
    /// A plugin.
    Wasm(PluginIndex),
    /// Changes the request's headers.
    RequestHeaders(CompiledChanges),
    /// Changes the response's headers.
    ResponseHeaders(CompiledChanges),
    /// Changes host and path.
    Rewrite(Rewrite),
}

/// Changes of host and path on the way upstream.
pub(crate) struct Rewrite {
    /// The new host.
    pub(crate) hostname: Option<HeaderValue>,
    /// The new path.
    pub(crate) path: Option<PathRewrite>,
}

/// Applies a rewrite; `prefix` is how much of the path the rule matched.
pub(crate) fn rewrite(rewrite: &Rewrite, head: &mut Parts, prefix: usize) {
    if let Some(hostname) = &rewrite.hostname {
        head.headers.insert(HOST, hostname.clone());
    }
    if let Some(path) = &rewrite.path
        && let Some(target) = rewritten(path, head, prefix)
    {
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target);
        if let Ok(uri) = http::Uri::from_parts(uri) {
            head.uri = uri;
        }
    }
}

/// The path that a rewrite or a redirect leads to, with the request's query.
pub(crate) fn rewritten(rewrite: &PathRewrite, head: &Parts, prefix: usize) -> Option<PathAndQuery> {
    let path = head.uri.path();
    let query = head.uri.query();
    let mut target = String::with_capacity(path.len() + 32);
    match rewrite {
        PathRewrite::Full(full) => target.push_str(full),
        PathRewrite::Prefix(new) => {
            let rest = path.get(prefix..).unwrap_or("");
            target.push_str(new.trim_end_matches('/'));
            if !rest.is_empty() && !rest.starts_with('/') {
                target.push('/');
            }
            target.push_str(rest);
            if target.is_empty() {
                target.push('/');
            }
        }
    }
    if let Some(query) = query {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    PathAndQuery::try_from(target).ok()
}

/// The host of a request, which `sanitize` has put there.
pub(crate) fn host(head: &Parts) -> &[u8] {
    headers::host(&head.headers).map_or(&[], HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str) -> Parts {
        http::Request::builder().uri(target).body(()).expect("is a request").into_parts().0
    }

    #[test]
    fn rewrites() {
        let full = |path: &str| PathRewrite::Full(path.into());
        let prefix = |path: &str| PathRewrite::Prefix(path.into());
        for (rewrite, target, matched, expected) in [
            (full("/new"), "/old?x=1", 1, "/new?x=1"),
            (prefix("/"), "/orders/7", 7, "/7"),
            (prefix("/"), "/orders", 7, "/"),
            (prefix("/v2"), "/orders/7?a", 7, "/v2/7?a"),
            (prefix("/v2/"), "/orders/", 7, "/v2/"),
            (prefix("/v2"), "/", 1, "/v2"),
            (prefix("/v2"), "/a", 1, "/v2/a"),
            (prefix("/v2"), "/a", 0, "/v2/a"),
        ] {
            let got = rewritten(&rewrite, &parts(target), matched).expect("is a path");
            assert_eq!(got.as_str(), expected, "{rewrite:?} {target}");
        }
    }
}
