//! Spans of requests.

use std::borrow::Cow;
use std::time::Duration;

use prost::Message as _;

use super::messages::any_value::Value as Any;
use super::messages::{
    self, AnyValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, ScopeSpans, Status,
};
use super::{Signal, Way, resource};
use crate::telemetry::trace::{Finished, Happened, Kind, Span, Value};

impl Signal for Finished {
    const WAY: Way = Way {
        name: "traces",
        http: "/v1/traces",
        grpc: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    };
    const WAITING: usize = 4096;
    const TOGETHER: usize = 512;

    type State = ();

    fn count(&self) -> u64 {
        self.spans.len() as u64
    }

    fn request((): &mut (), resource: &Resource, batch: Vec<Self>) -> Vec<u8> {
        let mut spans = Vec::new();
        for finished in batch {
            let state = finished.state.unwrap_or_default();
            spans.extend(finished.spans.into_iter().map(|one| span(finished.trace, &state, one)));
        }
        let all = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(resource::scope()), spans }],
                schema_url: resource::SCHEMA.to_owned(),
            }],
        };
        all.encode_to_vec()
    }
}

fn span(trace: u128, state: &str, span: Span) -> messages::Span {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let event = |event: Happened| messages::Event {
        time_unix_nano: nanos(event.at),
        name: event.name.to_owned(),
        attributes: attributes(event.attributes),
    };
    messages::Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id(span.id),
        trace_state: state.to_owned(),
        parent_span_id: id(span.parent),
        name: span.name.into_owned(),
        kind: match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        status: span.error.map(|error| Status { message: error.into_owned(), code: 2 }),
    }
}

fn attributes(all: Vec<(Cow<'static, str>, Value)>) -> Vec<KeyValue> {
    let one = |(key, value): (Cow<'static, str>, Value)| KeyValue {
        key: key.into_owned(),
        value: Some(AnyValue {
            value: Some(match value {
                Value::Text(text) => Any::StringValue(text.into_owned()),
                Value::Whole(number) => Any::IntValue(number),
                Value::Truth(truth) => Any::BoolValue(truth),
            }),
        }),
    };
    all.into_iter().map(one).collect()
}
