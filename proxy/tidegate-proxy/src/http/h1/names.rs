//! Names of fields, of which most are a few dozen: those are told by a comparison, without a copy in lower case.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH,
    CONTENT_TYPE, COOKIE, DATE, ETAG, HOST, HeaderName, LAST_MODIFIED, LOCATION, REFERER, SERVER, SET_COOKIE,
    TRANSFER_ENCODING, USER_AGENT, VARY,
};

/// The name, if it is one.
pub(super) fn name(bytes: &[u8]) -> Option<HeaderName> {
    Some(match bytes {
        b"host" | b"Host" => HOST,
        b"date" | b"Date" => DATE,
        b"etag" | b"ETag" => ETAG,
        b"vary" | b"Vary" => VARY,
        b"accept" | b"Accept" => ACCEPT,
        b"cookie" | b"Cookie" => COOKIE,
        b"server" | b"Server" => SERVER,
        b"referer" | b"Referer" => REFERER,
        b"location" | b"Location" => LOCATION,
        b"connection" | b"Connection" => CONNECTION,
        b"set-cookie" | b"Set-Cookie" => SET_COOKIE,
        b"user-agent" | b"User-Agent" => USER_AGENT,
        b"content-type" | b"Content-Type" => CONTENT_TYPE,
        b"authorization" | b"Authorization" => AUTHORIZATION,
        b"cache-control" | b"Cache-Control" => CACHE_CONTROL,
        b"last-modified" | b"Last-Modified" => LAST_MODIFIED,
        b"content-length" | b"Content-Length" => CONTENT_LENGTH,
        b"accept-encoding" | b"Accept-Encoding" => ACCEPT_ENCODING,
        b"accept-language" | b"Accept-Language" => ACCEPT_LANGUAGE,
        b"transfer-encoding" | b"Transfer-Encoding" => TRANSFER_ENCODING,
        other => return HeaderName::from_bytes(other).ok(),
    })
}
