//! What tests of the gateway are made of: a raw-wire client, scripted upstreams and certificates, all on loopback
//! sockets with ports that the system chooses.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test kit fails by panicking")]

mod bytes;
mod client;
mod collector;
mod dns;
mod frames;
mod gateway;
mod grpc;
pub mod grpc_message;
mod http2;
mod http2_client;
mod load;
pub mod message;
mod nobody;
pub mod provider;
mod tap;
mod tls;
mod upstream;
mod wire;

pub use bytes::{ByteServer, LogFile};
pub use client::{PATIENCE, RawClient};
pub use collector::{Collector, Series, among, attribute};
pub use dns::{NameServer, Service};
pub use frames::{Fate, Frame, Frames, flag, kind, literals};
pub use gateway::{TestGateway, fill};
pub use grpc::{GrpcReason, GrpcReceived, GrpcStep, GrpcUpstream};
pub use http2::{Http2Connection, Http2Options, Http2Upstream};
pub use http2_client::{Http2Answer, Http2Client};
pub use load::{Load, LoadOptions};
pub use message::{Body, Fields, Framing, ReadError, RequestHead, Response};
pub use nobody::Nobody;
pub use tap::Tap;
pub use tidegate_proxy::Form;
pub use tidegate_proxy::otlp::{KeyValue, LogRecord, MetricData, Resource, Span};
pub use tidegate_proxy::{Cause, Circuit, ReleaseOrder, ReleaseState, ReleaseUse, Server};
pub use tidegate_proxy::{TapDropped, TapFilter, TapLimits};
pub use tls::{Authority, Certificate};
pub use upstream::{Answer, Call, Connection, Gate, Received, ScriptedUpstream, State, Step};
pub use wire::{End, Transport, Wire};
