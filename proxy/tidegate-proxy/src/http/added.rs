//! The gateway's own fields, for a request that nobody looks at before it is sent: kept beside its head and written with
//! it, which is far cheaper than four insertions into the map.

use http::{HeaderMap, HeaderValue};
use tidegate_wasm::Pending;

use super::headers::{self, Claims, Client, RequestIds};

/// `x-forwarded-for`, `-proto`, `-host` and `x-request-id` of one request.
pub(crate) struct Added {
    client: Client,
    id: [u8; 32],
}

impl Added {
    /// For a request that came without fields of that kind.
    pub(crate) fn new(client: &Client, ids: &RequestIds) -> Self {
        Self { client: client.clone(), id: ids.digits() }
    }

    /// The request's number.
    pub(crate) fn request_id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The same for a guest, which gets them only if it looks.
    pub(crate) fn pending(&self) -> Pending {
        Pending { by: self.client.writer(), request_id: self.id, fields: FIELDS }
    }

    /// Appends the fields as HTTP/1.1 has them. `host`: what the request asks for.
    pub(crate) fn write(&self, out: &mut Vec<u8>, host: &[u8]) {
        for part in [
            &b"x-forwarded-for: "[..],
            self.client.address(),
            b"\r\nx-forwarded-proto: ",
            self.client.scheme(),
            b"\r\nx-forwarded-host: ",
            host,
            b"\r\nx-request-id: ",
            &self.id,
            b"\r\n",
        ] {
            out.extend_from_slice(part);
        }
    }

    /// Puts the fields into a map, where another version needs them.
    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        headers::forwarded(headers, &self.client, Claims::None);
        if let Ok(id) = HeaderValue::from_bytes(&self.id) {
            headers.insert(headers::REQUEST_ID, id);
        }
    }
}

/// How many fields they are, for a request with a host.
const FIELDS: usize = 4;

/// Whether a name is one of those that the gateway may add.
pub(crate) fn is_added(name: impl AsRef<[u8]>) -> bool {
    let name = name.as_ref();
    let start = name.get(..b"x-forwarded-".len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
        || name.eq_ignore_ascii_case(b"x-request-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways say the same.
    #[test]
    fn written_and_inserted_fields_are_the_same() {
        let client = Client::new([192, 0, 2, 1].into(), true);
        let added = Added::new(&client, &RequestIds::new(7));
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a.test:81"));
        added.insert(&mut headers);
        let mut out = Vec::new();
        added.write(&mut out, b"a.test:81");
        let lines = String::from_utf8(out).expect("ASCII");
        let mut seen = 0;
        for line in lines.split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").expect("a field");
            assert!(is_added(name), "{name}");
            assert_eq!(headers.get(name).and_then(|value| value.to_str().ok()), Some(value), "{name}");
            seen += 1;
        }
        assert_eq!((seen, headers.len()), (4, 5));
    }
}
