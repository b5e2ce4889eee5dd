//! Runs proxy-wasm filters without doing any I/O.
//!
//! An [`Engine`] compiles a [`Module`]; a [`Plugin`] is a module with its configuration; an
//! [`Instance`] is one VM on one worker, or, from the plugin's [`Image`], one of a connection or
//! a request. Feed it events (`on_*`), read the [`Step`] that each
//! returns, perform the [`Effect`]s that [`Instance::poll_effect`] hands out, take what is to go
//! on (`take_*`). Time comes in as [`Now`]; nothing here reads a clock, waits or starts a thread.

mod abi;
mod budget;
mod capabilities;
mod effect;
mod engine;
mod error;
mod foreign;
mod grpc;
mod image;
mod instance;
mod limits;
mod log;
mod meter;
mod module;
mod plugin;
mod shared;
mod state;
mod stream;
mod tape;
mod time;
mod usage;

pub use capabilities::{BodyAccess, Capabilities, FieldAccess, Names};
pub use effect::{CallResponse, Effect, ForeignCall, Side, Step};
pub use engine::{CacheLimits, Engine, EngineOptions, touch_cached, trim_cache};
pub use error::{LoadError, StartError, Trap};
pub use foreign::FOREIGN_FUNCTIONS;
pub use foreign::password::PasswordCheck;
pub use grpc::{GrpcCall, Outbox};
pub use image::{Image, ImageError};
pub use instance::{Ended, Holdings, Instance, LeftHead, Whole};
pub use limits::Limits;
pub use meter::{Durations, Meter, Seen, TIMED};
pub use module::{FunctionCode, Module};
pub use plugin::{HeadersPause, Plugin, PluginSpec};
pub use shared::{LimiterCounts, Metric, MetricValue, Shared};
pub use stream::destinations::Destinations;
pub use stream::facts::{Facts, Outcome, UpstreamConnection, UpstreamFacts};
pub use stream::pending::{AddFields, Pending};
pub use stream::{CertificateDetails, StreamId, StreamInfo, TlsDetails};
pub use tape::{BodyUse, Content, Event, Field, Note, Tape, TapeSide};
pub use tidegate_abi::{AbiVersion, GrpcStatus, LogLevel, Peer, Status};
pub use time::Now;
pub use usage::Usage;
