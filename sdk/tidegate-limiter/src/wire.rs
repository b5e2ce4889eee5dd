//! How a guest asks the gateway, by the foreign function `tidegate_limit`. All numbers are little endian.
//!
//! Arguments: a byte of what to do ([`Act`]), then an entry for each limit: a byte of the algorithm, a byte of flags
//! (1: [`Entry::advisory`]), two bytes of the key's length, eight bytes each of units, period and burst, eight of the cost
//! (with a sign), then the key. Answer: for each entry a byte (1: allowed), and eight bytes each of what remains, the
//! reset and when to try again, as [`Verdict`] has them.
//!
//! Two things save a guest a call of its own. Where the act's byte has the bit 64, the guest has nothing more to do with the
//! request once every limit that is not advisory allows it (`tidegate_leave`). Where it has the bit 128, entries whose flags
//! have a 2 have the client's address behind their keys, as text without a port, which the host puts there ([`fill`]).

use crate::{Algorithm, Limit, Verdict};

/// The foreign function's name.
pub const FUNCTION: &str = "tidegate_limit";

/// Entries of one question.
pub const ENTRIES: usize = 32;

/// Bytes of a key. Hosts keep a digest in place of a long one.
pub const KEY_BYTES: usize = 16 << 10;

const VERDICT_BYTES: usize = 25;

/// What to do with the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take the costs: all of them if every limit that is not advisory allows it, else none. What is taken of a
    /// [`Algorithm::Concurrency`] belongs to the request, and is given back at its end.
    Take,
    /// Take the costs, or give them back where they are negative, whether they are there or not.
    Charge,
    /// Look only.
    Look,
    /// Give back what the request holds of these keys.
    Leave,
}

impl Act {
    const fn number(self) -> u8 {
        match self {
            Act::Take => 1,
            Act::Charge => 2,
            Act::Look => 3,
            Act::Leave => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Act::Take),
            2 => Some(Act::Charge),
            3 => Some(Act::Look),
            4 => Some(Act::Leave),
            _ => None,
        }
    }
}

/// One limit and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What is allowed.
    pub limit: Limit,
    /// Who takes it, in bytes of the guest's choice.
    pub key: &'a [u8],
    /// Units to take.
    pub cost: i64,
    /// Its refusal does not keep the others from being taken.
    pub advisory: bool,
}

/// What a question asks beside its act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The guest has nothing more to do with a request that is allowed.
    pub leaves: bool,
    /// Keys are to be filled in.
    pub by_address: bool,
}

const LEAVES: u8 = 64;
const BY_ADDRESS: u8 = 128;
/// Of an entry's flags: the address is behind its key.
const ENTRY_BY_ADDRESS: u8 = 2;
/// Bytes of an entry before its key.
const HEAD: usize = 36;

/// What a question asks beside its act.
#[must_use]
pub fn marks(question: &[u8]) -> Marks {
    let act = question.first().copied().unwrap_or_default();
    Marks { leaves: act & LEAVES != 0, by_address: act & BY_ADDRESS != 0 }
}

/// Has the guest leave a request that is allowed; for questions that were begun.
pub fn leave_after(question: &mut [u8]) {
    question.iter_mut().take(1).for_each(|act| *act |= LEAVES);
}

/// The question without [marks], with `address` behind the keys of those entries that want it. None: it is malformed.
#[must_use]
pub fn fill(question: &[u8], address: &[u8]) -> Option<Vec<u8>> {
    let (act, mut rest) = question.split_first()?;
    let mut out = Vec::with_capacity(question.len() + address.len());
    out.push(act & !(LEAVES | BY_ADDRESS));
    while !rest.is_empty() {
        let ([algorithm, flags, low, high], numbers) = rest.split_first_chunk()?;
        let key = usize::from(u16::from_le_bytes([*low, *high]));
        let (entry, after) = numbers.split_at_checked(HEAD - 4 + key)?;
        let added = if flags & ENTRY_BY_ADDRESS == 0 { &b""[..] } else { address };
        let [low, high] = u16::try_from(key + added.len()).ok()?.to_le_bytes();
        out.extend_from_slice(&[*algorithm, flags & !ENTRY_BY_ADDRESS, low, high]);
        out.extend_from_slice(entry);
        out.extend_from_slice(added);
        rest = after;
    }
    Some(out)
}

/// Begins a question.
pub fn begin(act: Act, out: &mut Vec<u8>) {
    out.clear();
    out.push(act.number());
}

