//! Commands for Redis, and the scripted ones that reply.

use tidegate_sdk::redis::Reply;

use super::World;

impl World {
    /// What a scripted Redis replies to commands, one behind the other; none where it does not.
    pub(super) fn redis_replies(&self, upstream: &str, commands: &[u8]) -> Option<Vec<u8>> {
        let (_, script) = self.redis.iter().find(|(known, _)| known == upstream)?;
        let mut out = Vec::new();
        for command in read(commands) {
            write(&script(&command)?, &mut out);
        }
        Some(out)
    }
}

/// Commands by their words.
fn read(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    while let Some((words, mut rest)) = number(b'*', bytes) {
        let mut command = Vec::new();
        for _ in 0..words {
            let Some((word, after)) =
                number(b'$', rest).and_then(|(length, after)| after.split_at_checked(length))
            else {
                return commands;
            };
            command.push(word.to_vec());
            rest = after.get(2..).unwrap_or_default();
        }
        commands.push(command);
        bytes = rest;
    }
    commands
}

/// A number behind a mark, up to the end of its line, and what follows.
fn number(mark: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let rest = bytes.strip_prefix(&[mark])?;
    let (line, rest) = rest.split_at_checked(rest.windows(2).position(|pair| pair == b"\r\n")?)?;
    Some((std::str::from_utf8(line).ok()?.parse().ok()?, rest.get(2..)?))
}

/// A reply as Redis writes it.
fn write(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Integer(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Reply::Bytes(bytes) => {
            out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Error(why) => out.extend_from_slice(format!("-{why}\r\n").as_bytes()),
        Reply::List(list) => {
            out.extend_from_slice(format!("*{}\r\n", list.len()).as_bytes());
            list.iter().for_each(|reply| write(reply, out));
        }
        _ => out.extend_from_slice(b"$-1\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_by_their_words() {
        let two = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(read(two), [vec![b"GET".to_vec(), b"a\r\nb".to_vec()], vec![b"PING".to_vec()]]);
    }

    #[test]
    fn replies_are_written_as_redis_does() {
        let mut out = Vec::new();
        let list = vec![Reply::Integer(-1), Reply::Nothing, Reply::Bytes(b"a".to_vec())];
        write(&Reply::List(list), &mut out);
        write(&Reply::Error("ERR no".to_owned()), &mut out);
        assert_eq!(out, b"*3\r\n:-1\r\n$-1\r\n$1\r\na\r\n-ERR no\r\n");
    }
}
