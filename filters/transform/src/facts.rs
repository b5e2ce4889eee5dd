//! What templates and conditions may know of a message. It is read before the first change.

use std::cell::{OnceCell, RefCell};

use regex_lite::Captures;
use tidegate_sdk::properties::Properties;
use tidegate_sdk::{Headers, Value};

use crate::query;
use crate::template::Source;

/// What a request leaves for its response.
#[derive(Debug, Default)]
pub struct Noted {
    /// The method.
    pub method: String,
    /// The path with its query, as it came.
    pub path: String,
    /// The host.
    pub host: String,
    /// Headers that rules for responses ask for.
    pub headers: Vec<(String, Value)>,
}

/// A message, as rules see it.
pub struct Facts<'a> {
    headers: &'a Headers,
    noted: &'a Noted,
    properties: Properties,
    status: u16,
    source: OnceCell<Option<String>>,
    captures: RefCell<Option<Captures<'a>>>,
}

impl<'a> Facts<'a> {
    /// The facts of one message; `status` is 0 for a request.
    pub fn new(headers: &'a Headers, noted: &'a Noted, properties: Properties, status: u16) -> Self {
        let (source, captures) = (OnceCell::new(), RefCell::new(None));
        Facts { headers, noted, properties, status, source, captures }
    }

    /// The headers of the message.
    pub fn headers(&self) -> &'a Headers {
        self.headers
    }

    /// The method of the request.
    pub fn method(&self) -> &'a str {
        &self.noted.method
    }

    /// The path of the request without its query.
    pub fn path(&self) -> &'a str {
        self.noted.path.split_once('?').map_or(self.noted.path.as_str(), |(path, _)| path)
    }

    /// The status of the response.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Sets what the groups of the current rule's pattern have matched.
    pub fn matched(&self, captures: Option<Captures<'a>>) {
        self.captures.replace(captures);
    }

    /// Appends the value in a place, if there is one.
    pub fn write(&self, source: &Source, out: &mut Vec<u8>) -> bool {
        let mut add = |value: Option<&[u8]>| value.map(|value| out.extend_from_slice(value)).is_some();
        match source {
            Source::Header(name) => add(self.headers.get(name).as_deref()),
            Source::RequestHeader(name) => {
                add(self.noted.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value))
            }
            Source::Query(name) => add(query::find(&self.noted.path, name).as_deref()),
            Source::Path => add(Some(self.path().as_bytes())),
            Source::Group(group) => {
                let captures = self.captures.borrow();
                let found = captures.as_ref().and_then(|captures| match group.parse::<usize>() {
                    Ok(number) => captures.get(number),
                    Err(_) => captures.name(group),
                });
                add(found.map(|found| found.as_str().as_bytes()))
            }
            Source::Method => add(Some(self.noted.method.as_bytes())),
            Source::Host => add(Some(self.noted.host.as_bytes())),
            Source::Status => add(Some(self.status.to_string().as_bytes())),
            Source::Address => {
                let address = self.source.get_or_init(|| self.properties.source().ip());
                add(address.as_deref().map(str::as_bytes))
            }
            Source::RequestId => add(self.properties.request().id().as_deref().map(str::as_bytes)),
        }
    }
}
