//! The data plane of Tidegate: workers that accept connections, route requests, run filters and forward to upstreams.
//!
//! A [`Snapshot`] is built from a checked plan and the files that it names; a [`Gateway`] serves the snapshot that was
//! published last. [`explain`] tells what a plan does with a request, without serving anything.

mod conn;
mod drain;
mod exchange;
mod filter;
mod gateway;
mod http;
mod listen;
mod local;
mod route;
mod shared;
mod snapshot;
mod telemetry;
mod time;
mod transport;
mod upstream;
mod worker;

pub use filter::log::level as guest_log_level;
pub use gateway::{
    ArmUse, BodyPassed, CertificateUse, CheckState, Gateway, GatewayOptions, GenerationUse, GuestCode, Loads,
    ModuleUse, PublishError, ReleaseOrder, ReleaseState, ReleaseUse, ServerPicker, ServerSide, ServerState,
    ServersError, Stats, SteerError, TapDropped, TapError, TapHandle, TapStream, TappedAttempt, TappedCall,
    TappedChange, TappedFilter, TappedLog, TappedRequest, client_side,
};
pub use local::clients::{ConnectionUse, ConnectionsWanted};
pub use local::tap::{TapFilter, TapLimits};
pub use route::{Choice, ExplainRequest, Explanation, Loser, RuleFinder, explain};
pub use snapshot::{Assets, BuildError, MetricsPush, Snapshot, plugin_spec};
pub use telemetry::otlp::messages as otlp;
pub use telemetry::page::{Buckets, Durations, Family, Form, Kind, Number, Page, Point, Value};
pub use telemetry::recorder::{RecordSink, Recorded};
pub use time::thread_time;
pub use upstream::server::{Cause, Circuit, Server};
