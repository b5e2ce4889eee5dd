//! A collector: takes what gateways send by OTLP, and decodes it.

mod series;

use std::net::SocketAddr;

use prost::Message as _;
use tidegate_proxy::otlp::any_value::Value;
use tidegate_proxy::otlp::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, KeyValue, LogRecord,
    Resource, Span,
};

pub use series::Series;

use crate::{Answer, Certificate, GrpcStep, GrpcUpstream, ScriptedUpstream, State};

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
        Self::Grpc(GrpcUpstream::start(|_| taken()))
    }

    /// [`Collector::http`] over TLS.
    pub fn https(certificate: &Certificate) -> Self {
        let config = certificate.server_config(&["http/1.1"]);
        Self::Http(ScriptedUpstream::start_tls(config, |_| {
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        }))
    }

    /// [`Collector::grpc`] over TLS.
    pub fn grpc_tls(certificate: &Certificate) -> Self {
        Self::Grpc(GrpcUpstream::start_tls(certificate.server_config(&["h2"]), |_| taken()))
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
        for message in self.messages("/v1/traces", "trace.v1.TraceService") {
            let request = ExportTraceServiceRequest::decode(&*message).expect("a request of OTLP");
            for resource in request.resource_spans {
                let service = service(resource.resource);
                let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| (service.clone(), span)));
            }
        }
        spans
    }

    /// All records of logs so far, with the name of the service that sent them.
    ///
    /// # Panics
    /// If what came is no request of OTLP.
    pub fn records(&self) -> Vec<(String, LogRecord)> {
        let mut records = Vec::new();
        for message in self.messages("/v1/logs", "logs.v1.LogsService") {
            let request = ExportLogsServiceRequest::decode(&*message).expect("a request of OTLP");
            for resource in request.resource_logs {
                let service = service(resource.resource);
                let all = resource.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                records.extend(all.map(|record| (service.clone(), record)));
            }
        }
        records
    }

    /// The metrics of each request so far.
    ///
    /// # Panics
    /// If what came is no request of OTLP.
    pub fn series(&self) -> Vec<Series> {
        let requests = self.messages("/v1/metrics", "metrics.v1.MetricsService").into_iter();
        let decode = |message: Vec<u8>| ExportMetricsServiceRequest::decode(&*message);
        requests.map(|message| Series::of(decode(message).expect("a request of OTLP"))).collect()
    }

    /// Who sent records of logs, for each request.
    ///
    /// # Panics
    /// If what came is no request of OTLP.
    pub fn resources(&self) -> Vec<Resource> {
        let requests = self.messages("/v1/logs", "logs.v1.LogsService").into_iter();
        let requests =
            requests.map(|message| ExportLogsServiceRequest::decode(&*message).expect("a request of OTLP"));
        requests.flat_map(|request| request.resource_logs).filter_map(|logs| logs.resource).collect()
    }

    fn messages(&self, path: &str, method: &str) -> Vec<Vec<u8>> {
        match self {
            Self::Http(upstream) => upstream
                .requests()
                .iter()
                .filter(|request| request.target() == path && request.state == State::Complete)
                .map(|request| request.body.clone())
                .collect(),
            Self::Grpc(upstream) => {
                let path = format!("/opentelemetry.proto.collector.{method}/Export");
                let calls = upstream.calls().into_iter().filter(|call| call.path == path);
                calls.flat_map(|call| call.messages).collect()
            }
        }
    }
}

fn taken() -> Vec<GrpcStep> {
    vec![
        GrpcStep::Receive,
        GrpcStep::Head(Vec::new()),
        GrpcStep::Message(Vec::new()),
        GrpcStep::Trailers(vec![("grpc-status", "0")]),
    ]
}

fn service(resource: Option<Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes).unwrap_or_default();
    among(&attributes, "service.name").unwrap_or_default()
}

/// An attribute of a span, as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    among(&span.attributes, name)
}

/// An attribute among others, as text.
pub fn among(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    text(found.value.as_ref()?.value.as_ref()?)
}

fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(array) => {
            let texts = array.values.iter().filter_map(|value| text(value.value.as_ref()?));
            format!("[{}]", texts.collect::<Vec<_>>().join(","))
        }
    })
}
