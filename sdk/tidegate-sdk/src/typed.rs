//! Common headers as what they mean. What is malformed, or there twice with different values, is not there.

use base64ct::{Base64, Base64Unpadded, Encoding};

use crate::{Headers, Value};

/// The credentials of an `authorization` header (RFC 9110, section 11.6.2).
///
/// ```no_run
/// use tidegate_sdk::{Authorization, Request};
///
/// fn token(request: &Request) -> Option<String> {
///     match request.headers().authorization()? {
///         Authorization::Bearer(token) => Some(token),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authorization {
    /// `Bearer`, with its token (RFC 6750).
    Bearer(String),
    /// `Basic`, with name and password as they are after base64 (RFC 7617).
    Basic {
        /// The name, which has no colon.
        user: Vec<u8>,
        /// The password.
        password: Vec<u8>,
    },
    /// Any other scheme, in lower case, with the rest of the value.
    Other {
        /// The scheme.
        scheme: String,
        /// What follows it.
        rest: Vec<u8>,
    },
}

/// A media type (RFC 9110, section 8.3.1).
///
/// ```no_run
/// # fn is_text(request: &tidegate_sdk::Request) -> bool {
/// let kind = request.headers().content_type();
/// let text = kind.is_some_and(|kind| kind.is_json() || kind.parameter("charset") == Some("utf-8"));
/// # text
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    essence: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    /// Type and subtype in lower case, as `application/json`.
    pub fn essence(&self) -> &str {
        &self.essence
    }

    /// A parameter by its name, as `charset`, without quotation marks.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is JSON: `application/json`, or a type that ends with `+json`.
    pub fn is_json(&self) -> bool {
        self.essence == "application/json" || self.essence.ends_with("+json")
    }
}

/// One entry of a list with weights, as of `accept`.
///
/// ```no_run
/// # fn wants_german(request: &tidegate_sdk::Request) -> bool {
/// let wanted = request.headers().weighted("accept-language");
/// let german = wanted.first().is_some_and(|first| first.quality > 0 && first.value.starts_with("de"));
/// # german
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted {
    /// The entry in lower case, without its weight.
    pub value: String,
    /// Its weight in thousandths, 1000 if none is given.
    pub quality: u16,
}

impl Headers {
    /// The length that the message announces.
    pub fn content_length(&self) -> Option<u64> {
        let mut all = self.get_all("content-length").into_iter();
        let first = digits(&all.next()?)?;
        all.all(|other| digits(&other) == Some(first)).then_some(first)
    }

    /// The type of the body.
    pub fn content_type(&self) -> Option<ContentType> {
        content_type(self.get("content-type")?.to_str()?)
    }

    /// Who the client says it is.
    pub fn authorization(&self) -> Option<Authorization> {
        authorization(&self.get("authorization")?)
    }

    /// The entries of a header that is a list between commas, over all its values, in order.
    pub fn list(&self, name: &str) -> Vec<String> {
        let all = self.get_all(name);
        all.iter().filter_map(Value::to_str).flat_map(entries).map(str::to_owned).collect()
    }

    /// The entries of `accept`, `accept-language` or `accept-encoding`, the most wanted first; those of weight 0 are what
    /// the client does not want.
    pub fn weighted(&self, name: &str) -> Vec<Weighted> {
        let all = self.get_all(name);
        let mut list: Vec<Weighted> =
            all.iter().filter_map(Value::to_str).flat_map(entries).map(weighted).collect();
        list.sort_by_key(|entry| u16::MAX - entry.quality);
        list
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Splits at commas that are in no quotation marks.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    split(text, b',').filter(|entry| !entry.is_empty())
}

fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            if std::mem::take(&mut escaped) {
                return false;
            }
            match byte {
                b'"' => quoted = !quoted,
                b'\\' if quoted => escaped = true,
                _ => return byte == at && !quoted,
            }
            false
        });
        let part = match end {
            Some(end) => {
                rest = text.get(end + 1..);
                text.get(..end).unwrap_or_default()
            }
            None => text,
        };
        Some(part.trim_ascii())
    })
}

fn content_type(text: &str) -> Option<ContentType> {
    let mut parts = split(text, b';');
    let essence = parts.next()?.to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    if kind.is_empty() || subtype.is_empty() || essence.bytes().any(|byte| byte <= b' ' || byte == b',') {
        return None;
    }
    let parameter = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim_ascii().to_owned(), unquoted(value.trim_ascii())))
    };
    let parameters = parts.filter_map(parameter).collect();
    Some(ContentType { essence, parameters })
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    let mut plain = String::with_capacity(inside.len());
    for c in inside.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

