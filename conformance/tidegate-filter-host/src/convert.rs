//! Fields of the tests to heads of the host, and back.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, request, response};
use tidegate_sdk::Fields;

pub(crate) fn request_head(fields: &Fields) -> Result<request::Parts, String> {
    let text = |name: &str| fields.get_str(name).unwrap_or_default();
    let method = Method::from_bytes(text(":method").as_bytes()).map_err(|error| error.to_string())?;
    let uri: Uri = text(":path").parse().map_err(|error| format!("{}: {error}", text(":path")))?;
    let (mut parts, ()) = http::Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (method, uri, map(fields)?);
    let host = HeaderValue::from_str(text(":authority")).map_err(|error| error.to_string())?;
    parts.headers.insert(http::header::HOST, host);
    Ok(parts)
}

pub(crate) fn response_head(fields: &Fields) -> Result<response::Parts, String> {
    let status = fields.get(":status").and_then(|status| status.parse()).unwrap_or(0);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status).map_err(|error| format!("{status}: {error}"))?;
    parts.headers = map(fields)?;
    Ok(parts)
}

pub(crate) fn map(fields: &Fields) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name}: {error}"))?;
        let value = HeaderValue::from_bytes(value).map_err(|error| format!("{name}: {error}"))?;
        map.append(name, value);
    }
    Ok(map)
}

pub(crate) fn of_request(head: &request::Parts) -> Fields {
    let host = head.headers.get(http::header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut fields = Fields::new();
    fields.add(":method", head.method.as_str());
    fields.add(":path", path);
    fields.add(":authority", host);
    fields.add(":scheme", "http");
    rest(&head.headers, &mut fields);
    fields
}

pub(crate) fn of_response(head: &response::Parts) -> Fields {
    let mut fields = Fields::new();
    fields.add(":status", head.status.as_str());
    rest(&head.headers, &mut fields);
    fields
}

pub(crate) fn of_map(map: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    rest(map, &mut fields);
    fields
}

fn rest(map: &HeaderMap, fields: &mut Fields) {
    for (name, value) in map.iter().filter(|(name, _)| **name != http::header::HOST) {
        fields.add(name.as_str(), value.as_bytes());
    }
}
