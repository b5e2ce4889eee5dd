//! Room for one line of which nothing is out of the way: what is in most lines is short, and is copied at sizes that the
//! compiler knows. What does not fit, or is not short, is told at once; then the line is written in the longer way.

use super::piece::Piece;
use super::text;

/// See the module. Bytes behind the end are any.
pub(crate) struct Room<'a> {
    bytes: &'a mut [u8],
    end: usize,
}

impl<'a> Room<'a> {
    /// Nothing is written yet.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, end: 0 }
    }

    /// A field that is a number; `key` has a quotation mark behind it.
    #[inline]
    pub(crate) fn figure(&mut self, key: &Piece, number: u64) -> Option<()> {
        let (short, length) = key.short()?;
        self.chunk(short, length.checked_sub(1)?)?;
        match number {
            0..1_000 => self.up_to_three(number as u32),
            1_000..1_000_000 => {
                self.up_to_three((number / 1_000) as u32)?;
                self.last_three((number % 1_000) as u32)
            }
            _ => self.slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// A field that is text without anything to be escaped: the first `length` of these bytes.
    #[inline]
    pub(crate) fn text(&mut self, key: &Piece, text: &[u8], length: usize) -> Option<()> {
        let (short, of_key) = key.short()?;
        self.chunk(short, of_key)?;
        match (text.first_chunk::<SHORT>(), text.first_chunk::<ID>()) {
            (Some(first), _) if length <= SHORT => self.chunk(first, length)?,
            (_, Some(id)) if length == ID => self.chunk(id, length)?,
            _ => self.slice(text.get(..length)?)?,
        }
        self.chunk(b"\"", 1)
    }

    /// These bytes.
    #[inline]
    pub(crate) fn slice(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.end..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.end += bytes.len();
        Some(())
    }

    /// The three last digits of a number.
    #[inline]
    pub(crate) fn last_three(&mut self, number: u32) -> Option<()> {
        self.chunk(&text::three(number % 1_000).to_le_bytes(), 3)
    }

    /// How long the object is of which all fields are written.
    pub(crate) fn end(mut self) -> Option<usize> {
        self.chunk(b"}", 1)?;
        // Each field begins with a comma: that of the first one is the place of the brace.
        *self.bytes.first_mut().filter(|comma| **comma == b',')? = b'{';
        Some(self.end)
    }

    #[inline]
    fn up_to_three(&mut self, number: u32) -> Option<()> {
        let without = usize::from(number < 100) + usize::from(number < 10);
        self.chunk(&(text::three(number) >> (8 * without)).to_le_bytes(), 3 - without)
    }

    /// The first ones of these bytes.
    #[inline]
    fn chunk<const N: usize>(&mut self, bytes: &[u8; N], length: usize) -> Option<()> {
        *self.bytes.get_mut(self.end..)?.first_chunk_mut()? = *bytes;
        self.end += length;
        Some(())
    }
}

/// Bytes of short text.
const SHORT: usize = 16;
/// Those of a request's number.
const ID: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::line::{Line, json_key};

    /// Both ways write the same.
    #[test]
    fn fields_are_those_of_a_line_or_there_is_no_room() {
        let name = json_key("name");
        let key = Piece::new(format!("{name}\"").as_bytes());
        let numbers = [0, 9, 10, 99, 100, 999, 1_000, 10_007, 999_999, 1_000_000, u64::MAX];
        let text = "none of this is to be escaped, and that is so";
        for size in 0..400 {
            let (mut bytes, mut line) = (vec![b'x'; size], Line::json(Vec::new()));
            let mut room = Room::new(&mut bytes);
            let mut fits = true;
            for number in numbers {
                fits = fits && room.figure(&key, number).is_some();
                line.field(&name, |value| value.number(number));
            }
            for length in [0, 1, 15, 16, 17, 31, 32, 33, text.len()] {
                fits = fits && room.text(&key, text.as_bytes(), length).is_some();
                line.field(&name, |value| value.text(&text.as_bytes()[..length]));
            }
            let end = if fits { room.end() } else { None };
            let line = line.end();
            match end {
                Some(end) => assert_eq!(bytes[..end], line, "{size}"),
                None => assert!(size < line.len() + 32, "{size}"),
            }
        }
    }
}
