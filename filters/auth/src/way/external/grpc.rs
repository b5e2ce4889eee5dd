//! Asking an authorization service by gRPC, as Envoy's `ext_authz` does: `envoy.service.auth.v3.Authorization/Check`.

use std::time::Duration;

use tidegate_sdk::{Reply, Request, grpc, log};

use super::check::{Answered, Asked, Denied, How, Peer};
use super::decision::{Changes, Decision};
use super::names::{Names, is_framing};
use super::{PARTIAL, Shown};

/// A service and what it is sent.
#[derive(Debug)]
pub(super) struct GrpcService {
    pub(super) upstream: String,
    /// The client's headers that it sees.
    pub(super) shown: Names,
    pub(super) metadata: Vec<(String, String)>,
    /// Entries of `context_extensions`.
    pub(super) extensions: Vec<(String, String)>,
    pub(super) raw_body: bool,
    /// Where its metadata is put.
    pub(super) metadata_property: Option<String>,
    pub(super) timeout: Duration,
}

impl GrpcService {
    /// Asks about a request; the error says why there is no decision.
    pub(super) async fn ask<S>(&self, request: &Request<S>, body: Option<Shown>) -> Result<Decision, String> {
        let message = self.message(request, body.as_ref());
        let mut call = grpc::call("envoy.service.auth.v3.Authorization", "Check")
            .to(&self.upstream)
            .message(message)
            .timeout(self.timeout);
        for (name, value) in &self.metadata {
            call = call.metadata(name, value);
        }
        let answer = call.await.map_err(|error| error.to_string())?;
        let answered = Answered::decode(answer.message())
            .map_err(|malformed| format!("its answer is no CheckResponse: {}", malformed.0))?;
        if let (Some(property), Some(metadata)) = (&self.metadata_property, &answered.metadata) {
            if let Err(error) = request.properties().set(property, metadata.to_string()) {
                log::warn!("the metadata of the authorization service is lost: {error}");
            }
        }
        Ok(match answered.code {
            0 => Decision::Allowed(Changes {
                forged: Vec::new(),
                headers: answered.ok.headers,
                remove: answered.ok.remove,
                response_headers: answered.ok.response_headers,
                set_query: answered.ok.set_query,
                remove_query: answered.ok.remove_query,
            }),
            _ => Decision::Denied(Box::new(denial(answered.denied))),
        })
    }

    fn message<S>(&self, request: &Request<S>, body: Option<&Shown>) -> Vec<u8> {
        let mut all = request.headers().all();
        // The client says nothing about that.
        all.remove(PARTIAL);
        let part = body.and_then(Shown::part);
        let of = |name: &str| all.get_str(name).unwrap_or_default();
        let properties = request.properties();
        let (source, destination) = (properties.source(), properties.destination());
        let connection = properties.connection();
        let principal =
            || connection.peer_uri().or_else(|| connection.peer_name()).or_else(|| connection.peer_subject());
        let secured = connection.mtls().unwrap_or_default();
        let asked = Asked {
            source: Peer {
                address: source.ip(),
                port: source.port(),
                principal: secured.then(principal).flatten(),
            },
            destination: Peer { address: destination.ip(), port: destination.port(), principal: None },
            time: properties.request().time().unwrap_or_else(tidegate_sdk::time::now),
            id: properties.request().id(),
            method: of(":method"),
            path: of(":path"),
            host: of(":authority"),
            scheme: of(":scheme"),
            protocol: properties.request().protocol(),
            headers: all
                .iter()
                .filter(|(name, _)| name.starts_with(':') || self.shown.has(name))
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .chain(part.map(|part| (PARTIAL.to_owned(), part.into())))
                .collect(),
            size: match body {
                Some(body) if body.whole => Some(body.bytes.len() as u64),
                _ => all.get_str("content-length").and_then(|length| length.parse().ok()),
            },
            body: body.map(|body| body.bytes.as_slice()),
            raw_body: self.raw_body,
            extensions: &self.extensions,
            server_name: connection.server_name().filter(|name| !name.is_empty()),
        };
        asked.encode()
    }
}

/// The answer to a client whose request is denied.
fn denial(denied: Denied) -> Reply {
    let status = u16::try_from(denied.status).ok().filter(|status| (200..600).contains(status));
    let mut reply = Reply::new(status.unwrap_or(FORBIDDEN)).details("external_denied");
    for change in denied.headers {
        // There is nothing yet that could be present.
        if !is_framing(&change.name) && change.how != How::IfPresent {
            reply = reply.header(change.name, change.value);
        }
    }
    reply.body(denied.body)
}

/// What a service that names no status means.
const FORBIDDEN: u16 = 403;
