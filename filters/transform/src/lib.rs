//! Changes headers, query parameters and JSON bodies of requests and responses by rules.
//!
//! All that fits is read first and changed then, so templates see a message as it came. A body is held only where a rule
//! that fits changes it.

mod condition;
mod config;
mod facts;
mod json;
mod query;
mod rule;
mod template;

use std::cell::OnceCell;

use tidegate_sdk::{
    Body, ConfigError, Counter, Error, Filter, Flow, Headers, Plugin, Reply, Request, Response, Result,
    filter, log,
};

use condition::media_types;
pub use config::Config;
use config::Otherwise;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use facts::{Facts, Noted};
use rule::{Changes, Rule, Target};

/// The filter.
pub struct Transform {
    config: Config,
    /// Bytes of the largest body that is changed.
    max_body: usize,
    request: Vec<Rule>,
    response: Vec<Rule>,
    /// What rules need of method, path and host.
    target: Target,
    /// Rules for responses need something of the request.
    notes: bool,
    /// A rule changes bodies.
    changes_bodies: bool,
    /// These headers among it.
    noted: Vec<String>,
}

/// Messages that were refused because their body cannot be changed.
static REFUSED: Counter = Counter::new("transform_refused_total");

/// Bodies that were changed.
static BODIES: Counter = Counter::new("transform_bodies_total");

#[filter]
impl Filter for Transform {
    type Config = Config;
    type State = OnceCell<Noted>;

    fn new(config: Config, plugin: &Plugin) -> std::result::Result<Self, ConfigError> {
        let max_body = config::max_body(config.max_body, plugin.held_body())?;
        let (mut request, mut response) = (Vec::new(), Vec::new());
        for (nth, rule) in config.request.iter().enumerate() {
            request.push(Rule::of_request(rule, &format!("request[{nth}]"))?);
        }
        for (nth, rule) in config.response.iter().enumerate() {
            response.push(Rule::of_response(rule, &format!("response[{nth}]"))?);
        }
        let mut noted: Vec<String> =
            response.iter().flat_map(Rule::request_headers).map(str::to_owned).collect();
        noted.sort_unstable();
        noted.dedup();
        Ok(Transform {
            target: request.iter().chain(&response).map(Rule::target).fold(
                // The answer to HEAD has no body to be changed.
                Target { method: response.iter().any(Rule::changes_body), ..Target::default() },
                Target::and,
            ),
            notes: !noted.is_empty()
                || response.iter().any(|rule| rule.target().is_any() || rule.changes_body()),
            changes_bodies: request.iter().chain(&response).any(Rule::changes_body),
            max_body,
            config,
            request,
            response,
            noted,
        })
    }

    async fn on_request(&self, request: &mut Request<OnceCell<Noted>>, body: &mut Body) -> Result<Flow> {
        let headers = request.headers();
        let mut noted = Noted::default();
        if self.target.method {
            noted.method = request.method();
        }
        if self.target.path {
            noted.path = request.path();
        }
        if self.target.host {
            noted.host = request.authority();
        }
        noted.headers = rule::noted(headers, &self.noted);
        let facts = Facts::new(headers, &noted, request.properties(), 0);
        let mut changes = Changes::default();
        for rule in self.request.iter().filter(|rule| rule.condition.fits(&facts)) {
            if let Err(bad) = rule.plan(&facts, &mut changes) {
                REFUSED.increment();
                let text = format!("the value for the header {} has a control character in it", bad.name);
                return Ok(Reply::text(400, text).details("transform_value").into());
            }
        }
        let wants_plain =
            self.response.iter().any(|rule| rule.changes_body() && rule.condition.fits_target(&facts));
        let is_json = changes.changes_body() && is_json(headers) && request.has_body();
        changes.apply(headers, &noted.path);
        if self.response.is_empty() && !self.changes_bodies {
            request.leave();
        }
        if wants_plain {
            // The answer must come as a whole and readable.
            headers.set("accept-encoding", "identity");
            headers.remove("range");
            headers.remove("if-range");
        }
        if self.notes {
            // Set once: a request has one handler.
            let _ = request.state().set(noted);
        }
        if !is_json {
            return Ok(Flow::Continue);
        }
        match self.rewrite(&changes, headers, body).await? {
            Ok(changed) => {
                if changed {
                    for name in DIGESTS {
                        headers.remove(name);
                    }
                }
                Ok(Flow::Continue)
            }
            Err(problem) => Ok(problem.refuse(false)),
        }
    }

