//! What several of the filters here know of requests, so that it is written, and read, in one place.

mod sender;

pub use sender::{Claim, Subject};
