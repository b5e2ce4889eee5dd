//! Whether a rule fits a message.

use regex_lite::{Regex, RegexBuilder};
use tidegate_sdk::{ConfigError, Headers};

use crate::config::{Path, RequestWhen, ResponseWhen, Status};
use crate::facts::Facts;

/// The conditions of a rule.
#[derive(Debug)]
pub struct Condition {
    methods: Vec<String>,
    path: Option<Paths>,
    types: Vec<String>,
    status: Vec<(u16, u16)>,
}

#[derive(Debug)]
enum Paths {
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

impl Condition {
    /// Of a rule for requests.
    pub fn of_request(when: &RequestWhen, at: &str) -> Result<Self, ConfigError> {
        Self::new(&when.methods, when.path.as_ref(), &when.content_type, &[], at)
    }

    /// Of a rule for responses.
    pub fn of_response(when: &ResponseWhen, at: &str) -> Result<Self, ConfigError> {
        Self::new(&when.methods, when.path.as_ref(), &when.content_type, &when.status, at)
    }

    fn new(
        methods: &[String],
        path: Option<&Path>,
        types: &[String],
        status: &[Status],
        at: &str,
    ) -> Result<Self, ConfigError> {
        let path = path.map(Paths::new).transpose();
        let path = path.map_err(|problem| ConfigError::at(format!("{at}.when.path"), problem))?;
        for (nth, kind) in types.iter().enumerate() {
            if kind.split('/').count() != 2 || kind.contains([';', ' ']) {
                let problem = format!(
                    "\"{}\" is not a type, as \"application/json\" or \"text/*\" is",
                    kind.escape_debug()
                );
                return Err(ConfigError::at(format!("{at}.when.contentType[{nth}]"), problem));
            }
        }
        let mut ranges = Vec::new();
        for (nth, status) in status.iter().enumerate() {
            ranges.push(range(status).ok_or_else(|| {
                ConfigError::at(format!("{at}.when.status[{nth}]"), "is not a status, as 404 or \"5xx\" is")
            })?);
        }
        Ok(Condition {
            methods: methods.to_vec(),
            path,
            types: types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
            status: ranges,
        })
    }

    /// The groups that templates may name.
    pub fn groups(&self) -> Vec<String> {
        let Some(Paths::Regex(regex)) = &self.path else { return Vec::new() };
        let numbers = (0..regex.captures_len()).map(|number| number.to_string());
        numbers.chain(regex.capture_names().flatten().map(str::to_owned)).collect()
    }

    /// Whether the method is asked for.
    pub fn asks_for_method(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Whether the path is asked for.
    pub fn asks_for_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether method and path fit; notes what groups have matched.
    pub fn fits_target(&self, facts: &Facts<'_>) -> bool {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == facts.method()) {
            return false;
        }
        let Some(paths) = &self.path else { return true };
        let path = facts.path();
        match paths {
            Paths::Exact(exact) => exact == path,
            Paths::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')),
            // Only a rule with such a pattern has templates that name its groups.
            Paths::Regex(regex) => {
                let captures = regex.captures(path);
                let fits = captures.is_some();
                facts.matched(captures);
                fits
            }
        }
    }

    /// Whether all of it fits.
    pub fn fits(&self, facts: &Facts<'_>) -> bool {
        let status = facts.status();
        self.fits_target(facts)
            && (self.status.is_empty()
                || self.status.iter().any(|(from, to)| (*from..=*to).contains(&status)))
            && (self.types.is_empty() || {
                let kinds = media_types(facts.headers());
                let is = |known: &String, kind: &String| match known.strip_suffix('*') {
                    Some(prefix) => kind.starts_with(prefix),
                    None => known == kind,
                };
                self.types.iter().any(|known| kinds.iter().any(|kind| is(known, kind)))
            })
    }
}

impl Paths {
    fn new(path: &Path) -> Result<Self, String> {
        match path {
            Path::Exact(path) | Path::Prefix(path) if !path.starts_with('/') => {
                Err(format!("\"{}\" must begin with a slash", path.escape_debug()))
            }
            Path::Exact(path) => Ok(Paths::Exact(path.clone())),
            Path::Prefix(path) => Ok(Paths::Prefix(path.clone())),
            Path::Regex(regex) => {
                let built = RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(PATTERN_BYTES).build();
                let wrong =
                    |error| format!("\"{}\" is not a regular expression: {error}", regex.escape_debug());
                built.map(Paths::Regex).map_err(wrong)
            }
        }
    }
}

/// The types that `content-type` names, without parameters and in lower case. One is usual; where there are several each
/// reader takes another one, so all of them count.
pub fn media_types(headers: &Headers) -> Vec<String> {
    let kind = |value: &[u8]| {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
        String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase()
    };
    let values = headers.get_all("content-type");
    values.iter().flat_map(|value| value.split(|byte| *byte == b',').map(kind)).collect()
}

fn range(status: &Status) -> Option<(u16, u16)> {
    let (from, to) = match status {
        Status::One(status) => (*status, *status),
        Status::Class(text) => match text.strip_suffix("xx") {
            Some(first) => first
                .parse::<u16>()
                .ok()
                .filter(|first| *first < 6)
                .map(|first| (first * 100, first * 100 + 99))?,
            None => text.parse().ok().map(|status| (status, status))?,
        },
    };
    (100..=599).contains(&from).then_some((from, to))
}

/// What a compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;
