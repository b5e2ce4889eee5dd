//! The arguments of `tidegate_redis`: milliseconds to wait (four bytes, little endian), the length of the upstream's name
//! (two), the name, then commands as Redis reads them, arrays of bulk strings.

use crate::ForeignCall;
use bytes::Bytes;
use std::time::Duration;

/// Commands of one call.
const COMMANDS: usize = 64;

/// The longest wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What would change the connection, which all plugins of a worker share, or hold up those that wait behind it.
const REFUSED: [&str; 31] = [
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "RESET",
    "SELECT",
    "SHUTDOWN",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// Reads them; none: they are malformed, or have a command that is refused.
pub(crate) fn read(args: &[u8]) -> Option<ForeignCall> {
    let (millis, rest) = args.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, commands) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let upstream = std::str::from_utf8(name).ok()?.to_owned();
    let timeout = Duration::from_millis(u64::from(u32::from_le_bytes(*millis)).max(1)).min(PATIENCE);
    let count = self::commands(commands)?;
    let commands = Bytes::copy_from_slice(commands);
    Some(ForeignCall::Redis { upstream, timeout, commands, count })
}

/// How many commands these bytes are; none: they are malformed, or have one that is refused.
pub(crate) fn commands(bytes: &[u8]) -> Option<usize> {
    let (mut left, mut count) = (bytes, 0);
    while !left.is_empty() {
        left = command(left)?;
        count += 1;
    }
    (1..=COMMANDS).contains(&count).then_some(count)
}

/// What follows a command.
fn command(bytes: &[u8]) -> Option<&[u8]> {
    let (words, mut rest) = number(b'*', bytes)?;
    for word in 0..words {
        let (length, after) = number(b'$', rest)?;
        let (text, after) = after.split_at_checked(length)?;
        let name = text.to_ascii_uppercase();
        if word == 0 && REFUSED.iter().any(|refused| refused.as_bytes() == name) {
            return None;
        }
        // A reader of streams may be told to wait for ever.
        if text.eq_ignore_ascii_case(b"BLOCK")
            && word > 0
            && bytes.windows(5).any(|part| part.eq_ignore_ascii_case(b"XREAD"))
        {
            return None;
        }
        rest = after.strip_prefix(b"\r\n")?;
    }
    (words > 0).then_some(rest)
}

/// A length behind a mark, up to the end of its line.
fn number(mark: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let rest = bytes.strip_prefix(&[mark])?;
    let end = rest.windows(2).take(12).position(|pair| pair == b"\r\n")?;
    let (figures, rest) = rest.split_at_checked(end)?;
    let number =
        std::str::from_utf8(figures).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((number.parse().ok()?, rest.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(commands: &[u8]) -> Vec<u8> {
        [b"\x05\0\0\0\x05\0redis", commands].concat()
    }

    #[test]
    fn commands_are_counted() {
        let two = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n";
        let commands = Bytes::from_static(two);
        let timeout = Duration::from_millis(5);
        let call = ForeignCall::Redis { upstream: "redis".to_owned(), timeout, commands, count: 2 };
        assert_eq!(read(&args(two)), Some(call));
    }

    #[test]
    fn what_is_malformed_or_changes_the_connection_is_refused() {
        let good = args(b"*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n");
        assert!(read(&good).is_some());
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), None, "{cut}");
        }
        let bad: [&[u8]; 7] = [
            b"PING\r\n",
            b"*0\r\n",
            b"*1\r\n$9999999999\r\nPING\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$4\r\nPING\r\nx",
            b"*2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n",
            b"*5\r\n$5\r\nxread\r\n$5\r\nblock\r\n$1\r\n0\r\n$7\r\nstreams\r\n$1\r\na\r\n",
        ];
        for commands in bad {
            assert_eq!(read(&args(commands)), None, "{}", commands.escape_ascii());
        }
    }
}
