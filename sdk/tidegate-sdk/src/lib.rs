//! Write filters for Tidegate, and for every other gateway that runs proxy-wasm, in plain Rust.
//!
//! A filter is a type with a typed configuration. The gateway makes one value of it for each request:
//!
//! ```
//! use std::rc::Rc;
//! use tidegate_sdk::{Decision, Filter, Reply, Request, Response, serde::Deserialize};
//!
//! #[derive(Deserialize)]
//! #[serde(crate = "tidegate_sdk::serde", deny_unknown_fields)]
//! struct Config {
//!     greeting: String,
//! }
//!
//! struct Greeter {
//!     config: Rc<Config>,
//! }
//!
//! impl Filter for Greeter {
//!     type Config = Config;
//!
//!     fn new(config: &Rc<Config>) -> Self {
//!         Greeter { config: Rc::clone(config) }
//!     }
//!
//!     fn on_request(&mut self, request: &mut Request) -> Decision {
//!         match request.headers.get("x-name") {
//!             Some(_) => Decision::Continue,
//!             None => Reply::text(400, "who are you?").into(),
//!         }
//!     }
//!
//!     fn on_response(&mut self, response: &mut Response) -> Decision {
//!         response.headers.set("x-greeting", &self.config.greeting);
//!         Decision::Continue
//!     }
//! }
//!
//! tidegate_sdk::filter!(Greeter);
//! # let tests = tidegate_sdk::testing::Harness::<Greeter>::new(r#"{ "greeting": "hello" }"#).unwrap();
//! # assert_eq!(tests.send(tidegate_sdk::testing::TestRequest::get("/")).status(), 400);
//! ```
//!
//! On wasm32 the crate sits on the `proxy-wasm` crate; natively on a host in memory, so that the same source runs under
//! plain `cargo test` (see [`testing`]).

mod config;
mod filter;
mod headers;
mod host;
mod logger;
mod message;
mod metric;
mod reply;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use config::{ConfigError, NoConfig};
pub use filter::{Decision, Filter};
pub use headers::Headers;
pub use message::{Request, Response};
pub use metric::{Counter, Gauge, Histogram};
pub use reply::Reply;

pub use {log, serde};

/// What the code of [`filter!`] calls; not for use by hand.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub use host::exports::start;
