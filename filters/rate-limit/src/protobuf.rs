//! As much of the protobuf encoding as the rate limit service needs.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A whole number.
    Number(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
}

/// Appends bytes, a text or a message as a field.
pub(crate) fn put_bytes(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(number << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The fields of a message with their numbers; what is malformed ends them.
pub(crate) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let (tag, rest) = varint(bytes)?;
            let (value, rest) = match tag & 7 {
                0 => {
                    let (number, rest) = varint(rest)?;
                    (Some(Value::Number(number)), rest)
                }
                1 => (None, rest.get(8..)?),
                2 => {
                    let (length, rest) = varint(rest)?;
                    let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                    (Some(Value::Bytes(bytes)), rest)
                }
                5 => (None, rest.get(4..)?),
                _ => return None,
            };
            bytes = rest;
            if let Some(value) = value {
                return Some((tag >> 3, value));
            }
        }
    })
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let mut message = Vec::new();
        put_bytes(1, b"name", &mut message);
        put_bytes(300, &[7; 200], &mut message);
        message.extend_from_slice(&[0x18, 0x96, 0x01, 0x25, 1, 2, 3, 4]);
        let found: Vec<_> = fields(&message).collect();
        assert_eq!(
            found,
            [(1, Value::Bytes(b"name")), (300, Value::Bytes(&[7; 200])), (3, Value::Number(150))]
        );
        for cut in 0..message.len() {
            assert!(fields(message.get(..cut).unwrap_or_default()).count() < 4);
        }
        assert_eq!(fields(&[0xff; 20]).count(), 0);
    }
}
