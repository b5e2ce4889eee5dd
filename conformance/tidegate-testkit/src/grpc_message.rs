//! Fields of protobuf messages, as few as scripted gRPC servers need.

/// A field of bytes.
///
/// # Panics
/// If it is longer than 16 KiB.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let size = u16::try_from(content.len()).ok().filter(|size| *size < 1 << 14).expect("a short field");
    let [low, high] = [size & 0x7f, size >> 7].map(|part| u8::try_from(part).expect("seven bits"));
    let size = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
    [&[number << 3 | 2], &*size, content].concat()
}

/// The content of the first field of bytes with this number; nothing where there is none.
pub fn find(message: &[u8], number: u8) -> &[u8] {
    let mut rest = message;
    while let Some((key, size, content)) = step(rest) {
        if key == u64::from(number) << 3 | 2 {
            return &content[..size];
        }
        rest = &content[size..];
    }
    &[]
}

/// The key of the first field, how many bytes it has, and those with all that follows.
fn step(message: &[u8]) -> Option<(u64, usize, &[u8])> {
    let (key, rest) = number(message)?;
    let (size, rest) = match key & 7 {
        0 => (0, number(rest)?.1),
        1 => (8, rest),
        5 => (4, rest),
        _ => number(rest).map(|(size, rest)| (usize::try_from(size).unwrap_or(usize::MAX), rest))?,
    };
    (size <= rest.len()).then_some((key, size, rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(end + 1);
    Some((number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let long = "x".repeat(300);
        let message =
            [&[8, 0x96, 1][..], &field(2, b"a"), &field(3, long.as_bytes()), &field(2, b"b")].concat();
        assert_eq!(find(&message, 2), b"a");
        assert_eq!(find(&message, 3), long.as_bytes());
        assert_eq!(find(&message, 4), b"");
        assert_eq!(find(b"\x12\x7fx", 2), b"");
    }
}
