//! External authorization: a service of the operator's decides about each request, asked by HTTP or gRPC.

mod check;
mod decision;
mod grpc;
mod http;
mod metadata;
mod names;
mod protobuf;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::units::{self, Size, Span};
use tidegate_sdk::{Body, ConfigError, Error, Reply, log};

use crate::Request;
use crate::identity::Identity;
use crate::verdict::{Refusal, Verdict};
pub(crate) use decision::Changes;
use decision::Decision;
use grpc::GrpcService;
use http::{HttpService, Place};
use names::Names;

pub(super) const KIND: &str = "external";

/// A service that decides about each request; it has either `http` or `grpc`.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// The service speaks HTTP.
    #[serde(default)]
    http: Option<HttpDocument>,
    /// The service speaks gRPC, `envoy.service.auth.v3.Authorization`.
    #[serde(default)]
    grpc: Option<GrpcDocument>,
    /// How long a decision may take.
    #[serde(default = "timeout")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "timeout"))]
    timeout: Span,
    /// How much of a request's body the service is shown, as `8KiB`; longer bodies are refused with 413. At most
    /// `limits.heldBody` of the plugin. Without it, it is shown none.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    body_limit: Option<Size>,
    /// Of longer bodies the service is shown the first bytes, and they pass if it lets them. `x-envoy-auth-partial-body`
    /// tells it whether it sees all.
    #[serde(default)]
    allow_partial_body: bool,
    /// What becomes of requests when there is no decision: no answer in time, an answer of 500 or above, a status of
    /// gRPC other than 0.
    #[serde(default)]
    on_failure: OnFailure,
    /// The status of requests that are refused because there is no decision.
    #[serde(default = "status_on_failure")]
    status_on_failure: u16,
    /// The header of the service's answer, or the one it sets, that has the sender's name.
    #[serde(default)]
    subject_header: Option<String>,
}

/// Asks by HTTP: 200 to 299 lets a request pass, 300 to 499 is the client's answer.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpDocument {
    /// The upstream that is asked.
    upstream: String,
    /// The host that it is asked for; without it, the request's own.
    #[serde(default)]
    authority: Option<String>,
    /// The path that is always asked, as with nginx's `auth_request`; the request is then described in
    /// `x-forwarded-method`, `-proto`, `-host`, `-uri` and `-for`, and in `x-original-method` and `-uri`.
    #[serde(default)]
    path: Option<String>,
    /// What stands before the request's own path, as with Envoy's `ext_authz`. Without both it is asked for the path.
    #[serde(default)]
    path_prefix: Option<String>,
    /// The method that it is asked by; without it, the request's own.
    #[serde(default)]
    method: Option<String>,
    /// The client's headers that it is sent: names, or beginnings of names with `*`.
    #[serde(default = "all")]
    request_headers: Vec<String>,
    /// Headers that it is sent besides.
    #[serde(default)]
    add_headers: BTreeMap<String, String>,
    /// Headers of its consent that the upstream gets. What a client wrote there is removed.
    #[serde(default)]
    upstream_headers: Vec<String>,
    /// Headers of its denial that the client gets.
    #[serde(default = "all")]
    client_headers: Vec<String>,
    /// Headers of its consent that the client gets.
    #[serde(default)]
    client_headers_on_success: Vec<String>,
}

/// Asks by gRPC.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrpcDocument {
    /// The upstream that is asked, whose protocol is `http2`.
    upstream: String,
    /// The client's headers that it is sent: names, or beginnings of names with `*`.
    #[serde(default = "all")]
    request_headers: Vec<String>,
    /// Metadata of the call.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// `context_extensions` of the request.
    #[serde(default)]
    context_extensions: BTreeMap<String, String>,
    /// Sends the body as `raw_body`, byte by byte, in place of `body`, which is text.
    #[serde(default)]
    raw_body: bool,
    /// The property in which other filters, and plugins of the log, find the `dynamic_metadata` of its answers, as JSON.
    #[serde(default)]
    metadata_property: Option<String>,
}

/// What becomes of requests about which nobody could decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum OnFailure {
    /// They are refused.
    #[default]
    Deny,
    /// They pass.
    Allow,
}

