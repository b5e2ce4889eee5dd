//! What access logs say of heads: copied when a head is there, since rules and filters change it on its way. One place for all
//! of it, which serves one exchange after the other: no allocation, and no counting of who else holds a value.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, Method};

use super::text;

/// See the module.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) method: Method,
    /// The request's number, where the gateway has made it and it is not in the head.
    pub(crate) made: Option<[u8; 32]>,
    /// All values, one behind the other.
    text: Vec<u8>,
    /// Where each is.
    places: Vec<Place>,
    /// Which of them are of the request's head.
    of_request: usize,
}

#[derive(Clone, Copy)]
struct Place {
    start: u32,
    end: u32,
}

/// A value that is not there.
const ABSENT: Place = Place { start: 1, end: 0 };

impl Noted {
    /// Place of the path with its query.
    pub(crate) const PATH: usize = 0;
    /// Place of the host.
    pub(crate) const HOST: usize = 1;
    /// Place of the request's number, as its head has it.
    pub(crate) const REQUEST_ID: usize = 2;
    /// Place of what the client calls itself.
    pub(crate) const AGENT: usize = 3;
    /// Place of the first one of other fields of the request's head.
    pub(crate) const HEADERS: usize = 4;

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.made = None;
        self.text.clear();
        self.places.clear();
        self.of_request = 0;
    }

    /// The value of the next place of the request.
    pub(crate) fn note(&mut self, value: Option<&[u8]>) {
        self.put(value);
        self.of_request = self.places.len();
    }

    /// Fields of the answer.
    pub(crate) fn note_answer(&mut self, headers: &HeaderMap, names: &[HeaderName]) {
        self.places.truncate(self.of_request);
        for name in names {
            self.put(headers.get(name).map(|value| value.as_bytes()));
        }
    }

    /// The value at a place.
    pub(crate) fn value(&self, place: usize) -> Option<&[u8]> {
        let Place { start, end } = *self.places.get(place)?;
        self.text.get(start as usize..end as usize)
    }

    /// The value of a field of the answer.
    pub(crate) fn answered(&self, place: usize) -> Option<&[u8]> {
        self.value(self.of_request + place)
    }

    fn put(&mut self, value: Option<&[u8]>) {
        let Some(value) = value else { return self.places.push(ABSENT) };
        let start = self.text.len();
        text::append(&mut self.text, value);
        let place = (u32::try_from(start), u32::try_from(self.text.len()));
        // Heads are far smaller.
        self.places.push(if let (Ok(start), Ok(end)) = place { Place { start, end } } else { ABSENT });
    }
}

/// A worker's own that no exchange needs now.
#[derive(Default)]
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
        if spare.len() < MOST && noted.text.capacity() <= BYTES {
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
        [Some(&b"/path"[..]), None, Some(b"")].into_iter().for_each(|value| noted.note(value));
        for _ in 0..2 {
            noted.note_answer(&headers, &names);
            let values = [0, 1, 2].map(|place| noted.value(place));
            assert_eq!(values, [Some(&b"/path"[..]), None, Some(b"")]);
            let answered = [0, 1, 2].map(|place| noted.answered(place));
            assert_eq!(answered, [None, Some(&b"of the answer"[..]), None]);
        }
        noted.made = Some([7; 32]);
        spare.give_back(noted);
        let noted = spare.take();
        assert!(noted.made.is_none() && noted.text.capacity() > 0, "the same one, empty");
        assert_eq!((noted.value(0), noted.answered(0)), (None, None));
    }

    #[test]
    fn no_more_is_kept_than_is_worth_it() {
        let spare = Spare::default();
        let mut long = spare.take();
        long.note(Some(&[b'x'; BYTES + 1]));
        spare.give_back(long);
        assert_eq!(spare.0.borrow().len(), 0);
        let many: Vec<_> = (0..=MOST).map(|_| spare.take()).collect();
        many.into_iter().for_each(|noted| spare.give_back(noted));
        assert_eq!(spare.0.borrow().len(), MOST);
    }
}
