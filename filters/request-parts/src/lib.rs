//! What several of the filters here know of requests, so that it is written, and read, in one place.

mod matching;
mod sender;

pub use matching::{Match, Matcher, Paths, header_name};
pub use sender::{Claim, Subject, Taken};
