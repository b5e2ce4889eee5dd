//! What is kept under a key, and how it is written as bytes.

use tidegate_sdk::{Fields, Value};

/// What a place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A response.
    Entry(Box<Entry>),
    /// Responses of this key differ by these request headers; their keys have the generation in them.
    Vary {
        /// Names in lower case, sorted.
        names: Vec<String>,
        /// Another one after each invalidation.
        generation: u64,
    },
    /// The key was invalidated then, in nanoseconds since 1970. Responses to requests from before are not kept.
    Gone(u64),
}

/// A response that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its status.
    pub status: u16,
    /// When its age was `initial_age`: seconds since 1970.
    pub stored: u64,
    /// Its age then, in seconds.
    pub initial_age: u64,
    /// When it was asked for, in nanoseconds since 1970: what was purged before is older.
    pub since: u64,
    /// For how long it is fresh, from age 0.
    pub lifetime: u64,
    /// For how long it may be given when it is stale, while a new one is got.
    pub while_revalidate: u64,
    /// For how long it may be given when it is stale and there is no new one.
    pub if_error: u64,
    /// It may be given without asking only while it is fresh.
    pub strict: bool,
    /// It must be confirmed each time.
    pub no_cache: bool,
    /// It may be given to requests with `authorization`.
    pub shared: bool,
    /// Its headers, without those of one connection.
    pub headers: Fields,
    /// Its body.
    pub body: Vec<u8>,
}

impl Entry {
    /// Its age in seconds.
    pub fn age(&self, now: u64) -> u64 {
        self.initial_age.saturating_add(now.saturating_sub(self.stored))
    }

    /// Whether it has something by which the upstream can confirm it.
    pub fn has_validator(&self) -> bool {
        self.headers.get("etag").is_some() || self.headers.get("last-modified").is_some()
    }
}

impl Record {
    /// The bytes of a record of this key.
    pub fn write(&self, key: &[u8]) -> Vec<u8> {
        let mut to = Writer(vec![VERSION]);
        to.bytes(key);
        match self {
            Record::Gone(time) => {
                to.0.push(0);
                to.number(*time);
            }
            Record::Vary { names, generation } => {
                to.0.push(1);
                to.number(*generation);
                names.iter().for_each(|name| to.bytes(name.as_bytes()));
            }
            Record::Entry(entry) => {
                to.0.push(2);
                let flags =
                    u64::from(entry.strict) | u64::from(entry.no_cache) << 1 | u64::from(entry.shared) << 2;
                for number in [
                    entry.status.into(),
                    entry.stored,
                    entry.initial_age,
                    entry.since,
                    entry.lifetime,
                    entry.while_revalidate,
                    entry.if_error,
                    flags,
                    entry.headers.len() as u64,
                ] {
                    to.number(number);
                }
                for (name, value) in entry.headers.iter() {
                    to.bytes(name.as_bytes());
                    to.bytes(value);
                }
                to.0.extend_from_slice(&entry.body);
            }
        }
        to.0
    }

    /// Reads the record of this key; `None` when the bytes are those of another key, or none at all.
    pub fn read(bytes: &[u8], key: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.byte()? != VERSION || from.bytes()? != key {
            return None;
        }
        Some(match from.byte()? {
            0 => Record::Gone(from.number()?),
            1 => {
                let generation = from.number()?;
                let mut names = Vec::new();
                while !from.0.is_empty() {
                    names.push(from.text()?);
                }
                Record::Vary { names, generation }
            }
            _ => {
                let status = u16::try_from(from.number()?).ok()?;
                let [stored, initial_age, since, lifetime, while_revalidate, if_error, flags] =
                    from.numbers()?;
                let mut headers = Fields::new();
                for _ in 0..from.number()? {
                    let name = from.text()?;
                    headers.add(name, Value::from(from.bytes()?));
                }
                let flag = |bit: u64| flags >> bit & 1 == 1;
                Record::Entry(Box::new(Entry {
                    status,
                    stored,
                    initial_age,
                    since,
                    lifetime,
                    while_revalidate,
                    if_error,
                    strict: flag(0),
                    no_cache: flag(1),
                    shared: flag(2),
                    headers,
                    body: from.0.to_vec(),
                }))
            }
        })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Some(numbers)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

/// The form of the bytes: those of another version of the filter are not read.
const VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let entry = Entry {
            status: 203,
            stored: 5,
            initial_age: 6,
            since: 10,
            lifetime: 7,
            while_revalidate: 8,
            if_error: 9,
            strict: true,
            no_cache: false,
            shared: true,
            headers: Fields::from_iter([("a", "1"), ("a", "")]),
            body: b"\0body".to_vec(),
        };
        let vary = Record::Vary { names: vec!["accept".to_owned(), "x".to_owned()], generation: 3 };
        for record in [Record::Gone(9), vary, Record::Entry(Box::new(entry))] {
            let bytes = record.write(b"key");
            assert_eq!(Record::read(&bytes, b"key"), Some(record));
            assert_eq!(Record::read(&bytes, b"other"), None);
            for cut in 0..bytes.len().min(60) {
                let _ = Record::read(bytes.get(..cut).unwrap_or_default(), b"key");
            }
        }
        assert_eq!(Record::read(b"", b"key"), None);
    }
}
