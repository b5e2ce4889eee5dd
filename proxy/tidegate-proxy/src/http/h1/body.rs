//! Reads the body of a message out of the bytes of its connection.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::Framing;
use super::fields::{self, Garbage};

/// Bytes of all chunk extensions, and of the trailers, of one body.
const MAX_EXTRA: usize = 16 * 1024;
/// Digits of a chunk's size: sizes stay below 2^60.
const MAX_DIGITS: u8 = 15;

/// Where in a body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In bytes of the body, of which this many are left.
    Data(u64),
    /// In bytes of the body up to the end of the connection.
    ToClose,
    /// In a chunk's size, after so many digits.
    Size {
        value: u64,
        digits: u8,
    },
    /// In blanks behind a size.
    Blank {
        value: u64,
    },
    /// In an extension.
    Extension {
        value: u64,
    },
    /// Before the LF of a size's line.
    SizeLf {
        value: u64,
    },
    /// In a chunk's data.
    Chunk(u64),
    /// Before the CR and the LF behind a chunk's data.
    ChunkCr,
    ChunkLf,
    /// Behind the last chunk.
    Trailers,
    /// Behind the end.
    End,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Takes a body apart.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    extra: usize,
}

impl Decoder {
    /// At the start of a body.
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Data(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::Close => State::ToClose,
        };
        Self { state, extra: 0 }
    }

    /// Whether the whole body was read.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Data(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// The least that comes next without anything between.
    pub(crate) fn run(&self) -> u64 {
        match self.state {
            State::Data(left) | State::Chunk(left) => left,
            State::ToClose => u64::MAX,
            _ => 0,
        }
    }

    /// The connection has ended. True: so has the body, as it should.
    pub(crate) fn close(&mut self) -> bool {
        if self.state == State::ToClose {
            self.state = State::End;
        }
        self.is_over()
    }

    /// The next part from the front of `buffer`. None: the body is over, or more bytes are needed.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, Garbage> {
        loop {
            match self.state {
                State::End => return Ok(None),
                State::Trailers => return self.trailers(buffer),
                State::Data(_) | State::Chunk(_) | State::ToClose if buffer.is_empty() => return Ok(None),
                State::Data(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::End } else { State::Data(left) };
                    return Ok(Some(Part::Data(data)));
                }
                State::Chunk(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::ChunkCr } else { State::Chunk(left) };
                    self.settle(buffer);
                    return Ok(Some(Part::Data(data)));
                }
                State::ToClose => return Ok(Some(Part::Data(buffer.split().freeze()))),
                _ => {
                    let Some(&byte) = buffer.first() else { return Ok(None) };
                    self.step(byte)?;
                    buffer.advance(1);
                }
            }
        }
    }

    /// Ends the body together with its last data where nothing else follows, which spares the reader one more turn.
    fn settle(&mut self, buffer: &mut BytesMut) {
        const LAST: &[u8] = b"\r\n0\r\n\r\n";
        if self.state == State::ChunkCr && buffer.starts_with(LAST) {
            buffer.advance(LAST.len());
            self.state = State::End;
        }
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, Garbage> {
        let Some(fields) = fields::trailers(buffer)? else {
            return if buffer.len() > MAX_EXTRA { Err(Garbage::Trailers) } else { Ok(None) };
        };
        self.state = State::End;
        Ok((!fields.is_empty()).then_some(Part::Trailers(fields)))
    }

    /// One byte between the data of chunks.
    fn step(&mut self, byte: u8) -> Result<(), Garbage> {
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Garbage::Chunk),
            (State::Size { value, .. } | State::Blank { value }, b' ' | b'\t') => {
                self.count()?;
                State::Blank { value }
            }
            (State::Size { value, .. } | State::Blank { value }, b';') => State::Extension { value },
            (State::Size { value, .. } | State::Blank { value } | State::Extension { value }, b'\r') => {
                State::SizeLf { value }
            }
            (State::Extension { value }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count()?;
                State::Extension { value }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { value }, b'\n') => State::Chunk(value),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(Garbage::Chunk),
        };
        Ok(())
    }

    fn count(&mut self) -> Result<(), Garbage> {
        self.extra += 1;
        if self.extra > MAX_EXTRA { Err(Garbage::Trailers) } else { Ok(()) }
    }
}

/// At most `left` bytes, and how many are left then.
fn take(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    (buffer.split_to(here).freeze(), left - here as u64)
}
