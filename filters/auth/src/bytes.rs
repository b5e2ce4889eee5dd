//! Bytes as text, and their comparison.

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
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let size = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let [_, a, b, c] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        let (used, rest): (&[u8], &[u8]) = match size {
            3 => (&[a, b, c], &[]),
            2 => (&[a, b], &[c]),
            _ => (&[a], &[b, c]),
        };
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(used);
    }
    Some(out)
}

/// Bytes of base64 with padding, read as strictly.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 != 0 {
        return None;
    }
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    from_bare_base64(bare)
}

/// Bytes of base64 without padding.
pub(crate) fn from_bare_base64(text: &[u8]) -> Option<Vec<u8>> {
    let other = |byte: &u8| match byte {
        b'+' => Some(b'-'),
        b'/' => Some(b'_'),
        b'-' | b'_' => None,
        other => Some(*other),
    };
    from_base64url(&text.iter().map(other).collect::<Option<Vec<u8>>>()?)
}
