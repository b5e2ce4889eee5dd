//! Header fields as guests write them. Every name and value is checked here, so that what goes on
//! is one well-formed message, whatever the guest does.
//!
//! Fields that frame a message belong to the gateway. A guest that writes `content-length` has it
//! removed, for the gateway to count what is really sent; writes to the others are without effect.

use crate::limits::{FIELDS, VALUE_BYTES};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request, response,
    uri::{Authority, PathAndQuery},
};
use tidegate_abi::{PairsReader, Status};

/// A map that can be written.
pub(crate) enum Target<'a> {
    Request(&'a mut request::Parts, &'a mut Option<&'static str>),
    Response(&'a mut response::Parts),
    Trailers(&'a mut HeaderMap),
}

/// What to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Replace,
    Remove,
}

/// A name and value to be written, which are allowed.
enum Field {
    Pseudo(Pseudo),
    Plain(HeaderName, HeaderValue),
    Length(HeaderValue),
    /// Without effect.
    Framing,
}

enum Pseudo {
    Path(Uri),
    Method(Method),
    Authority(HeaderValue),
    Scheme(&'static str),
    Status(StatusCode),
}

impl Target<'_> {
    /// Adds, replaces or removes one field.
    pub(crate) fn write(&mut self, op: Op, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if op == Op::Remove {
            return self.remove(name);
        }
        match self.check(name, value)? {
            Field::Pseudo(pseudo) => self.set(pseudo),
            Field::Plain(name, value) => {
                let map = self.map();
                if map.len() >= FIELDS {
                    return Err(Status::BadArgument);
                }
                let done = match op {
                    Op::Add => map.try_append(name, value).map(drop),
                    _ => map.try_insert(name, value).map(drop),
                };
                done.map_err(|_| Status::BadArgument)?;
            }
            Field::Length(value) => {
                let map = self.map();
                if map.get(header::CONTENT_LENGTH) != Some(&value) {
                    map.remove(header::CONTENT_LENGTH);
                }
            }
            Field::Framing => {}
        }
        Ok(())
    }

    /// Replaces all fields. Pseudo fields that are missing stay as they are, since there is no
    /// message without them.
    pub(crate) fn write_all(&mut self, pairs: PairsReader<'_>) -> Result<(), Status> {
        let mut map = HeaderMap::with_capacity(pairs.len());
        let mut pseudo = Vec::new();
        let old = self.map().get(header::CONTENT_LENGTH).cloned();
        for (name, value) in pairs {
            match self.check(name, value)? {
                Field::Pseudo(field) => pseudo.push(field),
                Field::Plain(name, value) => {
                    map.try_append(name, value).map_err(|_| Status::BadArgument)?;
                }
                Field::Length(value) if old.as_ref() == Some(&value) => {
                    map.insert(header::CONTENT_LENGTH, value);
                }
                Field::Length(_) | Field::Framing => {}
            }
        }
        let before = self.map();
        for name in FRAMING.into_iter().chain([header::HOST]) {
            for value in before.get_all(&name) {
                map.try_append(name.clone(), value.clone()).map_err(|_| Status::BadArgument)?;
            }
        }
        *self.map() = map;
        pseudo.into_iter().for_each(|field| self.set(field));
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), Status> {
        if name.first() == Some(&b':') {
            return Err(Status::BadArgument);
        }
        let Ok(text) = std::str::from_utf8(name) else { return Ok(()) };
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else { return Ok(()) };
        let fixed = FRAMING.contains(&name) || name == header::HOST && matches!(self, Self::Request(..));
        if !fixed {
            self.map().remove(name);
        }
        Ok(())
    }

    /// Checks a field against the map that it is for.
    fn check(&self, name: &[u8], value: &[u8]) -> Result<Field, Status> {
        if value.len() > VALUE_BYTES {
            return Err(Status::BadArgument);
        }
        if let Some(pseudo) = self.pseudo(name, value) {
            return pseudo.map(Field::Pseudo);
        }
        let (name, value) = field(name, value)?;
        Ok(if name == header::CONTENT_LENGTH {
            Field::Length(value)
        } else if FRAMING.contains(&name) {
            Field::Framing
        } else {
            Field::Plain(name, value)
        })
    }

    /// None for names that are no pseudo fields; an error for those that this map has not.
    fn pseudo(&self, name: &[u8], value: &[u8]) -> Option<Result<Pseudo, Status>> {
        let request = matches!(self, Self::Request(..));
        let field = match name {
            b":path" if request => path(value).map(Pseudo::Path),
            b":method" if request => method(value).map(Pseudo::Method),
            b":authority" if request => authority(value).map(Pseudo::Authority),
            b":scheme" if request => scheme(value).map(Pseudo::Scheme),
            b":status" if matches!(self, Self::Response(_)) => status(value).map(Pseudo::Status),
            [b':', ..] => None,
            _ if request && name.eq_ignore_ascii_case(b"host") => authority(value).map(Pseudo::Authority),
            _ => return None,
        };
        Some(field.ok_or(Status::BadArgument))
    }

    fn set(&mut self, field: Pseudo) {
        match (self, field) {
            (Self::Request(head, _), Pseudo::Path(uri)) => head.uri = uri,
            (Self::Request(head, _), Pseudo::Method(method)) => head.method = method,
            (Self::Request(head, _), Pseudo::Authority(value)) => {
                head.headers.insert(header::HOST, value);
            }
            (Self::Request(_, old), Pseudo::Scheme(scheme)) => **old = Some(scheme),
            (Self::Response(head), Pseudo::Status(status)) => head.status = status,
            _ => {}
        }
    }

    fn map(&mut self) -> &mut HeaderMap {
        match self {
            Self::Request(head, _) => &mut head.headers,
            Self::Response(head) => &mut head.headers,
            Self::Trailers(map) => map,
        }
    }
}

/// A field for a message that is made anew; none for one that would frame it.
pub(crate) fn new_field(name: &[u8], value: &[u8]) -> Result<Option<(HeaderName, HeaderValue)>, Status> {
    if value.len() > VALUE_BYTES {
        return Err(Status::BadArgument);
    }
    let (name, value) = field(name, value)?;
    let framing = FRAMING.contains(&name) || name == header::CONTENT_LENGTH;
    Ok((!framing).then_some((name, value)))
}

/// A request head from a guest's list of fields, origin-form and with `host`.
pub(crate) fn new_request(pairs: PairsReader<'_>) -> Result<request::Parts, Status> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    let (mut has_path, mut has_method) = (false, false);
    let mut host = None;
    for (name, value) in pairs {
        match name {
            b":path" => {
                head.uri = path(value).ok_or(Status::BadArgument)?;
                has_path = true;
            }
            b":method" => {
                head.method = method(value).ok_or(Status::BadArgument)?;
                has_method = true;
            }
            // Nothing stands for the server's own address, which guests need not know.
            b":authority" if value.is_empty() => {
                head.headers.insert(header::HOST, HeaderValue::from_static(""));
            }
            b":authority" => {
                head.headers.insert(header::HOST, authority(value).ok_or(Status::BadArgument)?);
            }
            [b':', ..] => {}
            _ if name.eq_ignore_ascii_case(b"host") => host = host.or(Some(value)),
            _ => {
                if let Some((name, value)) = new_field(name, value)? {
                    head.headers.try_append(name, value).map_err(|_| Status::BadArgument)?;
                }
            }
        }
    }
    // Guests that were written for HTTP/1 say it so.
    if let Some(host) = host.filter(|_| !head.headers.contains_key(header::HOST)) {
        head.headers.insert(header::HOST, authority(host).ok_or(Status::BadArgument)?);
    }
    let complete = has_path && has_method && head.headers.contains_key(header::HOST);
    if complete { Ok(head) } else { Err(Status::BadArgument) }
}

/// The head of a gRPC call, origin-form and with `host`.
pub(crate) fn new_grpc_request(target: &[u8], host: &[u8]) -> Option<request::Parts> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = path(target)?;
    head.headers.insert(header::HOST, authority(host)?);
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Some(head)
}

/// Fields that only the gateway writes, besides `content-length`.
const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn field(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), Status> {
    let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
    Ok((name, value))
}

/// Origin form only. A fragment is refused: the parser would cut it off silently.
fn path(value: &[u8]) -> Option<Uri> {
    if value != b"*" && value.first() != Some(&b'/') || value.contains(&b'#') {
        return None;
    }
    Some(Uri::from(PathAndQuery::try_from(value).ok()?))
}

/// CONNECT would make the message another kind of thing.
fn method(value: &[u8]) -> Option<Method> {
    Method::from_bytes(value).ok().filter(|method| method != Method::CONNECT)
}

fn authority(value: &[u8]) -> Option<HeaderValue> {
    let authority = Authority::try_from(value).ok()?;
    if authority.as_str().contains('@') { None } else { HeaderValue::from_bytes(value).ok() }
}

fn scheme(value: &[u8]) -> Option<&'static str> {
    match value {
        b"http" => Some("http"),
        b"https" => Some("https"),
        _ => None,
    }
}

/// Final answers only: an interim one has no place here.
fn status(value: &[u8]) -> Option<StatusCode> {
    StatusCode::from_bytes(value).ok().filter(|status| status.as_u16() >= 200)
}

#[cfg(test)]
mod tests;
