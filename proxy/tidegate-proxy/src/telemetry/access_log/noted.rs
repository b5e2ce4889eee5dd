//! What access logs say of heads: copied when a head is there, since rules and filters change it on its way. One place for all
//! of it, which serves one exchange after the other: no allocation, and no counting of who else holds a value.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName};

use super::text;

/// See the module.
#[derive(Default)]
pub(crate) struct Noted {
    /// All values, one behind the other; bytes behind the end are any.
    text: Vec<u8>,
    end: usize,
    /// Nothing of it is to be escaped.
    plain: bool,
    /// Where those are that each request may have.
    known: [Place; Noted::HEADERS],
    /// Where other fields of heads are.
    others: Vec<Place>,
    /// Which of them are of the request's head.
    of_request: usize,
}

#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
}

/// A value that is not there.
const ABSENT: Place = Place { start: 1, end: 0 };

impl Default for Place {
    fn default() -> Self {
        ABSENT
    }
}

impl Noted {
    /// Place of the method.
    pub(crate) const METHOD: usize = 0;
    /// Place of the path with its query.
    pub(crate) const PATH: usize = 1;
    /// Place of the host.
    pub(crate) const HOST: usize = 2;
    /// Place of the request's number.
    pub(crate) const REQUEST_ID: usize = 3;
    /// Place of what the client calls itself.
    pub(crate) const AGENT: usize = 4;
    /// Place of the first one of other fields of the request's head.
    pub(crate) const HEADERS: usize = 5;

    /// Notes the values of the request, by their places, in place of all that was noted before.
    #[inline]
    pub(crate) fn note<'a>(
        &mut self,
        known: &[Option<&'a [u8]>; Self::HEADERS],
        others: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        self.clear();
        for (place, value) in known.iter().enumerate() {
            let noted = self.append(value.unwrap_or_default());
            if let Some(known) = self.known.get_mut(place) {
                *known = if value.is_some() { noted } else { ABSENT };
            }
        }
        others.for_each(|value| self.put(value));
        self.of_request = self.others.len();
        self.plain = text::is_plain(self.text.get(..self.end).unwrap_or_default());
    }

    /// The request's number, which the gateway has made: it is not in the head.
    #[inline]
    pub(crate) fn identify(&mut self, id: &[u8; 32]) {
        let start = self.end;
        match self.text.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            Some(room) => *room = *id,
            None => _ = self.append(id),
        }
        self.end = start + id.len();
        self.known[Self::REQUEST_ID] = Place { start, end: self.end };
    }

    /// Fields of the answer.
    pub(crate) fn note_answer(&mut self, headers: &HeaderMap, names: &[HeaderName]) {
        self.others.truncate(self.of_request);
        for name in names {
            self.put(headers.get(name).map(|value| value.as_bytes()));
        }
        self.plain = text::is_plain(self.text.get(..self.end).unwrap_or_default());
    }

    /// Whether nothing of any value is to be escaped.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn value(&self, place: usize) -> Option<&[u8]> {
        let Place { start, end } = self.place(place)?;
        self.text.get(start..end)
    }

    /// The same with what stands behind it, and how long it is.
    #[inline]
    pub(crate) fn from(&self, place: usize) -> Option<(&[u8], usize)> {
        let Place { start, end } = self.place(place)?;
        Some((self.text.get(start..)?, end.checked_sub(start)?))
    }

    /// The value of a field of the answer.
    pub(crate) fn answered(&self, place: usize) -> Option<&[u8]> {
        self.value(Self::HEADERS + self.of_request + place)
    }

    #[inline]
    fn place(&self, place: usize) -> Option<Place> {
        match self.known.get(place) {
            Some(known) => Some(*known),
            None => self.others.get(place - Self::HEADERS).copied(),
        }
    }

    fn clear(&mut self) {
        self.end = 0;
        self.known = [ABSENT; Self::HEADERS];
        self.others.clear();
        self.of_request = 0;
    }

    fn put(&mut self, value: Option<&[u8]>) {
        let place = value.map_or(ABSENT, |value| self.append(value));
        self.others.push(place);
    }

    #[inline]
    fn append(&mut self, value: &[u8]) -> Place {
        let start = self.end;
        if self.text.len() < start + value.len() + SPARE {
            self.widen(value.len());
        }
        if let Some(room) = self.text.get_mut(start..) {
            text::copy(room, value);
        }
        self.end = start + value.len();
        Place { start, end: self.end }
    }

    #[cold]
    fn widen(&mut self, more: usize) {
        self.text.resize((2 * self.end + more).max(FIRST) + SPARE, 0);
    }
}

