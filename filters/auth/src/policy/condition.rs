//! Conditions of rules, and what they are compared with, which is asked of the host at most once for each request.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::units;

use crate::Request;
use crate::identity::{Identity, has_value};
use crate::pattern::{Network, Pattern};

/// Conditions that must all hold; of each list one item. A pattern is a text with at most one `*`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Condition {
    /// Patterns of the sender's name.
    subjects: Option<Vec<Pattern>>,
    /// Patterns of the sender's name with the way and, of tokens and logins, the issuer before it, as
    /// `jwt|https://issuer.example|*` and `key|ann`. `subjects` means whoever has the name, whichever way knows them.
    senders: Option<Vec<Pattern>>,
    /// The ways that know the sender, as `jwt`.
    ways: Option<Vec<String>>,
    /// Patterns of the sender's groups.
    groups: Option<Vec<Pattern>>,
    /// Patterns of the credentials' scopes.
    scopes: Option<Vec<Pattern>>,
    /// Claims by path, each with patterns of its values; an empty list accepts any value.
    claims: BTreeMap<String, Vec<Pattern>>,
    /// Whether the request is nobody's.
    anonymous: Option<bool>,
    /// Methods, as `GET`.
    methods: Option<Vec<String>>,
    /// Patterns of the path without its query: `/admin/*` is everything below `/admin/`.
    paths: Option<Vec<Pattern>>,
    /// Patterns of the host without its port, in lower case.
    hosts: Option<Vec<Pattern>>,
    /// Headers, each with patterns of its values; an empty list accepts any value.
    #[serde(deserialize_with = "headers")]
    headers: BTreeMap<String, Vec<Pattern>>,
    /// Networks that the client is in, as `10.0.0.0/8`.
    sources: Option<Vec<Network>>,
}

/// What conditions are compared with.
pub(super) struct Facts<'a> {
    request: &'a Request,
    identities: &'a [Rc<Identity>],
    method: OnceCell<String>,
    path: OnceCell<String>,
    host: OnceCell<String>,
    source: OnceCell<Option<IpAddr>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(request: &'a Request, identities: &'a [Rc<Identity>]) -> Self {
        Facts {
            request,
            identities,
            method: OnceCell::new(),
            path: OnceCell::new(),
            host: OnceCell::new(),
            source: OnceCell::new(),
        }
    }

    fn method(&self) -> &str {
        self.method.get_or_init(|| self.request.method())
    }

    fn path(&self) -> &str {
        let path = self.path.get_or_init(|| self.request.path());
        path.split(['?', '#']).next().unwrap_or_default()
    }

    fn host(&self) -> &str {
        self.host.get_or_init(|| {
            let authority = self.request.authority().to_ascii_lowercase();
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => authority.as_str(),
            };
            host.to_owned()
        })
    }

    fn source(&self) -> Option<IpAddr> {
        *self.source.get_or_init(|| self.request.properties().source().ip_addr())
    }
}

impl Condition {
    /// Whether it takes for granted that no two senders have the same name.
    pub(super) fn is_qualified(&self) -> bool {
        self.senders.is_some()
    }

    /// Whether all of it holds.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        self.anonymous.is_none_or(|anonymous| anonymous == facts.identities.is_empty())
            && self.methods.as_ref().is_none_or(|list| list.iter().any(|method| method == facts.method()))
            && self.paths.as_ref().is_none_or(|list| any(list, facts.path()))
            && self.sources.as_ref().is_none_or(|list| {
                facts.source().is_some_and(|source| list.iter().any(|network| network.contains(source)))
            })
            && self.hosts.as_ref().is_none_or(|list| any(list, facts.host()))
            && self.knows(facts.identities)
            && self.headers.iter().all(|(name, list)| {
                let values = facts.request.headers().get_all(name);
                values.iter().any(|value| {
                    list.is_empty() || value.to_str().is_some_and(|value| any(list, value.trim()))
                })
            })
    }

    /// Whether what it says of the sender holds.
    fn knows(&self, identities: &[Rc<Identity>]) -> bool {
        let some = |wanted: &dyn Fn(&Identity) -> bool| identities.iter().any(|identity| wanted(identity));
        self.subjects.as_ref().is_none_or(|list| some(&|identity| any(list, &identity.subject)))
            && self.senders.as_ref().is_none_or(|list| {
                some(&|identity| !identity.subject.is_empty() && any(list, &identity.qualified()))
            })
            && self
                .ways
                .as_ref()
                .is_none_or(|list| some(&|identity| list.iter().any(|way| way == identity.kind)))
            && self
                .groups
                .as_ref()
                .is_none_or(|list| some(&|identity| identity.groups.iter().any(|group| any(list, group))))
            && self
                .scopes
                .as_ref()
                .is_none_or(|list| some(&|identity| identity.scopes.iter().any(|scope| any(list, scope))))
            && self.claims.iter().all(|(path, list)| {
                let accepts = |text: &str| list.is_empty() || any(list, text);
                some(&|identity| identity.claim(path).is_some_and(|claim| has_value(claim, &accepts)))
            })
    }
}

fn any(list: &[Pattern], text: &str) -> bool {
    list.iter().any(|pattern| pattern.matches(text))
}

/// Names of headers in lower case.
fn headers<'de, D: serde::Deserializer<'de>>(source: D) -> Result<BTreeMap<String, Vec<Pattern>>, D::Error> {
    let map = BTreeMap::<String, Vec<Pattern>>::deserialize(source)?;
    let lower = |(name, list): (String, Vec<Pattern>)| {
        units::header_name(&name).map(|name| (name, list)).map_err(serde::de::Error::custom)
    };
    map.into_iter().map(lower).collect()
}
