//! Establishes who sends a request, by one or several ways, and decides by rules what they may do.
//!
//! The walk of a request: headers that the filter sets are removed, so that no client can write them; each way of the
//! configuration looks for credentials of its kind; the policy decides; credentials are removed and the identity is
//! told to the upstream.

mod bytes;
mod cache;
mod config;
mod crypto;
mod handed_on;
mod headers;
mod identity;
mod json;
mod pattern;
mod place;
mod policy;
mod tally;
mod verdict;
mod way;

use std::cell::RefCell;
use std::rc::Rc;

use tidegate_sdk::{Body, ConfigError, Filter, Flow, Plugin, Reply, Response, Value, filter, join_all};

use crate::handed_on::{HandedOn, all_apart};
use crate::headers::Outgoing;
use crate::identity::Identity;
use crate::place::Sweep;
use crate::policy::Policy;
use crate::tally::Tally;
use crate::verdict::{Challenge, Refusal, Verdict};
use crate::way::{Changes, Way};

pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;

/// A request on its way through this filter.
pub(crate) type Request = tidegate_sdk::Request<Kept>;

/// What a request leaves for its response.
#[derive(Debug, Default)]
pub struct Kept {
    /// Headers that are added to the response, as a cookie of a session that was renewed.
    pub(crate) added: RefCell<Vec<(String, Value)>>,
    /// What authorization services change in the request and the response.
    pub(crate) changes: RefCell<Vec<Changes>>,
}

/// The ways of a route and what is done with their verdicts.
pub struct Auth {
    ways: Vec<(Way, Tally)>,
    /// Every way must know the sender, not just one.
    all: bool,
    /// Requests without credentials pass, as nobody's.
    anonymous: bool,
    outgoing: Outgoing,
    handed_on: HandedOn,
    sweep: Sweep,
    policy: Option<Policy>,
}

/// Who sends a request, as far as the ways know.
#[derive(Default)]
struct Known {
    identities: Vec<Rc<Identity>>,
    /// Of the ways that have found nothing.
    challenges: Vec<Challenge>,
}

#[filter]
impl Filter for Auth {
    type Config = Config;
    type State = Kept;

    fn new(config: Config, plugin: &Plugin) -> Result<Self, ConfigError> {
        if config.envoy_holds_heads {
            plugin.rely_on_held_bodies();
        }
        let all = config.combine == config::Combine::All;
        let mut ways = Vec::with_capacity(config.ways.len());
        for (at, document) in config.ways.into_iter().enumerate() {
            let way = Way::build(document, &format!("ways[{at}]"), plugin.held_body())?;
            let tally = Tally::new(way.kind());
            ways.push((way, tally));
        }
        if ways.is_empty() && !config.anonymous {
            return Err(ConfigError::at(
                "ways",
                "no way is listed, so every request would be refused; list one, or set `anonymous: true`",
            ));
        }
        let mut outgoing = Outgoing::build(config.headers)?;
        outgoing.owns(ways.iter().flat_map(|(way, _)| way.headers()));
        let sweep = Sweep::new(ways.iter().flat_map(|(way, _)| way.places()));
        if let Some(name) = outgoing.owned().find(|name| sweep.reads(name)) {
            let message = format!("\"{name}\" holds credentials, so it cannot tell the upstream anything");
            return Err(ConfigError::at("headers", message));
        }
        // Where all ways must know the sender, the name is that of the first.
        let every: Vec<&Way> = ways.iter().map(|(way, _)| way).collect();
        let naming = if all { every.get(..1).unwrap_or_default() } else { &every };
        let handed_on = HandedOn::build(config.hand_on, naming)?;
        if outgoing.is_qualified() {
            let apart = all_apart(naming, "leave `sender` out and take `subject`");
            apart.map_err(|problem| ConfigError::at("headers.sender", problem))?;
        }
        let policy = config.policy.map(Policy::build).transpose()?;
        if let Some(rule) = policy.as_ref().and_then(Policy::qualified_rule) {
            let apart = all_apart(&every, "take `subjects` where a name means the same sender in both");
            apart.map_err(|problem| ConfigError::at(format!("policy.rules[{rule}]"), problem))?;
        }
        Ok(Auth { ways, all, anonymous: config.anonymous, outgoing, handed_on, sweep, policy })
    }

    async fn on_request(&self, request: &mut Request, body: &mut Body) -> tidegate_sdk::Result<Flow> {
        self.outgoing.clear(request);
        self.handed_on.clear(request);
        let Known { identities, challenges } = match self.identify(request, body).await {
            Ok(known) => known,
            Err(reply) => return Ok((*reply).into()),
        };
        if self.policy.as_ref().is_some_and(|policy| !policy.allows(request, &identities)) {
            return Ok(denied(&identities, challenges).into());
        }
        self.sweep.apply(request);
        self.outgoing.write(request, &identities);
        self.handed_on.write(request, &identities);
        for changes in request.state().changes.borrow().iter() {
            changes.apply(request);
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, response: &mut Response<Kept>) {
        for (name, value) in response.state().added.take() {
            response.headers().add(&name, value);
        }
        for changes in response.state().changes.take() {
            changes.apply_to_response(response.headers());
        }
    }

    async fn background(&self) {
        join_all(self.ways.iter().map(|(way, _)| way.background())).await;
    }
}

impl Auth {
    /// Who sends this, or the answer to those whom no way knows. Nobody at all is an empty list.
    async fn identify(&self, request: &mut Request, body: &mut Body) -> Result<Known, Box<Reply>> {
        let mut known = Known::default();
        let mut refused: Option<Refusal> = None;
        for (way, tally) in &self.ways {
            let verdict = way.check(request, body).await;
            tally.count(&verdict);
            match verdict {
                Verdict::Known(identity) => {
                    known.identities.push(identity);
                    if !self.all {
                        return Ok(known);
                    }
                }
                Verdict::Reply(reply) => return Err(reply),
                Verdict::Nothing(challenge) => known.challenges.push(challenge),
                Verdict::Refused(refusal) => {
                    refused.get_or_insert(*refusal);
                }
            }
        }
        match refused {
            Some(refusal) => Err(Box::new(refusal.into_reply())),
            None if self.all && known.challenges.is_empty() => Ok(known),
            None if self.anonymous && known.identities.is_empty() => Ok(known),
            None => Err(Box::new(Challenge::into_reply(known.challenges))),
        }
    }
}

/// Nobody is told how to become somebody, where there is a way.
fn denied(identities: &[Rc<Identity>], challenges: Vec<Challenge>) -> Reply {
    match identities.is_empty() && !challenges.is_empty() {
        true => Challenge::into_reply(challenges),
        false => Reply::text(403, "not allowed").details("policy_denied"),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;
