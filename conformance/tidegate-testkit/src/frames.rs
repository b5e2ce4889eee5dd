//! HTTP/2 frame by frame, so that hostile sequences can be written as they are.

use std::net::SocketAddr;

use crate::client::{PATIENCE, RawClient};
use crate::message::ReadError;
use crate::tls::Authority;

/// Frame types, RFC 9113 section 6.
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub mod flag {
    /// END_STREAM of DATA and HEADERS.
    pub const END_STREAM: u8 = 1;
    /// ACK of SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// END_HEADERS of HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 4;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// Without the nine bytes before it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a test's frame is small").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// A header block in one frame.
    pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Self {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        Self { kind: kind::HEADERS, flags, stream, payload: literals(fields) }
    }

    /// Body bytes.
    pub fn data(stream: u32, bytes: &[u8], end: bool) -> Self {
        let flags = if end { flag::END_STREAM } else { 0 };
        Self { kind: kind::DATA, flags, stream, payload: bytes.to_vec() }
    }

    /// RST_STREAM with that error.
    pub fn reset(stream: u32, error: u32) -> Self {
        Self { kind: kind::RST_STREAM, flags: 0, stream, payload: error.to_be_bytes().to_vec() }
    }

    /// SETTINGS with these values.
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in values {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        Self { kind: kind::SETTINGS, flags: 0, stream: 0, payload }
    }

    /// WINDOW_UPDATE.
    pub fn window(stream: u32, increment: u32) -> Self {
        Self { kind: kind::WINDOW_UPDATE, flags: 0, stream, payload: increment.to_be_bytes().to_vec() }
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let bytes: [u8; 4] = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }
}

/// A header block of literals without indexing and without Huffman coding, RFC 7541 section 6.2.2.
pub fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.chars().map(|c| u8::try_from(c).expect("test fields are Latin-1")));
        }
    }
    block
}

fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).expect("checked to be small"));
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("a remainder") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("less than 128"));
}

/// How one stream of a hostile connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A response with that status came, and its body to the end.
    Answered(u16, Vec<u8>),
    /// RST_STREAM with that error; what of the body had come.
    Reset(u32, Vec<u8>),
    /// The connection was ended with that error (none: without GOAWAY).
    Ended(Option<u32>),
}

/// A connection of frames.
#[derive(Debug)]
pub struct Frames {
    client: RawClient,
    /// Read while the fate of another stream was waited for.
    kept: Vec<Frame>,
}

