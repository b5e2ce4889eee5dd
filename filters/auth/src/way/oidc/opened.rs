//! Sessions whose cookies this instance has opened already: most requests come with a cookie that was seen before.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::form;
use super::session::Session;
use crate::cache::Cache;
use crate::identity::Identity;

/// A session, and whom it is of.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) identity: Rc<Identity>,
}

impl Session {
    /// Its claims. The ID token was checked before it was encrypted, so they are only read.
    pub(super) fn claims(&self) -> Option<Map<String, Value>> {
        let claims = form::from_base64(self.id_token.split('.').nth(1)?.as_bytes())?;
        serde_json::from_slice(&claims).ok()
    }
}

/// Sessions by the value of their cookies.
pub(super) struct Recent(RefCell<Cache<Box<[u8]>, Rc<Opened>>>);

impl Recent {
    pub(super) fn new() -> Self {
        Recent(RefCell::new(Cache::new(MOST)))
    }

    pub(super) fn get(&self, sealed: &[u8]) -> Option<Rc<Opened>> {
        self.0.borrow_mut().get(sealed)
    }

    pub(super) fn put(&self, sealed: &[u8], opened: &Rc<Opened>) {
        self.0.borrow_mut().put(sealed.into(), opened.clone());
    }
}

/// With all that belongs to them they take some 2 MiB at most, where cookies are of usual length.
const MOST: usize = 256;
