//! As much of the protobuf encoding as Envoy's authorization messages need: varints, bytes, nested messages, maps of text.

/// A message that is being written. Fields with the default value are left out, as the encoding wants it.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer::default()
    }

    /// A whole number: `int32`, `int64`, `uint32`, `bool` and enumerations.
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value);
        }
        self
    }

    /// Text or bytes.
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        if !value.is_empty() {
            self.piece(field, value);
        }
        self
    }

    /// Text that may be missing.
    pub(super) fn text(self, field: u32, value: Option<&str>) -> Self {
        self.bytes(field, value.unwrap_or_default().as_bytes())
    }

    /// A message inside this one, also when it is empty.
    pub(super) fn message(mut self, field: u32, message: Writer) -> Self {
        self.piece(field, &message.bytes);
        self
    }

    /// An entry of a map from text to text.
    pub(super) fn entry(self, field: u32, key: &[u8], value: &[u8]) -> Self {
        self.message(field, Writer::new().bytes(1, key).bytes(2, value))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn piece(&mut self, field: u32, value: &[u8]) {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// A field of a message that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// The bits of a `double`.
    Double(u64),
    /// Of another fixed width, which none of these messages has.
    Fixed,
}

impl<'a> Value<'a> {
    /// The bytes of a text, or of a message inside; nothing where the field is no such thing.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) | Value::Double(_) | Value::Fixed => &[],
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// A number; `int32` below zero is written in 64 bits, so it is cut.
    pub(super) fn number(self) -> u32 {
        match self {
            Value::Number(number) => number as u32,
            Value::Bytes(_) | Value::Double(_) | Value::Fixed => 0,
        }
    }

    /// What is inside a wrapper as `google.protobuf.BoolValue`.
    pub(super) fn wrapped_flag(self) -> Result<bool, Malformed> {
        let mut flag = false;
        read(self.bytes(), |field, value| {
            if field == 1 {
                flag = value.number() != 0;
            }
            Ok(())
        })?;
        Ok(flag)
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Shows each field of a message to a function.
pub(super) fn read<'a>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).map_err(|_| Malformed("a field's number is too large"))?;
        let value = match key & 7 {
            VARINT => Value::Number(varint(&mut bytes)?),
            BYTES => {
                let size = usize::try_from(varint(&mut bytes)?).map_err(|_| CUT)?;
                Value::Bytes(take(&mut bytes, size)?)
            }
            1 => Value::Double(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().map_err(|_| CUT)?)),
            5 => take(&mut bytes, 4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed("a field is of a kind that there is not")),
        };
        each(field, value)?;
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(CUT)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed("a number has more than ten bytes"))
}

fn take<'a>(bytes: &mut &'a [u8], size: usize) -> Result<&'a [u8], Malformed> {
    let (piece, rest) = bytes.split_at_checked(size).ok_or(CUT)?;
    *bytes = rest;
    Ok(piece)
}

const CUT: Malformed = Malformed("it ends in the middle of a field");
const VARINT: u64 = 0;
const BYTES: u64 = 2;

#[cfg(test)]
mod tests {
    use super::{Malformed, Value, Writer, read};

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, String)>, Malformed> {
        let mut seen = Vec::new();
        read(bytes, |field, value| {
            seen.push((field, format!("{value:?}")));
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn what_is_written_is_what_other_implementations_write() {
        // The examples of the encoding's specification: 150 in field 1, "testing" in field 2, a message in field 3.
        assert_eq!(Writer::new().number(1, 150).finish(), [0x08, 0x96, 0x01]);
        assert_eq!(Writer::new().bytes(2, b"testing").finish(), b"\x12\x07testing");
        let nested = Writer::new().message(3, Writer::new().number(1, 150)).finish();
        assert_eq!(nested, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Writer::new().number(1, 0).text(2, None).finish(), b"");
        assert_eq!(Writer::new().message(15, Writer::new()).finish(), [0x7a, 0]);
        assert_eq!(Writer::new().message(16, Writer::new()).finish(), [0x82, 1, 0]);
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let bytes = Writer::new().number(1, u64::MAX).entry(2, b"k", b"v").finish();
        assert_eq!(
            fields(&bytes),
            Ok(vec![
                (1, format!("{:?}", Value::Number(u64::MAX))),
                (2, r#"Bytes([10, 1, 107, 18, 1, 118])"#.into())
            ])
        );
        assert_eq!(fields(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 1, 2, 3, 4]).map(|seen| seen.len()), Ok(2));
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for bytes in [
            &b"\x12\x07test"[..],
            b"\x08",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x0b",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
            b"\x0d\x01",
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
        for first in 0..=255_u8 {
            for second in 0..=255 {
                // Only that it ends, and without a panic.
                let _ = fields(&[first, second, 3]);
            }
        }
    }
}
