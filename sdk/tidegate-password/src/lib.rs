//! Passwords against their hashes: argon2 and bcrypt, with limits on what a hash may cost whoever checks it. No clock, no
//! thread: the host computes a hash in one go on a thread of its own, a filter in slices between which it pauses.

mod argon;
mod bcrypt;
mod hash;

pub use hash::{Check, Hash, Unfit};
