//! Refuses a path, asks an auth server, adds a field to responses. See ../README.md.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Request;

impl Request {
    fn refuse(&self) {
        self.send_http_response(401, vec![], Some(b"who are you?"));
    }
}

impl Context for Request {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        if self.get_http_call_response_header(":status").as_deref() != Some("200") {
            return self.refuse();
        }
        // None removes the field.
        let user = self.get_http_call_response_header("x-user");
        self.set_http_request_header("x-user", user.as_deref());
        self.resume_http_request();
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_request_header(":path").as_deref() == Some("/private") {
            self.send_http_response(403, vec![], Some(b"private"));
            return Action::Pause;
        }
        let token = self.get_http_request_header("authorization").unwrap_or_default();
        let head = vec![
            (":method", "GET"),
            (":path", "/check"),
            (":authority", "auth"),
            ("authorization", token.as_str()),
        ];
        if self.dispatch_http_call("auth", head, None, vec![], Duration::from_secs(1)).is_err() {
            self.refuse();
        }
        Action::Pause
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-filter", Some("rust-proxy-wasm"));
        Action::Continue
    }
}
