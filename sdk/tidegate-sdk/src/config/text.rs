//! JSON as text (RFC 8259): its tokens one after the other, and where the text is wrong.

use std::borrow::Cow;

use super::problem::Problem;

/// A text that is read from its start to its end.
pub(super) struct Text<'j> {
    text: &'j str,
    at: usize,
    /// How many lists and objects there may still be in one another.
    depth: u8,
}

/// A number; what is no whole one of 64 bits stays text, since few want it.
pub(super) enum Number<'j> {
    Unsigned(u64),
    Signed(i64),
    Other(&'j str),
}

/// How many lists and objects may be in one another: no configuration needs so many, and a stack is finite.
const DEPTH: u8 = 127;

impl<'j> Text<'j> {
    pub(super) fn new(json: &'j [u8]) -> Result<Self, Problem> {
        match std::str::from_utf8(json) {
            Ok(text) => Ok(Text { text, at: 0, depth: DEPTH }),
            Err(error) => {
                let text = json.get(..error.valid_up_to()).unwrap_or_default();
                let text = Text {
                    text: std::str::from_utf8(text).unwrap_or_default(),
                    at: text.len(),
                    depth: DEPTH,
                };
                Err(text.wrong("not UTF-8"))
            }
        }
    }

    /// The first byte of the next token; the end is an error, in these words.
    pub(super) fn peek(&mut self, at_end: &str) -> Result<u8, Problem> {
        self.pass_blanks();
        self.byte().ok_or_else(|| self.wrong(at_end))
    }

    fn pass_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Result<(), Problem> {
        self.pass_blanks();
        match self.byte() {
            Some(_) => Err(self.wrong("trailing characters")),
            None => Ok(()),
        }
    }

