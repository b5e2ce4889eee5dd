//! A collector of traces: takes what gateways send by OTLP, and decodes it.

use std::net::SocketAddr;

use prost::Message as _;
use tidegate_proxy::otlp::{ExportTraceServiceRequest, Span, any_value::Value};

use crate::{GrpcStep, GrpcUpstream, ScriptedUpstream, State};

/// A collector by HTTP or gRPC.
#[derive(Debug)]
pub enum Collector {
    /// Protobuf over HTTP/1.1.
    Http(ScriptedUpstream),
    /// gRPC.
    Grpc(GrpcUpstream),
}

impl Collector {
    /// One that is sent to by HTTP.
    pub fn http() -> Self {
        Self::Http(ScriptedUpstream::plain())
    }

    /// One that is sent to by gRPC.
    pub fn grpc() -> Self {
        Self::Grpc(GrpcUpstream::start(|_| {
            vec![
                GrpcStep::Receive,
                GrpcStep::Head(Vec::new()),
                GrpcStep::Message(Vec::new()),
                GrpcStep::Trailers(vec![("grpc-status", "0")]),
            ]
        }))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Http(upstream) => upstream.address(),
            Self::Grpc(upstream) => upstream.address(),
        }
    }

    /// All spans so far, with the name of the service that sent them.
    ///
    /// # Panics
    /// If what came is no request of OTLP.
    pub fn spans(&self) -> Vec<(String, Span)> {
        let mut spans = Vec::new();
        for message in self.messages() {
            let request = ExportTraceServiceRequest::decode(&*message).expect("a request of OTLP");
            for resource in request.resource_spans {
                let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
                let service = attributes.iter().find(|attribute| attribute.key == "service.name");
                let service = match service.and_then(|service| service.value.as_ref()?.value.as_ref()) {
                    Some(Value::StringValue(name)) => name.clone(),
                    _ => String::new(),
                };
                let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| (service.clone(), span)));
            }
        }
        spans
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Http(upstream) => upstream
                .requests()
                .iter()
                .filter(|request| request.target() == "/v1/traces" && request.state == State::Complete)
                .map(|request| request.body.clone())
                .collect(),
            Self::Grpc(upstream) => upstream
                .calls()
                .into_iter()
                .filter(|call| call.path == EXPORT)
                .flat_map(|call| call.messages)
                .collect(),
        }
    }
}

/// The method of gRPC that takes traces.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An attribute of a span, as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
    }
}
