//! Writes what heads and bodies are made of.

use bytes::Bytes;
use http::HeaderMap;

/// Appends a field.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The number that these digits are.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends what stands before a chunk of this many bytes; after it comes a CRLF. An empty chunk would end the body, so
/// there must be bytes.
pub(crate) fn chunk_start(out: &mut Vec<u8>, data: &Bytes) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = data.len();
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body in chunks.
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
