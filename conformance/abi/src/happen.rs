//! Lets one event happen to a guest, and takes what may go on afterwards.

use bytes::Bytes;
use http::HeaderMap;
use tidegate_wasm::{Instance, Peer, Side, Status, Step, StreamId, Trap};

use crate::case::Event;
use crate::events::{answer, bytes, fields, has, info, request_head, response_head};
use crate::run::{NOW, Run};
use crate::token::Token;

/// What came of an event.
pub(crate) enum Came {
    Nothing,
    Step(Result<Step, Trap>, Part),
    Trap(Trap),
    /// The guest did not start, or its module was refused.
    Refused(String),
}

/// What may go on after a step.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    RequestHead,
    RequestBody,
    RequestTrailers,
    ResponseHead,
    ResponseBody,
    ResponseTrailers,
    Data(Side),
    Nothing,
}

impl From<Result<(), Trap>> for Came {
    fn from(done: Result<(), Trap>) -> Self {
        done.err().map_or(Self::Nothing, Self::Trap)
    }
}

impl Run<'_> {
    pub(crate) fn happen(&mut self, event: &Event) -> Came {
        let rest = event.words.get(1..).unwrap_or_default();
        let Some(Token::Word(what)) = event.words.first() else { return Came::Nothing };
        if what == "start" {
            return self.start().err().map_or(Came::Nothing, Came::Refused);
        }
        let token = self.token;
        let Some(instance) = &mut self.instance else { return Came::Refused("no instance".to_owned()) };
        if let Some(came) = to_root(instance, what, rest, token) {
            return came;
        }
        if what == "connection" {
            let id = instance.open_connection(info(rest), NOW);
            self.stream = Some(id);
            return Came::Step(instance.on_new_connection(id, NOW), Part::Nothing);
        }
        if what == "open" || self.stream.is_none() {
            self.stream = Some(instance.open_stream(info(rest), NOW));
        }
        let Some(id) = self.stream else { return Came::Nothing };
        if what == "close" {
            instance.close_stream(id, NOW);
            self.stream = None;
            return Came::Nothing;
        }
        to_stream(instance, id, what, rest)
    }

    /// What goes on, as texts: the body, or the fields with all values of one joined.
    pub(crate) fn take(&mut self, part: Part) -> Vec<String> {
        let (Some(instance), Some(id)) = (&mut self.instance, self.stream) else { return Vec::new() };
        let body = |bytes: Bytes| vec![String::from_utf8_lossy(&bytes).into_owned()];
        let map = |map: Option<HeaderMap>| map.map_or(Vec::new(), |map| list(&map));
        match part {
            Part::Nothing => Vec::new(),
            Part::Data(side) => body(instance.take_data(id, side)),
            Part::RequestBody => body(instance.take_request_body(id)),
            Part::ResponseBody => body(instance.take_response_body(id)),
            Part::RequestTrailers => map(instance.take_request_trailers(id)),
            Part::ResponseTrailers => map(instance.take_response_trailers(id)),
            Part::RequestHead => instance.take_request_head(id).map_or(Vec::new(), |head| {
                let mut fields = list(&head.headers);
                fields.extend([format!(":path={}", head.uri), format!(":method={}", head.method)]);
                fields
            }),
            Part::ResponseHead => instance.take_response_head(id).map_or(Vec::new(), |head| {
                let mut fields = list(&head.headers);
                fields.push(format!(":status={}", head.status.as_u16()));
                fields
            }),
        }
    }
}

/// What happens to the plugin, not to one of its streams; none: something else.
fn to_root(instance: &mut Instance, what: &str, rest: &[Token], token: u32) -> Option<Came> {
    let number = match rest.first() {
        Some(Token::Number(number, _)) => u32::try_from(*number).unwrap_or_default(),
        _ => 0,
    };
    Some(match what {
        "tick" => instance.on_tick(NOW).into(),
        "queue" => instance.on_queue_ready(1, NOW).into(),
        "answer" => instance.on_http_call_response(token, answer(rest), NOW).into(),
        "foreign" if number > 0 => {
            let status = Status::from_number(number).unwrap_or(Status::InternalFailure);
            let message = String::from_utf8_lossy(&bytes(rest)).into_owned();
            instance.on_foreign_result(token, Err((status, message)), NOW).into()
        }
        "foreign" => instance.on_foreign_result(token, Ok(bytes(rest)), NOW).into(),
        "grpc_initial" => instance.on_grpc_initial_metadata(token, response_head(rest), NOW).into(),
        "grpc_message" => instance.on_grpc_message(token, bytes(rest), NOW).into(),
        "grpc_trailing" => instance.on_grpc_trailing_metadata(token, fields(rest), NOW).into(),
        "grpc_close" => {
            instance.on_grpc_close(token, number, &String::from_utf8_lossy(&bytes(rest)), NOW).into()
        }
        "delete" => {
            instance.delete(NOW);
            Came::Nothing
        }
        "shutdown" => {
            instance.shut_down(NOW);
            Came::Nothing
        }
        _ => return None,
    })
}

fn to_stream(instance: &mut Instance, id: StreamId, what: &str, rest: &[Token]) -> Came {
    let end = has(rest, "end");
    let held = |part| Came::Step(Ok(Step::Continue), part);
    match what {
        "request_headers" => {
            Came::Step(instance.on_request_headers(id, request_head(rest), end, NOW), Part::RequestHead)
        }
        "request_body" => Came::Step(instance.on_request_body(id, bytes(rest), end, NOW), Part::RequestBody),
        "request_trailers" => {
            Came::Step(instance.on_request_trailers(id, fields(rest), NOW), Part::RequestTrailers)
        }
        "response_headers" => {
            Came::Step(instance.on_response_headers(id, response_head(rest), end, NOW), Part::ResponseHead)
        }
        "response_body" => {
            Came::Step(instance.on_response_body(id, bytes(rest), end, NOW), Part::ResponseBody)
        }
        "response_trailers" => {
            Came::Step(instance.on_response_trailers(id, fields(rest), NOW), Part::ResponseTrailers)
        }
        "downstream_data" => {
            Came::Step(instance.on_downstream_data(id, bytes(rest), end, NOW), Part::Data(Side::Request))
        }
        "upstream_data" => {
            Came::Step(instance.on_upstream_data(id, bytes(rest), end, NOW), Part::Data(Side::Response))
        }
        "downstream_close" => instance.on_downstream_close(id, Peer::Remote, NOW).into(),
        "upstream_close" => instance.on_upstream_close(id, Peer::Remote, NOW).into(),
        "take_request" => held(Part::RequestHead),
        "take_request_body" => held(Part::RequestBody),
        "take_response" => held(Part::ResponseHead),
        "take_response_body" => held(Part::ResponseBody),
        "take_downstream" => held(Part::Data(Side::Request)),
        "upstream" => {
            instance.set_upstream(id, Some("up".into()), Some(([10, 0, 0, 3], 9000).into()));
            Came::Nothing
        }
        "open" => Came::Nothing,
        other => Came::Refused(format!("nothing is called {other}")),
    }
}

fn list(map: &HeaderMap) -> Vec<String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all = |name| map.get_all(name).iter().map(text).collect::<Vec<_>>().join(",");
    map.keys().map(|name| format!("{name}={}", all(name))).collect()
}
