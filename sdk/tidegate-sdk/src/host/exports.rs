//! What the host calls on wasm32: the `proxy-wasm` crate's exports, led to one [`Filter`].

use std::marker::PhantomData;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use super::imports;
use crate::message::Refusals;
use crate::{Decision, Filter, Reply, Request, Response, config, headers, logger};

/// Starts the module: the host asks for a plugin next, then for a context of each request.
pub fn start<F: Filter>() {
    std::panic::set_hook(Box::new(|panic| imports::log(log::Level::Error, &panic.to_string())));
    proxy_wasm::set_root_context(|_| Box::new(Plugin::<F> { config: None }));
}

/// One plugin: a configuration that makes filters.
struct Plugin<F: Filter> {
    config: Option<Rc<F::Config>>,
}

impl<F: Filter> Context for Plugin<F> {}

impl<F: Filter> RootContext for Plugin<F> {
    fn on_configure(&mut self, _size: usize) -> bool {
        logger::install(imports::log_level());
        match config::read::<F::Config>(&imports::configuration()) {
            Ok(config) => {
                self.config = Some(Rc::new(config));
                true
            }
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        match &self.config {
            Some(config) => Some(Box::new(Exchange { filter: F::new(config), replied: false })),
            // A host that goes on after a refused configuration: nothing may pass.
            None => Some(Box::new(Unconfigured(PhantomData::<F>))),
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request in one filter.
struct Exchange<F> {
    filter: F,
    /// Some hosts pass a filter's own answer through that filter.
    replied: bool,
}

impl<F: Filter> Exchange<F> {
    fn decide(&mut self, decision: Decision, refusals: &Refusals) -> Action {
        let Some(reply) = decision.into_reply(refusals) else { return Action::Continue };
        self.replied = true;
        send(&reply);
        Action::Pause
    }
}

impl<F: Filter> Context for Exchange<F> {
    fn on_done(&mut self) -> bool {
        self.filter.on_done();
        true
    }
}

impl<F: Filter> HttpContext for Exchange<F> {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let mut request = Request::new(!end_of_stream);
        let decision = self.filter.on_request(&mut request);
        self.decide(decision, request.headers.refusals())
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.replied {
            return Action::Continue;
        }
        let mut response = Response::new(!end_of_stream);
        let decision = self.filter.on_response(&mut response);
        self.decide(decision, response.headers.refusals())
    }
}

struct Unconfigured<F>(PhantomData<F>);

impl<F> Context for Unconfigured<F> {}

impl<F> HttpContext for Unconfigured<F> {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        send(&Reply::text(500, "filter not configured").details("filter_not_configured"));
        Action::Pause
    }
}

/// Sends an answer; a malformed one, or one that the host does not take, becomes a plain 500, since the request must
/// neither pass nor hang.
fn send(reply: &Reply) {
    let malformed = reply.headers.iter().find_map(|(name, value)| {
        headers::problem_with(name, value).map(|problem| format!("{}: {problem}", name.escape_debug()))
    });
    let outcome = match malformed {
        Some(problem) => Err(problem),
        None => imports::send_reply(reply).map_err(|failure| failure.to_string()),
    };
    if let Err(problem) = outcome {
        log::error!("answering 500, because the filter's answer cannot be sent: {problem}");
        if let Err(failure) =
            imports::send_reply(&Reply::text(500, "filter failed").details("filter_reply_refused"))
        {
            log::error!("the answer 500 cannot be sent either: {failure}");
        }
    }
}