fn authorization(value: &[u8]) -> Option<Authorization> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(end)?;
    let (scheme, rest) = (std::str::from_utf8(scheme).ok()?.to_ascii_lowercase(), rest.trim_ascii());
    Some(match scheme.as_str() {
        "" => return None,
        "bearer" => {
            let token = std::str::from_utf8(rest).ok()?;
            let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            Authorization::Bearer(is_token.then(|| token.to_owned())?)
        }
        "basic" => {
            let plain = base64(rest)?;
            let colon = plain.iter().position(|byte| *byte == b':')?;
            let (user, password) = plain.split_at_checked(colon)?;
            Authorization::Basic {
                user: user.to_vec(),
                password: password.get(1..).unwrap_or_default().to_vec(),
            }
        }
        _ => Authorization::Other { scheme, rest: rest.to_vec() },
    })
}

/// Standard base64 (RFC 4648, section 4), with or without its padding. Two texts never mean the same.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let read = if text.ends_with('=') { Base64::decode_vec(text) } else { Base64Unpadded::decode_vec(text) };
    read.ok()
}

fn weighted(entry: &str) -> Weighted {
    let mut parts = split(entry, b';');
    let mut value = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut quality = 1000;
    for part in parts {
        match part.split_once('=') {
            Some(("q" | "Q", weight)) => quality = thousandths(weight).unwrap_or(0),
            _ => {
                value.push(';');
                value.push_str(part);
            }
        }
    }
    Weighted { value, quality }
}

/// `0.75` is 750; at most three digits follow the point (RFC 9110, section 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    if !matches!(whole, "0" | "1") || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut value = if whole == "1" { 1 } else { 0 };
    for at in 0..3 {
        value = value * 10 + u16::from(part.as_bytes().get(at).map_or(0, |digit| digit - b'0'));
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_parameters() {
        let html = content_type("Text/HTML; Charset=\"utf-8\" ;x=\"a;\\\"b\"").expect("a type");
        assert_eq!((html.essence(), html.parameter("charset")), ("text/html", Some("utf-8")));
        assert_eq!((html.parameter("X"), html.parameter("y")), (Some("a;\"b"), None));
        for (text, json) in
            [("application/json", true), ("application/problem+json;a=b", true), ("text/json", false)]
        {
            assert_eq!(content_type(text).map(|found| found.is_json()), Some(json), "{text}");
        }
        for text in ["", "text", "/html", "text/", "text/html, text/plain", "a b/c"] {
            assert_eq!(content_type(text), None, "{text}");
        }
    }

    #[test]
    fn credentials_are_read() {
        let basic = |user: &[u8], password: &[u8]| {
            Some(Authorization::Basic { user: user.to_vec(), password: password.to_vec() })
        };
        for (text, want) in [
            (&b"Bearer abc.def"[..], Some(Authorization::Bearer("abc.def".to_owned()))),
            (b"bearer  x", Some(Authorization::Bearer("x".to_owned()))),
            (b"Bearer", None),
            (b"Bearer a b", None),
            (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", basic(b"Aladdin", b"open sesame")),
            (b"BASIC YTpiOmM", basic(b"a", b"b:c")),
            (b"Basic YTo=", basic(b"a", b"")),
            (b"Basic YT", None),
            (b"Basic YTp=", None),
            (b"Basic YWJj", None),
            (b"Basic ====", None),
            (b"Basic YTpi!", None),
            (b"", None),
            (b"\xff x", None),
            (
                b"Digest a=\"b\"",
                Some(Authorization::Other { scheme: "digest".to_owned(), rest: b"a=\"b\"".to_vec() }),
            ),
        ] {
            assert_eq!(authorization(text), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn base64_is_read_strictly() {
        for (text, plain) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zg", b"f"), ("Zm8=", b"fo"), ("Zm9vYmFy", b"foobar")]
        {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(plain), "{text}");
        }
        for text in [
            "Z",
            "Zg=",
            "Zh==",
            "Zh",
            "Zm9=",
            "Z===",
            "Zm9v====",
            "Zg==Zg==",
            "Z=g=",
            "-_-_",
            "Zg==\n",
            "=",
            "Zm8\u{e9}",
        ] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(base64(b"\xff\xff=="), None);
    }

    #[test]
    fn weights_are_thousandths() {
        for (text, want) in [
            ("1", Some(1000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("0.125", Some(125)),
            ("1.000", Some(1000)),
        ] {
            assert_eq!(thousandths(text), want, "{text}");
        }
        for text in ["", "2", "1.001", "0.1234", "-1", "0.x", ".5"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
        let entry = |value: &str, quality| Weighted { value: value.to_owned(), quality };
        assert_eq!(weighted("Text/HTML;level=1;q=0.7"), entry("text/html;level=1", 700));
        assert_eq!(weighted("br;q=x"), entry("br", 0));
    }

    #[test]
    fn lists_are_split_outside_of_quotation_marks() {
        assert_eq!(entries("a, \"b,\\\"c\" ,, d").collect::<Vec<_>>(), ["a", "\"b,\\\"c\"", "d"]);
        assert_eq!(digits(b"0012"), Some(12));
        for text in ["", "+1", " 1", "1 ", "18446744073709551616"] {
            assert_eq!(digits(text.as_bytes()), None, "{text}");
        }
    }
}
