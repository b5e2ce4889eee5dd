//! Rules, checked: which requests they are about, and what decides.

use tidegate_sdk::{ConfigError, Interest, Reply, Request};

use crate::arms::{Arm, check_name};
use crate::config::{self, Source, To};
use crate::language;
use crate::source::{self, Matcher};
use crate::split::Split;
use crate::switch::Switch;
use crate::table::{Found, Table};

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    matcher: Matcher,
    pub(crate) arms: Vec<Arm>,
    pub(crate) kind: Kind,
}

/// What decides.
#[derive(Debug)]
pub(crate) enum Kind {
    Always,
    Split(Split),
    /// With the values of the arms before the default, which is the last one, if there is one.
    Values {
        from: Source,
        values: Vec<String>,
        default: Option<usize>,
    },
    Language {
        known: Vec<(String, usize)>,
        default: Option<usize>,
    },
    Switch(Switch),
    /// What is found in the table is the first arm, the default the second.
    Table(Box<Table>, Option<usize>),
}

/// What a rule says of a request.
pub(crate) struct Decision {
    /// The rule's arm.
    pub(crate) arm: usize,
    /// Where to, if that is not the arm's own place.
    pub(crate) to: Option<To>,
    /// The client is to keep the arm.
    pub(crate) keep: bool,
}

impl Decision {
    fn of(arm: usize) -> Self {
        Decision { arm, to: None, keep: false }
    }
}

impl Rule {
    pub(crate) fn new(rule: &config::Rule, seed: &str, path: &str) -> Result<Self, ConfigError> {
        check_name(&rule.name, &format!("{path}.name"))?;
        let matcher = Matcher::new(rule.r#match.as_ref(), &format!("{path}.match"))?;
        let name = &rule.name;
        let at = |key: &str| format!("{path}.{key}");
        let given = (&rule.to, &rule.split, &rule.values, &rule.language, &rule.switch, &rule.table);
        let (kind, arms) = match given {
            (Some(to), None, None, None, None, None) => {
                (Kind::Always, vec![Arm::new(name, "all", Some(to), &at("to"))?])
            }
            (None, Some(split), None, None, None, None) => {
                let (split, arms) = Split::new(split, seed, name, &at("split"))?;
                (Kind::Split(split), arms)
            }
            (None, None, Some(values), None, None, None) => by_values(values, name, &at("values"))?,
            (None, None, None, Some(language), None, None) => by_language(language, name, &at("language"))?,
            (None, None, None, None, Some(switch), None) => {
                let (switch, arms) = Switch::new(switch, name, &at("switch"))?;
                (Kind::Switch(switch), arms)
            }
            (None, None, None, None, None, Some(table)) => by_table(table, name, &at("table"))?,
            _ => {
                let problem = "has one of to, split, values, language, switch and table";
                return Err(ConfigError::at(path, problem));
            }
        };
        Ok(Rule { matcher, arms, kind })
    }

    /// What the requests have in common that it may be about; nothing where that is all of them.
    pub(crate) fn interest(&self) -> Option<Vec<Interest<'_>>> {
        let mut all = self.matcher.interest()?;
        if let Kind::Switch(switch) = &self.kind {
            all.extend(switch.control_path().map(Interest::Path));
        }
        Some(all)
    }

    /// What it says of this request; nothing, if the next one is to decide. An answer ends all.
    pub(crate) fn decide<S>(&self, request: &Request<S>) -> Result<Option<Decision>, Reply> {
        if !self.matcher.fits(request) {
            return Ok(None);
        }
        let decision = match &self.kind {
            Kind::Always => Some(Decision::of(0)),
            Kind::Split(split) => {
                let given = split.give(request, &self.arms);
                Some(Decision { arm: given.arm, to: None, keep: given.keep })
            }
            Kind::Values { from, values, default } => {
                let value = source::value(from, request);
                let at = value.and_then(|value| values.iter().position(|known| *known == value));
                at.or(*default).map(Decision::of)
            }
            Kind::Language { known, default } => {
                let accept = request.headers().get_str("accept-language").unwrap_or_default();
                language::best(&accept, known).copied().or(*default).map(Decision::of)
            }
            Kind::Switch(switch) => Some(Decision::of(switch.arm(&self.arms))),
            Kind::Table(table, default) => match table.find(request) {
                Found::To(to) => Some(Decision { arm: 0, to: Some(to), keep: false }),
                Found::Nothing => default.map(Decision::of),
                Found::NoTable => {
                    let reply = Reply::text(503, "where this goes is not known yet");
                    return Err(reply.details("routing_table_missing"));
                }
            },
        };
        Ok(decision)
    }
}

/// Adds the default's arm behind the others.
fn with_default(
    arms: &mut Vec<Arm>,
    default: Option<&To>,
    rule: &str,
    path: &str,
) -> Result<Option<usize>, ConfigError> {
    let Some(to) = default else { return Ok(None) };
    arms.push(Arm::new(rule, "default", Some(to), &format!("{path}.default"))?);
    Ok(Some(arms.len() - 1))
}

fn by_values(values: &config::Values, rule: &str, path: &str) -> Result<(Kind, Vec<Arm>), ConfigError> {
    let from = source::checked(&values.from, &format!("{path}.from"))?;
    let mut arms = Vec::new();
    for (value, to) in &values.arms {
        let path = format!("{path}.arms.{value}");
        check_name(value, &path)?;
        arms.push(Arm::new(rule, value, Some(to), &path)?);
    }
    let default = with_default(&mut arms, values.default.as_ref(), rule, path)?;
    Ok((Kind::Values { from, values: values.arms.keys().cloned().collect(), default }, arms))
}

fn by_language(language: &config::Language, rule: &str, path: &str) -> Result<(Kind, Vec<Arm>), ConfigError> {
    let (mut arms, mut known) = (Vec::new(), Vec::new());
    for (at, (name, to)) in language.arms.iter().enumerate() {
        let path = format!("{path}.arms.{name}");
        check_name(name, &path)?;
        arms.push(Arm::new(rule, name, Some(to), &path)?);
        known.push((name.to_ascii_lowercase(), at));
    }
    let default = with_default(&mut arms, language.default.as_ref(), rule, path)?;
    Ok((Kind::Language { known, default }, arms))
}

fn by_table(table: &config::Table, rule: &str, path: &str) -> Result<(Kind, Vec<Arm>), ConfigError> {
    let mut arms = vec![Arm::new(rule, "found", None, path)?];
    let default = with_default(&mut arms, table.default.as_ref(), rule, path)?;
    Ok((Kind::Table(Box::new(Table::new(table, path)?), default), arms))
}
