//! The request that is measured, event by event.

use std::fmt;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, request, response};
use tidegate_wasm::{Instance, Now, StreamInfo};

use super::walk::{Call, Walk};

/// The events, in order.
pub(super) const NAMES: [&str; 7] = [
    "request headers",
    "request body",
    "answer to a call",
    "result of the host",
    "response headers",
    "response body",
    "log, done",
];

/// A request and its response.
pub(super) struct Exchange {
    request: request::Parts,
    response: response::Parts,
    body: Bytes,
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fields, answer) = (self.request.headers.len(), self.response.headers.len());
        let (method, path, body) = (&self.request.method, &self.request.uri, self.body.len());
        write!(f, "{method} {path} with {fields} fields, {answer} in the response, bodies of {body} bytes")
    }
}

impl Exchange {
    /// A request as browsers send it, with these further fields.
    pub(super) fn new(path: &str, further: &[String], body: usize) -> Result<Self> {
        // What does not begin so is read as a host by some.
        if !path.starts_with('/') {
            bail!("{path:?} is no path, as /orders is: it does not begin with a slash");
        }
        let request = Request::builder().method("POST").uri(path).body(());
        let (mut request, ()) =
            request.with_context(|| format!("{path:?} is no path, as /orders is"))?.into_parts();
        request.headers = fields(&REQUEST)?;
        request.headers.insert("content-length", body.into());
        for written in further {
            let Some((name, value)) = written.split_once(':') else {
                bail!("{written:?} is not a header, as 'x-env: staging' is");
            };
            let wrong = || format!("{written:?} is not a header, as 'x-env: staging' is");
            let name = HeaderName::from_bytes(name.trim().as_bytes()).with_context(wrong)?;
            request.headers.append(name, HeaderValue::from_str(value.trim()).with_context(wrong)?);
        }
        let (mut response, ()) = Response::new(()).into_parts();
        response.headers = fields(&RESPONSE)?;
        response.headers.insert("content-length", body.into());
        Ok(Self { request, response, body: vec![b'x'; body].into() })
    }

    /// Runs it once; `measure` is given each call with the number of its event.
    pub(super) fn run(
        &self,
        instance: &mut Instance,
        now: Now,
        measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
    ) -> Result<()> {
        let address = ([127, 0, 0, 1], 8080).into();
        let id = instance.open_stream(StreamInfo::new(address, address, Version::HTTP_11), now);
        let mut walk = Walk::new(id, now, 2);
        let head = self.request.clone();
        walk.step(instance, 0, measure, |instance| {
            instance.on_request_headers(id, head, false, now).map(drop)
        })?;
        if walk.reply.is_none() {
            let body = self.body.clone();
            walk.step(instance, 1, measure, |instance| {
                instance.on_request_body(id, body, true, now).map(drop)
            })?;
        }
        instance.take_request_head(id);
        instance.take_request_body(id);
        let mut answer = self.response.clone();
        if let Some(status) = walk.reply {
            answer.status = status;
        }
        walk.step(instance, 4, measure, |instance| {
            instance.on_response_headers(id, answer, false, now).map(drop)
        })?;
        let body = self.body.clone();
        walk.step(instance, 5, measure, |instance| instance.on_response_body(id, body, true, now).map(drop))?;
        instance.take_response_head(id);
        instance.take_response_body(id);
        walk.step(instance, 6, measure, |instance| {
            instance.close_stream(id, now);
            Ok(())
        })
    }
}

fn fields(list: &[(&'static str, &'static str)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(list.len() + 4);
    for (name, value) in list {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_static(value));
    }
    Ok(map)
}

const REQUEST: [(&str, &str); 12] = [
    ("host", "shop.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br"),
    ("referer", "https://shop.example.com/cart"),
    ("content-type", "application/json"),
    ("cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"),
    ("x-forwarded-for", "192.0.2.17"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ("cache-control", "no-cache"),
];

const RESPONSE: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("date", "Tue, 15 Nov 2033 08:12:31 GMT"),
    ("server", "app"),
    ("cache-control", "no-store"),
    ("vary", "accept-encoding"),
];
