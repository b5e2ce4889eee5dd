//! What happens to a guest: heads, bodies, trailers, answers. And what its wishes look like as text.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, request, response};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_wasm::{
    CallResponse, CertificateDetails, Destinations, Effect, Facts, Outcome, Side, StreamInfo, TlsDetails,
    UpstreamConnection, UpstreamFacts,
};

use crate::token::Token;

/// The client and what is known of its request.
pub(crate) fn info(words: &[Token]) -> StreamInfo {
    let mut info =
        StreamInfo::new(([10, 0, 0, 1], 4000).into(), ([10, 0, 0, 2], 80).into(), Version::HTTP_11);
    info.connection_id = 77;
    if has(words, "bare") {
        return info;
    }
    info.listener = Some("web".into());
    info.route = Some("shop".into());
    info.rule = Some("first".into());
    info.destinations = Some(Rc::new(Places));
    if has(words, "told") {
        info.facts = Some(facts());
    }
    if has(words, "tls") {
        info.tls = true;
        info.tls_details = Some(
            TlsDetails {
                server_name: "h.test".to_owned(),
                version: "TLSv1.3".to_owned(),
                client_authenticated: true,
                local: CertificateDetails {
                    subject: "CN=gateway".to_owned(),
                    names: vec!["gateway.test".to_owned()],
                    ..CertificateDetails::default()
                },
                peer: CertificateDetails {
                    subject: "CN=client".to_owned(),
                    uris: vec!["spiffe://a/b".to_owned(), "spiffe://a/c".to_owned()],
                    names: vec!["client.test".to_owned()],
                    sha256: "abcdef".to_owned(),
                },
            }
            .into(),
        );
    }
    info
}

/// One upstream and one rule.
#[derive(Debug)]
struct Places;

impl Destinations for Places {
    fn upstream(&self, name: &str) -> Option<usize> {
        (name == "up").then_some(3)
    }

    fn rule(&self, name: &str) -> Option<usize> {
        (name == "shop/first").then_some(5)
    }

    fn servers(&self, upstream: &str) -> Option<Vec<(SocketAddr, bool)>> {
        let servers = [(([10, 0, 0, 3], 9000).into(), true), (([10, 0, 0, 4], 9000).into(), false)];
        (upstream == "up").then(|| servers.to_vec())
    }
}

/// What a gateway would have told of a request that went to its second server.
fn facts() -> Rc<Facts> {
    let facts = Facts::new();
    let peer = CertificateDetails {
        subject: "CN=server".to_owned(),
        uris: vec!["spiffe://a/s".to_owned()],
        names: vec!["server.test".to_owned()],
        sha256: "fedcba".to_owned(),
    };
    let tls = TlsDetails { version: "TLSv1.3".to_owned(), peer, ..TlsDetails::default() };
    facts.set_upstream(UpstreamFacts {
        name: Some("up".into()),
        address: Some(([10, 0, 0, 3], 9000).into()),
        attempts: 2,
        failure: Some("refused".to_owned()),
        servers: 3,
        waited: Some(Duration::from_millis(1)),
        connection: Some(Rc::new(UpstreamConnection {
            local: Some(([10, 0, 0, 2], 5000).into()),
            tls: Some(tls),
        })),
        identity: Some(Arc::new(CertificateDetails {
            subject: "CN=gateway".to_owned(),
            uris: vec!["spiffe://a/g".to_owned()],
            names: vec!["gateway.test".to_owned()],
            sha256: "012345".to_owned(),
        })),
    });
    let details = Some("via_upstream".into());
    let ends = Some("client_timeout");
    facts.set_outcome(Outcome { details, flags: 0, latency: Some(Duration::from_millis(2)), ends });
    Rc::new(facts)
}

pub(crate) fn has(words: &[Token], wanted: &str) -> bool {
    words.iter().any(|word| matches!(word, Token::Word(word) if word == wanted))
}

/// `POST /path?query`, with fields of every kind and those that are named.
pub(crate) fn request_head(words: &[Token]) -> request::Parts {
    let method = if has(words, "get") { "GET" } else { "POST" };
    let head = Request::builder().method(method).uri("/path?query").header("host", "h.test");
    let head = head.header("x-two", "one").header("x-two", "two").header("x-empty", "");
    let head = head.header("x-byte", HeaderValue::from_bytes(b"\xff").unwrap());
    let mut head = head.body(()).unwrap().into_parts().0;
    head.headers.extend(fields(words));
    head
}

