//! Write filters for Tidegate, and for every other gateway that runs proxy-wasm (Envoy, Istio, Kong), in plain `async`
//! Rust.
//!
//! A filter is a type with a typed configuration. One value of it serves all requests of a plugin's instance:
//!
//! ```
//! use serde::Deserialize;
//! use tidegate_sdk::{Filter, Flow, Reply, Request, Response, Result, filter, http};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     auth: String,
//! }
//!
//! struct Auth {
//!     config: Config,
//! }
//!
//! #[filter]
//! impl Filter for Auth {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Self {
//!         Auth { config }
//!     }
//!
//!     async fn on_request(&self, request: &mut Request) -> Result<Flow> {
//!         let token = request.headers().get("authorization").unwrap_or_default();
//!         let answer = http::get("/check").to(&self.config.auth).header("authorization", token).await?;
//!         if !answer.is_success() {
//!             return Ok(Reply::text(403, "not allowed").into());
//!         }
//!         request.headers().remove("authorization");
//!         Ok(Flow::Continue)
//!     }
//!
//!     async fn on_response(&self, response: &mut Response) {
//!         response.headers().set("x-checked", "yes");
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! | to | use |
//! |---|---|
//! | read and change heads | [`Request`], [`Response`], [`Headers`]; lengths, types, credentials, cookies and lists as what they mean |
//! | read, replace, limit bodies | [`Body`] |
//! | answer oneself | [`Reply`] |
//! | call servers | [`http`], [`grpc`], several at once: [`join`], [`join_all`], [`race`] |
//! | wait | [`time`] |
//! | have random bytes | [`random`] |
//! | know the client, TLS, route, upstream | [`Properties`](properties::Properties) |
//! | count | [`Counter`], [`Gauge`], [`Histogram`] |
//! | share between workers | [`shared`], [`queue`], [`signal`] |
//! | read spans of time and sizes from a configuration | [`units`] |
//! | ask Redis, in Tidegate | [`redis`] |
//! | limit rates, quotas and what goes on at the same time | [`limit`] |
//! | log | [`log`] |
//! | serve connections of bytes | [`Filter::on_connection`] |
//!
//! With the feature `http`, a [`Reply`] is made of an `http::Response`, a [`Call`](http::Call) of an `http::Request`,
//! and [`Fields`] become an `http::HeaderMap`; it is off by default, since it makes modules larger.
//!
//! On wasm32 a module speaks the proxy-wasm ABI, version 0.2.1. Natively the same source compiles with nothing to link;
//! `tidegate-sdk-test` runs it under plain `cargo test`. Nothing that a host answers, and no header, makes this crate
//! panic: what is refused is an [`Error`].

#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod body;
mod config;
mod error;
mod exchange;
mod exports;
mod fields;
mod filter;
mod flow;
pub mod foreign;
pub mod grpc;
mod headers;
mod hooks;
mod host;
pub mod http;
mod join;
pub mod limit;
mod logger;
mod metric;
mod module;
mod plugin;
pub mod properties;
mod query;
pub mod queue;
pub mod random;
pub mod redis;
mod reply;
mod request;
pub mod shared;
mod side;
pub mod signal;
mod slot;
pub mod time;
mod typed;
#[cfg(feature = "http")]
mod types;
pub mod units;
mod wake;

pub use body::Body;
pub use config::{ConfigError, NoConfig};
pub use error::{Error, Failure, Outcome, Result};
pub use fields::{Fields, Value};
pub use filter::{Callbacks, Filter, IntoFilter};
pub use flow::{Flow, IntoFlow};
pub use headers::Headers;
pub use join::{Either, join, join_all, race};
pub use metric::{Counter, Gauge, Histogram};
pub use plugin::{Interest, Plugin, spawn};
pub use reply::Reply;
pub use request::{Connection, Finished, Request, Response};
/// Makes a Wasm module of an `impl Filter for X` block; once in a crate of the type `cdylib`. See [`Filter`].
pub use tidegate_sdk_macros::filter;
pub use typed::{Authorization, ContentType, Weighted};

pub use {log, serde};

/// What `tidegate-sdk-test` builds on. It may change with any version.
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub mod native {
    pub use crate::host::Refusal;
    pub use crate::host::native::{Host, install};
    pub use crate::module::Module;
    pub use crate::side::FEED;
}

/// What the code of `#[filter]` calls; not for use by hand.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::exports::start;
    pub use crate::module::Module;
}
