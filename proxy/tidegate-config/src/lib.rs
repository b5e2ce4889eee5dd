//! The configuration of Tidegate, without any I/O: from texts to a checked [`Plan`](plan::Plan), or to everything that
//! is wrong with them.
//!
//! [`load`] reads the [`Document`](document::Document) from one or more [`SourceText`]s, fills in secrets by
//! [`Secrets`], and answers with what is [`Loaded`] or with all [`Problems`]. [`schema`] is for editors.

mod check;
pub mod document;
mod load;
mod merge;
mod node;
mod places;
pub mod plan;
mod problem;
mod redact;
mod report;
mod schema;
mod secret;
mod servers;
mod shape;
mod types;

pub use check::{is_local_registry, oci_reference};
pub use load::{Loaded, SourceText, load};
pub use places::Places;
pub use problem::{Problem, Problems, Severity, guess};
pub use redact::without_secrets;
pub use schema::schema;
pub use secret::Secrets;
pub use servers::load_servers;
pub use types::{ByteSize, Memory, Network, Timeout};
