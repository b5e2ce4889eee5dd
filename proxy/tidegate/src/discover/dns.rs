//! The messages of DNS, as far as sources need them: a question for A, AAAA or SRV records, and its answer (RFC 1035,
//! RFC 3596, RFC 2782). Pure; whatever bytes come, the answer is read or refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
    Srv = 33,
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Seconds.
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Service {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    /// An alias on the way, for instance: its time to live counts.
    Other,
}

/// Why an answer has no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no such name.
    NoName,
    /// The name has no such records.
    NoRecords,
    /// It does not fit into a datagram.
    Truncated,
    /// The server's code for why it does not answer.
    Refused(u8),
    /// It is no answer to the question.
    Garbage,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("there is no such name"),
            Self::NoRecords => f.write_str("the name has no such records"),
            Self::Truncated => f.write_str("the answer is cut off"),
            Self::Refused(2) => f.write_str("the name server failed (SERVFAIL)"),
            Self::Refused(5) => f.write_str("the name server refuses the question (REFUSED)"),
            Self::Refused(code) => write!(f, "the name server answered with the code {code}"),
            Self::Garbage => f.write_str("the name server's answer is not one to the question"),
        }
    }
}

/// A question as it is sent; none for what is not a name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    // One question, recursion desired.
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.splice(..2, id.to_be_bytes());
    let name = name.trim_end_matches('.');
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&(kind as u16).to_be_bytes());
    bytes.extend_from_slice(&IN.to_be_bytes());
    (name.len() <= LONGEST_NAME).then_some(bytes)
}

/// The records of an answer to a question.
pub(super) fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Vec<Record>, Trouble> {
    let mut reader = Reader { bytes, at: 0 };
    read(&mut reader, id, name, kind).ok_or(Trouble::Garbage)?
}

/// None: it is not well formed, or not an answer to this question.
fn read(reader: &mut Reader<'_>, id: u16, name: &str, kind: Kind) -> Option<Result<Vec<Record>, Trouble>> {
    let (own, flags, questions, answers) = (reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?);
    let (_authorities, _additionals) = (reader.u16()?, reader.u16()?);
    let is_answer = flags & 0x8000 != 0;
    if own != id || !is_answer || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    let (asked_kind, class) = (reader.u16()?, reader.u16()?);
    if !asked.eq_ignore_ascii_case(name.trim_end_matches('.')) || asked_kind != kind as u16 || class != IN {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Err(Trouble::Truncated));
    }
    match flags & 0x000f {
        0 => {}
        3 => return Some(Err(Trouble::NoName)),
        code => return Some(Err(Trouble::Refused(code as u8))),
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        records.push(reader.record(kind)?);
    }
    match records.iter().any(|record: &Record| record.data != Data::Other) {
        true => Some(Ok(records)),
        false => Some(Err(Trouble::NoRecords)),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A name without its last dot; empty for the root. Pointers lead backwards only, so that none leads in a circle.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let (mut at, mut back, mut least) = (self.at, None, self.at);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => {
                    self.at = back.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    if name.len() + length > LONGEST_NAME || !label.is_ascii() {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                    at += 1 + length;
                }
                0xc0.. => {
                    back = back.or(Some(at + 2));
                    let to = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    if to >= least {
                        return None;
                    }
                    (at, least) = (to, to);
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self, kind: Kind) -> Option<Record> {
        self.name()?;
        let (found, class, ttl, length) = (self.u16()?, self.u16()?, self.u32()?, self.u16()?);
        let end = self.at.checked_add(length.into()).filter(|end| *end <= self.bytes.len())?;
        let data = match (kind, length) {
            _ if found != kind as u16 || class != IN => Data::Other,
            (Kind::A, 4) => Data::Address(Ipv4Addr::from(self.array::<4>()?).into()),
            (Kind::Aaaa, 16) => Data::Address(Ipv6Addr::from(self.array::<16>()?).into()),
            (Kind::Srv, _) => Data::Service {
                priority: self.u16()?,
                weight: self.u16()?,
                port: self.u16()?,
                target: self.name()?,
            },
            _ => return None,
        };
        self.at = end;
        // A time with its highest bit set is none (RFC 2181, 8).
        Some(Record { ttl: if ttl > i32::MAX as u32 { 0 } else { ttl }, data })
    }
}

/// The class of everything that is asked for.
const IN: u16 = 1;
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to `a.test`: an alias to `b.test`, which has an address.
    fn with_alias() -> Vec<u8> {
        let mut bytes = question(7, "a.test", Kind::A).expect("a name");
        bytes[2] = 0x81;
        bytes[7] = 2;
        // a.test CNAME b.test, whose second label is that of the question.
        bytes.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
        bytes.extend_from_slice(b"\x01b\xc0\x0e\0\x01\0\x01\0\0\0\x07\0\x04\x0a\0\0\x01");
        bytes
    }

    #[test]
    fn aliases_are_passed_and_their_time_counts() {
        let records = answer(&with_alias(), 7, "A.test.", Kind::A).expect("an answer");
        let address = Data::Address(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(records, [Record { ttl: 60, data: Data::Other }, Record { ttl: 7, data: address }]);
    }

    #[test]
    fn services_name_their_targets() {
        let mut bytes = question(7, "_h._tcp.a.test", Kind::Srv).expect("a name");
        bytes[2] = 0x81;
        bytes[7] = 1;
        bytes.extend_from_slice(b"\xc0\x0c\0\x21\0\x01\0\0\0\x07\0\x0a\0\x0a\0\x05\x1f\x90\x01B\xc0\x14");
        let target = "b.a.test".to_owned();
        let data = Data::Service { priority: 10, weight: 5, port: 8080, target };
        assert_eq!(answer(&bytes, 7, "_h._tcp.a.test", Kind::Srv), Ok(vec![Record { ttl: 7, data }]));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_refused() {
        let good = with_alias();
        assert_eq!(answer(&good, 8, "a.test", Kind::A), Err(Trouble::Garbage), "another question's");
        assert_eq!(answer(&good, 7, "b.test", Kind::A), Err(Trouble::Garbage));
        assert_eq!(answer(&good, 7, "a.test", Kind::Aaaa), Err(Trouble::Garbage));
        for (code, trouble) in [(3, Trouble::NoName), (2, Trouble::Refused(2))] {
            let mut bytes = good.clone();
            bytes[3] = code;
            assert_eq!(answer(&bytes, 7, "a.test", Kind::A), Err(trouble));
        }
        let mut cut = good.clone();
        cut[2] |= 2;
        assert_eq!(answer(&cut, 7, "a.test", Kind::A), Err(Trouble::Truncated));
        let mut empty = good.clone();
        empty[7] = 1;
        assert_eq!(answer(&empty, 7, "a.test", Kind::A), Err(Trouble::NoRecords), "an alias only");
        // Wherever it ends, and whatever a byte is: it is read or refused.
        for end in 0..good.len() {
            assert!(answer(&good[..end], 7, "a.test", Kind::A).is_err(), "{end}");
        }
        for at in 0..good.len() {
            for byte in [0, 1, 0x3f, 0x7f, 0xc0, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                drop(answer(&bytes, 7, "a.test", Kind::A));
            }
        }
    }

    #[test]
    fn only_names_are_asked_for() {
        for name in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(question(1, name, Kind::A), None, "{name}");
        }
        assert_eq!(question(1, "a.b.", Kind::A).map(|bytes| bytes.len()), Some(12 + 5 + 4));
    }
}
