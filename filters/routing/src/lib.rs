//! Chooses where requests go: canaries, arms of experiments, switches, languages and tenants; rewrites and redirects.

mod arms;
mod config;
mod language;
mod paths;
mod rule;
mod source;
mod split;
mod switch;
mod table;

use std::cell::{Cell, RefCell};

use tidegate_request_parts::header_name;
use tidegate_sdk::{
    ConfigError, Counter, Filter, Flow, Interest, Plugin, Reply, Request, Response, filter, join_all, log,
};

use arms::Arm;
use paths::{Redirect, Replace};
use rule::{Decision, Kind, Rule};

pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;

/// The rules.
pub struct Routing {
    redirects: Vec<Redirect>,
    rewrites: Vec<Replace>,
    rules: Vec<Rule>,
    /// The header that tells the upstream.
    tell_upstream: Option<String>,
    /// The header that tells the client.
    tell_client: Option<String>,
    /// Whether a rule has a path of the filter's own.
    controls: bool,
}

/// Requests whose client was sent elsewhere.
static REDIRECTED: Counter = Counter::new("routing_redirects_total");

/// Requests whose path was changed.
static REWRITTEN: Counter = Counter::new("routing_rewrites_total");

/// Requests that could not be sent where a rule said.
static FAILED: Counter = Counter::new("routing_failed_total");

/// What a request leaves for its response.
#[derive(Default)]
pub struct Chosen {
    /// Rule and arm, counted from 0.
    arm: Cell<Option<(usize, usize)>>,
    cookie: RefCell<Option<String>>,
}

#[filter]
impl Filter for Routing {
    type Config = Config;
    type State = Chosen;

    fn new(config: Config, plugin: &Plugin) -> Result<Self, ConfigError> {
        let (redirects, rewrites) = (config.redirects.iter(), config.rewrites.iter());
        let redirects =
            redirects.enumerate().map(|(at, one)| Redirect::new(one, &format!("redirects[{at}]")));
        let rewrites = rewrites.enumerate().map(|(at, one)| {
            if !one.to.starts_with('/') {
                let problem = format!("\"{}\" does not begin with a slash", one.to);
                return Err(ConfigError::at(format!("rewrites[{at}].to"), problem));
            }
            Replace::new(&one.path, &one.to, one.keep_query, &format!("rewrites[{at}]"))
        });
        let mut rules = Vec::new();
        for (at, rule) in config.rules.iter().enumerate() {
            if config.rules.iter().take(at).any(|known| known.name == rule.name) {
                let problem = format!("there is a rule \"{}\" already", rule.name);
                return Err(ConfigError::at(format!("rules[{at}].name"), problem));
            }
            rules.push(Rule::new(rule, &config.seed, &format!("rules[{at}]"))?);
        }
        let name = |name: &Option<String>, key: &str| {
            name.as_ref().map(|name| header_name(name, &format!("tell.{key}"))).transpose()
        };
        let controls = config.rules.iter().filter_map(|rule| rule.switch.as_ref());
        let routing = Routing {
            redirects: redirects.collect::<Result<_, _>>()?,
            rewrites: rewrites.collect::<Result<_, _>>()?,
            rules,
            tell_upstream: name(&config.tell.upstream, "upstream")?,
            tell_client: name(&config.tell.client, "client")?,
            controls: controls.into_iter().any(|switch| switch.control.is_some()),
        };
        match routing.redirects.is_empty() && routing.rewrites.is_empty() && routing.rules.is_empty() {
            true => Err(ConfigError::new("has neither redirects nor rewrites nor rules")),
            false => {
                if let Some(interest) = routing.interest() {
                    plugin.interest(&interest);
                }
                Ok(routing)
            }
        }
    }

