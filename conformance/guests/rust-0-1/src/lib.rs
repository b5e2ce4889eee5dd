//! The guest's work (see ../README.md) on the oldest public SDK: ABI 0.1.0, whose module starts with `_start`.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { config: String::new() }));
}

thread_local! {
    /// Requests that wait for the next tick.
    static WAITING: RefCell<BTreeSet<u32>> = const { RefCell::new(BTreeSet::new()) };
}

struct Root {
    config: String,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = self.get_configuration().unwrap_or_default();
        self.config = String::from_utf8_lossy(&bytes).into_owned();
        self.set_tick_period(Duration::from_millis(10));
        log(&format!("configured with {size} bytes"));
        self.config != "refuse"
    }

    fn on_tick(&mut self) {
        for id in WAITING.take() {
            proxy_wasm::hostcalls::set_effective_context(id).unwrap();
            proxy_wasm::hostcalls::add_map_value(
                proxy_wasm::types::MapType::HttpRequestHeaders,
                "x-woken",
                "tick",
            )
            .unwrap();
            proxy_wasm::hostcalls::resume_http_request().unwrap();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request { id, config: self.config.clone(), path: String::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Request {
    id: u32,
    config: String,
    path: String,
}

impl Request {
    fn count(&self) -> u32 {
        let (value, cas) = self.get_shared_data("hits");
        let hits = value.and_then(|v| v.as_slice().try_into().ok()).map_or(0, u32::from_le_bytes) + 1;
        self.set_shared_data("hits", Some(&hits.to_le_bytes()), cas).unwrap();
        hits
    }

    fn property(&self, path: &[&str]) -> String {
        let bytes = self.get_property(path.to_vec()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Context for Request {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, _: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let body = self.get_http_call_response_body(0, size).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        log(&format!("answer with {} fields", if headers > 0 { "some" } else { "no" }));
        self.set_http_request_header("x-auth", Some(&format!("{status} {body}")));
        self.resume_http_request();
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize) -> Action {
        self.path = self.get_http_request_header(":path").unwrap_or_default();
        self.set_http_request_header("x-guest", Some(&self.config));
        self.set_http_request_header("x-unwanted", None);
        match self.path.as_str() {
            "/reply" => {
                self.send_http_response(403, vec![("x-by", "guest")], Some(b"denied by the guest"));
                Action::Pause
            }
            "/call" => {
                let head = vec![(":method", "POST"), (":path", "/auth"), (":authority", "auth.test")];
                let body = Some(b"token".as_slice());
                self.dispatch_http_call("auth", head, body, vec![], Duration::from_secs(5)).unwrap();
                Action::Pause
            }
            "/tick" => {
                WAITING.with_borrow_mut(|waiting| waiting.insert(self.id));
                Action::Pause
            }
            "/shared" => {
                let hits = self.count().to_string();
                self.set_http_request_header("x-hits", Some(&hits));
                Action::Continue
            }
            "/property" => {
                let text = format!(
                    "{} {}",
                    self.property(&["request", "method"]),
                    self.property(&["request", "path"])
                );
                self.set_http_request_header("x-property", Some(&text));
                Action::Continue
            }
            "/pairs" => {
                let names: Vec<String> =
                    self.get_http_request_headers().into_iter().map(|(name, _)| name).collect();
                self.set_http_request_header("x-names", Some(&names.join(" ")));
                Action::Continue
            }
            "/append" | "/replace" => {
                self.set_http_request_header("content-length", None);
                Action::Continue
            }
            _ => Action::Continue,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        match self.path.as_str() {
            "/append" if end => self.set_http_request_body(size, 0, b" and the guest"),
            "/replace" if !end => return Action::Pause,
            "/replace" => {
                let body = self.get_http_request_body(0, size).unwrap_or_default();
                self.set_http_request_body(0, size, &body.to_ascii_uppercase());
            }
            _ => {}
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize) -> Action {
        self.set_http_response_header("x-answer", Some(&self.config));
        if self.path == "/answer" {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.path == "/answer" {
            if !end {
                return Action::Pause;
            }
            self.set_http_response_body(0, size, b"the guest's answer");
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        log(&format!("served {}", self.path));
    }
}

fn log(message: &str) {
    proxy_wasm::hostcalls::log(LogLevel::Info, message).unwrap();
}
