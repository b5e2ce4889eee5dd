//! As much of WebSocket (RFC 6455) as an echo server and its check need.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// One frame (RFC 6455, section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The last one of its message.
    pub(crate) last: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A whole message of text.
    pub(crate) fn text(text: &str) -> Self {
        Self { last: true, opcode: TEXT, payload: text.as_bytes().to_vec() }
    }

    /// Reads a frame; none at the end of the stream. Clients' frames are masked, servers' are not.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        masked: bool,
    ) -> io::Result<Option<Self>> {
        let mut head = [0; 2];
        if stream.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut head[1..]).await?;
        let [first, second] = head;
        if (second & MASKED != 0) != masked {
            return Err(invalid("a frame is masked the wrong way"));
        }
        let length = match second & !MASKED {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST);
        let length = length.ok_or_else(|| invalid("a frame is too large"))?;
        let mut mask = [0; 4];
        if masked {
            stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        apply(mask, &mut payload);
        Ok(Some(Self { last: first & LAST != 0, opcode: first & OPCODE, payload }))
    }

    /// Writes the frame, masked where a client writes it.
    pub(crate) async fn write(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        mask: Option<[u8; 4]>,
    ) -> io::Result<()> {
        let masked = if mask.is_some() { MASKED } else { 0 };
        let mut bytes = vec![if self.last { LAST | self.opcode } else { self.opcode }];
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(short @ 0..126), _) => bytes.push(masked | short),
            (_, Ok(length)) => {
                bytes.push(masked | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((self.payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let start = bytes.len();
        bytes.extend(&self.payload);
        apply(mask.unwrap_or_default(), &mut bytes[start..]);
        stream.write_all(&bytes).await?;
        stream.flush().await
    }
}

/// Greets, then sends back what comes, until the client closes.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    Frame::text(GREETING).write(&mut stream, None).await?;
    while let Some(frame) = Frame::read(&mut stream, true).await? {
        let opcode = match frame.opcode {
            CONTINUATION | TEXT | BINARY | CLOSE => frame.opcode,
            PING => PONG,
            PONG => continue,
            _ => return Err(invalid("a frame has an unknown opcode")),
        };
        Frame { opcode, ..frame }.write(&mut stream, None).await?;
        if opcode == CLOSE {
            break;
        }
    }
    stream.shutdown().await
}

/// The value of `sec-websocket-accept` for a client's key (RFC 6455, section 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finalize())
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What the server says first.
pub(crate) const GREETING: &str = "connected";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;

/// Longest payload of a frame.
const LARGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_is_accepted_as_there() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn frames_of_all_lengths_come_back() {
        for (length, mask) in
            [(0, None), (125, Some([1, 2, 3, 4])), (126, None), (65_536, Some([9, 0, 7, 255]))]
        {
            let frame = Frame { last: true, opcode: BINARY, payload: vec![7; length] };
            let mut bytes = Vec::new();
            block_on(frame.write(&mut bytes, mask)).expect("into memory");
            let read = block_on(Frame::read(&mut bytes.as_slice(), mask.is_some())).expect("a whole frame");
            assert_eq!(read.as_ref(), Some(&frame), "{length}");
            assert!(
                block_on(Frame::read(&mut bytes.as_slice(), mask.is_none())).is_err(),
                "the wrong masking"
            );
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_before_its_bytes_come() {
        let mut bytes = vec![LAST | TEXT, 127];
        bytes.extend(u64::MAX.to_be_bytes());
        assert!(block_on(Frame::read(&mut bytes.as_slice(), false)).is_err());
    }
}