/// Adds an entry whose key `key` appends. False, and nothing is added, when the key is too long.
pub fn add(
    limit: &Limit,
    cost: i64,
    advisory: bool,
    out: &mut Vec<u8>,
    key: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let start = out.len();
    out.extend_from_slice(&[limit.algorithm.number(), u8::from(advisory), 0, 0]);
    for number in [limit.units, limit.period, limit.burst] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&cost.to_le_bytes());
    let head = out.len();
    key(out);
    let length = u16::try_from(out.len() - head).ok().filter(|length| usize::from(*length) <= KEY_BYTES);
    match (length, out.get_mut(start + 2..start + 4)) {
        (Some(length), Some(place)) => {
            place.copy_from_slice(&length.to_le_bytes());
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

/// As [`add`], with the client's address behind the key.
pub fn add_by_address(
    limit: &Limit,
    cost: i64,
    advisory: bool,
    out: &mut Vec<u8>,
    key: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let start = out.len();
    let added = add(limit, cost, advisory, out, key);
    if added {
        out.iter_mut().take(1).for_each(|act| *act |= BY_ADDRESS);
        out.iter_mut().skip(start + 1).take(1).for_each(|flags| *flags |= ENTRY_BY_ADDRESS);
    }
    added
}

/// What a guest asks.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What to do.
    pub act: Act,
    rest: &'a [u8],
}

impl<'a> Question<'a> {
    /// Reads the arguments; none: they are malformed, empty or too many.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (act, rest) = bytes.split_first()?;
        let question = Question { act: Act::from_number(*act)?, rest };
        let (mut count, mut left) = (0, rest);
        while !left.is_empty() {
            let (entry, after) = entry(left)?;
            let sound = entry.limit.is_sound() && entry.key.len() <= KEY_BYTES;
            // Only what is charged afterwards may be given back.
            if !sound || (entry.cost < 0 && question.act != Act::Charge) {
                return None;
            }
            (count, left) = (count + 1, after);
        }
        (1..=ENTRIES).contains(&count).then_some(question)
    }

    /// Its entries.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut left = self.rest;
        std::iter::from_fn(move || {
            let (entry, after) = entry(left)?;
            left = after;
            Some(entry)
        })
    }
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let ([algorithm, flags, low, high], rest) = bytes.split_first_chunk()?;
    let (units, rest) = number(rest)?;
    let (period, rest) = number(rest)?;
    let (burst, rest) = number(rest)?;
    let (cost, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
    let limit = Limit { algorithm: Algorithm::from_number(*algorithm)?, units, period, burst };
    let advisory = match flags {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some((Entry { limit, key, cost: i64::from_le_bytes(*cost), advisory }, rest))
}

/// Appends a verdict to an answer.
pub fn put_verdict(verdict: &Verdict, out: &mut Vec<u8>) {
    out.push(u8::from(verdict.allowed));
    for number in [verdict.remaining, verdict.reset, verdict.retry_after] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// The verdicts of an answer; what is no verdict ends them.
pub fn verdicts(bytes: &[u8]) -> impl Iterator<Item = Verdict> + '_ {
    bytes.chunks_exact(VERDICT_BYTES).filter_map(|bytes| {
        let (allowed, rest) = bytes.split_first()?;
        let (remaining, rest) = number(rest)?;
        let (reset, rest) = number(rest)?;
        let (retry_after, _) = number(rest)?;
        Some(Verdict { allowed: *allowed == 1, remaining, reset, retry_after })
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { algorithm: Algorithm::SlidingWindow, units: 5, period: 9, burst: 0 };

    #[test]
    fn questions_and_verdicts_cross_the_border() {
        let mut bytes = Vec::new();
        begin(Act::Take, &mut bytes);
        assert!(add(&LIMIT, 2, true, &mut bytes, |key| key.extend_from_slice(b"a")));
        assert!(!add(&LIMIT, 2, true, &mut bytes, |key| key.resize(key.len() + KEY_BYTES + 1, 0)));
        assert!(add(&LIMIT, 0, false, &mut bytes, |_| {}));
        let question = Question::read(&bytes).unwrap();
        let entries: Vec<_> = question.entries().collect();
        let first = Entry { limit: LIMIT, key: b"a", cost: 2, advisory: true };
        assert_eq!(entries, [first, Entry { key: b"", cost: 0, advisory: false, ..first }]);
        let verdict = Verdict { allowed: true, remaining: 3, reset: 4, retry_after: 5 };
        let mut answer = Vec::new();
        put_verdict(&verdict, &mut answer);
        put_verdict(&Verdict::default(), &mut answer);
        assert_eq!(verdicts(&answer).collect::<Vec<_>>(), [verdict, Verdict::default()]);
    }

    #[test]
    fn addresses_are_put_behind_the_keys_that_want_them() {
        let mut asked = Vec::new();
        begin(Act::Take, &mut asked);
        assert!(add_by_address(&LIMIT, 2, true, &mut asked, |key| key.extend_from_slice(b"a\0")));
        assert!(add(&LIMIT, 1, false, &mut asked, |key| key.extend_from_slice(b"b")));
        leave_after(&mut asked);
        assert_eq!(marks(&asked), Marks { leaves: true, by_address: true });
        assert!(Question::read(&asked).is_none(), "the host has to fill it in");
        let filled = fill(&asked, b"10.0.0.1").unwrap();
        assert_eq!(marks(&filled), Marks::default());
        let mut wanted = Vec::new();
        begin(Act::Take, &mut wanted);
        add(&LIMIT, 2, true, &mut wanted, |key| key.extend_from_slice(b"a\x0010.0.0.1"));
        add(&LIMIT, 1, false, &mut wanted, |key| key.extend_from_slice(b"b"));
        assert_eq!(filled, wanted);
        for cut in 0..asked.len() {
            let read = fill(&asked[..cut], b"10.0.0.1").and_then(|bytes| Question::read(&bytes).map(drop));
            // Between the entries, the first is there as a whole.
            assert_eq!(read.is_some(), cut == 1 + HEAD + 2, "{cut}");
        }
        assert_eq!(fill(&asked, &[b'1'; 1 << 16]), None, "no key has room for it");
    }

    #[test]
    fn malformed_questions_are_refused() {
        let mut good = Vec::new();
        begin(Act::Take, &mut good);
        assert!(Question::read(&good).is_none(), "no entry");
        add(&LIMIT, 1, false, &mut good, |key| key.extend_from_slice(b"key"));
        assert!(Question::read(&good).is_some());
        for cut in 0..good.len() {
            assert!(Question::read(&good[..cut]).is_none(), "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        for (at, byte) in [(0, 0), (0, 9), (1, 0), (1, 5), (2, 2), (5, 0), (36, 0x80)] {
            assert!(Question::read(&with(at, byte)).is_none(), "{at} {byte}");
        }
        let entry = &good[1..];
        let many: Vec<u8> = [&good[..1], &entry.repeat(ENTRIES + 1)].concat();
        assert!(Question::read(&many).is_none());
    }
}
