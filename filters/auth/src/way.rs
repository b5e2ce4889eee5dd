//! The ways in which senders are known: one arm and one module each.
//!
//! A way's module has a `Document` (its part of the configuration, in serde and JSON Schema), a type of the way's name
//! with `build(Document, path) -> Result<Self, ConfigError>`, and
//! `async fn check(&self, request: &mut Request, body: &mut Body) -> Verdict`. What a way promises:
//!
//! - it answers [`Verdict::Nothing`] only where the request has no credentials of its kind, so that another way may know
//!   the sender; credentials that are there and no good are [`Verdict::Refused`];
//! - it changes nothing in the request: the places it reads are swept for it ([`Way::places`]; none where its
//!   configuration says `forward`), and headers for the upstream are in [`Identity::headers`], by names that
//!   [`Way::headers`] lists, for they are removed from every request before any way is asked;
//! - headers for the client's response go to [`Kept::added`](crate::Kept);
//! - it reads the body only where its configuration asks for it, because a body that is read is held.
//!
//! [`Identity::headers`]: crate::identity::Identity

mod basic;
mod certificate;
mod external;
mod hmac;
mod jwt;
mod key;
mod oidc;

use serde::Deserialize;
use tidegate_sdk::units::Size;
use tidegate_sdk::{Body, ConfigError};

use crate::Request;
use crate::place::Place;
use crate::verdict::Verdict;
pub(crate) use external::Changes;

/// A way in which senders are known.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum WayDocument {
    /// API keys.
    Key(key::Document),
    /// External authorization: a service decides.
    External(Box<external::Document>),
    /// JSON web tokens.
    Jwt(jwt::Document),
    /// Login of browsers at an OpenID provider.
    Oidc(Box<oidc::Document>),
    /// Names and passwords.
    Basic(basic::Document),
    /// Requests signed by a shared secret.
    Hmac(hmac::Document),
    /// Client certificates.
    Certificate(certificate::Document),
}

/// A way in which senders are known.
pub(crate) enum Way {
    Key(key::Keys),
    External(external::External),
    Jwt(jwt::Jwt),
    Oidc(oidc::Oidc),
    Basic(basic::Users),
    Hmac(hmac::Signatures),
    Certificate(certificate::Certificate),
}

/// Where names of senders come from: two of the same source are the same sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source<'a> {
    /// The way's word.
    pub(crate) kind: &'static str,
    /// Whose names they are, of a way that has issuers.
    pub(crate) issuer: Option<&'a str>,
    /// The claim with the name, of such a way.
    pub(crate) claim: &'a str,
}

/// What was asked for of a body, where the gateway holds `held` bytes of one: what is above it the gateway refuses itself.
fn at_most(asked: Size, held: Option<usize>) -> Result<usize, String> {
    let Some(held) = held.map(Size).filter(|held| asked.0 > held.0) else { return Ok(asked.0) };
    Err(format!("{asked} is more than the {held} that `limits.heldBody` of the plugin allows"))
}

impl Way {
    /// From its document, which is at this path of the configuration, where the gateway holds `held` bytes of a body;
    /// other hosts do not tell.
    pub(crate) fn build(document: WayDocument, path: &str, held: Option<usize>) -> Result<Self, ConfigError> {
        Ok(match document {
            WayDocument::Key(document) => Way::Key(key::Keys::build(document, &format!("{path}.key"))?),
            WayDocument::External(document) => {
                Way::External(external::External::build(*document, &format!("{path}.external"), held)?)
            }
            WayDocument::Jwt(document) => Way::Jwt(jwt::Jwt::build(document, &format!("{path}.jwt"))?),
            WayDocument::Oidc(document) => Way::Oidc(oidc::Oidc::build(*document, &format!("{path}.oidc"))?),
            WayDocument::Basic(document) => {
                Way::Basic(basic::Users::build(document, &format!("{path}.basic"))?)
            }
            WayDocument::Hmac(document) => {
                Way::Hmac(hmac::Signatures::build(document, &format!("{path}.hmac"), held)?)
            }
            WayDocument::Certificate(document) => {
                let path = format!("{path}.certificate");
                Way::Certificate(certificate::Certificate::build(document, &path)?)
            }
        })
    }

    /// Its word in metrics, policies and identities.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Way::Key(_) => key::KIND,
            Way::External(_) => external::KIND,
            Way::Jwt(_) => jwt::KIND,
            Way::Oidc(_) => oidc::KIND,
            Way::Basic(_) => basic::KIND,
            Way::Hmac(_) => hmac::KIND,
            Way::Certificate(_) => certificate::KIND,
        }
    }

    /// Where the names of its senders come from: of a way that has issuers, each of them.
    pub(crate) fn sources(&self) -> Vec<Source<'_>> {
        let of = |issuer, claim| Source { kind: self.kind(), issuer, claim };
        match self {
            Way::Jwt(jwt) => jwt.issuers().map(|(issuer, claim)| of(Some(issuer), claim)).collect(),
            Way::Oidc(oidc) => vec![of(Some(oidc.issuer()), "sub")],
            _ => vec![of(None, "")],
        }
    }

    /// Who sends this request.
    pub(crate) async fn check(&self, request: &mut Request, body: &mut Body) -> Verdict {
        match self {
            Way::Key(keys) => keys.check(request),
            Way::External(external) => external.check(request, body).await,
            Way::Jwt(jwt) => jwt.check(request).await,
            Way::Oidc(oidc) => oidc.check(request).await,
            Way::Basic(users) => users.check(request).await,
            Way::Hmac(signatures) => signatures.check(request, body).await,
            Way::Certificate(certificate) => certificate.check(request),
        }
    }

    /// What it does besides requests, as long as the plugin lives.
    pub(crate) async fn background(&self) {
        if let Way::Jwt(jwt) = self {
            jwt.background().await;
        }
    }

    /// Where it reads credentials that the upstream must not see.
    pub(crate) fn places(&self) -> &[Place] {
        match self {
            Way::Key(keys) => keys.places(),
            Way::External(_) => &[],
            Way::Jwt(jwt) => jwt.places(),
            Way::Oidc(oidc) => oidc.places(),
            Way::Basic(users) => users.places(),
            Way::Hmac(signatures) => signatures.places(),
            Way::Certificate(certificate) => certificate.places(),
        }
    }

    /// The headers for the upstream that it may set, in lower case.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        let names: &[String] = match self {
            Way::Key(keys) => keys.headers(),
            Way::External(external) => external.headers(),
            Way::Jwt(jwt) => jwt.headers(),
            Way::Oidc(oidc) => oidc.headers(),
            Way::Basic(_) | Way::Hmac(_) | Way::Certificate(_) => &[],
        };
        names.iter().map(String::as_str)
    }
}
