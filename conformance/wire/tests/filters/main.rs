//! The filters that come with the project, and those of its examples and guides, in the gateway.

mod api_key;
mod auth;
mod blame;
mod cache;
mod chain;
mod claims;
mod cookbook;
mod cors;
mod examples;
mod external;
mod fault;
mod login;
mod rate_limit;
mod rate_limit_redis;
mod reloads;
mod routing;
mod sdk;
mod transform;
