//! The messages of `envoy.service.auth.v3.Authorization/Check`: what is asked, and what is answered.

use std::time::Duration;

use tidegate_sdk::Fields;

use super::metadata;
use super::protobuf::{Malformed, Value, Writer, read};

/// What the server is told of a request: `CheckRequest.attributes`.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) source: Peer,
    pub(super) destination: Peer,
    pub(super) time: Duration,
    pub(super) id: Option<String>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) scheme: &'a str,
    pub(super) protocol: Option<String>,
    /// Those that may be shown.
    pub(super) headers: Fields,
    /// Bytes of the whole body, where they are known.
    pub(super) size: Option<u64>,
    pub(super) body: Option<&'a [u8]>,
    /// Bytes go as they are, and not as text.
    pub(super) raw_body: bool,
    pub(super) extensions: &'a [(String, String)],
    pub(super) server_name: Option<String>,
}

/// An end of the connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    /// Who it is by its certificate.
    pub(super) principal: Option<String>,
}

impl Asked<'_> {
    /// The bytes of the `CheckRequest`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut attributes = Writer::new()
            .message(1, self.source.encode())
            .message(2, self.destination.encode())
            .message(4, self.request());
        for (key, value) in self.extensions {
            attributes = attributes.entry(10, key.as_bytes(), value.as_bytes());
        }
        attributes = attributes.message(11, Writer::new());
        if self.server_name.is_some() {
            attributes = attributes.message(12, Writer::new().text(1, self.server_name.as_deref()));
        }
        Writer::new().message(1, attributes).finish()
    }

    fn request(&self) -> Writer {
        let time = Writer::new().number(1, self.time.as_secs()).number(2, self.time.subsec_nanos().into());
        Writer::new().message(1, time).message(2, self.http())
    }

    fn http(&self) -> Writer {
        let mut http = Writer::new().text(1, self.id.as_deref()).bytes(2, self.method.as_bytes());
        for (name, value) in joined(&self.headers) {
            // A proto3 text must be UTF-8.
            http = http.entry(3, name.as_bytes(), String::from_utf8_lossy(&value).as_bytes());
        }
        // Envoy does not know the length of some bodies and says -1 then.
        let size = self.size.unwrap_or(u64::MAX);
        http = http
            .bytes(4, self.path.as_bytes())
            .bytes(5, self.host.as_bytes())
            .bytes(6, self.scheme.as_bytes())
            .number(9, size)
            .text(10, self.protocol.as_deref());
        match self.body {
            Some(body) if self.raw_body => http.bytes(12, body),
            Some(body) => http.bytes(11, String::from_utf8_lossy(body).as_bytes()),
            None => http,
        }
    }
}

impl Peer {
    fn encode(&self) -> Writer {
        let mut peer = Writer::new();
        if let Some(address) = &self.address {
            let socket =
                Writer::new().bytes(2, address.as_bytes()).number(3, self.port.unwrap_or_default().into());
            peer = peer.message(1, Writer::new().message(1, socket));
        }
        peer.text(4, self.principal.as_deref())
    }
}

/// A map has one value for a name, so repeated headers are joined by commas (RFC 9110, section 5.3).
fn joined(headers: &Fields) -> Vec<(String, Vec<u8>)> {
    let mut joined: Vec<(String, Vec<u8>)> = Vec::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        match joined.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => {
                values.extend_from_slice(if name.eq_ignore_ascii_case("cookie") { b"; " } else { b"," });
                values.extend_from_slice(value);
            }
            None => joined.push((name.to_ascii_lowercase(), value.to_vec())),
        }
    }
    joined
}

/// What the server has decided: `CheckResponse`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// A status of gRPC; 0 lets the request pass.
    pub(super) code: u32,
    pub(super) ok: Passed,
    pub(super) denied: Denied,
    /// `dynamic_metadata`.
    pub(super) metadata: Option<serde_json::Value>,
}

