//! How values are written into lines: by hand where each line has them, since the formatting of the standard library costs
//! more than everything else of a line.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

/// Bytes up to which words that overlap are looked at and copied.
const SHORT: usize = 16;
const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// Text without what could break a line or a terminal: what is not printable ASCII becomes `\u00XX` in JSON, else `\xXX`.
#[inline]
pub(super) fn escaped(out: &mut Vec<u8>, text: &[u8], json: bool) {
    if !plain(out, text) {
        one_by_one(out, text, json);
    }
}

/// Appends text of which nothing is to be escaped; false, and nothing is appended, where something is.
#[inline]
fn plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let plain = if text.len() > SHORT {
        is_plain(text)
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (odd(u64::from_ne_bytes(*first)) | odd(u64::from_ne_bytes(*last))) & HIGH == 0
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (u32::from_ne_bytes(*first), u32::from_ne_bytes(*last));
        odd(u64::from(first) | u64::from(last) << 32) & HIGH == 0
    } else {
        text.iter().all(|&byte| is_plain_byte(byte))
    };
    if plain {
        append(out, text);
    }
    plain
}

/// Appends bytes that are mostly few: those are not worth a call.
#[inline]
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT {
        out.extend_from_slice(bytes);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        overlapping(out, bytes.len(), first, last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        overlapping(out, bytes.len(), first, last);
    } else {
        for &byte in bytes {
            out.push(byte);
        }
    }
}

/// Copies bytes to the begin of others that are at least as many; nothing where they are fewer. Mostly they are few: those are not
/// worth a call.
#[inline]
pub(super) fn copy(to: &mut [u8], bytes: &[u8]) {
    let Some(to) = to.get_mut(..bytes.len()) else { return };
    match bytes.len() {
        0 => {}
        1..4 => {
            // Three of them, of which some may be the same.
            for at in [0, bytes.len() / 2, bytes.len() - 1] {
                if let (Some(to), Some(byte)) = (to.get_mut(at), bytes.get(at)) {
                    *to = *byte;
                }
            }
        }
        4..8 => ends::<4>(to, bytes),
        8..=16 => ends::<8>(to, bytes),
        17..=32 => ends::<16>(to, bytes),
        _ => to.copy_from_slice(bytes),
    }
}

/// Copies the first and the last ones of as many bytes, of which some may be the same.
#[inline]
fn ends<const N: usize>(to: &mut [u8], bytes: &[u8]) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        to.first_chunk_mut().into_iter().for_each(|to| *to = *first);
        to.last_chunk_mut().into_iter().for_each(|to| *to = *last);
    }
}

/// Appends `length` bytes by their first and their last ones, of which some may be the same.
#[inline]
fn overlapping<const N: usize>(out: &mut Vec<u8>, length: usize, first: &[u8; N], last: &[u8; N]) {
    let before = out.len();
    out.extend_from_slice(first);
    out.truncate((before + length).saturating_sub(N));
    out.extend_from_slice(last);
}

#[cold]
fn one_by_one(out: &mut Vec<u8>, text: &[u8], json: bool) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if is_plain_byte(byte) => out.push(byte),
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

fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\'
}

/// Whether nothing is to be escaped; eight bytes are looked at at once.
pub(super) fn is_plain(text: &[u8]) -> bool {
    // The last eight bytes may have been seen in part; shorter text has none.
    let Some(last) = text.last_chunk() else { return text.iter().all(|&byte| is_plain_byte(byte)) };
    let (words, _) = text.as_chunks();
    let all = odd(u64::from_ne_bytes(*last));
    words.iter().fold(all, |all, &word| all | odd(u64::from_ne_bytes(word))) & HIGH == 0
}

/// The highest bits of bytes of which one is to be escaped are not all zero; the other bits say nothing.
#[inline]
fn odd(word: u64) -> u64 {
    // The highest bit of some byte is set where some byte is zero.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let high = word.wrapping_add(ONES) | word;
    low | high | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))
}

/// A whole number.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    match number {
        // Many are: bytes of a body that there is not, attempts.
        0..10 => out.push(b'0' + number as u8),
        10..1_000 => up_to_three(out, number as u32),
        1_000..1_000_000 => {
            up_to_three(out, (number / 1_000) as u32);
            last_three(out, (number % 1_000) as u32);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// The three last digits of a number.
#[inline]
pub(super) fn last_three(out: &mut Vec<u8>, number: u32) {
    let end = out.len() + 3;
    out.extend_from_slice(&three(number % 1_000).to_le_bytes());
    out.truncate(end);
}

/// The digits of a number below 1,000 without zeros before it.
#[inline]
fn up_to_three(out: &mut Vec<u8>, number: u32) {
    let without = usize::from(number < 100) + usize::from(number < 10);
    let end = out.len() + 3 - without;
    out.extend_from_slice(&(three(number) >> (8 * without)).to_le_bytes());
    out.truncate(end);
}

/// The three digits of a number below 1,000, the first one lowest.
#[inline]
pub(super) fn three(number: u32) -> u32 {
    // Products in place of quotients, which are the same up to there.
    let hundreds = (number * 41) >> 12;
    let rest = number - hundreds * 100;
    let tens = (rest * 103) >> 10;
    0x0030_3030 | hundreds | tens << 8 | (rest - tens * 10) << 16
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
    fn numbers_are_written_as_they_show_themselves() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(7)]);
        for known in (0..2_000).chain(around).chain([u64::MAX]) {
            let mut out = b"1".to_vec();
            number(&mut out, known);
            assert_eq!(String::from_utf8_lossy(&out), format!("1{known}"));
        }
    }

    #[test]
    fn bytes_are_appended_however_many_they_are() {
        let bytes: Vec<u8> = (0..40).collect();
        for length in 0..bytes.len() {
            let mut out = vec![7];
            append(&mut out, &bytes[..length]);
            assert_eq!(out, [&[7], &bytes[..length]].concat());
        }
    }

    #[test]
    fn bytes_are_copied_however_many_they_are() {
        let bytes: Vec<u8> = (1..40).collect();
        for length in 0..bytes.len() {
            let mut to = [0; 40];
            copy(&mut to, &bytes[..length]);
            assert_eq!(to, std::array::from_fn(|at| if at < length { bytes[at] } else { 0 }), "{length}");
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
            for before in ["", "a", "abc", "abcdefgh", "!~ abc", "and more than sixteen"] {
                out.clear();
                escaped(&mut out, &[before.as_bytes(), &[byte], b"!~"].concat(), true);
                assert_eq!(String::from_utf8_lossy(&out), format!("{before}{expected}!~"), "{byte}");
            }
        }
    }
}
