//! The headers that tell the upstream who sends a request. What a client wrote there is removed first.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::{ConfigError, units};

use crate::Request;
use crate::identity::{Identity, written};

/// The headers that tell the upstream who sends a request. A client cannot write them: they are removed first.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HeadersDocument {
    /// Gets the sender's name: the consumer of a key, the user, `sub` of a token, a SPIFFE id.
    pub(crate) subject: Option<String>,
    /// Gets the sender's name with the way and, of tokens and logins, the issuer before it, as
    /// `jwt|https://issuer.example|ann` and `key|ann`: no two senders have the same one.
    pub(crate) sender: Option<String>,
    /// Gets the way that knows the sender, as `jwt`.
    pub(crate) way: Option<String>,
    /// Gets the sender's groups, joined by commas.
    pub(crate) groups: Option<String>,
    /// Gets the credentials' scopes, joined by spaces.
    pub(crate) scopes: Option<String>,
    /// Headers by claim: `x-tenant: org.tenant` sets the header `x-tenant` to that claim. Lists are joined by commas,
    /// objects written as JSON. Keys have their metadata as claims.
    pub(crate) claims: BTreeMap<String, String>,
}

/// The headers that the filter sets.
#[derive(Debug)]
pub(crate) struct Outgoing {
    subject: Option<String>,
    sender: Option<String>,
    way: Option<String>,
    groups: Option<String>,
    scopes: Option<String>,
    /// Header and claim.
    claims: Vec<(String, String)>,
    /// All of them, and those of the ways.
    owned: Vec<String>,
}

impl Outgoing {
    /// Checks the names.
    pub(crate) fn build(document: HeadersDocument) -> Result<Self, ConfigError> {
        let mut owned = Vec::new();
        let mut take = |path: &str, name: Option<&str>| -> Result<Option<String>, ConfigError> {
            let Some(name) = name else { return Ok(None) };
            let at = |message| ConfigError::at(format!("headers.{path}"), message);
            let name = units::header_name(name).map_err(at)?;
            if owned.contains(&name) {
                return Err(at(format!("\"{name}\" is set by two keys; each header tells one thing")));
            }
            owned.push(name.clone());
            Ok(Some(name))
        };
        let subject = take("subject", document.subject.as_deref())?;
        let sender = take("sender", document.sender.as_deref())?;
        let way = take("way", document.way.as_deref())?;
        let groups = take("groups", document.groups.as_deref())?;
        let scopes = take("scopes", document.scopes.as_deref())?;
        let mut claims = Vec::with_capacity(document.claims.len());
        for (header, claim) in document.claims {
            claims.extend(take("claims", Some(&header))?.map(|header| (header, claim)));
        }
        Ok(Outgoing { subject, sender, way, groups, scopes, claims, owned })
    }

    /// Adds headers that ways set.
    pub(crate) fn owns<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if !self.owned.iter().any(|known| known == name) {
                self.owned.push(name.to_owned());
            }
        }
    }

    /// Whether the upstream is told a name that no two senders may have.
    pub(crate) fn is_qualified(&self) -> bool {
        self.sender.is_some()
    }

    /// Their names.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &str> {
        self.owned.iter().map(String::as_str)
    }

    /// Removes what a client wrote there.
    pub(crate) fn clear(&self, request: &Request) {
        for name in &self.owned {
            request.headers().remove(name);
        }
    }

    /// Tells who sends the request. Of several the first who has something to tell counts; groups and scopes of all are
    /// joined. What cannot be in a header is left out.
    pub(crate) fn write(&self, request: &Request, identities: &[Rc<Identity>]) {
        let Some(first) = identities.first() else { return };
        if let Some(name) = self.subject.as_deref().filter(|_| is_writable(&first.subject)) {
            request.headers().set(name, &first.subject);
        }
        // Who has no name is not made one by those who know them.
        if let Some(name) = self.sender.as_deref().filter(|_| is_writable(&first.subject)) {
            request.headers().set(name, first.qualified());
        }
        if let Some(name) = &self.way {
            let kinds: Vec<&str> = identities.iter().map(|identity| identity.kind).collect();
            request.headers().set(name, kinds.join(","));
        }
        if let Some(name) = &self.groups {
            join(request, name, identities.iter().flat_map(|identity| &identity.groups), ',');
        }
        if let Some(name) = &self.scopes {
            join(request, name, identities.iter().flat_map(|identity| &identity.scopes), ' ');
        }
        for (name, claim) in &self.claims {
            let mut found = identities.iter().filter_map(|identity| identity.claim(claim));
            if let Some(text) = found.next().and_then(written) {
                request.headers().set(name, text);
            }
        }
        for (name, value) in identities.iter().flat_map(|identity| &identity.headers) {
            request.headers().set(name, value);
        }
    }
}

/// An item with the separator in it would be two.
fn join<'a>(request: &Request, name: &str, items: impl Iterator<Item = &'a String>, separator: char) {
    let items: Vec<&str> =
        items.map(String::as_str).filter(|item| is_writable(item) && !item.contains(separator)).collect();
    if !items.is_empty() {
        request.headers().set(name, items.join(separator.encode_utf8(&mut [0; 4])));
    }
}

pub(crate) fn is_writable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}
