//! Room for one line of which nothing is out of the way: what is in most lines is short, and is copied at sizes that the
//! compiler knows. What does not fit, or is not short, is told at once; then the line is written in the longer way.

use super::piece::Piece;
use super::text;

/// See the module. Bytes behind the end are any.
pub(crate) struct Room<'a> {
    bytes: &'a mut [u8; ROOM],
    end: usize,
}

/// Bytes of most lines.
pub(crate) const ROOM: usize = 1024;
/// Bytes that are copied at once, as many as a request's number has.
const CHUNK: usize = 32;
/// Where the last field may begin of which the name and a chunk are written without looking whether there is room.
const LAST: usize = ROOM - 3 * CHUNK;

impl<'a> Room<'a> {
    /// Nothing is written yet.
    pub(crate) fn new(bytes: &'a mut [u8; ROOM]) -> Self {
        Self { bytes, end: 0 }
    }

    /// A field that is a number; `key` has a quotation mark behind it.
    #[inline]
    pub(crate) fn figure(&mut self, key: &Piece, number: u64) -> Option<()> {
        let at = self.key(key, 1)?;
        let (digits, length) = match number {
            // Many are: attempts, bytes of a body that there is not.
            0..10 => (u64::from(b'0') + number, 1),
            10..1_000 => {
                let (digits, length) = up_to_three(number as u32);
                (u64::from(digits), length)
            }
            1_000..1_000_000 => {
                let (first, length) = up_to_three((number / 1_000) as u32);
                let last = text::three((number % 1_000) as u32);
                (u64::from(first) | u64::from(last) << (8 * length), 3 + length)
            }
            _ => return self.long_number(at, number),
        };
        self.end = at + length;
        self.chunk(at, &digits.to_le_bytes())
    }

    #[cold]
    fn long_number(&mut self, at: usize, number: u64) -> Option<()> {
        self.end = at;
        self.slice(itoa::Buffer::new().format(number).as_bytes())
    }

    /// A field that is text without anything to be escaped: the first `length` of these bytes.
    #[inline]
    pub(crate) fn text(&mut self, key: &Piece, text: &[u8], length: usize) -> Option<()> {
        let at = self.key(key, 0)?;
        self.end = match text.first_chunk::<CHUNK>() {
            Some(first) if length <= CHUNK => {
                self.chunk(at, first)?;
                at + length
            }
            _ => {
                self.end = at;
                self.slice(text.get(..length)?)?;
                self.end
            }
        };
        self.byte(b'"')
    }

    /// The name of a field without its last bytes; where its value begins.
    #[inline]
    fn key(&mut self, key: &Piece, without: usize) -> Option<usize> {
        let (short, length) = key.short()?;
        if self.end > LAST {
            return None;
        }
        self.chunk(self.end, short)?;
        Some(self.end + length.wrapping_sub(without) % (2 * CHUNK))
    }

    /// The first `length` bytes of these chunks.
    #[inline]
    pub(crate) fn chunks(&mut self, chunks: &[[u8; CHUNK]], length: usize) -> Option<()> {
        let mut at = self.end;
        for chunk in chunks {
            self.chunk(at, chunk)?;
            at += CHUNK;
        }
        self.end += length;
        Some(())
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
        self.chunk(self.end, &text::three(number % 1_000).to_le_bytes())?;
        self.end += 3;
        Some(())
    }

    /// How long the object is of which all fields are written.
    pub(crate) fn end(mut self) -> Option<usize> {
        self.byte(b'}')?;
        // Each field begins with a comma: that of the first one is the place of the brace.
        *self.bytes.first_mut().filter(|comma| **comma == b',')? = b'{';
        Some(self.end)
    }

    #[inline]
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.end)? = byte;
        self.end += 1;
        Some(())
    }

    /// Copies these bytes to a place, which may be more than are wanted there.
    #[inline]
    fn chunk<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> Option<()> {
        if at > ROOM - N {
            return None;
        }
        *self.bytes.get_mut(at..at + N)?.first_chunk_mut()? = *bytes;
        Some(())
    }
}

/// The digits of a number below 1,000 without zeros before it, the first one lowest, and how many they are.
#[inline]
fn up_to_three(number: u32) -> (u32, usize) {
    let without = usize::from(number < 100) + usize::from(number < 10);
    (text::three(number) >> (8 * without), 3 - without)
}

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
        for before in 0..ROOM {
            let (mut bytes, mut line) = ([b'x'; ROOM], Line::json(Vec::new()));
            let mut room = Room::new(&mut bytes);
            let first = format!(",\"before\":\"{}\"", "x".repeat(before));
            let mut fits = room.slice(first.as_bytes()).is_some();
            line.literal(&first);
            for number in numbers {
                fits = fits && room.figure(&key, number).is_some();
                line.field(&name, |value| value.number(number));
            }
            for length in [0, 1, 15, 16, 17, 31, 32, 33, text.len()] {
                fits = fits && room.text(&key, text.as_bytes(), length).is_some();
                line.field(&name, |value| value.text(&text.as_bytes()[..length]));
            }
            let chunks = [[b'a'; CHUNK], [b'b'; CHUNK]];
            fits = fits && room.chunks(&chunks, CHUNK + 1).is_some() && room.last_three(1_007).is_some();
            line.literal(&format!("{}b007", "a".repeat(CHUNK)));
            let end = if fits { room.end() } else { None };
            let line = line.end();
            match end {
                Some(end) => assert_eq!(bytes[..end], line, "{before}"),
                None => assert!(line.len() > LAST, "{before}"),
            }
        }
    }
}