/// 200, with a server's name and the fields that are named.
pub(crate) fn response_head(words: &[Token]) -> response::Parts {
    let status = words.iter().find_map(|word| match word {
        Token::Number(status, _) => u16::try_from(*status).ok(),
        _ => None,
    });
    let head = Response::builder().status(status.unwrap_or(200)).header("server", "s");
    let mut head = head.body(()).unwrap().into_parts().0;
    head.headers.extend(fields(words));
    head
}

/// The words `name=value` as fields.
pub(crate) fn fields(words: &[Token]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for word in words {
        if let Token::Word(word) = word
            && let Some((name, value)) = word.split_once('=')
        {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    map
}

/// The bytes among the words.
pub(crate) fn bytes(words: &[Token]) -> Bytes {
    let found = words.iter().find_map(|word| match word {
        Token::Bytes(bytes) => Some(Bytes::from(bytes.clone())),
        _ => None,
    });
    found.unwrap_or_default()
}

/// The answer to an HTTP call; `none`: there is none. Fields after `|` are trailers.
pub(crate) fn answer(words: &[Token]) -> Option<CallResponse> {
    let bar = words.iter().position(|word| *word == Token::Word("|".to_owned())).unwrap_or(words.len());
    let (head, trailers) = words.split_at(bar);
    (!has(head, "none")).then(|| CallResponse {
        head: response_head(head),
        body: bytes(head),
        trailers: fields(trailers),
    })
}

/// A wish of the guest, in short.
pub(crate) fn wish(effect: &Effect) -> String {
    match effect {
        Effect::LocalReply { status, headers, body, grpc_status, details, .. } => {
            let pair =
                |(name, value): &(HeaderName, HeaderValue)| format!("{name}={}", text(value.as_bytes()));
            let headers: Vec<String> = headers.iter().map(pair).collect();
            let grpc = grpc_status.map_or(String::new(), |status| format!(" grpc={status}"));
            let (headers, body) = (headers.join(","), text(body));
            format!("reply {} [{headers}] body={body} details={details}{grpc}", status.as_u16())
        }
        Effect::Resume { side, .. } => format!("resume {side:?}"),
        Effect::Refused { function, .. } => format!("refused {function}"),
        Effect::Done => "done".to_owned(),
        Effect::Feed { side, .. } => format!("feed {side:?}"),
        Effect::Reset { details, .. } if details.is_empty() => "reset".to_owned(),
        Effect::Reset { details, .. } => format!("reset {details}"),
        Effect::BreakOff { side: Side::Request, .. } => "break off request".to_owned(),
        Effect::BreakOff { side: Side::Response, .. } => "break off response".to_owned(),
        Effect::SetUpstream { upstream, .. } => format!("upstream {upstream}"),
        Effect::SetRoute { rule, .. } => format!("rule {rule}"),
        Effect::SetServer { address, .. } => format!("server {address}"),
        Effect::Foreign { token, stream, call } => {
            let by = if stream.is_some() { "stream" } else { "root" };
            format!("foreign {token} {call:?} by={by}")
        }
        Effect::ForeignCancel { token } => format!("foreign cancel {token}"),
        Effect::HttpCall { token, upstream, head, body, timeout, stream, trailers } => {
            let by = if stream.is_some() { "stream" } else { "root" };
            let (method, uri, body) = (&head.method, &head.uri, text(body));
            let host = head.headers.get("host").map_or(String::new(), |host| text(host.as_bytes()));
            let trailers = trailers.len();
            format!(
                "call {token} {upstream} {method} {host}{uri} body={body} trailers={trailers} timeout={timeout:?} by={by}"
            )
        }
        Effect::GrpcCall(call) => {
            let by = if call.stream.is_some() { "stream" } else { "root" };
            format!(
                "grpc {} {} {} timeout={:?} by={by}",
                call.token, call.upstream, call.head.uri, call.timeout
            )
        }
        Effect::GrpcCancel { token } => format!("grpc cancel {token}"),
        Effect::TickPeriod(period) => format!("tick {period:?}"),
        Effect::ClearRoute { .. } => "clear route".to_owned(),
        Effect::QueueReady { plugin, queue } => format!("queue {queue} of {plugin}"),
        other => format!("{other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
