//! Answers that the gateway makes itself: the one table from a failure to a status and a word for logs and metrics.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::http::body::Body;
use crate::http::fail::{Fail, Reason};

/// An answer that does not come from an upstream.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields.
    pub(crate) headers: HeaderMap,
    /// All of its body.
    pub(crate) body: Bytes,
    /// For the access log: why, in the words of the filter that answers.
    pub(crate) details: String,
}

impl Reply {
    /// A short text.
    pub(crate) fn text(status: StatusCode, text: &'static str) -> Self {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self { status, headers, body: Bytes::from_static(text.as_bytes()), details: String::new() }
    }

    /// What a client is told of a failure: never more than the reason's own words.
    pub(crate) fn of(fail: &Fail) -> Self {
        let (status, text) = answer(fail.reason);
        Self::text(status, text)
    }

    /// The same as gRPC has it: 4 when time is over, 8 over a limit, 14 when there is no answer, else 2.
    pub(crate) fn grpc(fail: &Fail) -> Self {
        let (_, text) = answer(fail.reason);
        let status = match fail.reason {
            Reason::Timeout => "4",
            Reason::Overflow | Reason::Adaptive | Reason::Memory => "8",
            Reason::Connect | Reason::Reset | Reason::NoServer => "14",
            _ => "2",
        };
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(status));
        headers.insert("grpc-message", HeaderValue::from_static(text.trim_ascii_end()));
        Self { status: StatusCode::OK, headers, body: Bytes::new(), details: String::new() }
    }

    /// As a response.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Status and text of a reason.
fn answer(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::Framing => (StatusCode::BAD_REQUEST, "the request is ambiguous\n"),
        Reason::Host => (StatusCode::BAD_REQUEST, "the request has no single valid host\n"),
        Reason::Path => (StatusCode::BAD_REQUEST, "the request's path is not valid\n"),
        Reason::Method => (StatusCode::NOT_IMPLEMENTED, "the method is not supported\n"),
        Reason::Header => (StatusCode::BAD_REQUEST, "the request has a header that is not valid\n"),
        Reason::HeadTooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's header is too large\n")
        }
        Reason::TargetTooLong => (StatusCode::URI_TOO_LONG, "the request's target is too long\n"),
        Reason::Malformed => (StatusCode::BAD_REQUEST, "the request is not valid HTTP/1.1\n"),
        Reason::Misdirected => {
            (StatusCode::MISDIRECTED_REQUEST, "the host is not served on this connection\n")
        }
        Reason::NoRoute => (StatusCode::NOT_FOUND, "no route\n"),
        Reason::NoUpstream | Reason::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "gateway error\n"),
        Reason::ServersUnknown => (StatusCode::SERVICE_UNAVAILABLE, "servers are not known yet\n"),
        Reason::NoServer => (StatusCode::SERVICE_UNAVAILABLE, "no server\n"),
        Reason::Overflow | Reason::Adaptive | Reason::Memory => {
            (StatusCode::SERVICE_UNAVAILABLE, "overloaded\n")
        }
        Reason::Connect => (StatusCode::SERVICE_UNAVAILABLE, "upstream connection failed\n"),
        Reason::Reset => (StatusCode::BAD_GATEWAY, "upstream closed the connection\n"),
        Reason::Garbage => (StatusCode::BAD_GATEWAY, "upstream answer is not valid\n"),
        Reason::Timeout => (StatusCode::GATEWAY_TIMEOUT, "upstream timeout\n"),
        Reason::HeadTimeout | Reason::ClientTimeout => (StatusCode::REQUEST_TIMEOUT, "request timeout\n"),
        Reason::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
        Reason::PluginMissing
        | Reason::PluginTrap
        | Reason::PluginTimeout
        | Reason::PluginRequestTime
        | Reason::PluginMemory
        | Reason::PluginHostCalls
        | Reason::PluginRequestHostCalls
        | Reason::PluginCopiedBytes
        | Reason::PluginReset
        | Reason::PluginBusy => (StatusCode::SERVICE_UNAVAILABLE, "filter failed\n"),
        Reason::ClientGone => (StatusCode::BAD_REQUEST, "client gone\n"),
    }
}

impl Reason {
    /// The word for logs and metric labels.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Header => "header",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::Malformed => "malformed",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::NoUpstream => "no_upstream",
            Self::NoServer => "no_server",
            Self::ServersUnknown => "servers_unknown",
            Self::Overflow => "overflow",
            Self::Adaptive => "overflow_adaptive",
            Self::Memory => "out_of_memory",
            Self::Connect => "upstream_connect",
            Self::Reset => "upstream_reset",
            Self::Garbage => "upstream_garbage",
            Self::Timeout => "upstream_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::ClientTimeout => "client_timeout",
            Self::TooLarge => "too_large",
            Self::PluginMissing => "plugin_missing",
            Self::PluginTrap => "plugin_trap",
            Self::PluginTimeout => "plugin_timeout",
            Self::PluginRequestTime => "plugin_request_time",
            Self::PluginMemory => "plugin_memory",
            Self::PluginHostCalls => "plugin_host_calls",
            Self::PluginRequestHostCalls => "plugin_request_host_calls",
            Self::PluginCopiedBytes => "plugin_copied_bytes",
            Self::PluginReset => "plugin_reset",
            Self::PluginBusy => "plugin_busy",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }
}
