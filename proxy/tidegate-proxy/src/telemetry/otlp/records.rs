//! Records of access logs, encoded by who logs them.

use prost::Message;

use super::messages::{InstrumentationScope, Resource};
use super::{Signal, Way, resource};

/// One record; see `access_log/record.rs`.
pub(crate) struct Record(pub(crate) Vec<u8>);

impl Signal for Record {
    const WAY: Way = Way {
        name: "logs",
        http: "/v1/logs",
        grpc: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    };
    const WAITING: usize = 8192;
    const TOGETHER: usize = 1024;

    type State = ();

    fn count(&self) -> u64 {
        1
    }

    fn request((): &mut (), resource: &Resource, batch: Vec<Self>) -> Vec<u8> {
        let records = batch.into_iter().map(|record| record.0).collect();
        let all = Request {
            resource_logs: vec![OfResource {
                resource: Some(resource.clone()),
                scope_logs: vec![OfScope { scope: Some(resource::scope()), records }],
                schema_url: resource::SCHEMA.to_owned(),
            }],
        };
        all.encode_to_vec()
    }
}

/// `ExportLogsServiceRequest` with records that are bytes already.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<OfScope>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    records: Vec<Vec<u8>>,
}
