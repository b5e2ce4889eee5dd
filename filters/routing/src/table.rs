//! Tables from a value of the request to the name of an upstream or rule.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tidegate_sdk::{ConfigError, Counter, Request, http, log, shared, time};

use crate::config::{self, Names, Source, To};
use crate::source;

/// A table in use.
type Entries = HashMap<String, To>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    from: Source,
    names: Names,
    entries: RefCell<Option<Rc<Entries>>>,
    http: Option<config::Http>,
}

/// Fetches of tables that brought none; the last good one goes on.
static FAILED: Counter = Counter::new("routing_table_failures_total");

/// What a table says.
pub(crate) enum Found {
    /// This.
    To(To),
    /// There is no such entry.
    Nothing,
    /// There is no table yet.
    NoTable,
}

impl Table {
    pub(crate) fn new(table: &config::Table, path: &str) -> Result<Self, ConfigError> {
        let from = source::checked(&table.from, &format!("{path}.from"))?;
        let entries = match (&table.entries, &table.text, &table.http) {
            (Some(entries), None, None) => {
                let pairs = entries.iter().map(|(value, name)| (value.clone(), to(table.names, name)));
                Some(Rc::new(pairs.collect()))
            }
            (None, Some(text), None) => Some(Rc::new(lines(text, table.names, &format!("{path}.text"))?)),
            (None, None, Some(http)) => {
                if !http.path.starts_with('/') || http.upstream.is_empty() {
                    return Err(ConfigError::at(
                        format!("{path}.http"),
                        "needs an upstream, and a path with a slash before it",
                    ));
                }
                if http.refresh.0.is_zero() {
                    return Err(ConfigError::at(format!("{path}.http.refresh"), "is 0; 1s is often enough"));
                }
                // What an instance before this one has fetched.
                let known = shared::get(&key(http)).ok().flatten();
                known.and_then(|known| parsed(&known.value, table.names).ok()).map(Rc::new)
            }
            _ => return Err(ConfigError::at(path, "has one of entries, text and http")),
        };
        Ok(Table { from, names: table.names, entries: RefCell::new(entries), http: table.http.clone() })
    }

    pub(crate) fn find<S>(&self, request: &Request<S>) -> Found {
        let Some(entries) = self.entries.borrow().clone() else { return Found::NoTable };
        let value = source::value(&self.from, request);
        match value.and_then(|value| entries.get(&value).cloned()) {
            Some(to) => Found::To(to),
            None => Found::Nothing,
        }
    }

    /// Fetches the table again and again, if a server gives it.
    pub(crate) async fn keep_fresh(&self) {
        let Some(http) = &self.http else { return };
        loop {
            if let Err(problem) = self.fetch(http).await {
                FAILED.increment();
                log::warn!("the table {}{} stays as it is: {problem}", http.upstream, http.path);
            }
            time::sleep(http.refresh.0).await;
        }
    }

    async fn fetch(&self, from: &config::Http) -> Result<(), String> {
        let call = http::get(&from.path).to(&from.upstream).header("accept", "application/json");
        let answer = call.timeout(from.timeout.0).await.map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("the server answered {}", answer.status()));
        }
        let entries = parsed(answer.body(), self.names)?;
        self.entries.replace(Some(Rc::new(entries)));
        if let Err(error) = shared::set(&key(from), answer.body()) {
            log::debug!("the next instance has to fetch the table: {error}");
        }
        Ok(())
    }
}

fn key(http: &config::Http) -> String {
    format!("routing.table.{}{}", http.upstream, http.path)
}

fn to(names: Names, name: &str) -> To {
    match names {
        Names::Upstream => To::Upstream(name.to_owned()),
        Names::Route => To::Route(name.to_owned()),
    }
}

fn parsed(json: &[u8], names: Names) -> Result<Entries, String> {
    let pairs: HashMap<String, String> = serde_json::from_slice(json)
        .map_err(|error| format!("what came is no JSON object of texts: {error}"))?;
    Ok(pairs.into_iter().map(|(value, name)| (value, to(names, &name))).collect())
}

fn lines(text: &str, names: Names, path: &str) -> Result<Entries, ConfigError> {
    let mut entries = Entries::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |problem: &str| ConfigError::at(path, format!("line {}: {problem}", at + 1));
        let mut words = line.split_whitespace();
        let (Some(value), Some(name), None) = (words.next(), words.next(), words.next()) else {
            return Err(wrong("has not two words, a value and a name"));
        };
        if entries.insert(value.to_owned(), to(names, name)).is_some() {
            return Err(wrong(&format!("\"{value}\" is there already")));
        }
    }
    Ok(entries)
}