/// A service that decides.
#[derive(Debug)]
pub(crate) struct External {
    service: Service,
    body_limit: Option<usize>,
    allow_partial_body: bool,
    on_failure: OnFailure,
    status_on_failure: u16,
    subject_header: Option<String>,
    headers: Vec<String>,
}

/// What a service is shown of a body.
#[derive(Debug)]
struct Shown {
    bytes: Vec<u8>,
    /// That is all of it.
    whole: bool,
    may_be_part: bool,
}

impl Shown {
    /// What tells the service whether it sees all, where it may not.
    fn part(&self) -> Option<&'static str> {
        self.may_be_part.then_some(if self.whole { "false" } else { "true" })
    }
}

/// The header that does, as Envoy's services know it.
const PARTIAL: &str = "x-envoy-auth-partial-body";

#[derive(Debug)]
enum Service {
    Http(Box<HttpService>),
    Grpc(Box<GrpcService>),
}

impl External {
    pub(crate) fn build(document: Document, path: &str, held: Option<usize>) -> Result<Self, ConfigError> {
        let at = |key: &str, message: String| match key {
            "" => ConfigError::at(path, message),
            key => ConfigError::at(format!("{path}.{key}"), message),
        };
        let timeout = document.timeout.0;
        if document.allow_partial_body && document.body_limit.is_none() {
            return Err(at("allowPartialBody", "needs bodyLimit, which says how much is shown".into()));
        }
        if let Some(limit) = document.body_limit {
            super::at_most(limit, held).map_err(|message| at("bodyLimit", message))?;
        }
        if timeout.is_zero() {
            return Err(at("timeout", "is 0, so no decision could be in time".into()));
        }
        if !(400..600).contains(&document.status_on_failure) {
            let message = format!("{} is no status of an error: 400 to 599", document.status_on_failure);
            return Err(at("statusOnFailure", message));
        }
        let subject_header = document.subject_header.as_deref().map(units::header_name).transpose();
        let subject_header = subject_header.map_err(|message| at("subjectHeader", message))?;
        let (service, mut headers) = match (document.http, document.grpc) {
            (Some(http), None) => {
                http_service(http, timeout).map_err(|(key, message)| at(&format!("http.{key}"), message))?
            }
            (None, Some(grpc)) => {
                let service = grpc_service(grpc, timeout)
                    .map_err(|(key, message)| at(&format!("grpc.{key}"), message))?;
                (service, Vec::new())
            }
            (Some(_), Some(_)) => {
                return Err(at("", "has both `http` and `grpc`; a service speaks one of them".into()));
            }
            (None, None) => {
                return Err(at("", "needs `http` or `grpc`, which says where the service is".into()));
            }
        };
        headers.sort_unstable();
        headers.dedup();
        Ok(External {
            service,
            body_limit: document.body_limit.map(|size| size.0),
            allow_partial_body: document.allow_partial_body,
            on_failure: document.on_failure,
            status_on_failure: document.status_on_failure,
            subject_header,
            headers,
        })
    }

    pub(crate) async fn check(&self, request: &Request, body: &mut Body) -> Verdict {
        let shown = match self.body_limit.filter(|_| request.has_body()) {
            None => None,
            Some(limit) if self.allow_partial_body => match body.peek(limit).await {
                Ok((bytes, whole)) => Some(Shown { bytes, whole, may_be_part: true }),
                Err(error) => return unread(&error),
            },
            Some(limit) => match body.collect(limit).await {
                Ok(bytes) => Some(Shown { bytes, whole: true, may_be_part: false }),
                Err(error) => return unread(&error),
            },
        };
        let asked = match &self.service {
            Service::Http(service) => service.ask(request, shown).await,
            Service::Grpc(service) => service.ask(request, shown).await,
        };
        match asked {
            Ok(Decision::Allowed(changes)) => self.allowed(request, changes),
            Ok(Decision::Denied(reply)) => Verdict::Reply(reply),
            Err(why) => self.undecided(&why),
        }
    }

    /// The headers for the upstream that it sets, as far as their names are known beforehand.
    pub(crate) fn headers(&self) -> &[String] {
        &self.headers
    }

