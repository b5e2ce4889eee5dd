//! Lines one behind the other, in bytes that are written over and over.

use super::room::ROOM;

/// See the module. Bytes behind the end are any.
#[derive(Default)]
pub(crate) struct Pad {
    bytes: Vec<u8>,
    end: usize,
}

/// As many lines of most lengths get room at once.
const LINES: usize = 4;

impl Pad {
    /// For so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), end: 0 }
    }

    /// What is written.
    #[inline]
    pub(crate) fn written(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    /// How much that is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end
    }

    /// Nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// What it holds of the memory.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Room for a line that is not long, behind what is written.
    #[inline]
    pub(crate) fn room(&mut self) -> Option<&mut [u8; ROOM]> {
        if self.bytes.len() < self.end + ROOM {
            self.widen();
        }
        self.bytes.get_mut(self.end..)?.first_chunk_mut()
    }

    #[cold]
    fn widen(&mut self) {
        self.bytes.resize(self.end + LINES * ROOM, 0);
    }

    /// So many bytes of the room were written.
    #[inline]
    pub(crate) fn wrote(&mut self, length: usize) {
        self.end = (self.end + length).min(self.bytes.len());
    }

    /// What is written, for `put` to append to it.
    pub(crate) fn append(&mut self, put: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        self.bytes.truncate(self.end);
        self.bytes = put(std::mem::take(&mut self.bytes));
        self.end = self.bytes.len();
    }

    /// A line ends.
    #[inline]
    pub(crate) fn end_line(&mut self) {
        match self.bytes.get_mut(self.end) {
            Some(byte) => *byte = b'\n',
            None => self.bytes.push(b'\n'),
        }
        self.end += 1;
    }

    /// Nothing of it is needed any more.
    pub(crate) fn clear(&mut self) {
        self.end = 0;
    }

    /// What is written.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_is_not_seen_again() {
        let mut pad = Pad::new(0);
        for _ in 0..3 {
            for (index, length) in [1, ROOM, 3, ROOM - 1, 5 * ROOM].into_iter().enumerate() {
                let byte = b'a' + index as u8;
                match pad.room().and_then(|room| room.get_mut(..length)) {
                    Some(room) => {
                        room.fill(byte);
                        pad.wrote(length);
                    }
                    None => pad.append(|mut bytes| {
                        bytes.resize(bytes.len() + length, byte);
                        bytes
                    }),
                }
                pad.end_line();
            }
            let lines: Vec<_> = pad.written().split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
            assert_eq!(lines, [1, ROOM, 3, ROOM - 1, 5 * ROOM, 0]);
            assert_eq!(pad.written().iter().filter(|byte| **byte == b'd').count(), ROOM - 1);
            pad.clear();
            assert!(pad.is_empty());
        }
        pad.append(|bytes| [bytes, b"last".to_vec()].concat());
        assert_eq!(pad.into_bytes(), b"last");
    }
}
