//! What is said about requests and responses whatever the HTTP version.
pub(crate) mod added;
pub(crate) mod body;
pub(crate) mod certificate;
pub(crate) mod fail;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod headers;
pub(crate) mod interim;
pub(crate) mod max_forwards;
pub(crate) mod reply;
pub(crate) mod sanitize;
pub(crate) mod trust;
