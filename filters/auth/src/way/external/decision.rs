//! What an authorization service has decided, whichever protocol it speaks, and how that is carried out.

use tidegate_sdk::{Fields, Headers, Reply, Request};

use super::check::{Change, How};
use super::names::{Names, is_framing};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It goes on, with these changes.
    Allowed(Changes),
    /// The client is answered.
    Denied(Box<Reply>),
}

/// What changes in a request that goes on, and in its response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Headers that only the service may set, but the client has written.
    pub(super) forged: Vec<String>,
    pub(super) headers: Vec<Change>,
    pub(super) remove: Vec<String>,
    pub(super) response_headers: Vec<Change>,
    pub(super) set_query: Vec<(String, String)>,
    pub(super) remove_query: Vec<String>,
}

impl Changes {
    /// Carries out what is for the request.
    pub(crate) fn apply<S>(&self, request: &Request<S>) {
        let headers = request.headers();
        for name in &self.forged {
            headers.remove(name);
        }
        for name in self.remove.iter().filter(|name| !is_framing(name)) {
            headers.remove(name);
        }
        for change in &self.headers {
            write(headers, change);
        }
        if !self.set_query.is_empty() || !self.remove_query.is_empty() {
            request.set_path(&self.path(&request.path()));
        }
    }

    /// Carries out what is for the response.
    pub(crate) fn apply_to_response(&self, headers: &Headers) {
        for change in &self.response_headers {
            write(headers, change);
        }
    }

    /// The value that a header gets.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let change = self.headers.iter().find(|change| change.name == name);
        change.map(|change| change.value.as_slice())
    }

    fn path(&self, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let name = |pair: &str| pair.split_once('=').map_or(pair.to_owned(), |(name, _)| name.to_owned());
        let is_gone = |pair: &&str| {
            let name = name(pair);
            !pair.is_empty()
                && !self.remove_query.contains(&name)
                && !self.set_query.iter().any(|(known, _)| *known == name)
        };
        let mut pairs: Vec<String> = query.split('&').filter(is_gone).map(str::to_owned).collect();
        pairs.extend(
            self.set_query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))),
        );
        match pairs.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", pairs.join("&")),
        }
    }
}

/// Writes one header as the service said.
pub(super) fn write(headers: &Headers, change: &Change) {
    if is_framing(&change.name) {
        return;
    }
    match change.how {
        How::Set => headers.set(&change.name, &change.value),
        How::Append => headers.add(&change.name, &change.value),
        How::IfAbsent if !headers.contains(&change.name) => headers.set(&change.name, &change.value),
        How::IfPresent if headers.contains(&change.name) => headers.set(&change.name, &change.value),
        How::IfAbsent | How::IfPresent => {}
    }
}

/// The headers of an answer that are in a list, each so that what is there is replaced and repeated ones stay.
pub(super) fn chosen(fields: &Fields, names: &Names) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| names.has(name)) {
        let name = name.to_ascii_lowercase();
        let repeats = name == "set-cookie" || changes.iter().any(|known| known.name == name);
        let how = if repeats { How::Append } else { How::Set };
        changes.push(Change { name, value: value.to_vec(), how });
    }
    changes
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_changed_where_the_service_says_so() {
        let changes = Changes {
            set_query: vec![("a".into(), "x y".into()), ("n".into(), "1".into())],
            remove_query: vec!["gone".into()],
            ..Changes::default()
        };
        assert_eq!(changes.path("/p?gone=1&keep&a=2&gone"), "/p?keep&a=x%20y&n=1");
        assert_eq!(Changes { remove_query: vec!["b".into()], ..Changes::default() }.path("/p?b=1"), "/p");
    }

    #[test]
    fn repeated_headers_of_an_answer_stay() {
        let fields = Fields::from_iter([
            (":status", "200"),
            ("X-A", "1"),
            ("x-a", "2"),
            ("set-cookie", "c"),
            ("y", "3"),
        ]);
        let names = Names::read(&["x-a".to_owned(), "set-cookie".to_owned()]).expect("a correct list");
        let hows: Vec<(String, How)> = chosen(&fields, &names).into_iter().map(|c| (c.name, c.how)).collect();
        let want = [("x-a", How::Set), ("x-a", How::Append), ("set-cookie", How::Append)];
        assert_eq!(hows, want.map(|(name, how)| (name.to_owned(), how)));
    }
}
