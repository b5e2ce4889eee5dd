//! As much of Protocol Buffers as a few small messages need: fields by number, read from borrowed bytes, and
//! written.

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Goes through the fields of a message. Ends early, with `is_whole` false, where the bytes are no message.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, broken: false }
    }

    /// All fields; none if the bytes are no message.
    pub(crate) fn fields(mut self) -> Option<Vec<(u64, Value<'a>)>> {
        let fields = self.by_ref().collect();
        (!self.broken).then_some(fields)
    }

    /// The last field with this number, which must be a string, bytes or a message; none if the bytes are no
    /// message as a whole.
    pub(crate) fn bytes_of(self, number: u64) -> Option<&'a [u8]> {
        let mut found = None;
        for field in self.fields()? {
            if let (field, Value::Bytes(bytes)) = field
                && field == number
            {
                found = Some(bytes);
            }
        }
        found
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            LENGTH => {
                let len = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            FIXED32 => Value::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.broken {
            return None;
        }
        let field = self.field();
        self.broken = field.is_none();
        field
    }
}

/// Writes a truth value that is true; false is not written.
pub(crate) fn put_flag(out: &mut Vec<u8>, number: u8) {
    out.extend([number << 3, 1]);
}

/// Writes a string, bytes or a message; `number` is less than 16.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = bytes.len();
    while len > 0x7f {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x01\0\0\0\x21\x02\0\0\0\0\0\0\0";
        let want = vec![
            (1, Value::Number(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Number(1)),
            (4, Value::Number(2)),
        ];
        assert_eq!(Reader::new(message).fields(), Some(want));
        assert_eq!(Reader::new(b"").fields(), Some(vec![]));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        put_flag(&mut out, 1);
        put_bytes(&mut out, 2, &[7; 300]);
        put_bytes(&mut out, 3, b"");
        let want = vec![(1, Value::Number(1)), (2, Value::Bytes(&[7; 300])), (3, Value::Bytes(b""))];
        assert_eq!(Reader::new(&out).fields(), Some(want));
    }

    #[test]
    fn what_is_no_message_has_no_fields() {
        let endless = [0xff; 11];
        for bytes in
            [&b"\x08"[..], b"\x12\x05hi", b"\x0b", b"\0\0", b"\x0f", &endless, b"\x12\xff\xff\xff\xff\x0f"]
        {
            assert_eq!(Reader::new(bytes).fields(), None, "{bytes:?}");
        }
    }
}
