//! Bytes as text, and their comparison.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};

/// Compares without stopping at the first difference; only the lengths may be told by the time it takes.
pub(crate) fn equal(known: &[u8], presented: &[u8]) -> bool {
    if known.len() != presented.len() {
        return false;
    }
    let difference = known.iter().zip(presented).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}

/// Bytes of hexadecimal figures.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

/// What follows the name of a scheme in a value of `authorization`.
pub(crate) fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?.trim_ascii();
    (start.eq_ignore_ascii_case(scheme.as_bytes()) && !rest.is_empty()).then_some(rest)
}

/// Bytes of base64 in the alphabet for URLs, without padding (RFC 7515, section 2). A text that another one would mean
/// the same as is refused.
pub(crate) fn from_base64url(text: &[u8]) -> Option<Vec<u8>> {
    read::<Base64UrlUnpadded>(text)
}

/// Bytes of base64 with padding, read as strictly.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    read::<Base64>(text)
}

fn read<E: Encoding>(text: &[u8]) -> Option<Vec<u8>> {
    E::decode_vec(std::str::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_text_for_each_value() {
        for (text, plain) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            let bare = text.trim_end_matches('=');
            let of_urls = bare.replace('+', "-").replace('/', "_");
            assert_eq!(from_base64(text.as_bytes()).as_deref(), Some(plain), "{text}");
            assert_eq!(from_base64url(of_urls.as_bytes()).as_deref(), Some(plain), "{text}");
        }
        let padded = [
            "Zg",
            "Zg=",
            "Zh==",
            "Zm9=",
            "Z===",
            "====",
            "=",
            "Zg==Zg==",
            "Z=g=",
            "Zm9vA",
            "-_-_",
            "Zg==\n",
            " Zg==",
            "Zm8\u{e9}",
            "Zm9v====",
        ];
        for text in padded {
            assert_eq!(from_base64(text.as_bytes()), None, "{text}");
        }
        for text in ["Zg==", "Zm8=", "Zh", "Zm9", "Z", "Zm9vZ", "Zg\n", "Zm 9v", "Zm8\u{e9}"] {
            assert_eq!(from_base64url(text.as_bytes()), None, "{text}");
        }
        assert_eq!(from_base64url(b"+/+/"), None);
        assert_eq!((from_base64(b"\xff\xff=="), from_base64url(b"\xff\xff")), (None, None));
    }
}