    fn allowed(&self, request: &Request, changes: Changes) -> Verdict {
        let named = self.subject_header.as_deref().and_then(|name| changes.value(name));
        let subject = named.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let identity = Identity::new(KIND, subject);
        request.state().changes.borrow_mut().push(changes);
        identity.into()
    }

    fn undecided(&self, why: &str) -> Verdict {
        match self.on_failure {
            OnFailure::Allow => {
                log::warn!("let pass without a decision of the authorization service: {why}");
                Identity::new(KIND, "").into()
            }
            OnFailure::Deny => {
                log::warn!("refused without a decision of the authorization service: {why}");
                Refusal::new("external_failed", "this request could not be authorized")
                    .status(self.status_on_failure)
                    .into()
            }
        }
    }
}

fn unread(error: &Error) -> Verdict {
    match error {
        Error::TooLarge { limit } => {
            let text = format!("a body of at most {limit} bytes can be authorized");
            Verdict::Reply(Box::new(Reply::text(413, text).details("external_body_too_large")))
        }
        error => {
            log::warn!("the body cannot be shown to the authorization service: {error}");
            Refusal::new("external_failed", "this request could not be authorized").status(500).into()
        }
    }
}

type Wrong = (&'static str, String);

fn http_service(document: HttpDocument, timeout: Duration) -> Result<(Service, Vec<String>), Wrong> {
    let names = |key, list: &[String]| Names::read(list).map_err(|message| (key, message));
    let is_path = |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    let place = match (document.path, document.path_prefix) {
        (Some(_), Some(_)) => {
            return Err(("path", "stands beside `pathPrefix`; the service is asked at one of them".into()));
        }
        (Some(path), None) if is_path(&path) => Place::Path(path),
        (None, Some(prefix)) if is_path(&prefix) => Place::Prefix(prefix),
        (None, None) => Place::Prefix(String::new()),
        (Some(_), None) => return Err(("path", "is no path, as \"/check\" is".into())),
        (None, Some(_)) => return Err(("pathPrefix", "is no path, as \"/check\" is".into())),
    };
    let service = HttpService {
        upstream: named(document.upstream)?,
        authority: document.authority,
        place,
        method: document.method,
        shown: names("requestHeaders", &document.request_headers)?,
        added: pairs("addHeaders", document.add_headers)?,
        for_upstream: names("upstreamHeaders", &document.upstream_headers)?,
        for_client: names("clientHeaders", &document.client_headers)?,
        for_client_allowed: names("clientHeadersOnSuccess", &document.client_headers_on_success)?,
        timeout,
    };
    let owned = document.upstream_headers.iter().filter(|name| !name.ends_with('*'));
    let owned = owned.map(|name| name.to_ascii_lowercase()).collect();
    Ok((Service::Http(Box::new(service)), owned))
}

fn grpc_service(document: GrpcDocument, timeout: Duration) -> Result<Service, Wrong> {
    Ok(Service::Grpc(Box::new(GrpcService {
        upstream: named(document.upstream)?,
        shown: Names::read(&document.request_headers).map_err(|message| ("requestHeaders", message))?,
        metadata: pairs("metadata", document.metadata)?,
        extensions: document.context_extensions.into_iter().collect(),
        raw_body: document.raw_body,
        metadata_property: document.metadata_property,
        timeout,
    })))
}

fn named(upstream: String) -> Result<String, Wrong> {
    match upstream.is_empty() {
        true => Err(("upstream", "is empty; it is the name of an upstream".into())),
        false => Ok(upstream),
    }
}

fn pairs(key: &'static str, pairs: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Wrong> {
    let checked = |(name, value): (String, String)| match units::header_name(&name) {
        Ok(_) if value.contains(char::is_control) => {
            Err((key, format!("the value of \"{name}\" has a control character in it")))
        }
        Ok(name) => Ok((name, value)),
        Err(message) => Err((key, message)),
    };
    pairs.into_iter().map(checked).collect()
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn timeout() -> Span {
    Span::seconds(1)
}

fn status_on_failure() -> u16 {
    503
}

#[cfg(test)]
mod tests;