impl Frames {
    /// Connects with prior knowledge and sends the preface and these settings.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::begin(RawClient::connect(address), settings)
    }

    /// The same over TLS with `h2` by ALPN.
    ///
    /// # Panics
    /// If the handshake fails or does not end in `h2`.
    pub fn connect_tls(address: SocketAddr, authority: &Authority, name: &str) -> Self {
        let mut client =
            RawClient::connect_tls(address, authority, name, &["h2"]).expect("the handshake succeeds");
        assert_eq!(client.alpn().as_deref(), Some("h2"));
        Self::begin(client, &[])
    }

    /// [`Frames::connect`] with a small receive buffer, so that a peer soon notices that nothing is read; gives up
    /// writing soon.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        Self::begin(RawClient::connect_narrow(address), &[])
    }

    fn begin(mut client: RawClient, settings: &[(u16, u32)]) -> Self {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(Frame::settings(settings).bytes());
        client.send(bytes);
        Self { client, kept: Vec::new() }
    }

    /// Sends a frame; false when the peer has closed.
    pub fn send(&mut self, frame: &Frame) -> bool {
        self.client.send(frame.bytes())
    }

    /// Sends frames in one write; false when the peer has closed.
    pub fn send_all(&mut self, frames: &[Frame]) -> bool {
        self.client.send(frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>())
    }

    /// Reads the next frame; settings and pings are acknowledged on the way.
    ///
    /// # Errors
    /// When the connection ended or nothing came in time.
    pub fn read(&mut self) -> Result<Frame, ReadError> {
        let head = self.client.wire().exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.client.wire().exactly(length as usize)?;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if matches!(frame.kind, kind::SETTINGS | kind::PING) && frame.flags & flag::ACK == 0 {
            let payload = if frame.kind == kind::PING { frame.payload.clone() } else { Vec::new() };
            self.send(&Frame { kind: frame.kind, flags: flag::ACK, stream: 0, payload });
        }
        Ok(frame)
    }

    /// Reads until the fate of the stream is known; body bytes are paid back to both windows.
    ///
    /// # Panics
    /// If nothing is decided before the test's patience ends.
    pub fn fate(&mut self, stream: u32) -> Fate {
        let (mut status, mut body, mut away) = (0, Vec::new(), None);
        loop {
            let frame = match self.next_of(stream) {
                Ok(frame) => frame,
                Err(ReadError::Timeout) => panic!("stream {stream} undecided after {PATIENCE:?}"),
                Err(_) => return Fate::Ended(away),
            };
            match frame.kind {
                kind::GOAWAY => away = frame.error(),
                kind::RST_STREAM => return Fate::Reset(frame.error().unwrap_or_default(), body),
                kind::HEADERS if status < 200 => status = block_status(&frame.payload).unwrap_or(status),
                kind::DATA => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.ends_stream() {
                return Fate::Answered(status, body);
            }
        }
    }

    /// The next frame of that stream, or GOAWAY.
    fn next_of(&mut self, stream: u32) -> Result<Frame, ReadError> {
        if let Some(at) = self.kept.iter().position(|frame| frame.stream == stream) {
            return Ok(self.kept.remove(at));
        }
        loop {
            let frame = self.read()?;
            if frame.kind == kind::DATA && !frame.payload.is_empty() {
                let count = u32::try_from(frame.payload.len()).expect("a frame is small");
                self.send_all(&[Frame::window(0, count), Frame::window(frame.stream, count)]);
            }
            if frame.stream == stream || frame.kind == kind::GOAWAY {
                return Ok(frame);
            }
            if frame.stream != 0 {
                self.kept.push(frame);
            }
        }
    }

    /// Reads to the end of the connection and returns the error of the last GOAWAY; also whether it ended in time.
    pub fn ended(&mut self) -> (Option<u32>, bool) {
        let mut away = None;
        loop {
            match self.read() {
                Ok(frame) if frame.kind == kind::GOAWAY => away = frame.error(),
                Ok(_) => {}
                Err(ReadError::Timeout) => return (away, false),
                Err(_) => return (away, true),
            }
        }
    }

    /// The connection below.
    pub fn client(&mut self) -> &mut RawClient {
        &mut self.client
    }
}

/// The status of a response's header block: the first field, from the static table or as a literal.
fn block_status(block: &[u8]) -> Option<u16> {
    // A dynamic table size update may come first.
    let block = match block {
        [first, rest @ ..] if first & 0xe0 == 0x20 => rest,
        _ => block,
    };
    match block {
        [first @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500].get(usize::from(first - 0x88)).copied()
        }
        [0x48 | 0x08 | 0x18, 0x03, a, b, c, ..] => std::str::from_utf8(&[*a, *b, *c]).ok()?.parse().ok(),
        [0x48 | 0x08 | 0x18, length @ 0x82..=0x83, rest @ ..] => {
            huffman_digits(rest.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Three digits in the Huffman code of RFC 7541 appendix B: 0, 1, 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|b| (0..8).rev().map(move |i| u16::from(b >> i & 1))).collect();
    let mut at = 0;
    let mut number = 0;
    for _ in 0..3 {
        let read = |count: usize| Some(bits.get(at..at + count)?.iter().fold(0, |n, bit| n * 2 + bit));
        let (digit, width) = match read(5)? {
            short @ 0..=2 => (short, 5),
            _ => (read(6)?.checked_sub(0b01_1001)? + 3, 6),
        };
        number = number * 10 + digit;
        at += width;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_a_block() {
        let cases: &[(&str, &[u8], u16)] = &[
            ("static", &[0x88, 0x61], 200),
            ("after a table size update", &[0x20, 0x8c], 400),
            ("literal", &[0x48, 3, b'5', b'0', b'3'], 503),
            // 4 = 011010, 2 = 00010, 1 = 00001: 16 bits
            ("huffman", &[0x48, 0x82, 0b0110_1000, 0b0100_0001], 421),
            // 5 = 011011, 0 = 00000, 3 = 011001: 17 bits, padded with ones
            ("huffman, padded", &[0x48, 0x83, 0b0110_1100, 0b0000_1100, 0xff], 503),
        ];
        for (name, block, status) in cases {
            assert_eq!(block_status(block), Some(*status), "{name}");
        }
    }
}
