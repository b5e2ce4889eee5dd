//! The words of a case's lines: numbers, texts in quotes, names.

use std::fmt::Write;

use tidegate_abi::encode_pairs;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A number; `true` for 64 bits (`5L`).
    Number(i64, bool),
    /// Bytes: `"text"`, `pairs(a=b, c=d)`, `u64(7)`.
    Bytes(Vec<u8>),
    /// Anything else.
    Word(String),
}

/// Splits a line into words.
pub(crate) fn words(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (token, after) = next(rest).map_err(|problem| format!("{problem} in {line:?}"))?;
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn next(text: &str) -> Result<(Token, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (bytes, after) = unquote(quoted)?;
        return Ok((Token::Bytes(bytes), after));
    }
    if let Some(list) = text.strip_prefix("pairs(") {
        let (list, after) = list.split_once(')').ok_or("no end of pairs(")?;
        let pairs = list.split(", ").filter(|pair| !pair.is_empty());
        let pairs: Result<Vec<(&str, &str)>, &str> =
            pairs.map(|pair| pair.split_once('=').ok_or("no = in a pair")).collect();
        let mut bytes = Vec::new();
        let pairs = pairs?;
        encode_pairs(|| pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut bytes);
        return Ok((Token::Bytes(bytes), after));
    }
    let end = text.find(' ').unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    if let Some(number) = word.strip_prefix("u64(").and_then(|rest| rest.strip_suffix(')')) {
        let number: u64 = number.parse().map_err(|error| format!("u64({number}): {error}"))?;
        return Ok((Token::Bytes(number.to_le_bytes().to_vec()), after));
    }
    let (digits, long) = word.strip_suffix('L').map_or((word, false), |digits| (digits, true));
    let number = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    Ok((number.map_or_else(|| Token::Word(word.to_owned()), |number| Token::Number(number, long)), after))
}

/// A quoted text to its end: `\0`, `\n`, `\r`, `\"`, `\\` and `\xNN` stand for bytes, `\*N` repeats the byte before N
/// times.
fn unquote(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut bytes = Vec::new();
    let mut rest = text.char_indices();
    while let Some((at, char)) = rest.next() {
        match char {
            '"' => return Ok((bytes, &text[at + 1..])),
            '\\' => match rest.next().map(|(_, escape)| escape) {
                Some('0') => bytes.push(0),
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('x') => {
                    let digits: String = rest.by_ref().take(2).map(|(_, digit)| digit).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).map_err(|error| error.to_string())?);
                }
                Some('*') => {
                    let digits: String =
                        rest.by_ref().map(|(_, digit)| digit).take_while(char::is_ascii_digit).collect();
                    let last = *bytes.last().ok_or("nothing to repeat")?;
                    bytes.resize(bytes.len() - 1 + digits.parse::<usize>().map_err(|e| e.to_string())?, last);
                }
                Some(other) => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
                None => break,
            },
            _ => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Err("no end of a text".to_owned())
}

/// Bytes as they stand between quotes in the text form of WebAssembly.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").unwrap();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_kind() {
        let tokens = words(r#"log 2 -1 5L 0xff "a\0b\x41" "x\*3 y" u64(7) &"#).unwrap();
        let word = |text: &str| Token::Word(text.to_owned());
        let want = [
            word("log"),
            Token::Number(2, false),
            Token::Number(-1, false),
            Token::Number(5, true),
            Token::Number(255, false),
            Token::Bytes(b"a\0bA".to_vec()),
            Token::Bytes(b"xxxy".to_vec()),
            Token::Bytes(7_u64.to_le_bytes().to_vec()),
            word("&"),
        ];
        assert_eq!(tokens, want);
        assert!(words("\"a").is_err());
    }
}
