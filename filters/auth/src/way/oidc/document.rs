//! The way's part of the configuration, and how it becomes an [`Oidc`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::ConfigError;
use tidegate_sdk::units::{self, Span};

use super::cookies::{Jar, SameSite};
use super::opened::Recent;
use super::proof::Proof;
use super::provider::{Authentication, Client, Endpoints, Provider};
use super::seal::Seal;
use super::session::Limits;
use super::turn::Turns;
use super::url::{Url, is_local};
use super::{Oidc, Parts};
use crate::crypto::Algorithm;
use crate::place::Place;
use crate::way::jwt::KeySet;

/// Login of browsers at an OpenID provider. Requests of scripts without a session get 401.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// The provider's name, as its tokens have it: `https://login.example.com/realms/a`. Its discovery document is
    /// fetched below this URL, unless `endpoints` says where everything is.
    issuer: String,
    /// The upstream by which the issuer's host is called.
    upstream: String,
    /// Upstreams by which other hosts are called, by host: for providers whose endpoints are on several.
    #[serde(default)]
    upstreams: BTreeMap<String, String>,
    /// Where everything is, in place of the discovery document.
    #[serde(default)]
    endpoints: Option<EndpointsDocument>,
    /// The name by which the provider knows this gateway.
    client_id: String,
    /// The secret that proves it; without one the client is public, and PKCE alone protects the login.
    #[serde(default)]
    client_secret: Option<String>,
    /// How the secret is shown to the provider: `basic` or `post`.
    #[serde(default)]
    client_authentication: Authentication,
    /// What the provider is asked for; `openid` is always among it.
    #[serde(default)]
    scopes: Vec<String>,
    /// Further parameters of the authorization request, as `prompt` or `audience`.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// Algorithms by which ID tokens may be signed. HS256 to HS512 take the client's secret.
    #[serde(default = "algorithms")]
    algorithms: Vec<Algorithm>,
    /// By how much the provider's clock may be wrong.
    #[serde(default = "skew")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "skew"))]
    clock_skew: Span,
    /// How browsers reach this gateway, as `https://shop.example.com`. Without it, the scheme and host of the request
    /// count, which are wrong behind another proxy that ends TLS.
    #[serde(default)]
    external_url: Option<String>,
    /// Where the provider sends browsers back to; it must be registered there with the host before it.
    #[serde(default = "callback_path")]
    callback_path: String,
    /// Begins a login, for pages that everybody may see; `?to=/path` is where it returns to.
    #[serde(default = "login_path")]
    login_path: String,
    /// Ends the session, here and at the provider.
    #[serde(default = "logout_path")]
    logout_path: String,
    /// Where a browser goes after the logout: a path, or a URL; the provider must know it. Without it, it stays there.
    #[serde(default)]
    after_logout: Option<String>,
    /// Secrets of at least 32 characters that encrypt the cookies: the first one encrypts, all of them decrypt.
    cookie_keys: Vec<String>,
    /// How the cookies look.
    #[serde(default)]
    cookie: CookieDocument,
    /// How long a session lasts after the login.
    #[serde(default = "lifetime")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "lifetime"))]
    lifetime: Span,
    /// How long a session lasts without a request; `0s` for no such limit.
    #[serde(default = "idle")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "idle"))]
    idle: Span,
    /// How long before their end tokens are refreshed, where the provider gives refresh tokens.
    #[serde(default = "early")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "early"))]
    refresh_before: Span,
    /// How long a login may take, from the first redirect to the return.
    #[serde(default = "login_time")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "login_time"))]
    login_time: Span,
    /// How long a call to the provider may take.
    #[serde(default = "timeout")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "timeout"))]
    timeout: Span,
    /// The header in which the upstream gets the access token; in `authorization` behind `Bearer`.
    #[serde(default)]
    access_token_header: Option<String>,
    /// The claim that has the user's groups.
    #[serde(default = "groups")]
    groups_claim: String,
}

/// Where everything is at the provider.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndpointsDocument {
    /// Where browsers log in.
    authorization: String,
    /// Where codes are exchanged for tokens.
    token: String,
    /// Where the keys are that sign ID tokens.
    jwks: String,
    /// Where browsers log out.
    #[serde(default)]
    end_session: Option<String>,
}

