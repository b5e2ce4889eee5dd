//! What happens to a guest: requests, connections, answers and ticks, in an order that a seed gives.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use tidegate_wasm::{CallResponse, Effect, Instance, Now, Peer, StreamId, StreamInfo};

use crate::lab::NOW;
use crate::random::Random;

/// One guest and what is open of it.
pub(crate) struct Drive<'a> {
    pub(crate) instance: &'a mut Instance,
    pub(crate) random: &'a mut Random,
    http: Vec<u32>,
    grpc: Vec<u32>,
    foreign: Vec<u32>,
    now: Now,
    /// What came out of the guest, to be looked through.
    pub(crate) seen: Vec<String>,
}

impl<'a> Drive<'a> {
    pub(crate) fn new(instance: &'a mut Instance, random: &'a mut Random) -> Self {
        Self {
            instance,
            random,
            http: Vec::new(),
            grpc: Vec::new(),
            foreign: Vec::new(),
            now: NOW,
            seen: Vec::new(),
        }
    }

    /// A few requests and connections with everything in between, then the end.
    pub(crate) fn all(&mut self) {
        self.drain();
        for _ in 0..2 + self.random.below(4) {
            self.one();
        }
        self.instance.shut_down(self.now);
        self.drain();
    }

    /// One request or connection, as an instance of its own has it.
    pub(crate) fn one(&mut self) {
        if self.random.once_in(4) { self.connection() } else { self.request() }
    }

    fn request(&mut self) {
        let now = self.now;
        let id = self.instance.open_stream(info(), now);
        let end = self.random.once_in(3);
        let head = Request::post("/a?b").header("host", "h").header("x-two", "1").header("x-two", "2");
        let (head, ()) = head.body(()).unwrap().into_parts();
        let _ = self.instance.on_request_headers(id, head, end, now);
        self.between();
        if !end {
            for last in [false, self.random.once_in(2)] {
                let chunk = self.chunk();
                let _ = self.instance.on_request_body(id, chunk, last, now);
                self.between();
            }
            let _ = self.instance.on_request_trailers(id, trailers(), now);
        }
        self.take_request(id);
        let (head, ()) = Response::builder().header("server", "s").body(()).unwrap().into_parts();
        let _ = self.instance.on_response_headers(id, head, false, now);
        self.between();
        for last in [false, self.random.once_in(2)] {
            let chunk = self.chunk();
            let _ = self.instance.on_response_body(id, chunk, last, now);
            self.between();
        }
        let _ = self.instance.on_response_trailers(id, trailers(), now);
        let head = self.instance.take_response_head(id);
        let body = self.instance.take_response_body(id);
        let trailers = self.instance.take_response_trailers(id);
        self.seen.push(format!("{head:?} {body:?} {trailers:?}"));
        self.between();
        self.instance.close_stream(id, now);
        self.drain();
    }

    fn take_request(&mut self, id: StreamId) {
        let head = self.instance.take_request_head(id);
        let body = self.instance.take_request_body(id);
        let trailers = self.instance.take_request_trailers(id);
        self.seen.push(format!("{head:?} {body:?} {trailers:?}"));
    }

    fn connection(&mut self) {
        let now = self.now;
        let id = self.instance.open_connection(info(), now);
        let _ = self.instance.on_new_connection(id, now);
        for _ in 0..self.random.below(3) {
            let (chunk, end) = (self.chunk(), self.random.once_in(3));
            let _ = self.instance.on_downstream_data(id, chunk, end, now);
            let (chunk, end) = (self.chunk(), self.random.once_in(3));
            let _ = self.instance.on_upstream_data(id, chunk, end, now);
            self.between();
        }
        self.take_request(id);
        let _ = self.instance.on_upstream_close(id, Peer::Remote, now);
        let _ = self.instance.on_downstream_close(id, Peer::Local, now);
        self.instance.close_stream(id, now);
        self.drain();
    }

    fn chunk(&mut self) -> Bytes {
        let len = self.random.pick(&[0, 1, 5, 4096]);
        Bytes::from(vec![b'b'; len])
    }

    /// What may come at any time.
    fn between(&mut self) {
        self.drain();
        let now = self.now;
        match self.random.below(6) {
            0 => {
                drop(self.instance.on_tick(now));
                let token = self.foreign.pop().unwrap_or(7);
                let result = Ok(Bytes::from_static(b"result"));
                drop(self.instance.on_foreign_result(token, result, now));
            }
            1 => drop(self.instance.on_queue_ready(self.random.below(3) as u32, now)),
            2 => {
                let token = self.http.pop().unwrap_or(4);
                let (head, ()) = Response::builder().header("x-a", "1").body(()).unwrap().into_parts();
                let answer = CallResponse { head, body: self.chunk(), trailers: trailers() };
                let answer = (!self.random.once_in(3)).then_some(answer);
                drop(self.instance.on_http_call_response(token, answer, now));
            }
            3 => self.grpc(),
            _ => {}
        }
        self.drain();
    }

    fn grpc(&mut self) {
        let now = self.now;
        let Some(token) = self.grpc.last().copied() else { return };
        let (head, ()) = Response::builder().header("m", "1").body(()).unwrap().into_parts();
        drop(self.instance.on_grpc_initial_metadata(token, head, now));
        let chunk = self.chunk();
        drop(self.instance.on_grpc_message(token, chunk, now));
        drop(self.instance.on_grpc_trailing_metadata(token, trailers(), now));
        if self.random.once_in(2) {
            self.grpc.pop();
            drop(self.instance.on_grpc_close(token, 3, "no", now));
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.instance.poll_effect() {
            match &effect {
                Effect::HttpCall { token, upstream, .. } => {
                    assert_eq!(upstream, "auth", "the plugin may call nothing else");
                    self.http.push(*token);
                }
                Effect::GrpcCall(call) => {
                    assert_eq!(call.upstream, "auth", "the plugin may call nothing else");
                    self.grpc.push(call.token);
                }
                Effect::Foreign { token, .. } => self.foreign.push(*token),
                _ => {}
            }
            self.seen.push(format!("{effect:?}"));
        }
    }
}

fn info() -> StreamInfo {
    StreamInfo::new(([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 2], 80).into(), Version::HTTP_11)
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("t"), HeaderValue::from_static("1"))])
}