    async fn on_response(&self, response: &mut Response<OnceCell<Noted>>, body: &mut Body) -> Result<Flow> {
        if self.response.is_empty() {
            return Ok(Flow::Continue);
        }
        let headers = response.headers();
        let noted = response.state().get_or_init(Noted::default);
        let status = response.status();
        let facts = Facts::new(headers, noted, response.properties(), status);
        let mut changes = Changes::default();
        for rule in self.response.iter().filter(|rule| rule.condition.fits(&facts)) {
            if let Err(bad) = rule.plan(&facts, &mut changes) {
                REFUSED.increment();
                log::warn!("the value for the response header {} has a control character in it", bad.name);
                return Ok(Reply::text(502, "bad response").details("transform_value").into());
            }
        }
        // Of a part of a document nothing can be said.
        let is_json = changes.changes_body() && status != 206 && is_json(headers);
        changes.apply(headers, "");
        if !self.changes_bodies && response.has_body() {
            response.leave();
        }
        if !is_json {
            return Ok(Flow::Continue);
        }
        if !response.has_body() {
            if noted.method == "HEAD" {
                headers.remove("content-length");
            }
            weaken(headers);
            return Ok(Flow::Continue);
        }
        match self.rewrite(&changes, headers, body).await? {
            Ok(true) => {
                weaken(headers);
                Ok(Flow::Continue)
            }
            Ok(false) => Ok(Flow::Continue),
            Err(problem) => Ok(problem.refuse(true)),
        }
    }
}

/// Why a body cannot be changed.
#[derive(Debug, Clone, Copy)]
enum Problem {
    TooLarge,
    Invalid,
    Encoded,
}

impl Transform {
    /// Changes a body; true when it is another one then. What must be refused is the inner error.
    async fn rewrite(
        &self,
        changes: &Changes<'_>,
        headers: &Headers,
        body: &mut Body,
    ) -> Result<std::result::Result<bool, Problem>> {
        let limit = self.max_body;
        if headers
            .get("content-encoding")
            .is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
        {
            return Ok(otherwise(self.config.on_encoded, Problem::Encoded));
        }
        let announced = headers.get("content-length").and_then(|length| length.parse::<u64>());
        if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
            return Ok(otherwise(self.config.on_too_large, Problem::TooLarge));
        }
        let whole = match body.collect(limit).await {
            Ok(whole) => whole,
            Err(Error::TooLarge { .. }) => return Ok(otherwise(self.config.on_too_large, Problem::TooLarge)),
            Err(error) => return Err(error.into()),
        };
        if whole.is_empty() {
            return Ok(Ok(false));
        }
        let Some(changed) = changes.rewrite(&whole) else {
            return Ok(otherwise(self.config.on_invalid, Problem::Invalid));
        };
        if changed == whole {
            return Ok(Ok(false));
        }
        body.replace(&changed)?;
        BODIES.increment();
        Ok(Ok(true))
    }
}

impl Problem {
    fn refuse(self, response: bool) -> Flow {
        REFUSED.increment();
        let (status, text, details) = match self {
            Problem::TooLarge => (413, "the body is too large to be changed", "transform_too_large"),
            Problem::Invalid => (400, "the body is not JSON", "transform_invalid"),
            Problem::Encoded => (415, "the body must not be compressed", "transform_encoded"),
        };
        log::debug!("refused: {text}");
        let reply =
            Reply::text(if response { 502 } else { status }, if response { "bad response" } else { text });
        let reply = reply.details(details);
        match (self, response) {
            (Problem::Encoded, false) => reply.header("accept-encoding", "identity").into(),
            _ => reply.into(),
        }
    }
}

fn otherwise(setting: Otherwise, problem: Problem) -> std::result::Result<bool, Problem> {
    match setting {
        Otherwise::Pass => Ok(false),
        Otherwise::Refuse => Err(problem),
    }
}

/// Whether a body says that it is JSON: `application/json`, or anything that ends in `+json`.
fn is_json(headers: &Headers) -> bool {
    media_types(headers).iter().any(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// Another body is not the same byte by byte: its tag must not say so, and digests and ranges of the old one are wrong.
fn weaken(headers: &Headers) {
    match headers.get("etag") {
        Some(tag) if tag.starts_with(b"W/") => {}
        Some(tag) if tag.starts_with(b"\"") => headers.set("etag", [b"W/", &tag[..]].concat()),
        Some(_) => headers.remove("etag"),
        None => {}
    }
    for name in DIGESTS {
        headers.remove(name);
    }
    headers.remove("accept-ranges");
}

const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

#[cfg(test)]
mod tests;
