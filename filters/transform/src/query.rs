//! Query parameters: names and values are compared and written decoded; those that nobody changes stay as they are.

/// The decoded value of the first parameter of that name.
pub fn find(path: &str, name: &str) -> Option<Vec<u8>> {
    let (_, query) = path.split_once('?')?;
    pairs(query).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name.as_bytes()).then(|| decode(value))
    })
}

/// The path with one parameter of that name, in the place of the first, or behind all; or with none for `None`.
pub fn put(path: &str, name: &str, value: Option<&[u8]>) -> String {
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    let mut written = value.map(|value| format!("{}={}", encode(name.as_bytes()), encode(value)));
    let mut kept: Vec<String> = Vec::new();
    for pair in pairs(query) {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        if decode(key) == name.as_bytes() {
            kept.extend(written.take());
        } else {
            kept.push(pair.to_owned());
        }
    }
    kept.extend(written);
    if kept.is_empty() { plain.to_owned() } else { format!("{plain}?{}", kept.join("&")) }
}

fn pairs(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty())
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            _ => {
                text.push('%');
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
                bytes.push(u8::try_from(digit(high) * 16 + digit(low)).unwrap_or(0));
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_and_taken_out() {
        let cases = [
            ("/a", Some("1"), "/a?k=1"),
            ("/a?", Some("1"), "/a?k=1"),
            ("/a?x=%2F&k=0&y&k=2", Some("a b&c"), "/a?x=%2F&k=a%20b%26c&y"),
            ("/a?%6b=0", Some("é"), "/a?k=%C3%A9"),
            ("/a?k=1", None, "/a"),
            ("/a?k&x=1&k=2", None, "/a?x=1"),
            ("/a?kk=1", None, "/a?kk=1"),
        ];
        for (path, value, expected) in cases {
            assert_eq!(put(path, "k", value.map(str::as_bytes)), expected, "{path}");
        }
        assert_eq!(find("/a?x&k=a+b%2", "k"), Some(b"a b%2".to_vec()));
        assert_eq!((find("/a?x", "x"), find("/a", "x")), (Some(Vec::new()), None));
    }
}
