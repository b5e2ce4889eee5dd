//! The provider: where its endpoints are, and the calls to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{http, log, time};

use super::fault::Fault;
use super::form;
use super::url::Url;

/// A provider and the client that we are to it.
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) place: Url,
    /// The upstream of the issuer's host, and those of other hosts.
    pub(super) upstream: String,
    pub(super) upstreams: BTreeMap<String, String>,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    /// Where the configuration has named them.
    pub(super) fixed: Option<Rc<Endpoints>>,
    pub(super) known: RefCell<Option<(Duration, Rc<Endpoints>)>>,
}

/// Who we are to the provider.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) authentication: Authentication,
}

/// How the client proves to the token endpoint who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Authentication {
    /// By the header `authorization: Basic` (`client_secret_basic`).
    #[default]
    Basic,
    /// By fields of the form (`client_secret_post`).
    Post,
}

/// Where things are at the provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// Where browsers log in.
    pub(super) authorization: Url,
    pub(super) token: Target,
    pub(super) keys: Target,
    /// Where browsers log out, if it is possible.
    pub(super) end_session: Option<Url>,
}

/// Something that we call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) upstream: String,
    pub(super) url: Url,
}

/// The answer of the token endpoint (RFC 6749, section 5.1).
#[derive(Debug, Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: Option<String>,
    #[serde(default)]
    pub(super) access_token: Option<String>,
    #[serde(default)]
    pub(super) refresh_token: Option<String>,
    #[serde(default)]
    pub(super) expires_in: Option<u64>,
}

/// Why there are no tokens.
#[derive(Debug)]
pub(super) enum NoTokens {
    /// The provider does not give them to this user or session: `invalid_grant`.
    Refused,
    /// Something else is in the way.
    Fault(Fault),
}

/// The discovery document (OpenID Connect Discovery 1.0, section 3), as far as it is needed.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    end_session_endpoint: Option<String>,
}

#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Provider {
    /// Where things are: as configured, else from the discovery document. The last good one stays while the provider
    /// is away.
    pub(super) async fn endpoints(&self) -> Result<Rc<Endpoints>, Fault> {
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.clone());
        }
        let known = self.known.borrow().clone();
        match known {
            Some((until, endpoints)) if time::now() < until => return Ok(endpoints),
            _ => {}
        }
        match (self.discover().await, known) {
            (Ok(endpoints), _) => {
                let endpoints = Rc::new(endpoints);
                self.known.replace(Some((time::now().saturating_add(FRESH), endpoints.clone())));
                Ok(endpoints)
            }
            (Err(fault), Some((_, endpoints))) => {
                log::warn!("the last discovery document is used on: {}", fault.why());
                self.known.replace(Some((time::now().saturating_add(AGAIN), endpoints.clone())));
                Ok(endpoints)
            }
            (Err(fault), None) => Err(fault),
        }
    }

    async fn discover(&self) -> Result<Endpoints, Fault> {
        let path = format!("{}/.well-known/openid-configuration", self.place.path.trim_end_matches('/'));
        let call = http::get(path.as_str()).to(&self.upstream).authority(&self.place.authority);
        let answer = call.header("accept", "application/json").timeout(self.timeout).await;
        let answer = answer.map_err(|error| Fault::away("discovery", error))?;
        if answer.status() != 200 {
            return Err(Fault::status("discovery", answer.status()));
        }
        let document: Document = answer
            .json()
            .map_err(|error| Fault::broken(format!("the discovery document cannot be read: {error}")))?;
        if document.issuer != self.issuer {
            return Err(Fault::broken(format!(
                "the discovery document is of the issuer {:?}, the configuration names {:?}",
                document.issuer, self.issuer
            )));
        }
        let url = |text: &str| {
            Url::parse(text).map_err(|error| Fault::broken(format!("discovery document: {error}")))
        };
        Ok(Endpoints {
            authorization: url(&document.authorization_endpoint)?,
            token: self.target(url(&document.token_endpoint)?).map_err(Fault::broken)?,
            keys: self.target(url(&document.jwks_uri)?).map_err(Fault::broken)?,
            end_session: document.end_session_endpoint.as_deref().map(url).transpose()?,
        })
    }

    /// The upstream by which a URL is called. A document cannot lead calls to servers that nobody has named.
    pub(super) fn target(&self, url: Url) -> Result<Target, String> {
        let named = self.upstreams.get(&url.authority).or_else(|| self.upstreams.get(url.host()));
        match named {
            Some(upstream) => Ok(Target { upstream: upstream.clone(), url }),
            None if url.authority == self.place.authority => {
                Ok(Target { upstream: self.upstream.clone(), url })
            }
            None => Err(format!(
                "upstreams: no upstream is named for the host \"{}\" of {}",
                url.host(),
                url.text()
            )),
        }
    }

    /// Asks the token endpoint.
    pub(super) async fn tokens(
        &self,
        endpoints: &Endpoints,
        grant: &[(&str, &str)],
    ) -> Result<Tokens, NoTokens> {
        let mut fields = grant.to_vec();
        let mut call = http::post(endpoints.token.url.path.as_str())
            .to(&endpoints.token.upstream)
            .authority(&endpoints.token.url.authority)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .timeout(self.timeout);
        match (&self.client.secret, self.client.authentication) {
            (Some(secret), Authentication::Basic) => {
                let user = format!("{}:{}", form::escape(&self.client.id), form::escape(secret));
                call =
                    call.header("authorization", format!("Basic {}", form::base64_padded(user.as_bytes())));
            }
            (secret, _) => {
                fields.push(("client_id", &self.client.id));
                fields.extend(secret.as_deref().map(|secret| ("client_secret", secret)));
            }
        }
        let answer = call.body(form::encode(fields)).await;
        let answer = answer.map_err(|error| NoTokens::Fault(Fault::away("the token endpoint", error)))?;
        match answer.status() {
            200 => answer.json().map_err(|error| {
                NoTokens::Fault(Fault::broken(format!("the token endpoint's answer cannot be read: {error}")))
            }),
            400..500 => {
                let refusal: Refusal = answer.json().unwrap_or_default();
                if refusal.error == "invalid_grant" {
                    log::info!("the provider takes the grant for invalid: {:?}", refusal.error_description);
                    return Err(NoTokens::Refused);
                }
                Err(NoTokens::Fault(Fault::broken(format!(
                    "the token endpoint answers {}: {:?} {:?}",
                    answer.status(),
                    refusal.error,
                    refusal.error_description
                ))))
            }
            status => Err(NoTokens::Fault(Fault::status("the token endpoint", status))),
        }
    }
}

/// How long a discovery document is used.
const FRESH: Duration = Duration::from_secs(3600);

/// How long an old one is used before the provider is asked again.
const AGAIN: Duration = Duration::from_secs(60);