    /// Whether everything was passed.
    pub(super) fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Passes the bracket before a list or an object.
    pub(super) fn enter(&mut self) -> Result<(), Problem> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.wrong("recursion limit exceeded"))?;
        self.at += 1;
        Ok(())
    }

    /// Passes the bracket after it.
    pub(super) fn leave(&mut self) {
        self.depth += 1;
        self.at += 1;
    }

    /// Whether an element follows in a list, whose start is looked at then.
    pub(super) fn more_elements(&mut self, first: bool) -> Result<bool, Problem> {
        const END: &str = "EOF while parsing a list";
        match (self.peek(END)?, first) {
            (b']', _) => return Ok(false),
            (_, true) => return Ok(true),
            (b',', false) => self.at += 1,
            _ => return Err(self.wrong("expected `,` or `]`")),
        }
        match self.peek(END)? {
            b']' => Err(self.wrong("trailing comma")),
            _ => Ok(true),
        }
    }

    /// The key that follows in an object, if one does, up to its value.
    pub(super) fn next_key(&mut self, first: bool) -> Result<Option<Cow<'j, str>>, Problem> {
        const END: &str = "EOF while parsing an object";
        let mut next = self.peek(END)?;
        if next == b'}' {
            return Ok(None);
        }
        if !first {
            if next != b',' {
                return Err(self.wrong("expected `,` or `}`"));
            }
            self.at += 1;
            next = self.peek(END)?;
        }
        let key = match next {
            b'"' => self.string()?,
            b'}' => return Err(self.wrong("trailing comma")),
            _ => return Err(self.wrong("key must be a string")),
        };
        self.colon(END)?;
        Ok(Some(key))
    }

    fn colon(&mut self, at_end: &str) -> Result<(), Problem> {
        if self.peek(at_end)? != b':' {
            return Err(self.wrong("expected `:`"));
        }
        self.at += 1;
        Ok(())
    }

    /// `true`, `false` or `null`, whose first byte was looked at.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Problem> {
        for wanted in word.bytes() {
            match self.byte() {
                Some(byte) if byte == wanted => self.at += 1,
                Some(_) => return Err(self.wrong("expected ident")),
                None => return Err(self.wrong(END)),
            }
        }
        Ok(())
    }

    /// A string, whose quote was looked at.
    pub(super) fn string(&mut self) -> Result<Cow<'j, str>, Problem> {
        self.at += 1;
        let mut decoded: Option<String> = None;
        loop {
            let plain = self.plain();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    let Some(mut decoded) = decoded else { return Ok(Cow::Borrowed(plain)) };
                    decoded.push_str(plain);
                    return Ok(Cow::Owned(decoded));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let decoded = decoded.get_or_insert_default();
                    decoded.push_str(plain);
                    decoded.push(self.escape()?);
                }
                Some(_) => return Err(self.wrong("control character in a string")),
                None => return Err(self.wrong(IN_STRING)),
            }
        }
    }

    /// What stands for itself in a string.
    fn plain(&mut self) -> &'j str {
        let from = self.at;
        while let Some(byte) = self.byte() {
            if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                break;
            }
            self.at += 1;
        }
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// What an escape stands for; the backslash was passed.
    fn escape(&mut self) -> Result<char, Problem> {
        let byte = self.byte().ok_or_else(|| self.wrong(IN_STRING))?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.wrong("invalid escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// A character by its number, or by the two of a surrogate pair.
    fn unicode(&mut self) -> Result<char, Problem> {
        let first = self.hex()?;
        if let Some(one) = char::from_u32(first) {
            return Ok(one);
        }
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if first < 0xdc00 && rest.starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(both).ok_or_else(|| self.wrong(LONE));
            }
        }
        Err(self.wrong(LONE))
    }

    fn hex(&mut self) -> Result<u32, Problem> {
        let mut number = 0;
        for _ in 0..4 {
            let byte = self.byte().ok_or_else(|| self.wrong(IN_STRING))?;
            let digit = char::from(byte).to_digit(16).ok_or_else(|| self.wrong("invalid escape"))?;
            number = (number << 4) | digit;
            self.at += 1;
        }
        Ok(number)
    }

    /// A number, whose sign or first digit was looked at.
    pub(super) fn number(&mut self) -> Result<Number<'j>, Problem> {
        let from = self.at;
        let negative = self.pass_if(b"-");
        let zero = self.byte() == Some(b'0');
        let length = self.digits()?;
        if zero && length > 1 {
            return Err(self.wrong("invalid number"));
        }
        let mut whole = true;
        if self.pass_if(b".") {
            whole = false;
            self.digits()?;
        }
        if self.pass_if(b"eE") {
            whole = false;
            self.pass_if(b"+-");
            self.digits()?;
        }
        let text = self.text.get(from..self.at).unwrap_or_default();
        // `-0` is a number of its own in floating point only.
        if whole && !(negative && zero) {
            if let (false, Ok(number)) = (negative, text.parse()) {
                return Ok(Number::Unsigned(number));
            }
            if let (true, Ok(number)) = (negative, text.parse()) {
                return Ok(Number::Signed(number));
            }
        }
        Ok(Number::Other(text))
    }

    /// One digit at least; how many there are.
    fn digits(&mut self) -> Result<usize, Problem> {
        let from = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match (self.at - from, self.byte()) {
            (0, None) => Err(self.wrong(END)),
            (0, Some(_)) => Err(self.wrong("invalid number")),
            (length, _) => Ok(length),
        }
    }

    fn pass_if(&mut self, bytes: &[u8]) -> bool {
        let passed = self.byte().is_some_and(|byte| bytes.contains(&byte));
        self.at += usize::from(passed);
        passed
    }

    /// Passes a value that nobody wants.
    pub(super) fn skip(&mut self) -> Result<(), Problem> {
        match self.peek(END)? {
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'[' => {
                self.enter()?;
                let mut first = true;
                while self.more_elements(first)? {
                    first = false;
                    self.skip()?;
                }
                self.leave();
                Ok(())
            }
            b'{' => {
                self.enter()?;
                let mut first = true;
                while self.next_key(first)?.is_some() {
                    first = false;
                    self.skip()?;
                }
                self.leave();
                Ok(())
            }
            _ => Err(self.wrong(NO_VALUE)),
        }
    }

    /// An error of the text itself, here.
    pub(super) fn wrong(&self, what: &str) -> Problem {
        let before = self.text.as_bytes().get(..self.at).unwrap_or_default();
        let (mut line, mut column) = (1_usize, usize::from(self.byte().is_some()));
        for byte in before {
            column += 1;
            if *byte == b'\n' {
                (line, column) = (line + 1, usize::from(self.byte().is_some()));
            }
        }
        Problem::new(format!("not valid JSON: {what} at line {line} column {column}"))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// What the end of the text is called where a value should be.
pub(super) const END: &str = "EOF while parsing a value";

/// Where no value begins.
pub(super) const NO_VALUE: &str = "expected value";

const IN_STRING: &str = "EOF while parsing a string";

const LONE: &str = "lone surrogate";
