//! Which requests a guest has to do with, as it said while it was configured: the others pass without it, as if it were
//! not there.

use http::{HeaderName, Method, header::HOST, request};

/// Conditions, one of which a request must fit to be shown to the guest.
#[derive(Debug, Clone)]
pub(crate) struct Interest(Box<[Condition]>);

#[derive(Debug, Clone)]
enum Condition {
    /// It has a header of this name.
    Header(HeaderName),
    Method(Method),
    /// Its path, without the query, is this one.
    Path(Box<str>),
    /// Its path begins so.
    Prefix(Box<str>),
}

/// Conditions of one guest at most.
const MOST: usize = 64;

impl Interest {
    /// From a text with a condition on each line; nothing if it is no such text. An empty one is about no request.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let lines = std::str::from_utf8(text).ok()?.lines();
        let conditions: Option<Box<[Condition]>> = lines.take(MOST + 1).map(Condition::read).collect();
        conditions.filter(|conditions| conditions.len() <= MOST).map(Self)
    }

    /// Names of headers by which it tells requests apart.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|condition| match condition {
            Condition::Header(name) => Some(name),
            _ => None,
        })
    }

    /// Whether a request is to be shown. `adds` tells of a name whether the gateway will put such a field into the head.
    pub(crate) fn includes(&self, head: &request::Parts, adds: impl Fn(&[u8]) -> bool) -> bool {
        self.0.iter().any(|condition| match condition {
            Condition::Header(name) => head.headers.contains_key(name) || adds(name.as_str().as_bytes()),
            Condition::Method(method) => head.method == *method,
            Condition::Path(path) => head.uri.path() == &**path,
            Condition::Prefix(prefix) => head.uri.path().starts_with(&**prefix),
        })
    }
}

impl Condition {
    fn read(line: &str) -> Option<Self> {
        let (kind, value) = line.split_once(' ')?;
        let path = || value.starts_with('/').then(|| value.into());
        match kind {
            // Each request has a host, in one place or another.
            "header" => {
                HeaderName::from_bytes(value.as_bytes()).ok().filter(|name| name != HOST).map(Self::Header)
            }
            "method" => Method::from_bytes(value.as_bytes()).ok().map(Self::Method),
            "path" => path().map(Self::Path),
            "prefix" => path().map(Self::Prefix),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn includes(text: &str, method: &str, target: &str, header: &str) -> bool {
        let request = Request::builder().method(method).uri(target).header(header, "1");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        Interest::read(text.as_bytes()).expect("conditions").includes(&head, |name| name == b"x-request-id")
    }

    #[test]
    fn one_condition_is_enough() {
        let text = "header X-Fault\npath /a\nprefix /b/\nmethod POST";
        assert!(includes(text, "GET", "/", "x-fault"));
        assert!(includes(text, "GET", "/a?b=c", "x"));
        assert!(includes(text, "GET", "/b/c", "x"));
        assert!(includes(text, "POST", "/", "x"));
        for target in ["/", "/ab", "/a/", "/b", "/?/a", "http://a.test/", "*"] {
            assert!(!includes(text, "GET", target, "x-faults"), "{target}");
        }
    }

    #[test]
    fn fields_that_the_gateway_will_add_count() {
        assert!(includes("header x-request-id", "GET", "/", "x"));
        assert!(!includes("header x-forwarded-for", "GET", "/", "x"));
    }

    #[test]
    fn no_condition_is_no_request() {
        assert!(!includes("", "GET", "/", "x"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let many = "method GET\n".repeat(MOST + 1);
        for text in [
            "header",
            "header ",
            "header a b",
            "header host",
            "path a",
            "prefix ",
            "method",
            "\n",
            "x y",
            &many,
        ] {
            assert!(Interest::read(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(Interest::read(b"method \xff").is_none());
        assert!(
            Interest::read(many.trim_end().strip_prefix("method GET\n").unwrap_or_default().as_bytes())
                .is_some()
        );
    }
}
