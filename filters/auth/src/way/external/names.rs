//! Lists of header names, as `x-user` or `x-auth-*`.

use tidegate_sdk::units;

/// Names and beginnings of names, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    whole: Vec<String>,
    beginnings: Vec<String>,
}

impl Names {
    /// Reads a list; the error says what is wrong with which entry.
    pub(super) fn read(list: &[String]) -> Result<Self, String> {
        let mut names = Names::default();
        for (at, entry) in list.iter().enumerate() {
            let (stem, is_beginning) = match entry.strip_suffix('*') {
                Some(stem) => (stem, true),
                None => (entry.as_str(), false),
            };
            let is_name = if stem.is_empty() { is_beginning } else { units::is_token(stem) };
            if !is_name || stem.contains('*') {
                return Err(format!(
                    "[{at}]: \"{}\" is neither a header name, as \"x-user\", nor the beginning of one, as \"x-user-*\"",
                    entry.escape_debug()
                ));
            }
            let list = if is_beginning { &mut names.beginnings } else { &mut names.whole };
            list.push(stem.to_ascii_lowercase());
        }
        Ok(names)
    }

    /// Whether a name is in the list. Those that frame messages, and those of HTTP/2, never are.
    pub(super) fn has(&self, name: &str) -> bool {
        let is = |known: &String| known.eq_ignore_ascii_case(name);
        let begins = |known: &String| {
            name.get(..known.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(known))
        };
        (self.whole.iter().any(is) || self.beginnings.iter().any(begins)) && !is_framing(name)
    }
}

/// Whether a header belongs to one message or connection, so that it means nothing in another one.
pub(super) fn is_framing(name: &str) -> bool {
    name.starts_with(':') || FRAMING.iter().any(|known| known.eq_ignore_ascii_case(name))
}

const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_are_found_whole_and_by_their_beginning() {
        let list = ["X-User", "x-auth-*"].map(str::to_owned);
        let names = Names::read(&list).expect("a correct list");
        for (name, is) in [
            ("x-user", true),
            ("X-USER", true),
            ("x-user-id", false),
            ("x-auth-", true),
            ("x-auth-group", true),
            ("x-aut", false),
            ("ä-auth-", false),
        ] {
            assert_eq!(names.has(name), is, "{name}");
        }
        let all = Names::read(&["*".to_owned()]).expect("a correct list");
        for (name, is) in [("x", true), (":path", false), ("Content-Length", false), ("host", false)] {
            assert_eq!(all.has(name), is, "{name}");
        }
        for bad in ["", "a b", "a*b", ":path", "é"] {
            let error = Names::read(&[bad.to_owned()]).expect_err(bad);
            assert!(error.starts_with("[0]: \""), "{error}");
        }
    }
}
