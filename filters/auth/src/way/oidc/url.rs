//! Addresses: of the provider, and of the place to which a login returns.

/// An absolute URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// `http` or `https`.
    pub(super) scheme: String,
    /// Host and port.
    pub(super) authority: String,
    /// Path and query; `/` where there is none.
    pub(super) path: String,
}

impl Url {
    /// Reads a URL of `http` or `https` without a user and a fragment.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{}\" is not a URL, as \"https://login.example.com/path\" is", text.escape_debug());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let visible =
            rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>'));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https")
            || authority.is_empty()
            || authority.contains('@')
            || rest.contains('#')
            || !visible
        {
            return Err(wrong());
        }
        let path = match path.as_bytes().first() {
            Some(b'/') => path.to_owned(),
            _ => format!("/{path}"),
        };
        Ok(Url { scheme, authority: authority.to_ascii_lowercase(), path })
    }

    /// The host without the port.
    pub(super) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// Scheme and authority.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// This URL with more parameters in its query.
    pub(super) fn with_query(&self, query: &str) -> String {
        let between = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{between}{query}", self.text())
    }
}

/// Whether a text is a path on this origin and nothing else: what browsers would take for another host is not.
pub(super) fn is_local(path: &str) -> bool {
    let mut bytes = path.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        // Browsers drop tabs and line breaks and take `\` for `/`.
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Where a login that began at a request returns to. Forms are not sent again, so they lead to the start page.
pub(super) fn return_to(method: &str, path: &str) -> String {
    match is_local(path) && path.len() <= LONGEST && matches!(method, "GET" | "HEAD") {
        true => path.to_owned(),
        false => "/".to_owned(),
    }
}

/// The part of a path before its query.
pub(super) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// The query of a path.
pub(super) fn query(path: &str) -> &str {
    path.split_once('?').map_or("", |(_, query)| query)
}

/// It has to fit into a cookie.
const LONGEST: usize = 1500;

#[cfg(test)]
mod tests {
    use super::{Url, return_to};

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("HTTPS://Login.Example.com:8443/realms/a?x=1").expect("a URL");
        assert_eq!((url.scheme.as_str(), url.host()), ("https", "login.example.com"));
        assert_eq!(url.origin(), "https://login.example.com:8443");
        assert_eq!(url.path, "/realms/a?x=1");
        assert_eq!(url.with_query("a=b"), "https://login.example.com:8443/realms/a?x=1&a=b");
        assert_eq!(Url::parse("http://h").map(|url| url.with_query("a=b")).as_deref(), Ok("http://h/?a=b"));
        assert_eq!(Url::parse("http://[::1]:80/").expect("a URL").host(), "[::1]");
        for bad in [
            "",
            "/x",
            "ftp://h/",
            "https://",
            "https:///x",
            "https://a@b/",
            "https://h/#f",
            "https://h/ x",
            "https://h\\x",
        ] {
            let error = Url::parse(bad).expect_err(bad);
            assert!(error.ends_with("is not a URL, as \"https://login.example.com/path\" is"), "{error}");
        }
    }

    #[test]
    fn a_login_returns_to_this_origin_only() {
        for path in ["/", "/a/b?c=d&e=https://f/", "/a//b", "/.well-known", "/a?//b"] {
            assert_eq!(return_to("GET", path), path);
        }
        for path in [
            "",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a\r\nset-cookie: x",
            "https://evil.example/",
            "javascript:alert(1)",
            "/a\\b",
            "/ä",
            &format!("/{}", "x".repeat(1500)),
        ] {
            assert_eq!(return_to("GET", path), "/", "{path}");
        }
        assert_eq!(return_to("POST", "/a"), "/");
        assert_eq!(return_to("HEAD", "/a"), "/a");
    }
}
