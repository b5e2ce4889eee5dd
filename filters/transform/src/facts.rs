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

    /// The value in a place.
    pub fn find(&self, source: &Source) -> Option<Vec<u8>> {
        match source {
            Source::Header(name) => self.headers.get(name).map(Value::into_bytes),
            Source::RequestHeader(name) => {
                self.noted.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_vec())
            }
            Source::Query(name) => query::find(&self.noted.path, name),
            Source::Path => Some(self.path().into()),
            Source::Group(group) => {
                let captures = self.captures.borrow();
                let captures = captures.as_ref()?;
                let found = match group.parse::<usize>() {
                    Ok(number) => captures.get(number),
                    Err(_) => captures.name(group),
                };
                found.map(|found| found.as_str().into())
            }
            Source::Method => Some(self.noted.method.clone().into()),
            Source::Host => Some(self.noted.host.clone().into()),
            Source::Status => Some(self.status.to_string().into()),
            Source::Address => {
                self.source.get_or_init(|| self.properties.source().ip()).clone().map(String::into_bytes)
            }
            Source::RequestId => self.properties.request().id().map(String::into_bytes),
        }
    }
}
