//! The request that is measured, event by event.

use std::fmt;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, request, response};
use tidegate_wasm::{CallResponse, Effect, Instance, StreamId, StreamInfo, Trap};

use super::now;

/// The events, in order.
pub(super) const NAMES: [&str; 6] =
    ["request headers", "request body", "answer to a call", "response headers", "response body", "log, done"];

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

/// Takes one call into the guest, and the number of its event.
type Call<'a> = &'a mut dyn FnMut(&mut Instance);

impl Exchange {
    /// A request as browsers send it, with these further fields.
    pub(super) fn new(path: &str, further: &[String], body: usize) -> Result<Self> {
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
        mut measure: impl FnMut(usize, &mut Instance, Call<'_>),
    ) -> Result<()> {
        let address = ([127, 0, 0, 1], 8080).into();
        let id = instance.open_stream(StreamInfo::new(address, address, Version::HTTP_11), now());
        let mut walk = Walk { id, reply: None, calls: Vec::new(), waits: Vec::new() };
        let mut head = Some(self.request.clone());
        walk.step(
            instance,
            |instance, id| {
                let head = head.take().unwrap_or_else(|| self.request.clone());
                instance.on_request_headers(id, head, false, now()).map(drop)
            },
            0,
            &mut measure,
        )?;
        if walk.reply.is_none() {
            walk.step(
                instance,
                |instance, id| instance.on_request_body(id, self.body.clone(), true, now()).map(drop),
                1,
                &mut measure,
            )?;
        }
        instance.take_request_head(id);
        instance.take_request_body(id);
        let mut answer = self.response.clone();
        if let Some(status) = walk.reply {
            answer.status = status;
        }
        let mut answer = Some(answer);
        walk.step(
            instance,
            |instance, id| {
                let head = answer.take().unwrap_or_else(|| self.response.clone());
                instance.on_response_headers(id, head, false, now()).map(drop)
            },
            3,
            &mut measure,
        )?;
        walk.step(
            instance,
            |instance, id| instance.on_response_body(id, self.body.clone(), true, now()).map(drop),
            4,
            &mut measure,
        )?;
        instance.take_response_head(id);
        instance.take_response_body(id);
        walk.step(
            instance,
            |instance, id| {
                instance.close_stream(id, now());
                Ok(())
            },
            5,
            &mut measure,
        )
    }
}

/// One request on its way.
struct Walk {
    id: StreamId,
    reply: Option<StatusCode>,
    /// Calls without an answer.
    calls: Vec<u32>,
    /// Foreign calls without a result.
    waits: Vec<u32>,
}

impl Walk {
    /// One event, and the answers to the calls that the guest makes in it.
    fn step(
        &mut self,
        instance: &mut Instance,
        event: impl FnOnce(&mut Instance, StreamId) -> Result<(), Trap>,
        number: usize,
        measure: &mut impl FnMut(usize, &mut Instance, Call<'_>),
    ) -> Result<()> {
        let (id, mut event, mut came) = (self.id, Some(event), Ok(()));
        measure(number, instance, &mut |instance| {
            if let Some(event) = event.take() {
                came = event(instance, id);
            }
        });
        came.map_err(|trap| anyhow!("it breaks off: {trap}"))?;
        self.poll(instance);
        while let Some(token) = self.calls.pop() {
            let mut came = Ok(());
            let mut response = Some(answer());
            measure(ANSWER, instance, &mut |instance| {
                came = instance.on_http_call_response(token, response.take(), now());
            });
            came.map_err(|trap| anyhow!("it breaks off: {trap}"))?;
            self.poll(instance);
        }
        // Time does not pass here.
        while let Some(token) = self.waits.pop() {
            let told = instance.on_foreign_result(token, Ok(Bytes::new()), now());
            told.map_err(|trap| anyhow!("it breaks off: {trap}"))?;
            self.poll(instance);
        }
        Ok(())
    }

    fn poll(&mut self, instance: &mut Instance) {
        while let Some(effect) = instance.poll_effect() {
            match effect {
                Effect::LocalReply { status, .. } => self.reply = self.reply.or(Some(status)),
                Effect::HttpCall { token, .. } => self.calls.push(token),
                Effect::Foreign { token, .. } => self.waits.push(token),
                _ => {}
            }
        }
    }
}

/// What each call is answered.
fn answer() -> CallResponse {
    let (head, ()) = Response::new(()).into_parts();
    CallResponse { head, body: Bytes::from_static(b"ok"), trailers: HeaderMap::new() }
}

fn fields(list: &[(&'static str, &'static str)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(list.len() + 4);
    for (name, value) in list {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_static(value));
    }
    Ok(map)
}

/// The number of answers to calls.
const ANSWER: usize = 2;

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
