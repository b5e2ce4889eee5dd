//! How values are written into lines: by hand where each line has them, since the formatting of the standard library costs
//! more than everything else of a line.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

/// Text without what could break a line or a terminal: what is not printable ASCII becomes `\u00XX` in JSON, else `\xXX`.
pub(super) fn escaped(out: &mut Vec<u8>, text: &[u8], json: bool) {
    if all_plain(text) {
        return out.extend_from_slice(text);
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if is_plain(byte) => out.push(byte),
            _ => {
                // Writing to bytes cannot fail.
                _ = match json {
                    true => write!(Bytes(out), "\\u{byte:04x}"),
                    false => write!(Bytes(out), "\\x{byte:02x}"),
                };
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\'
}

/// Whether nothing is to be escaped; eight bytes are looked at at once.
fn all_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The highest bit of some byte is set where some byte is zero.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let odd = |word: [u8; 8]| {
        let word = u64::from_ne_bytes(word);
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let high = word.wrapping_add(ONES) | word;
        low | high | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))
    };
    // The last eight bytes may have been seen in part; shorter text has none.
    let Some(last) = text.last_chunk() else { return text.iter().all(|&byte| is_plain(byte)) };
    let (words, _) = text.as_chunks();
    words.iter().fold(odd(*last), |all, &word| all | odd(word)) & HIGH == 0
}

/// A whole number.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    // Many are: bytes of a body that there is not, attempts.
    if let digit @ 0..10 = number {
        return out.push(b'0' + digit as u8);
    }
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An address with its port.
pub(super) fn address(out: &mut Vec<u8>, address: SocketAddr) {
    let IpAddr::V4(ip) = address.ip() else {
        // Writing to bytes cannot fail.
        _ = write!(Bytes(out), "{address}");
        return;
    };
    for (index, octet) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        number(out, octet.into());
    }
    out.push(b':');
    number(out, address.port().into());
}

/// Takes what is formatted.
pub(super) struct Bytes<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_show_themselves() {
        for text in ["127.0.0.1:0", "255.0.10.99:65535", "[::1]:80", "[2001:db8::7]:443"] {
            let mut out = Vec::new();
            address(&mut out, text.parse().expect("it is one"));
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn each_byte_is_plain_or_escaped() {
        for byte in 0..=u8::MAX {
            let mut out = Vec::new();
            let expected = match byte {
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                0x20..0x7f => char::from(byte).to_string(),
                _ => format!("\\u{byte:04x}"),
            };
            // Within eight bytes that are looked at at once, and behind them.
            for before in ["a", "abcdefgh", "!~ abc"] {
                out.clear();
                escaped(&mut out, &[before.as_bytes(), &[byte], b"!~"].concat(), true);
                assert_eq!(String::from_utf8_lossy(&out), format!("{before}{expected}!~"), "{byte}");
            }
        }
    }
}
