//! Queries and cookies, which both are lists of `name=value` in one text.

/// The value of the first pair with this name, percent signs and pluses decoded.
pub(crate) fn decoded(query: &str, name: &str) -> Option<String> {
    pairs(query).find_map(|(key, value)| (decode(key) == name.as_bytes()).then(|| text(decode(value))))
}

/// The value of the first pair with this name, as it is written.
pub(crate) fn raw<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    pairs(query).find_map(|(key, value)| (key == name).then_some(value))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The cookies of a header's value (RFC 6265, section 4.2.1), those without a name left out.
pub(crate) fn cookies(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        let name = name.trim_ascii();
        (!name.is_empty()).then(|| (name, value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

/// As browsers write the fields of a form: `+` is a space, `%41` an `A`; what is no such thing stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (first, escaped) {
            (_, Some((high, low))) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(*byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Bytes that are no UTF-8 are replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = "a=1&b=x+y%2Fz&&%63=%ff&d&e=%4&a=2";
        for (name, want) in [
            ("a", Some("1")),
            ("b", Some("x y/z")),
            ("c", Some("\u{fffd}")),
            ("d", Some("")),
            ("e", Some("%4")),
            ("f", None),
            ("", None),
        ] {
            assert_eq!(decoded(query, name).as_deref(), want, "{name}");
        }
        assert_eq!((raw(query, "b"), raw(query, "c")), (Some("x+y%2Fz"), None));
    }

    #[test]
    fn cookies_are_split() {
        let found: Vec<_> = cookies(b"a=1; b = \"x=y\";; =no; c; d=\xff").collect();
        let want: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"b", b"\"x=y\""), (b"d", b"\xff")];
        assert_eq!(found, want);
    }
}