    async fn on_request(&self, request: &mut Request<Chosen>) -> Flow {
        if self.controls || !self.redirects.is_empty() || !self.rewrites.is_empty() {
            if let Some(reply) = self.by_path(request) {
                return reply.into();
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            match rule.decide(request) {
                Ok(None) => {}
                Ok(Some(decision)) => return self.carry_out(request, at, rule, decision),
                Err(reply) => return reply.into(),
            }
        }
        // Otherwise a client could claim to have been given an arm.
        if let Some(name) = self.tell_upstream.as_ref().filter(|name| request.headers().contains(name)) {
            request.headers().remove(name);
        }
        request.leave();
        Flow::Continue
    }

    async fn on_response(&self, response: &mut Response<Chosen>) {
        let Some((rule, arm)) = response.state().arm.get() else { return };
        if let Some(cookie) = response.state().cookie.take() {
            response.headers().add("set-cookie", cookie);
        }
        let arm = self.rules.get(rule).and_then(|rule| rule.arms.get(arm));
        if let (Some(name), Some(arm)) = (&self.tell_client, arm) {
            response.headers().set(name, &arm.name);
        }
    }

    async fn background(&self) {
        let tables = self.rules.iter().filter_map(|rule| match &rule.kind {
            Kind::Table(table, _) => Some(table.keep_fresh()),
            _ => None,
        });
        join_all(tables).await;
    }
}

impl Routing {
    /// Which requests there is anything for; nothing where that is all of them.
    fn interest(&self) -> Option<Vec<Interest<'_>>> {
        let mut all: Vec<Interest<'_>> =
            self.tell_upstream.iter().map(|name| Interest::Header(name)).collect();
        for replace in self.redirects.iter().map(|redirect| &redirect.replace).chain(&self.rewrites) {
            all.push(Interest::PathPrefix(replace.beginning.as_deref()?));
        }
        for rule in &self.rules {
            all.extend(rule.interest()?);
        }
        Some(all)
    }

    /// Answers the filter's own paths and those that are redirected, and rewrites others.
    fn by_path(&self, request: &Request<Chosen>) -> Option<Reply> {
        let path = request.path();
        let switches = self.rules.iter().filter_map(|rule| match &rule.kind {
            Kind::Switch(switch) => Some((switch, rule)),
            _ => None,
        });
        for (switch, rule) in switches {
            if let Some(reply) = switch.control(request, &path, &rule.arms) {
                return Some(reply);
            }
        }
        for redirect in &self.redirects {
            if let Some(to) = redirect.apply(&path) {
                REDIRECTED.increment();
                return Some(Reply::redirect(redirect.status, to).details("routing_redirect"));
            }
        }
        if let Some(to) = self.rewrites.iter().find_map(|rewrite| rewrite.apply(&path)) {
            REWRITTEN.increment();
            request.set_path(&to);
        }
        None
    }

    /// Sends the request where a rule says.
    fn carry_out(&self, request: &Request<Chosen>, at: usize, rule: &Rule, decision: Decision) -> Flow {
        let Some(arm) = rule.arms.get(decision.arm) else { return Flow::Continue };
        if let Some(name) = &self.tell_upstream {
            request.headers().set(name, &arm.name);
        }
        if let Some(to) = decision.to.as_ref().or(arm.to.as_ref()) {
            if let Err(error) = arms::send(request, to) {
                FAILED.increment();
                log::error!("{}: {error}", arm.label);
                // It would be answered by somebody who is not meant to.
                return Reply::text(503, "the place that was chosen is not there")
                    .details("routing_failed")
                    .into();
            }
        }
        self.note(request, arm);
        let state = request.state();
        state.arm.set(Some((at, decision.arm)));
        if let (true, Kind::Split(split)) = (decision.keep, &rule.kind) {
            state.cookie.replace(split.set_cookie(arm));
        } else if self.tell_client.is_none() {
            request.leave();
        }
        Flow::Continue
    }

    /// Counts it, and tells other filters.
    fn note(&self, request: &Request<Chosen>, arm: &Arm) {
        arm.counter.increment();
        if let Err(error) = request.properties().set("routing", &arm.label) {
            log::debug!("the property routing cannot be set: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
