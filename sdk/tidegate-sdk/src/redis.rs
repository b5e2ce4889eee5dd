//! Redis, which the gateway speaks for its filters: an upstream with `protocol: redis`, to which each worker has one
//! connection. Only in Tidegate; elsewhere every call is an error.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Outcome, redis};
//!
//! async fn visits(client: &str) -> Outcome<i64> {
//!     let key = format!("visits:{client}");
//!     let replies = redis::at("redis")
//!         .command(&["INCR", &key])
//!         .command(&["EXPIRE", &key, "60"])
//!         .timeout(Duration::from_millis(50))
//!         .send()
//!         .await?;
//!     Ok(replies.first().and_then(redis::Reply::integer).unwrap_or(0))
//! }
//! ```

use std::time::Duration;

use tidegate_abi::Status;

use crate::foreign;
use crate::{Error, Outcome};

/// Commands for an upstream, sent together.
pub fn at(upstream: &str) -> Commands {
    Commands { upstream: upstream.to_owned(), timeout: Duration::from_secs(1), bytes: Vec::new() }
}

/// Commands that are sent together and answered in order. Those that change the connection, or wait, are refused.
#[derive(Debug, Clone)]
#[must_use = "they are sent by `send`"]
pub struct Commands {
    upstream: String,
    timeout: Duration,
    bytes: Vec<u8>,
}

/// What Redis replies to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// There is no such thing.
    Nothing,
    /// A whole number.
    Integer(i64),
    /// Bytes, or a line such as `OK`.
    Bytes(Vec<u8>),
    /// The command failed, as in `ERR unknown command`.
    Error(String),
    /// Several replies.
    List(Vec<Reply>),
}

impl Commands {
    /// Adds a command: its name and its arguments.
    pub fn command<W: AsRef<[u8]>>(mut self, words: &[W]) -> Self {
        self.put(b'*', words.len());
        for word in words {
            let word = word.as_ref();
            self.put(b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self
    }

    /// How long to wait for the replies, at most 30 seconds; a second without it.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends them; gives a reply for each.
    ///
    /// # Errors
    /// When the plugin may not call the upstream, a command is refused, Redis is away or takes too long, or the host is
    /// not Tidegate.
    pub async fn send(self) -> Outcome<Vec<Reply>> {
        let millis = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        let length = u16::try_from(self.upstream.len()).unwrap_or(u16::MAX);
        let mut arguments = Vec::with_capacity(6 + self.upstream.len() + self.bytes.len());
        arguments.extend_from_slice(&millis.to_le_bytes());
        arguments.extend_from_slice(&length.to_le_bytes());
        arguments.extend_from_slice(self.upstream.as_bytes());
        arguments.extend_from_slice(&self.bytes);
        let answer = foreign::call_later("tidegate_redis", arguments).await?;
        let (mut replies, mut rest) = (Vec::new(), answer.as_slice());
        while !rest.is_empty() {
            let (reply, after) = read(rest, 0)
                .ok_or_else(|| Error::refused("read a reply of Redis", Status::ParseFailure.into()))?;
            replies.push(reply);
            rest = after;
        }
        Ok(replies)
    }

    fn put(&mut self, mark: u8, number: usize) {
        self.bytes.push(mark);
        self.bytes.extend_from_slice(number.to_string().as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

impl Reply {
    /// Its number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Its parts, if it is a list.
    pub fn list(&self) -> Option<&[Reply]> {
        match self {
            Reply::List(list) => Some(list),
            _ => None,
        }
    }

    /// Why the command failed, if it did.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(why) => Some(why),
            _ => None,
        }
    }
}

/// Lists within lists.
const DEPTH: usize = 16;

/// The first reply, and what follows it.
fn read(bytes: &[u8], depth: usize) -> Option<(Reply, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (bytes.get(..end)?, bytes.get(end + 2..)?);
    let (mark, line) = line.split_first()?;
    let number = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
    Some(match mark {
        b'+' => (Reply::Bytes(line.to_vec()), rest),
        b'-' => (Reply::Error(String::from_utf8_lossy(line).into_owned()), rest),
        b':' => (Reply::Integer(number()?), rest),
        b'$' => match usize::try_from(number()?) {
            Ok(length) => {
                let (bytes, rest) = rest.split_at_checked(length)?;
                (Reply::Bytes(bytes.to_vec()), rest.strip_prefix(b"\r\n")?)
            }
            Err(_) => (Reply::Nothing, rest),
        },
        b'*' if depth < DEPTH => match usize::try_from(number()?) {
            Ok(count) => {
                let (mut list, mut rest) = (Vec::new(), rest);
                for _ in 0..count {
                    let (reply, after) = read(rest, depth + 1)?;
                    list.push(reply);
                    rest = after;
                }
                (Reply::List(list), rest)
            }
            Err(_) => (Reply::Nothing, rest),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_redis_reads_them() {
        let commands = at("r").command(&["GET", "a"]).command(&[b"\xff\r\n"]);
        assert_eq!(commands.bytes, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$3\r\n\xff\r\n\r\n");
    }

    #[test]
    fn replies_are_read() {
        let list = Reply::List(vec![Reply::Integer(-1), Reply::Nothing, Reply::Bytes(b"a\r\n".to_vec())]);
        let cases = [
            ("+OK\r\n", Reply::Bytes(b"OK".to_vec())),
            ("-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            ("*3\r\n:-1\r\n$-1\r\n$3\r\na\r\n\r\n", list),
        ];
        for (bytes, reply) in cases {
            assert_eq!(read(bytes.as_bytes(), 0), Some((reply, &b""[..])), "{bytes:?}");
            assert!((0..bytes.len()).all(|cut| read(&bytes.as_bytes()[..cut], 0).is_none()), "{bytes:?}");
        }
        assert_eq!(read("*1\r\n".repeat(100).as_bytes(), 0), None);
    }
}
