//! Spans to a collector by OTLP, from a thread of their own. Workers never wait for it: what does not fit into its queue is
//! dropped and counted.

mod client;
pub mod messages;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message as _;
use tidegate_config::plan::Otlp;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::telemetry::trace::{Finished, Kind, Span, Value};
use client::Client;
use messages::any_value::Value as Any;
use messages::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Status,
};

/// Requests whose spans may wait; those of more are dropped.
const WAITING: usize = 4096;
/// Requests whose spans are sent together at most.
const TOGETHER: usize = 512;
/// How long spans wait for others.
const GATHER: Duration = Duration::from_millis(200);
/// <https://opentelemetry.io/docs/specs/semconv/>
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Hands spans to the thread that sends them. Cheap to clone; the thread ends with the last one, when all are sent.
#[derive(Clone)]
pub(crate) struct Exporter {
    sender: mpsc::Sender<Finished>,
    shared: Arc<Shared>,
}

struct Shared {
    otlp: Otlp,
    sent: AtomicU64,
    /// Spans that the collector did not take, or that did not fit into the queue.
    lost: AtomicU64,
}

impl Exporter {
    /// Starts the thread; it connects with the first span.
    pub(crate) fn start(otlp: &Otlp) -> io::Result<Self> {
        let (sender, waiting) = mpsc::channel(WAITING);
        let shared =
            Arc::new(Shared { otlp: otlp.clone(), sent: AtomicU64::new(0), lost: AtomicU64::new(0) });
        let of_thread = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || LocalSet::new().block_on(&runtime, run(waiting, &of_thread)))?;
        Ok(Self { sender, shared })
    }

    /// Whether it sends there.
    pub(crate) fn is_of(&self, otlp: &Otlp) -> bool {
        self.shared.otlp == *otlp
    }

    /// Hands over what a request left.
    pub(crate) fn send(&self, finished: Finished) {
        let spans = finished.spans.len() as u64;
        if self.sender.try_send(finished).is_err() {
            self.shared.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// Spans that the collector took, and spans that it did not get.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.sent.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

async fn run(mut waiting: mpsc::Receiver<Finished>, shared: &Shared) {
    let mut client = Client::new(&shared.otlp);
    let mut told = false;
    let mut batch = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut batch, TOGETHER).await > 0 {
        if batch.len() < TOGETHER && !waiting.is_closed() {
            gather(&mut waiting, &mut batch).await;
        }
        let spans = batch.iter().map(|finished| finished.spans.len() as u64).sum::<u64>();
        let message = request(&shared.otlp.service, std::mem::take(&mut batch));
        match client.send(message.encode_to_vec()).await {
            Ok(()) => {
                told = false;
                shared.sent.fetch_add(spans, Ordering::Relaxed);
            }
            Err(error) => {
                shared.lost.fetch_add(spans, Ordering::Relaxed);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(collector = %shared.otlp.authority, %error, "cannot send spans");
                }
            }
        }
    }
}

/// Waits a little for more.
async fn gather(waiting: &mut mpsc::Receiver<Finished>, batch: &mut Vec<Finished>) {
    let more = async {
        while batch.len() < TOGETHER {
            let room = TOGETHER - batch.len();
            if waiting.recv_many(batch, room).await == 0 {
                return;
            }
        }
    };
    // What came until then is in the batch.
    drop(tokio::time::timeout(GATHER, more).await);
}

fn request(service: &str, batch: Vec<Finished>) -> ExportTraceServiceRequest {
    let mut spans = Vec::new();
    for finished in batch {
        let state = finished.state.unwrap_or_default();
        spans.extend(finished.spans.into_iter().map(|one| span(finished.trace, &state, one)));
    }
    let scope =
        InstrumentationScope { name: "tidegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let attribute = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) }),
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", service),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ],
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            schema_url: SCHEMA.to_owned(),
        }],
    }
}

fn span(trace: u128, state: &str, span: Span) -> messages::Span {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let attributes = span.attributes.into_iter().map(|(key, value)| KeyValue {
        key: key.into_owned(),
        value: Some(AnyValue {
            value: Some(match value {
                Value::Text(text) => Any::StringValue(text.into_owned()),
                Value::Whole(number) => Any::IntValue(number),
                Value::Truth(truth) => Any::BoolValue(truth),
            }),
        }),
    });
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
        attributes: attributes.collect(),
        status: span.error.map(|error| Status { message: error.into_owned(), code: 2 }),
    }
}
