//! The form of a guest's own answers: what clients of plain HTTP and of gRPC expect beside what the guest wrote.

use http::{HeaderName, HeaderValue, StatusCode, header};

type Headers = Vec<(HeaderName, HeaderValue)>;

/// A text, where the guest has not said what the body is.
pub(super) fn with_type(body: &[u8], headers: &mut Headers) {
    if !body.is_empty() && headers.iter().all(|(name, _)| *name != header::CONTENT_TYPE) {
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("text/plain")));
    }
}

/// An answer of gRPC without messages: 200, with the status and the text as fields.
pub(super) fn for_grpc(status: StatusCode, grpc: Option<u32>, text: &[u8], headers: &mut Headers) {
    let own = |name: &HeaderName| *name == header::CONTENT_TYPE || *name == STATUS || *name == MESSAGE;
    headers.retain(|(name, _)| !own(name));
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
    headers.push((STATUS, grpc.unwrap_or_else(|| grpc_status(status)).into()));
    if !text.is_empty()
        && let Ok(text) = HeaderValue::from_bytes(&percent_encoded(text))
    {
        headers.push((MESSAGE, text));
    }
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status of gRPC that comes closest (gRPC: HTTP to gRPC Status Code Mapping).
fn grpc_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Everything but printable ASCII, and `%` itself, as gRPC over HTTP/2 wants it.
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(headers: &Headers) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_grpc_client_gets_a_status_of_its_own_kind() {
        for (status, grpc, want) in [(403, None, 7), (403, Some(3), 3), (418, None, 2), (503, None, 14)] {
            let mut headers = vec![
                (header::CONTENT_TYPE, HeaderValue::from_static("text/html")),
                (HeaderName::from_static("x-why"), HeaderValue::from_static("a")),
            ];
            for_grpc(StatusCode::from_u16(status).unwrap(), grpc, "no \u{e9}%\n".as_bytes(), &mut headers);
            let want = [
                "x-why: a".to_owned(),
                "content-type: application/grpc".to_owned(),
                format!("grpc-status: {want}"),
                "grpc-message: no %C3%A9%25%0A".to_owned(),
            ];
            assert_eq!(texts(&headers), want);
        }
    }

    #[test]
    fn a_body_without_a_type_is_a_text() {
        let mut headers = Vec::new();
        with_type(b"", &mut headers);
        assert!(headers.is_empty());
        with_type(b"a", &mut headers);
        assert_eq!(texts(&headers), ["content-type: text/plain"]);
        let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("text/css"))];
        with_type(b"a", &mut headers);
        assert_eq!(texts(&headers), ["content-type: text/css"]);
    }
}
