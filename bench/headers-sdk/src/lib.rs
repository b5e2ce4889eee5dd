//! What `bench/filters/headers` does by plain `proxy-wasm`, by tidegate-sdk: reads `:path` and two request headers, adds
//! one request header and one response header, and remembers something in between.

use std::cell::Cell;

use tidegate_sdk::{Filter, NoConfig, Request, Response, filter};

/// The filter.
pub struct Headers;

/// What is remembered of a request.
#[derive(Default)]
pub struct Seen {
    path_len: Cell<usize>,
}

#[filter]
impl Filter for Headers {
    type State = Seen;

    fn new(_: NoConfig) -> Self {
        Headers
    }

    async fn on_request(&self, request: &mut Request<Seen>) {
        let headers = request.headers();
        let path = headers.get_str(":path").unwrap_or_default();
        let agent = headers.get_str("user-agent").unwrap_or_default();
        let tenant = headers.get_str("x-tenant").unwrap_or_default();
        request.state().path_len.set(path.len() + agent.len());
        let value = if tenant.is_empty() { "none" } else { &tenant };
        headers.add("x-bench-tenant", value);
    }

    async fn on_response(&self, response: &mut Response<Seen>) {
        let value = if response.state().path_len.get() > 1 { "long" } else { "short" };
        response.headers().add("x-bench-path", value);
    }
}
