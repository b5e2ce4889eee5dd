//! Arms: names for places where requests go, each with a counter.

use tidegate_request_parts::header_name;
use tidegate_sdk::{ConfigError, Counter, Outcome, Request};

use crate::config::{self, To};

/// An arm of a rule.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) to: Option<To>,
    /// What other filters are told, `RULE/ARM`.
    pub(crate) label: String,
    pub(crate) counter: Counter,
}

impl Arm {
    pub(crate) fn new(rule: &str, name: &str, to: Option<&To>, path: &str) -> Result<Self, ConfigError> {
        let to = to.map(|to| checked(to, path)).transpose()?;
        let counter = Counter::labelled("routing_requests_total", &[("rule", rule), ("arm", name)]);
        Ok(Arm { name: name.to_owned(), to, label: format!("{rule}/{name}"), counter })
    }
}

/// A name that may stand in cookies, headers and labels.
pub(crate) fn check_name(name: &str, path: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(()),
        false => {
            let problem =
                format!("\"{}\" has something else than letters, digits, _, - and .", name.escape_debug());
            Err(ConfigError::at(path, problem))
        }
    }
}

fn checked(to: &To, path: &str) -> Result<To, ConfigError> {
    match to {
        To::Upstream(name) | To::Route(name) if name.is_empty() => {
            Err(ConfigError::at(path, "the name is empty"))
        }
        To::Header(header) => {
            let name = header_name(&header.name, &format!("{path}.header.name"))?;
            if header.value.contains(char::is_control) {
                return Err(ConfigError::at(format!("{path}.header.value"), "has a control character in it"));
            }
            Ok(To::Header(config::SetHeader { name, value: header.value.clone() }))
        }
        other => Ok(other.clone()),
    }
}

/// Sends a request there.
pub(crate) fn send<S>(request: &Request<S>, to: &To) -> Outcome<()> {
    match to {
        To::Upstream(name) => request.set_upstream(name),
        To::Route(name) => request.set_route(name),
        To::Header(header) => request.route_by_header(&header.name, &header.value),
    }
}
