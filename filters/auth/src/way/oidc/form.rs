//! Names and values as URLs and forms write them, and base64 as tokens write it.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};

pub(super) use crate::bytes::from_base64url as from_base64;

/// Base64 without padding, for URLs (RFC 4648, section 5).
pub(super) fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Base64 with padding, as `Basic` wants it (RFC 4648, section 4).
pub(super) fn base64_padded(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Pairs as `application/x-www-form-urlencoded`.
pub(super) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        push_escaped(&mut text, name);
        text.push('=');
        push_escaped(&mut text, value);
    }
    text
}

/// One value, escaped for a query, a form, or the user name of `Basic` (RFC 6749, section 2.3.1).
pub(super) fn escape(value: &str) -> String {
    let mut text = String::new();
    push_escaped(&mut text, value);
    text
}

fn push_escaped(text: &mut String, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().map_or('0', char::from);
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            byte => text.extend(['%', digit(byte >> 4), digit(byte)]),
        }
    }
}

/// The value of a name in a query, unescaped. A name that is there twice has none: two programs could read two things.
pub(super) fn find(query: &str, name: &str) -> Option<String> {
    let mut values = query.split('&').filter_map(|pair| {
        let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
        (known == name).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(value), None) => unescape(value),
        _ => None,
    }
}

fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{base64, base64_padded, encode, find, from_base64};

    #[test]
    fn forms_are_written_and_read() {
        let pairs =
            [("scope", "openid profile"), ("redirect_uri", "https://a.example/cb?x=1"), ("ä", "&=+%")];
        let form = encode(pairs);
        assert_eq!(
            form,
            "scope=openid%20profile&redirect_uri=https%3A%2F%2Fa.example%2Fcb%3Fx%3D1&%C3%A4=%26%3D%2B%25"
        );
        assert_eq!(find(&form, "scope").as_deref(), Some("openid profile"));
        assert_eq!(find(&form, "%C3%A4").as_deref(), Some("&=+%"));
    }

    #[test]
    fn odd_queries_have_no_value() {
        for query in ["", "code", "codex=1", "code=1&code=2", "code=%", "code=%4", "code=%zz", "code=%ff"] {
            let value = find(query, "code");
            assert!(value.is_none() || query == "code" && value.as_deref() == Some(""), "{query}: {value:?}");
        }
        assert_eq!(find("a=b&code=x+y%2f", "code").as_deref(), Some("x y/"));
    }

    #[test]
    fn base64_is_that_of_tokens() {
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "-__-");
        assert_eq!(from_base64(b"-__-"), Some(vec![0xfb, 0xff, 0xfe]));
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob?", "Zm9vYj8=")]
        {
            assert_eq!(base64_padded(plain.as_bytes()), text);
            assert_eq!(base64(plain.as_bytes()), text.trim_end_matches('='));
            assert_eq!(from_base64(base64(plain.as_bytes()).as_bytes()), Some(plain.into()));
        }
        for bad in [&b"-__-="[..], b"+//+", b"a", b"\xff\xff"] {
            assert_eq!(from_base64(bad), None, "{bad:?}");
        }
    }
}
