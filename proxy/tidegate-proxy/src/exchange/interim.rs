//! Interim answers of servers (RFC 9110, 15.2): which of them are passed on, and how many that were.

use std::cell::Cell;
use std::rc::Rc;

use http::{StatusCode, Version, response};

use crate::exchange::finish::Record;
use crate::http::fail::Fail;
use crate::http::sanitize;
use crate::local::Client;

/// Takes them for attempts that know nothing of their exchange.
pub(crate) struct Ear {
    client: Rc<Client>,
    version: Version,
    passed: Rc<Cell<u32>>,
}

impl Ear {
    /// An interim answer has come.
    pub(crate) fn heard(&self, head: response::Parts) -> Result<(), Fail> {
        pass_on(&self.client, self.version, &self.passed, head)
    }
}

impl Record {
    /// An interim answer has come.
    #[cold]
    pub(crate) fn heard(&self, head: response::Parts) -> Result<(), Fail> {
        pass_on(&self.client, self.version, &self.interim, head)
    }

    /// For an attempt by itself.
    pub(crate) fn ear(&mut self) -> Ear {
        let passed = self.interim_aside.get_or_insert_default().clone();
        Ear { client: self.client.clone(), version: self.version, passed }
    }

    /// How many the client was sent.
    pub(crate) fn interim_answers(&self) -> u32 {
        self.interim.get() + self.interim_aside.as_ref().map_or(0, |aside| aside.get())
    }
}

/// What the client cannot read, or what is not meant for it, is only read.
fn pass_on(
    client: &Client,
    version: Version,
    passed: &Cell<u32>,
    mut head: response::Parts,
) -> Result<(), Fail> {
    sanitize::interim(&mut head)?;
    // RFC 9110, 15.2: HTTP/1.0 knows none. And 10.1.1: the gateway answers the client's expectation itself and takes it
    // out of the request, so a server that says that it will take the body says it to the gateway: passed on it would be
    // a second one to the client, or one that it has not asked for.
    if version < Version::HTTP_11 || head.status == StatusCode::CONTINUE {
        return Ok(());
    }
    passed.set(passed.get() + 1);
    client.passing.put(head);
    Ok(())
}
