//! Writes the head of a request straight from its parts: nothing is copied but the bytes.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http_body::Body as _;

use crate::http::added::Added;
use crate::http::body::Body;
use crate::http::h1::{Framing, field, number};

/// Appends the head to `out`, with the fields in `added`. The framing field is the codec's own: what the body knows of
/// itself counts more than what the head says.
pub(super) fn head(out: &mut Vec<u8>, head: &Parts, added: Option<&Added>, body: &Body) -> Framing {
    out.reserve(512 + 48 * head.headers.len());
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let (mut said, mut host) = (None, &b""[..]);
    for (name, value) in &head.headers {
        if *name == CONTENT_LENGTH {
            said = Some(value);
            continue;
        }
        if *name == TRANSFER_ENCODING {
            continue;
        }
        if *name == HOST {
            host = value.as_bytes();
        }
        field(out, name.as_str(), value.as_bytes());
    }
    if let Some(added) = added {
        added.write(out, host);
    }
    let framing = match (body.size_hint().exact(), said) {
        (Some(length), _) => Framing::Length(length),
        (None, Some(said)) => number(said.as_bytes()).map_or(Framing::Chunked, Framing::Length),
        (None, None) => Framing::Chunked,
    };
    match framing {
        // Most requests have neither a body nor a length.
        Framing::Length(0) if said.is_none() => {}
        Framing::Length(length) => {
            field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked | Framing::Close => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    framing
}
