//! Conversions from and to the types of the `http` crate, with the feature `http`.

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::http::{Answer, Call};
use crate::{Error, Fields, Reply};

/// ```
/// let request = ::http::Request::post("/check").header("x-a", "b").body("hello").unwrap();
/// let call = tidegate_sdk::http::Call::from(request).to("auth");
/// ```
impl<B: Into<Vec<u8>>> From<Request<B>> for Call {
    fn from(request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut call = Call::new(head.method.as_str(), path).body(body);
        if let Some(authority) = head.uri.authority() {
            call = call.authority(authority.as_str());
        }
        call.headers(&Fields::from(&head.headers))
    }
}

/// ```
/// let response = ::http::Response::builder().status(404).header("x-a", "b").body("not here").unwrap();
/// assert_eq!(tidegate_sdk::Reply::from(response).status(), 404);
/// ```
impl<B: Into<Vec<u8>>> From<Response<B>> for Reply {
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        let mut reply = Reply::new(head.status.as_u16()).body(body);
        reply.headers = Fields::from(&head.headers);
        reply
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }
}

/// Without pseudo-headers; the first name or value that is none of HTTP's is the error.
impl TryFrom<&Fields> for HeaderMap {
    type Error = Error;

    fn try_from(fields: &Fields) -> Result<Self, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
            let bad = |problem| Error::BadHeader { name: name.to_owned(), problem };
            let key =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("the name is not a header name"))?;
            let value = HeaderValue::from_bytes(value).map_err(|_| bad("the value is not a header's"))?;
            map.append(key, value);
        }
        Ok(map)
    }
}

impl TryFrom<Answer> for Response<Vec<u8>> {
    type Error = Error;

    fn try_from(answer: Answer) -> Result<Self, Error> {
        let status = StatusCode::from_u16(answer.status())
            .map_err(|_| Error::BadHeader { name: ":status".to_owned(), problem: "it is no status" })?;
        let headers = HeaderMap::try_from(answer.headers())?;
        let mut response = Response::new(answer.into_body());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_a_map_and_back() {
        let fields = Fields::from_iter([(":status", "200"), ("x-a", "1"), ("X-A", "2")]);
        let map = HeaderMap::try_from(&fields).expect("headers");
        assert_eq!(map.get_all("x-a").iter().count(), 2);
        assert_eq!(Fields::from(&map).get_all("x-a").count(), 2);
        assert!(HeaderMap::try_from(&Fields::from_iter([("a b", "1")])).is_err());
    }
}
