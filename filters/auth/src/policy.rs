//! Rules that decide what senders may do. The first rule whose conditions hold decides.
//!
//! A rule or the whole policy in the shadow decides as well: that is counted and logged, but the request goes on as if it
//! were not there.

mod condition;

use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::{ConfigError, Counter, log};

use crate::Request;
use crate::identity::Identity;
use condition::{Condition, Facts};

/// Rules that decide what senders may do.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PolicyDocument {
    /// What is decided where no rule's conditions hold.
    #[serde(default)]
    default: Action,
    /// Decides, counts and logs, but enforces nothing.
    #[serde(default)]
    shadow: bool,
    /// The rules, in order: the first whose conditions hold decides.
    #[serde(default)]
    rules: Vec<RuleDocument>,
}

/// A rule.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleDocument {
    /// Its name in metrics and logs.
    name: String,
    /// What it decides.
    action: Action,
    /// Is counted and logged where it holds, but the next rules decide.
    #[serde(default)]
    shadow: bool,
    /// All of these conditions must hold. Without any the rule always holds.
    #[serde(default)]
    when: Condition,
    /// The rule does not hold where all of these conditions do. Without any there is no exception.
    unless: Option<Condition>,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum Action {
    /// The request goes on.
    Allow,
    /// The request is answered with 403; with 401 where nobody's request lacks credentials.
    #[default]
    Deny,
}

/// The rules, with their counters.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    default: Action,
    shadow: bool,
    counter: Counter,
}

#[derive(Debug)]
struct Rule {
    name: String,
    action: Action,
    shadow: bool,
    when: Condition,
    unless: Option<Condition>,
    counter: Counter,
}

impl Policy {
    pub(crate) fn build(document: PolicyDocument) -> Result<Self, ConfigError> {
        let shadow = document.shadow;
        let mut rules: Vec<Rule> = Vec::with_capacity(document.rules.len());
        for (number, rule) in document.rules.into_iter().enumerate() {
            let at = |message: String| ConfigError::at(format!("policy.rules[{number}].name"), message);
            if rule.name.is_empty() || rule.name == DEFAULT || rule.name.contains(char::is_control) {
                return Err(at(format!("\"{}\" is no name for a rule", rule.name.escape_debug())));
            }
            if rules.iter().any(|known| known.name == rule.name) {
                return Err(at(format!("\"{}\" is the name of an earlier rule", rule.name)));
            }
            let counter = counter(&rule.name, rule.action, shadow || rule.shadow);
            let RuleDocument { name, action, shadow, when, unless } = rule;
            rules.push(Rule { name, action, shadow, when, unless, counter });
        }
        let counter = counter(DEFAULT, document.default, shadow);
        Ok(Policy { rules, default: document.default, shadow, counter })
    }

    /// The first rule that takes for granted that no two senders have the same name, counted from 0.
    pub(crate) fn qualified_rule(&self) -> Option<usize> {
        let is = |rule: &Rule| {
            rule.when.is_qualified() || rule.unless.as_ref().is_some_and(Condition::is_qualified)
        };
        self.rules.iter().position(is)
    }

    /// Whether the request may go on.
    pub(crate) fn allows(&self, request: &Request, identities: &[Rc<Identity>]) -> bool {
        let facts = Facts::new(request, identities);
        for rule in &self.rules {
            let holds =
                rule.when.holds(&facts) && !rule.unless.as_ref().is_some_and(|unless| unless.holds(&facts));
            if !holds {
                continue;
            }
            rule.counter.increment();
            if !rule.shadow {
                return self.enforced(rule.action, &rule.name, identities);
            }
            tell(rule.action, &rule.name, identities);
        }
        self.counter.increment();
        self.enforced(self.default, DEFAULT, identities)
    }

    fn enforced(&self, action: Action, rule: &str, identities: &[Rc<Identity>]) -> bool {
        if self.shadow {
            tell(action, rule, identities);
            return true;
        }
        if action == Action::Deny {
            log::debug!("the policy's rule {rule} denies a request of {}", subject(identities));
        }
        action == Action::Allow
    }
}

/// What a decision in the shadow would have been.
fn tell(action: Action, rule: &str, identities: &[Rc<Identity>]) {
    if action == Action::Deny {
        log::info!("in the shadow, the policy's rule {rule} would deny a request of {}", subject(identities));
    }
}

fn subject(identities: &[Rc<Identity>]) -> String {
    identities.first().map_or_else(|| "nobody".to_owned(), |first| first.subject.escape_debug().to_string())
}

fn counter(rule: &str, action: Action, shadow: bool) -> Counter {
    let decision = if action == Action::Allow { "allow" } else { "deny" };
    let mode = if shadow { "shadow" } else { "enforced" };
    Counter::labelled("auth_policy_total", &[("rule", rule), ("decision", decision), ("mode", mode)])
}

/// What stands for the default in metrics.
const DEFAULT: &str = "default";
