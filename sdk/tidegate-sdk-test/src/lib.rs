//! Tests for filters written with `tidegate-sdk`, in plain `cargo test`: no gateway, no ports, no Wasm.
//!
//! A [`Gateway`] has the filter, a scripted upstream, scripted servers for the filter's calls, and a clock of its own, so
//! that a test which waits an hour takes no time. It sends each request in several ways, because filters that work
//! when a body comes at once are wrong when it does not.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_sdk::{Filter, Flow, NoConfig, Reply as Own, Request, Result, filter, http};
//! use tidegate_sdk_test::{Gateway, Reply, get};
//!
//! struct Auth;
//!
//! #[filter]
//! impl Filter for Auth {
//!     fn new(_: NoConfig) -> Self {
//!         Auth
//!     }
//!
//!     async fn on_request(&self, request: &mut Request) -> Result<Flow> {
//!         let answer = http::get("/check").to("auth").timeout(Duration::from_millis(200)).await?;
//!         Ok(if answer.is_success() { Flow::Continue } else { Own::text(403, "no").into() })
//!     }
//! }
//!
//! # fn main() {
//! let gateway = Gateway::<Auth>::start("").unwrap();
//! gateway.on_call("auth", |call| match call.path() {
//!     "/check" => Reply::new(204),
//!     _ => Reply::new(404),
//! });
//! assert_eq!(gateway.send(get("/")).status(), 200);
//!
//! gateway.on_call("auth", |_| Reply::new(204).after(Duration::from_secs(1)));
//! let late = gateway.send(get("/"));
//! assert_eq!((late.status(), late.elapsed()), (500, Duration::from_millis(200)));
//! # }
//! ```
//!
//! [`Machine`] is what runs a filter; [`Gateway::of`] takes another one than the native.

#![deny(missing_docs)]

#[cfg(doctest)]
mod guide;

mod answer;
mod gateway;
mod host;
pub mod machine;
mod message;
mod native;
pub mod reference;
mod variant;
mod world;

pub use answer::{Answer, Ended, Line};
pub use gateway::{Gateway, Refused, Ways};
pub use machine::Machine;
pub use message::{Connect, Reply, Request, Seen, connect, get, post};
pub use native::Native;