/// `OkHttpResponse`: what changes in a request that passes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) headers: Vec<Change>,
    pub(super) remove: Vec<String>,
    pub(super) response_headers: Vec<Change>,
    pub(super) set_query: Vec<(String, String)>,
    pub(super) remove_query: Vec<String>,
}

/// `DeniedHttpResponse`: what the client is answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Denied {
    /// Its status; 0 where the server does not say.
    pub(super) status: u32,
    pub(super) headers: Vec<Change>,
    pub(super) body: Vec<u8>,
}

/// A header and how it is written: `HeaderValueOption`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
    pub(super) how: How,
}

/// What becomes of a value that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It is replaced.
    Set,
    /// Both stay.
    Append,
    /// It stays as it is.
    IfAbsent,
    /// It is replaced; where there is none, nothing is written.
    IfPresent,
}

impl Answered {
    /// Reads a `CheckResponse`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut answered = Answered::default();
        read(bytes, |field, value| {
            match field {
                1 => read(value.bytes(), |field, value| {
                    if field == 1 {
                        answered.code = value.number();
                    }
                    Ok(())
                })?,
                2 => answered.denied = Denied::decode(value.bytes())?,
                3 => answered.ok = Passed::decode(value.bytes())?,
                4 => answered.metadata = Some(metadata::object(value.bytes(), 0)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(answered)
    }
}

impl Passed {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut passed = Passed::default();
        read(bytes, |field, value| {
            match field {
                2 => passed.headers.push(Change::decode(value.bytes())?),
                5 => passed.remove.push(value.text()?.to_owned()),
                6 => passed.response_headers.push(Change::decode(value.bytes())?),
                7 => passed.set_query.push(parameter(value)?),
                8 => passed.remove_query.push(value.text()?.to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(passed)
    }
}

impl Denied {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut denied = Denied::default();
        read(bytes, |field, value| {
            match field {
                1 => read(value.bytes(), |field, value| {
                    if field == 1 {
                        denied.status = value.number();
                    }
                    Ok(())
                })?,
                2 => denied.headers.push(Change::decode(value.bytes())?),
                3 => denied.body = value.bytes().to_vec(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(denied)
    }
}

impl Change {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (mut name, mut text, mut raw) = (String::new(), Vec::new(), Vec::new());
        let (mut append, mut action) = (None, 0);
        read(bytes, |field, value| {
            match field {
                1 => read(value.bytes(), |field, value| {
                    match field {
                        1 => name = value.text()?.to_ascii_lowercase(),
                        2 => text = value.bytes().to_vec(),
                        3 => raw = value.bytes().to_vec(),
                        _ => {}
                    }
                    Ok(())
                })?,
                2 => append = Some(value.wrapped_flag()?),
                3 => action = value.number(),
                _ => {}
            }
            Ok(())
        })?;
        let how = match (append, action) {
            (Some(true), _) => How::Append,
            // In this protocol neither of both means that the value is replaced.
            (Some(false), _) | (None, 0 | 2) => How::Set,
            (None, 1) => How::IfAbsent,
            (None, 3) => How::IfPresent,
            (None, _) => return Err(Malformed("an append action is none that is known")),
        };
        Ok(Change { name, value: if raw.is_empty() { text } else { raw }, how })
    }
}

/// `QueryParameter`.
fn parameter(value: Value<'_>) -> Result<(String, String), Malformed> {
    let (mut key, mut text) = (String::new(), String::new());
    read(value.bytes(), |field, value| {
        match field {
            1 => key = value.text()?.to_owned(),
            2 => text = value.text()?.to_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, text))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn option(name: &str, value: &str) -> Writer {
        Writer::new().message(1, Writer::new().bytes(1, name.as_bytes()).bytes(2, value.as_bytes()))
    }

    fn flag(set: bool) -> Writer {
        Writer::new().number(1, set.into())
    }

    #[test]
    fn a_denial_is_read() {
        let denied = Writer::new()
            .message(1, Writer::new().number(1, 401))
            .message(2, option("WWW-Authenticate", "Basic"))
            .bytes(3, b"who are you?");
        let bytes = Writer::new().message(1, Writer::new().number(1, 16)).message(2, denied).finish();
        let answered = Answered::decode(&bytes).expect("well formed");
        assert_eq!((answered.code, answered.denied.status), (16, 401));
        assert_eq!(answered.denied.body, b"who are you?");
        let expected = Change { name: "www-authenticate".into(), value: b"Basic".to_vec(), how: How::Set };
        assert_eq!(answered.denied.headers, [expected]);
    }

    #[test]
    fn a_consent_is_read_with_how_each_header_is_written() {
        let ok = Writer::new()
            .message(2, option("x-a", "set"))
            .message(2, option("x-b", "append").message(2, flag(true)))
            .message(2, option("x-c", "set").message(2, flag(false)))
            .message(2, option("x-d", "absent").number(3, 1))
            .message(2, option("x-e", "present").number(3, 3))
            .bytes(5, b"x-gone")
            .message(6, option("x-out", "1"))
            .message(7, Writer::new().bytes(1, b"q").bytes(2, b"1"))
            .bytes(8, b"r");
        let answered = Answered::decode(&Writer::new().message(3, ok).finish()).expect("well formed");
        let hows: Vec<How> = answered.ok.headers.iter().map(|change| change.how).collect();
        assert_eq!(hows, [How::Set, How::Append, How::Set, How::IfAbsent, How::IfPresent]);
        assert_eq!((answered.code, answered.ok.remove.as_slice()), (0, &["x-gone".to_owned()][..]));
        assert_eq!(answered.ok.response_headers.len(), 1);
        assert_eq!(answered.ok.set_query, [("q".to_owned(), "1".to_owned())]);
        assert_eq!(answered.ok.remove_query, ["r"]);
        assert_eq!(Answered::decode(b""), Ok(Answered::default()));
    }

    #[test]
    fn an_answer_that_is_no_message_is_an_error() {
        for bytes in [&b"\x12\x07x"[..], b"\x1a\x02\x12\x05", b"\x1a\x04\x2a\x02\xff\xfe"] {
            assert!(Answered::decode(bytes).is_err(), "{bytes:?}");
        }
        let odd = Writer::new().message(3, Writer::new().message(2, option("x-a", "1").number(3, 9)));
        assert!(Answered::decode(&odd.finish()).is_err());
    }

    #[test]
    fn repeated_headers_are_one_entry() {
        let headers = Fields::from_iter([("X-A", "1"), ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2")]);
        let joined = joined(&headers);
        assert_eq!(
            joined,
            [("x-a".to_owned(), b"1,2".to_vec()), ("cookie".to_owned(), b"a=1; b=2".to_vec())]
        );
    }

    #[test]
    fn a_request_has_its_attributes_in_their_places() {
        let headers = Fields::from_iter([("x-a", "1")]);
        let asked = Asked {
            source: Peer {
                address: Some("192.0.2.1".into()),
                port: Some(9),
                principal: Some("spiffe://a".into()),
            },
            method: "GET",
            path: "/x?y",
            host: "h",
            scheme: "https",
            headers,
            body: Some(b"hi"),
            size: Some(2),
            ..Asked::default()
        };
        let expected = Writer::new()
            .message(
                1,
                Writer::new()
                    .message(
                        1,
                        Writer::new()
                            .message(
                                1,
                                Writer::new().message(1, Writer::new().bytes(2, b"192.0.2.1").number(3, 9)),
                            )
                            .bytes(4, b"spiffe://a"),
                    )
                    .message(2, Writer::new())
                    .message(
                        4,
                        Writer::new().message(1, Writer::new()).message(
                            2,
                            Writer::new()
                                .bytes(2, b"GET")
                                .entry(3, b"x-a", b"1")
                                .bytes(4, b"/x?y")
                                .bytes(5, b"h")
                                .bytes(6, b"https")
                                .number(9, 2)
                                .bytes(11, b"hi"),
                        ),
                    )
                    .message(11, Writer::new()),
            )
            .finish();
        assert_eq!(asked.encode(), expected);
    }
}
