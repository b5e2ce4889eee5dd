//! Requests that a new version must treat as its document says, tried on instances of their own before anything
//! changes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Version, request};
use tidegate_config::plan::{Expect, PluginTest};
use tidegate_wasm::{Effect, Instance, Now, Plugin, Side, Step, StreamId, StreamInfo, Trap};

/// Tries all of them; the error says which one went otherwise, and how.
pub(crate) fn run(plugin: &Arc<Plugin>, tests: &[PluginTest], now: Now) -> Result<(), String> {
    for (index, test) in tests.iter().enumerate() {
        let told = |why: String| format!("tests[{index}] ({} {}): {why}", test.method, test.path);
        let instance = Instance::start(plugin, now).map_err(|error| told(error.to_string()))?;
        let outcome = Trial { instance, now, called: None }.ask(test).map_err(told)?;
        outcome.compare(&test.expect).map_err(told)?;
    }
    Ok(())
}

/// One request in an instance of its own.
struct Trial {
    instance: Instance,
    now: Now,
    /// An upstream that was called; nobody answers.
    called: Option<String>,
}

/// What came of a request.
struct Outcome {
    /// None: it goes on.
    status: Option<u16>,
    headers: HeaderMap,
    body: Bytes,
}

impl Trial {
    fn ask(mut self, test: &PluginTest) -> Result<Outcome, String> {
        let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let info = StreamInfo::new(client, SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), Version::HTTP_11);
        let id = self.instance.open_stream(info, self.now);
        let body = Bytes::from(test.body.clone());
        let step = self.instance.on_request_headers(id, head(test)?, body.is_empty(), self.now);
        let mut step = self.after(id, step)?;
        if let Progress::Reply(outcome) = step {
            return Ok(outcome);
        }
        let may_have_body = !matches!(step, Progress::Waits);
        if !body.is_empty() && may_have_body {
            let next = self.instance.on_request_body(id, body, true, self.now);
            step = self.after(id, next)?;
        }
        match step {
            Progress::Reply(outcome) => Ok(outcome),
            Progress::GoesOn => {
                let head = self.instance.take_request_head(id).ok_or("the request has no head any more")?;
                let body = self.instance.take_request_body(id);
                Ok(Outcome { status: None, headers: head.headers.clone(), body })
            }
            Progress::Holds | Progress::Waits => Err(match self.called {
                Some(upstream) => {
                    format!("the plugin waits for an answer of \"{upstream}\", which a test does not give")
                }
                None => "the plugin holds the request and neither answers nor lets it go on".to_owned(),
            }),
        }
    }

    /// What the guest decided, in its answer or by what it wishes.
    fn after(&mut self, id: StreamId, step: Result<Step, Trap>) -> Result<Progress, String> {
        let step = step.map_err(|trap| trap.to_string())?;
        let mut progress = match step {
            Step::Continue => Progress::GoesOn,
            Step::Pause => Progress::Holds,
            Step::Wait => Progress::Waits,
        };
        while let Some(effect) = self.instance.poll_effect() {
            match effect {
                Effect::LocalReply { stream, status, headers, body, .. } if stream == id => {
                    let headers = headers.into_iter().collect();
                    return Ok(Progress::Reply(Outcome { status: Some(status.as_u16()), headers, body }));
                }
                Effect::Resume { stream, side: Side::Request } if stream == id => progress = Progress::GoesOn,
                Effect::Feed { stream, side: Side::Request } if stream == id => progress = Progress::Holds,
                Effect::Reset { stream, .. } if stream == id => {
                    return Err("the plugin broke the request off".to_owned());
                }
                Effect::HttpCall { upstream, .. } => self.called = Some(upstream),
                _ => {}
            }
        }
        Ok(progress)
    }
}

/// How far a request has come.
enum Progress {
    GoesOn,
    /// It may be given more.
    Holds,
    Waits,
    Reply(Outcome),
}

fn head(test: &PluginTest) -> Result<request::Parts, String> {
    let mut request =
        Request::builder().method(test.method.as_str()).uri(&test.path).header("host", &test.host);
    for (name, value) in &test.headers {
        request = request.header(name, value);
    }
    if !test.body.is_empty() {
        request = request.header("content-length", test.body.len());
    }
    let request = request.body(()).map_err(|error| format!("it is no request: {error}"))?;
    Ok(request.into_parts().0)
}

impl Outcome {
    fn compare(&self, expect: &Expect) -> Result<(), String> {
        let what = if self.status.is_some() { "the answer" } else { "the request that goes on" };
        match (self.status, expect.status) {
            (found, wanted) if found == wanted => {}
            (Some(found), Some(wanted)) => {
                return Err(format!("the plugin answers {found}, expected is {wanted}"));
            }
            (Some(found), None) => {
                return Err(format!("the plugin answers {found}, expected is that the request goes on"));
            }
            (None, wanted) => {
                let wanted = wanted.unwrap_or_default();
                return Err(format!("the request goes on, expected is the answer {wanted}"));
            }
        }
        for (name, wanted) in &expect.headers {
            let mut found = self.headers.get_all(name).iter().map(|value| value.as_bytes());
            if found.any(|value| value == wanted.as_bytes()) {
                continue;
            }
            return Err(match self.headers.get(name) {
                None => format!("{what} has no header {name}, expected is {wanted:?}"),
                Some(found) => {
                    format!("{what} has the header {name} with {found:?}, expected is {wanted:?}")
                }
            });
        }
        if let Some(name) = expect.absent.iter().find(|name| self.headers.contains_key(name.as_str())) {
            return Err(format!("{what} has the header {name}, expected is that it is absent"));
        }
        let Some(wanted) = expect.body.as_ref().filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
        let body = String::from_utf8_lossy(&self.body);
        if body.contains(wanted.as_str()) {
            return Ok(());
        }
        let shown: String = body.chars().take(SHOWN).collect();
        Err(format!("{what} has the body {shown:?}, expected is {wanted:?} in it"))
    }
}

/// Characters of a body that are told.
const SHOWN: usize = 200;
