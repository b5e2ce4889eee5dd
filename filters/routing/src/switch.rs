//! Switches: a state that all workers share, and the path on which it is changed.

use tidegate_sdk::{ConfigError, Outcome, Reply, Request, log, shared};

use crate::arms::{Arm, check_name};
use crate::config;
use crate::source::without_query;

/// See the module.
#[derive(Debug)]
pub(crate) struct Switch {
    key: String,
    initial: usize,
    control: Option<config::Control>,
}

impl Switch {
    pub(crate) fn new(
        switch: &config::Switch,
        rule: &str,
        path: &str,
    ) -> Result<(Self, Vec<Arm>), ConfigError> {
        let mut arms = Vec::new();
        for (name, to) in &switch.arms {
            let path = format!("{path}.arms.{name}");
            check_name(name, &path)?;
            arms.push(Arm::new(rule, name, Some(to), &path)?);
        }
        let Some(initial) = arms.iter().position(|arm| arm.name == switch.initial) else {
            let problem = format!("there is no arm \"{}\"", switch.initial);
            return Err(ConfigError::at(format!("{path}.initial"), problem));
        };
        if let Some(control) = &switch.control {
            if !control.path.starts_with('/') || control.path.contains('?') {
                return Err(ConfigError::at(format!("{path}.control.path"), "is no path without a query"));
            }
            if control.token.len() < 16 {
                return Err(ConfigError::at(format!("{path}.control.token"), "has fewer than 16 bytes"));
            }
        }
        let key = format!("routing.switch.{rule}");
        Ok((Switch { key, initial, control: switch.control.clone() }, arms))
    }

    /// The arm that it stands at.
    pub(crate) fn arm(&self, arms: &[Arm]) -> usize {
        let state = shared::get(&self.key).unwrap_or_else(|error| {
            log::warn!("a switch is taken to be as it was first: {error}");
            None
        });
        let at = |name: Vec<u8>| arms.iter().position(|arm| arm.name.as_bytes() == name);
        state.and_then(|state| at(state.value)).unwrap_or(self.initial)
    }

    /// The path on which it is changed.
    pub(crate) fn control_path(&self) -> Option<&str> {
        self.control.as_ref().map(|control| control.path.as_str())
    }

    /// The answer to a request for the control path, if this is one.
    pub(crate) fn control<S>(&self, request: &Request<S>, path: &str, arms: &[Arm]) -> Option<Reply> {
        let control = self.control.as_ref().filter(|control| control.path == without_query(path))?;
        let given = request.headers().get("authorization").unwrap_or_default();
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        if !equal(control.token.as_bytes(), given) {
            let reply = Reply::text(401, "a token is needed").header("www-authenticate", "Bearer");
            return Some(reply.details("routing_control_refused"));
        }
        let reply = match request.method().as_str() {
            "GET" => self.shown(arms),
            "POST" => {
                let wanted = request.query("to").unwrap_or_default();
                match arms.iter().find(|arm| arm.name == wanted) {
                    Some(arm) => match self.set(arm) {
                        Ok(()) => self.shown(arms),
                        Err(error) => {
                            log::error!("the switch cannot be set: {error}");
                            Reply::text(500, "the switch cannot be set")
                        }
                    },
                    None => {
                        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
                        Reply::text(400, format!("?to= must be one of {}", names.join(", ")))
                    }
                }
            }
            _ => Reply::text(405, "GET or POST").header("allow", "GET, POST"),
        };
        Some(reply.header("cache-control", "no-store").details("routing_control"))
    }

    fn set(&self, arm: &Arm) -> Outcome<()> {
        shared::set(&self.key, &arm.name)?;
        log::info!("switched to {}", arm.label);
        Ok(())
    }

    fn shown(&self, arms: &[Arm]) -> Reply {
        let name = arms.get(self.arm(arms)).map_or("", |arm| arm.name.as_str());
        Reply::text(200, name)
    }
}

/// Compares without stopping at the first difference.
fn equal(known: &[u8], presented: &[u8]) -> bool {
    if known.len() != presented.len() {
        return false;
    }
    let difference = known.iter().zip(presented).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}
