//! Header fields as guests read them: pseudo fields first, then the map, without `host`, which is
//! `:authority` there.

pub(crate) mod write;

use super::kept::Kept;
use crate::Names;
use http::{HeaderMap, header, request, response};
use tidegate_abi::{PairsReader, encode_pairs};

/// Fields of one map, wherever they are.
pub(crate) enum Fields<'a> {
    Request(&'a request::Parts, &'static str),
    Response(&'a response::Parts),
    Plain(&'a HeaderMap),
    Kept(&'a Kept),
    /// Only those that the plugin may see.
    Limited(Box<Fields<'a>>, &'a Names),
    Empty,
}

impl Fields<'_> {
    /// The first value of a field; names compare without case.
    pub(crate) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Request(head, scheme) => match name {
                b":path" => Some(path(head)),
                b":method" => Some(head.method.as_str().as_bytes()),
                b":scheme" => Some(scheme.as_bytes()),
                b":authority" => host(head),
                _ => plain(&head.headers, name),
            },
            Self::Response(head) => match name {
                b":status" => Some(head.status.as_str().as_bytes()),
                _ => plain(&head.headers, name),
            },
            Self::Plain(map) => plain(map, name),
            Self::Kept(kept) => {
                kept.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            }
            Self::Limited(fields, names) => fields.value(name).filter(|_| names.has(name)),
            Self::Empty => None,
        }
    }

    /// Whether the plugin may not see fields of this name.
    pub(crate) fn hides(&self, name: &[u8]) -> bool {
        matches!(self, Self::Limited(_, names) if !names.has(name))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Request(head, _) => request_len(head),
            Self::Response(head) => head.headers.len() + 1,
            Self::Plain(map) => map.len(),
            Self::Kept(kept) => kept.len(),
            Self::Limited(..) => {
                let mut encoded = Vec::new();
                self.encode(&mut encoded);
                PairsReader::check(&encoded).map_or(0, |pairs| pairs.len())
            }
            Self::Empty => 0,
        }
    }

    /// Appends all fields in the ABI's encoding.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(head, scheme) => encode_pairs(|| request(head, scheme), out),
            Self::Response(head) => encode_pairs(|| status(head).chain(pairs(&head.headers)), out),
            Self::Plain(map) => encode_pairs(|| pairs(map), out),
            Self::Kept(kept) => encode_pairs(|| kept.iter(), out),
            Self::Limited(fields, names) => {
                let mut all = Vec::new();
                fields.encode(&mut all);
                if let Ok(pairs) = PairsReader::check(&all) {
                    encode_pairs(|| pairs.clone().filter(|(name, _)| names.has(name)), out);
                }
            }
            Self::Empty => {}
        }
    }

    /// All values of one field, comma-joined, as properties show them.
    pub(crate) fn joined(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let map = match self {
            Self::Request(head, _) => &head.headers,
            Self::Response(head) => &head.headers,
            Self::Plain(map) => map,
            Self::Limited(fields, names) => return names.has(name) && fields.joined(name, out),
            Self::Kept(_) | Self::Empty => return self.joined_kept(name, out),
        };
        if name.first() == Some(&b':') || name == b"host" {
            return self.value(name).map(|value| out.extend_from_slice(value)).is_some();
        }
        let Ok(name) = std::str::from_utf8(name) else { return false };
        join(map.get_all(name).iter().map(|value| value.as_bytes()), out)
    }

    fn joined_kept(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let Self::Kept(kept) = self else { return false };
        let values = kept.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        join(values.map(|(_, value)| value), out)
    }
}

/// Copies a response head, to be read after it has gone on.
pub(crate) fn keep_response(head: &response::Parts, kept: &mut Kept) {
    kept.clear();
    kept.extend(status(head));
    kept.extend(pairs(&head.headers));
}

/// Copies trailers, to be read after they have gone on.
pub(crate) fn keep_trailers(trailers: &HeaderMap, kept: &mut Kept) {
    kept.clear();
    kept.extend(pairs(trailers));
}

/// How many fields a guest sees.
pub(crate) fn request_len(head: &request::Parts) -> usize {
    head.headers.len() + 3 + usize::from(host(head).is_none())
}

/// Nearly all heads begin with it, so it is looked at before anything is hashed.
fn host(head: &request::Parts) -> Option<&[u8]> {
    let host = match head.headers.iter().next() {
        Some((name, value)) if *name == header::HOST => Some(value),
        _ => head.headers.get(header::HOST),
    };
    host.map(|value| value.as_bytes())
}

fn path(head: &request::Parts) -> &[u8] {
    head.uri.path_and_query().map_or("", |path| path.as_str()).as_bytes()
}

fn request<'a>(head: &'a request::Parts, scheme: &'static str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let (pseudo, rest) = request_parts(head, scheme);
    pseudo.into_iter().chain(rest)
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// The pseudo fields, and the others.
fn request_parts<'a>(
    head: &'a request::Parts,
    scheme: &'static str,
) -> ([Field<'a>; 4], impl Iterator<Item = Field<'a>>) {
    let authority = host(head).unwrap_or_default();
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":authority", authority),
        (b":path", path(head)),
        (b":method", head.method.as_str().as_bytes()),
        (b":scheme", scheme.as_bytes()),
    ];
    let rest = head.headers.iter().filter(|(name, _)| *name != header::HOST);
    (pseudo, rest.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
}

fn status(head: &response::Parts) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::once((&b":status"[..], head.status.as_str().as_bytes()))
}

fn pairs(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

fn plain<'a>(map: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    map.get(std::str::from_utf8(name).ok()?).map(|value| value.as_bytes())
}

fn join<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for value in values {
        if found {
            out.push(b',');
        }
        out.extend_from_slice(value);
        found = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use tidegate_abi::PairsReader;

    fn head() -> request::Parts {
        let request = Request::get("/a?b=1").header("host", "h").header("x-a", "1").header("x-a", "2");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn pseudo_fields_stand_before_the_map_and_host_is_one_of_them() {
        let head = head();
        let fields = Fields::Request(&head, "https");
        let mut encoded = Vec::new();
        fields.encode(&mut encoded);
        let read: Vec<_> = PairsReader::check(&encoded).unwrap().collect();
        let want: [(&[u8], &[u8]); 6] = [
            (b":authority", b"h"),
            (b":path", b"/a?b=1"),
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b"x-a", b"1"),
            (b"x-a", b"2"),
        ];
        assert_eq!((read.as_slice(), fields.len()), (&want[..], 6));
    }

    #[test]
    fn values_are_found_by_name_without_case() {
        let head = head();
        let fields = Fields::Request(&head, "http");
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (b":path", Some(b"/a?b=1")),
            (b":authority", Some(b"h")),
            (b"host", Some(b"h")),
            (b"X-A", Some(b"1")),
            (b"x-b", None),
            (b"\xff", None),
        ];
        for (name, value) in cases {
            assert_eq!(fields.value(name), value, "{name:?}");
        }
        let mut joined = Vec::new();
        assert!(fields.joined(b"x-a", &mut joined) && !fields.joined(b"x-b", &mut joined));
        assert_eq!(joined, b"1,2");
    }

    #[test]
    fn a_response_has_its_status() {
        let head = Response::builder().status(204).body(()).unwrap().into_parts().0;
        let mut kept = Kept::default();
        keep_response(&head, &mut kept);
        for fields in [Fields::Response(&head), Fields::Kept(&kept)] {
            assert_eq!((fields.value(b":status"), fields.len()), (Some(&b"204"[..]), 1));
        }
        assert_eq!(Fields::Empty.value(b":status"), None);
    }
}