/// Bytes for values at first.
const FIRST: usize = 256;
/// Bytes that there are behind all values: what is short is copied at sizes that the compiler knows.
const SPARE: usize = 32;

/// A worker's own that no exchange needs now.
#[derive(Default)]
#[allow(clippy::vec_box, reason = "the boxes are kept as well, for records, which are the smaller for them")]
pub(crate) struct Spare(RefCell<Vec<Box<Noted>>>);

/// As many are kept.
const MOST: usize = 64;
/// Those with more bytes are not.
const BYTES: usize = 4096;

impl Spare {
    /// One without a value.
    pub(crate) fn take(&self) -> Box<Noted> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// It is not needed any more.
    pub(crate) fn give_back(&self, mut noted: Box<Noted>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < MOST && noted.text.len() <= BYTES {
            noted.clear();
            spare.push(noted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_at_its_place_and_nothing_of_it_stays_for_the_next_exchange() {
        let (spare, names) = (Spare::default(), [HeaderName::from_static("b"), HeaderName::from_static("a")]);
        let mut headers = HeaderMap::new();
        headers.insert("a", http::HeaderValue::from_static("of the answer"));
        let mut noted = spare.take();
        noted.note(&[Some(b"/path"), None, Some(b""), None, None], [None].into_iter());
        for _ in 0..2 {
            noted.note_answer(&headers, &names);
            let values = [0, 1, 2].map(|place| noted.value(place));
            assert_eq!(values, [Some(&b"/path"[..]), None, Some(b"")]);
            let answered = [0, 1, 2].map(|place| noted.answered(place));
            assert_eq!(answered, [None, Some(&b"of the answer"[..]), None]);
        }
        spare.give_back(noted);
        let noted = spare.take();
        assert!(!noted.text.is_empty(), "the same one");
        assert_eq!((noted.value(0), noted.answered(0)), (None, None));
    }

    #[test]
    fn what_is_to_be_escaped_shows_wherever_it_is() {
        let (mut noted, names) = (Noted::default(), [HeaderName::from_static("a")]);
        let mut headers = HeaderMap::new();
        let quoted = http::HeaderValue::from_static("\"");
        for place in 0..Noted::HEADERS {
            let known = std::array::from_fn(|at| Some(if at == place { &b"\""[..] } else { b"plain" }));
            noted.note(&known, std::iter::empty());
            assert!(!noted.is_plain(), "{place}");
        }
        noted.note(&[None; Noted::HEADERS], [Some(&b"\""[..])].into_iter());
        assert!(!noted.is_plain());
        noted.note(&[None; Noted::HEADERS], std::iter::empty());
        noted.identify(&[b'7'; 32]);
        noted.note_answer(&headers, &names);
        assert!(noted.is_plain());
        assert_eq!(noted.value(Noted::REQUEST_ID), Some(&[b'7'; 32][..]));
        let (found, length) = noted.from(Noted::REQUEST_ID).expect("it is there");
        assert_eq!(found.get(..length), Some(&[b'7'; 32][..]));
        assert_eq!((noted.from(Noted::PATH), noted.from(Noted::HEADERS + 1)), (None, None));
        headers.insert("a", quoted);
        noted.note_answer(&headers, &names);
        assert!(!noted.is_plain());
    }

    #[test]
    fn no_more_is_kept_than_is_worth_it() {
        let spare = Spare::default();
        let mut long = spare.take();
        long.note(&[None; Noted::HEADERS], [Some(&[b'x'; BYTES + 1][..])].into_iter());
        spare.give_back(long);
        assert_eq!(spare.0.borrow().len(), 0);
        let many: Vec<_> = (0..=MOST).map(|_| spare.take()).collect();
        many.into_iter().for_each(|noted| spare.give_back(noted));
        assert_eq!(spare.0.borrow().len(), MOST);
    }
}
