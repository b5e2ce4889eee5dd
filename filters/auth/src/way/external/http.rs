//! Asking an authorization service by HTTP: as nginx's `auth_request` at a fixed path, or as Envoy's `ext_authz` at the
//! request's own path behind a prefix.

use std::time::Duration;

use tidegate_sdk::{Fields, Reply, Request, http};

use super::decision::{Changes, Decision, chosen};
use super::names::Names;
use super::{PARTIAL, Shown};

/// A service and what it is sent.
#[derive(Debug)]
pub(super) struct HttpService {
    pub(super) upstream: String,
    pub(super) authority: Option<String>,
    pub(super) place: Place,
    /// Without it, that of the request.
    pub(super) method: Option<String>,
    /// The client's headers that it sees.
    pub(super) shown: Names,
    pub(super) added: Vec<(String, String)>,
    /// Headers of its answer for the upstream.
    pub(super) for_upstream: Names,
    /// Headers of a denial for the client.
    pub(super) for_client: Names,
    /// Headers of a consent for the client.
    pub(super) for_client_allowed: Names,
    pub(super) timeout: Duration,
}

/// Where the service is asked.
#[derive(Debug)]
pub(super) enum Place {
    /// Always there; the request is described in headers.
    Path(String),
    /// At the request's path, behind this.
    Prefix(String),
}

impl HttpService {
    /// Asks about a request; the error says why there is no decision.
    pub(super) async fn ask<S>(&self, request: &Request<S>, body: Option<Shown>) -> Result<Decision, String> {
        let headers = request.headers().all();
        let call = self.call(&headers, client_of(request), body);
        let answer = call.await.map_err(|error| error.to_string())?;
        match answer.status() {
            200..300 => Ok(Decision::Allowed(Changes {
                forged: headers
                    .iter()
                    .filter(|(name, _)| self.for_upstream.has(name))
                    .map(|(name, _)| name.to_owned())
                    .collect(),
                headers: chosen(answer.headers(), &self.for_upstream),
                response_headers: chosen(answer.headers(), &self.for_client_allowed),
                ..Changes::default()
            })),
            status @ 300..500 => {
                let mut reply = Reply::new(status).details("external_denied");
                for (name, value) in answer.headers().iter().filter(|(name, _)| self.for_client.has(name)) {
                    reply = reply.header(name, value);
                }
                Ok(Decision::Denied(Box::new(reply.body(answer.into_body()))))
            }
            status => Err(format!("it answered {status}")),
        }
    }

    fn call(&self, headers: &Fields, client: Option<String>, body: Option<Shown>) -> http::Call {
        let of = |name: &str| headers.get_str(name).unwrap_or_default();
        let (method, path) = (of(":method"), of(":path"));
        let target = match &self.place {
            Place::Path(path) => path.clone(),
            Place::Prefix(prefix) => format!("{}{path}", prefix.trim_end_matches('/')),
        };
        let mut call = http::Call::new(self.method.as_deref().unwrap_or(method), target)
            .to(&self.upstream)
            .authority(self.authority.as_deref().unwrap_or_else(|| of(":authority")))
            .timeout(self.timeout);
        for (name, value) in headers.iter().filter(|(name, _)| self.shown.has(name) && !self.writes(name)) {
            call = call.header(name, value);
        }
        if let Place::Path(_) = self.place {
            for (name, value) in [
                ("x-forwarded-method", method),
                ("x-forwarded-proto", of(":scheme")),
                ("x-forwarded-host", of(":authority")),
                ("x-forwarded-uri", path),
                ("x-original-method", method),
                ("x-original-uri", path),
            ] {
                call = call.header(name, value);
            }
            if let Some(client) = client {
                call = call.header("x-forwarded-for", client);
            }
        }
        for (name, value) in &self.added {
            call = call.header(name, value);
        }
        if let Some(part) = body.as_ref().and_then(Shown::part) {
            call = call.header(PARTIAL, part);
        }
        match body {
            Some(body) => call.body(body.bytes),
            // A method that mostly has a body should say that it has none.
            None if call_has_body(self.method.as_deref().unwrap_or(method)) => {
                call.header("content-length", "0")
            }
            None => call,
        }
    }

    /// Whether it is we who write a header, so that a client cannot.
    fn writes(&self, name: &str) -> bool {
        self.added.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
            || name.eq_ignore_ascii_case(PARTIAL)
            || matches!(self.place, Place::Path(_))
                && WRITTEN.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

fn call_has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn client_of<S>(request: &Request<S>) -> Option<String> {
    request.properties().source().ip()
}

const WRITTEN: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
];