/// How cookies look. With `secure`, no `domain` and the path `/` their names begin with `__Host-`, else with
/// `__Secure-` where they are secure.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CookieDocument {
    /// What the names begin with, behind the prefix.
    name: String,
    /// Browsers send them with TLS only.
    secure: bool,
    /// Browsers send them to all hosts below this one too.
    domain: Option<String>,
    /// Browsers send them with paths below this one only. The paths of the login must be below it.
    path: String,
    /// Whether they are sent when another site leads here. A login needs `lax` or `none`.
    same_site: SameSite,
}

impl Default for CookieDocument {
    fn default() -> Self {
        CookieDocument {
            name: "tidegate-session".to_owned(),
            secure: true,
            domain: None,
            path: "/".to_owned(),
            same_site: SameSite::default(),
        }
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

type Wrong = (&'static str, String);

impl Document {
    /// Checks it all.
    pub(super) fn build(self, path: &str) -> Result<Oidc, ConfigError> {
        self.checked()
            .map(Oidc::new)
            .map_err(|(key, message)| ConfigError::at(format!("{path}.{key}"), message))
    }

    fn checked(self) -> Result<Parts, Wrong> {
        let jar = self.jar()?;
        let secrets = || self.cookie_keys.iter().map(String::as_str);
        let seal = |purpose| Seal::new(secrets(), &[purpose, &self.issuer, &self.client_id]);
        let (sessions, attempts) = (seal("session"), seal("login"));
        let turns = Turns::new(&format!("{} {}", self.issuer, self.client_id))
            .map_err(|error| ("issuer", format!("sessions cannot be refreshed by turns: {error}")))?;
        let limits = self.limits()?;
        let external_url = match &self.external_url {
            None => None,
            Some(text) => Some(origin(text).map_err(|message| ("externalUrl", message))?),
        };
        let access_token_header = match &self.access_token_header {
            None => None,
            Some(name) => Some(units::header_name(name).map_err(|message| ("accessTokenHeader", message))?),
        };
        let mut scope = "openid".to_owned();
        for one in self.scopes.iter().filter(|one| *one != "openid") {
            if one.is_empty() || !one.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(("scopes", format!("\"{}\" is no scope, as \"email\" is", one.escape_debug())));
            }
            scope.push(' ');
            scope.push_str(one);
        }
        let proof = Proof {
            algorithms: self.algorithms.clone(),
            skew: self.clock_skew.0.as_secs(),
            secret: self.client_secret.as_ref().map(|secret| KeySet::of_secret(secret.as_bytes().to_vec())),
            keys: RefCell::new(None),
        };
        if proof.algorithms.is_empty() {
            return Err(("algorithms", "none is listed, so every login would fail".to_owned()));
        }
        let places = jar.cookies().map(Place::Cookie).collect();
        Ok(Parts {
            scope,
            external_url,
            jar,
            sessions,
            attempts,
            limits,
            access_token_header,
            turns,
            proof,
            recent: Recent::new(),
            places,
            login_time: self.login_time.0.as_secs().max(1),
            parameters: self.parameters.clone().into_iter().collect(),
            callback_path: self.callback_path.clone(),
            login_path: self.login_path.clone(),
            logout_path: self.logout_path.clone(),
            after_logout: self.after_logout.clone(),
            groups_claim: self.groups_claim.clone(),
            provider: self.provider()?,
        })
    }

    fn jar(&self) -> Result<Jar, Wrong> {
        if self.cookie_keys.is_empty() {
            return Err((
                "cookieKeys",
                "no secret is listed; `openssl rand -base64 32` makes one".to_owned(),
            ));
        }
        if let Some(at) = self.cookie_keys.iter().position(|key| key.len() < KEY_LETTERS) {
            let message = format!(
                "the secret at {at} is shorter than {KEY_LETTERS} characters; `openssl rand -base64 32` makes one"
            );
            return Err(("cookieKeys", message));
        }
        let cookie = &self.cookie;
        if !units::is_token(&cookie.name) {
            return Err((
                "cookie.name",
                format!("\"{}\" is no name of a cookie", cookie.name.escape_debug()),
            ));
        }
        if cookie.same_site == SameSite::None && !cookie.secure {
            return Err(("cookie.sameSite", "`none` needs `secure: true`".to_owned()));
        }
        if cookie.same_site == SameSite::Strict {
            let message = "`strict` cookies do not come back from the provider; use `lax`".to_owned();
            return Err(("cookie.sameSite", message));
        }
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',');
        if !is_local(&cookie.path) || !plain(&cookie.path) {
            return Err(("cookie.path", format!("\"{}\" is no path", cookie.path.escape_debug())));
        }
        if cookie.domain.as_deref().is_some_and(|domain| domain.is_empty() || !plain(domain)) {
            return Err(("cookie.domain", "is no name of a host".to_owned()));
        }
        let paths = [
            ("callbackPath", &self.callback_path),
            ("loginPath", &self.login_path),
            ("logoutPath", &self.logout_path),
        ];
        for (at, (key, path)) in paths.iter().enumerate() {
            if !is_local(path) || path.contains('?') {
                return Err((
                    key,
                    format!("\"{}\" is no path, as \"/oauth2/callback\" is", path.escape_debug()),
                ));
            }
            if paths.iter().take(at).any(|(_, other)| other == path) {
                return Err((key, format!("\"{path}\" has another use already")));
            }
        }
        if self.after_logout.as_deref().is_some_and(|to| !is_local(to) && Url::parse(to).is_err()) {
            return Err(("afterLogout", "is neither a path, as \"/\", nor a URL".to_owned()));
        }
        Ok(Jar::new(&cookie.name, cookie.secure, cookie.domain.as_deref(), &cookie.path, cookie.same_site))
    }

    fn limits(&self) -> Result<Limits, Wrong> {
        let limits = Limits {
            lifetime: self.lifetime.0.as_secs(),
            idle: self.idle.0.as_secs(),
            early: self.refresh_before.0.as_secs(),
        };
        match limits.lifetime {
            0 => Err(("lifetime", "is less than a second".to_owned())),
            _ => Ok(limits),
        }
    }

    fn provider(self) -> Result<Provider, Wrong> {
        let place = Url::parse(&self.issuer).map_err(|message| ("issuer", message))?;
        if self.client_id.is_empty() {
            return Err(("clientId", "is empty".to_owned()));
        }
        if self.upstream.is_empty() {
            return Err(("upstream", "is empty; it is the name of an upstream".to_owned()));
        }
        let mut provider = Provider {
            place,
            issuer: self.issuer,
            upstream: self.upstream,
            upstreams: self
                .upstreams
                .into_iter()
                .map(|(host, name)| (host.to_ascii_lowercase(), name))
                .collect(),
            client: Client {
                id: self.client_id,
                secret: self.client_secret,
                authentication: self.client_authentication,
            },
            timeout: self.timeout.0,
            fixed: None,
            known: RefCell::new(None),
        };
        if let Some(endpoints) = &self.endpoints {
            let url = |key, text: &str| Url::parse(text).map_err(|message| (key, message));
            let target = |key, text: &str| provider.target(url(key, text)?).map_err(|message| (key, message));
            provider.fixed = Some(Rc::new(Endpoints {
                authorization: url("endpoints.authorization", &endpoints.authorization)?,
                token: target("endpoints.token", &endpoints.token)?,
                keys: target("endpoints.jwks", &endpoints.jwks)?,
                end_session: match &endpoints.end_session {
                    Some(text) => Some(url("endpoints.endSession", text)?),
                    None => None,
                },
            }));
        }
        Ok(provider)
    }
}

/// Scheme and host of a URL that has nothing else.
fn origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text)?;
    match url.path.as_str() {
        "/" => Ok(url.origin()),
        _ => Err(format!("\"{}\" has a path; scheme and host are enough", text.escape_debug())),
    }
}

fn algorithms() -> Vec<Algorithm> {
    Algorithm::PUBLIC.to_vec()
}

fn skew() -> Span {
    Span::seconds(60)
}

fn callback_path() -> String {
    "/oauth2/callback".to_owned()
}

fn login_path() -> String {
    "/oauth2/login".to_owned()
}

fn logout_path() -> String {
    "/oauth2/logout".to_owned()
}

fn lifetime() -> Span {
    Span::seconds(12 * 3600)
}

fn idle() -> Span {
    Span::seconds(3600)
}

fn early() -> Span {
    Span::seconds(30)
}

fn login_time() -> Span {
    Span::seconds(600)
}

fn timeout() -> Span {
    Span::seconds(5)
}

fn groups() -> String {
    "groups".to_owned()
}

/// Characters that a secret has at least: 32 bytes of base64 are 44.
const KEY_LETTERS: usize = 32;
