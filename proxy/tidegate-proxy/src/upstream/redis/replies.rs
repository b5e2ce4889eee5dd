//! Where a reply of Redis ends (RESP, version 2).

/// Lists in one reply.
const LISTS: usize = 8192;

/// Bytes of the first reply; none: it is not all there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    // What is still missing are replies one after the other, whatever list they are in.
    let (mut at, mut missing, mut lists) = (0, 1_usize, 0);
    while missing > 0 {
        let Some(rest) = bytes.get(at..) else { return Ok(None) };
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let line = rest.get(..end).unwrap_or_default();
        at += end + 2;
        missing -= 1;
        match line.split_first() {
            Some((b'+' | b'-' | b':', _)) => {}
            Some((b'$', length)) => {
                if let Some(length) = number(length)? {
                    at += length + 2;
                }
            }
            Some((b'*', length)) => {
                lists += 1;
                if lists > LISTS {
                    return Err("a reply has too many lists");
                }
                missing += number(length)?.unwrap_or(0);
            }
            _ => return Err("a reply is not in Redis' form"),
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// A length; none for the one that says "nothing".
fn number(text: &[u8]) -> Result<Option<usize>, &'static str> {
    if text == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 9 && !text.starts_with('+'));
    match text.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err("a length of a reply is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_end_where_they_end() {
        for reply in [
            "+OK\r\n",
            "-ERR no\r\n",
            ":-5\r\n",
            "$-1\r\n",
            "$2\r\na\r\r\n",
            "$0\r\n\r\n",
            "*0\r\n",
            "*-1\r\n",
        ] {
            let both = format!("{reply}+next\r\n");
            assert_eq!(length(both.as_bytes()), Ok(Some(reply.len())), "{reply:?}");
            for cut in 0..reply.len() {
                assert_eq!(length(&reply.as_bytes()[..cut]), Ok(None), "{reply:?} {cut}");
            }
        }
        let nested = "*3\r\n:1\r\n*2\r\n$1\r\na\r\n:2\r\n+x\r\n";
        assert_eq!(length(nested.as_bytes()), Ok(Some(nested.len())));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in ["HTTP/1.1 400\r\n", "\r\n", "$x\r\n", "*99999999999\r\n", "$-2\r\n"] {
            assert!(length(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }
}
