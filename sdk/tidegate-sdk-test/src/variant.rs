//! The ways in which the same request may come: in other pieces, with more around it, through other hosts. A filter must
//! not care.

use tidegate_sdk::{Fields, Value};

use crate::machine::Part;
use crate::message::Request;

/// A way in which requests and answers come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) pieces: Pieces,
    /// The end comes by itself, after the last piece.
    pub(crate) late_end: bool,
    /// Trailers are added where there are none.
    pub(crate) trailers: bool,
    /// Headers are added that repeat and are not UTF-8.
    pub(crate) odd_headers: bool,
    /// The host can show a body while it holds the head.
    pub(crate) feeds: bool,
    /// Answers to calls come only when nothing else can happen.
    pub(crate) late_answers: bool,
}

/// How bodies are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pieces {
    Whole,
    /// One byte each (of long bodies: a thousand pieces).
    Bytes,
    Halves,
    /// In two, after so many bytes.
    At(usize),
}

impl Variant {
    /// As a request comes that arrives at once.
    pub(crate) fn plain() -> Self {
        Variant {
            name: "plain".to_owned(),
            pieces: Pieces::Whole,
            late_end: false,
            trailers: false,
            odd_headers: false,
            feeds: true,
            late_answers: false,
        }
    }

    /// The ways that are tried besides.
    pub(crate) fn others() -> Vec<Self> {
        let named = |name: &str| Variant { name: name.to_owned(), ..Variant::plain() };
        vec![
            Variant { pieces: Pieces::Bytes, late_end: true, ..named("bytes one by one") },
            Variant { pieces: Pieces::Halves, trailers: true, ..named("halves, then trailers") },
            Variant { late_end: true, late_answers: true, ..named("answers to calls come late") },
            Variant { odd_headers: true, ..named("headers that repeat and are not UTF-8") },
            Variant {
                pieces: Pieces::Halves,
                late_end: true,
                feeds: false,
                ..named("a host that shows no body while it holds the head")
            },
        ]
    }

    /// A way in which a body is cut after so many bytes.
    pub(crate) fn cut_at(at: usize) -> Self {
        Variant { name: format!("body cut after {at} bytes"), pieces: Pieces::At(at), ..Variant::plain() }
    }

    /// The parts of a request.
    pub(crate) fn request(&self, request: &Request) -> Vec<Part> {
        let mut head = request.head.clone();
        let mut trailers = request.trailers.clone();
        if self.trailers && request.body.is_some() {
            head.remove("content-length");
            trailers.add(ODD_TRAILER, "1");
        }
        self.odd(&mut head);
        self.parts(head, request.body.as_deref(), trailers)
    }

    /// The parts of an answer.
    pub(crate) fn answer(&self, mut head: Fields, body: &[u8], mut trailers: Fields) -> Vec<Part> {
        if self.trailers && !body.is_empty() {
            head.remove("content-length");
            trailers.add(ODD_TRAILER, "1");
        }
        self.odd(&mut head);
        let body = (!body.is_empty() || !trailers.is_empty()).then_some(body);
        self.parts(head, body, trailers)
    }

    fn odd(&self, head: &mut Fields) {
        if self.odd_headers {
            head.add(ODD, b"\xff\xfe \x80".as_slice());
            head.add(ODD, "");
            head.add(ODD, "a,b");
        }
    }

    fn parts(&self, head: Fields, body: Option<&[u8]>, trailers: Fields) -> Vec<Part> {
        let Some(body) = body else { return vec![Part::Head(head, true)] };
        let mut parts = vec![Part::Head(head, false)];
        let pieces = self.pieces.cut(body);
        let last = pieces.len();
        let end_alone = self.late_end && !body.is_empty();
        for (at, piece) in pieces.into_iter().enumerate() {
            let end = at + 1 == last && !end_alone && trailers.is_empty();
            parts.push(Part::Body(piece, end));
        }
        if !trailers.is_empty() {
            parts.push(Part::Trailers(trailers));
        } else if end_alone {
            parts.push(Part::Body(Vec::new(), true));
        }
        parts
    }
}

impl Pieces {
    fn cut(self, body: &[u8]) -> Vec<Vec<u8>> {
        let size = match self {
            Pieces::Whole => body.len(),
            Pieces::Bytes => body.len().div_ceil(1000),
            Pieces::Halves => body.len().div_ceil(2),
            Pieces::At(at) => {
                let (first, second) = body.split_at(at.min(body.len()));
                return vec![first.to_vec(), second.to_vec()];
            }
        };
        if body.is_empty() {
            return vec![Vec::new()];
        }
        body.chunks(size.max(1)).map(<[u8]>::to_vec).collect()
    }
}

/// Fields without those that a variant has added, nor those that say how long a body is.
pub(crate) fn without_odd(fields: &Fields) -> Vec<(String, Value)> {
    let added = [ODD, ODD_TRAILER, "content-length"];
    let kept = fields.iter().filter(|(name, _)| !added.contains(name));
    let mut kept: Vec<_> = kept.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    // In which order different names come means nothing, and hosts keep none; values of one name stay in order.
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    kept
}

const ODD: &str = "x-odd";
const ODD_TRAILER: &str = "x-odd-trailer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        for pieces in [Pieces::Whole, Pieces::Bytes, Pieces::Halves, Pieces::At(2), Pieces::At(9)] {
            for body in ["", "a", "hello"] {
                assert_eq!(pieces.cut(body.as_bytes()).concat(), body.as_bytes(), "{pieces:?} {body}");
            }
        }
    }

    #[test]
    fn exactly_one_part_ends_a_message() {
        let request = crate::post("/").body("hello");
        for variant in [Variant::plain()].into_iter().chain(Variant::others()) {
            let parts = variant.request(&request);
            let ends = parts
                .iter()
                .filter(|part| matches!(part, Part::Head(_, true) | Part::Body(_, true) | Part::Trailers(_)));
            assert_eq!(ends.count(), 1, "{}: {parts:?}", variant.name);
        }
    }
}
