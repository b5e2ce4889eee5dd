//! Modules from registries: reference -> manifest -> layer, over the OCI distribution protocol.
//!
//! Every byte is checked against a digest: the manifest against the one in the reference or in the index above it, the
//! layer against the manifest's. A tag is what the registry says it is; who needs more gives a digest or a key.

mod auth;
mod manifest;
mod push;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use serde::Deserialize;
use tidegate_config::plan::{Fetch, OciReference};

use super::LARGEST_MODULE;
use super::client::{Answer, Call, Client};
use super::docker_config::{self, Credentials};
use crate::assets::{digest, hex};
use manifest::{Descriptor, Layer, Manifest, Packing};

/// What a registry had.
pub(crate) enum Pulled {
    /// The manifest that is known already.
    Same,
    /// Another one.
    Layer {
        /// Digest of the manifest that the reference names now.
        manifest: String,
        /// The module, or the archive that it is in.
        bytes: Bytes,
        packing: Packing,
    },
}

pub(crate) use manifest::Packing as LayerPacking;
pub(crate) use push::push;

/// Pulls a module. `known` is the digest of the manifest whose module is at hand.
pub(crate) async fn pull(
    reference: &OciReference,
    fetch: &Fetch,
    known: Option<&str>,
) -> Result<Pulled, String> {
    let mut session = Session::open(reference, fetch)?;
    let (manifest, name) = session.manifest(reference.version()).await?;
    if known == Some(name.as_str()) {
        return Ok(Pulled::Same);
    }
    let Layer { descriptor, packing } = match manifest.pick().map_err(|why| format!("{reference}: {why}"))? {
        manifest::Pick::Layer(layer) => layer,
        manifest::Pick::Manifest(inner) => {
            let (manifest, _) = session.manifest(&inner.digest).await?;
            match manifest.pick().map_err(|why| format!("{reference}: {why}"))? {
                manifest::Pick::Layer(layer) => layer,
                manifest::Pick::Manifest(_) => {
                    return Err(format!("{reference}: an index of indices has no module"));
                }
            }
        }
    };
    let bytes = session.blob(&descriptor).await?;
    Ok(Pulled::Layer { manifest: name, bytes, packing })
}

/// Talks to one registry about one repository.
struct Session<'a> {
    client: Client,
    reference: &'a OciReference,
    credentials: Credentials,
    /// `SCHEME://REGISTRY/v2/REPOSITORY`
    base: String,
    plain: bool,
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<RefusalEntry>,
}

#[derive(Deserialize)]
struct RefusalEntry {
    code: String,
}

impl<'a> Session<'a> {
    fn open(reference: &'a OciReference, fetch: &Fetch) -> Result<Self, String> {
        let scheme = if fetch.plain_http { "http" } else { "https" };
        let OciReference { registry, repository, .. } = reference;
        let base = match registry.as_str() {
            // Docker's own registry goes by two names, and has its own pictures in a folder that nobody writes.
            "docker.io" | "index.docker.io" if !repository.contains('/') => {
                format!("{scheme}://registry-1.docker.io/v2/library/{repository}")
            }
            "docker.io" | "index.docker.io" => format!("{scheme}://registry-1.docker.io/v2/{repository}"),
            _ => format!("{scheme}://{registry}/v2/{repository}"),
        };
        Ok(Self {
            client: Client::new(fetch.ca.as_deref())?,
            reference,
            credentials: docker_config::credentials(fetch.pull_secret.as_deref(), reference)?,
            base,
            plain: fetch.plain_http,
            authorization: None,
        })
    }

    /// A manifest by tag or digest, and its digest.
    async fn manifest(&mut self, version: &str) -> Result<(Manifest, String), String> {
        let answer =
            self.get(&format!("manifests/{version}"), Some(manifest::ACCEPTED), MANIFEST_BYTES).await?;
        let name = format!("sha256:{}", hex(&digest(&answer.body)));
        if version.contains(':') && version != name {
            return Err(format!("{}: the manifest {version} has the digest {name}", self.reference));
        }
        let manifest = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("{}: the manifest is not understood: {error}", self.reference))?;
        Ok((manifest, name))
    }

    async fn blob(&mut self, layer: &Descriptor) -> Result<Bytes, String> {
        let reference = self.reference;
        let wanted = layer.digest.as_str();
        if !wanted.starts_with("sha256:") || wanted.len() != "sha256:".len() + 64 {
            return Err(format!("{reference}: the layer's digest {wanted:?} is not one of sha256"));
        }
        if layer.size > LARGEST_MODULE {
            let size = layer.size;
            return Err(format!("{reference}: the layer has {size} bytes, more than {LARGEST_MODULE}"));
        }
        let limit = usize::try_from(LARGEST_MODULE).unwrap_or(usize::MAX);
        let answer = self.get(&format!("blobs/{wanted}"), None, limit).await?;
        let found = format!("sha256:{}", hex(&digest(&answer.body)));
        if found != wanted {
            return Err(format!("{reference}: the layer {wanted} came with the digest {found}"));
        }
        Ok(answer.body)
    }

    /// Asks the registry for something that it must have.
    async fn get(&mut self, path: &str, accept: Option<&str>, limit: usize) -> Result<Answer, String> {
        let text = format!("{}/{path}", self.base);
        let url: Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(accept).ok()) {
            headers.insert(ACCEPT, accept);
        }
        let answer = self.ask(Call { headers, ..Call::get(&url, limit) }, "pull").await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(self.refused(&answer)),
        }
    }

    /// Asks the registry, with credentials once it wants them. Only what is asked for by GET and HEAD may be elsewhere.
    async fn ask(&mut self, call: Call<'_>, actions: &str) -> Result<Answer, String> {
        let Call { method, url, headers, body, limit } = call;
        let mut asked = false;
        loop {
            let mut headers = headers.clone();
            if let Some(authorization) = &self.authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let call = Call { method: method.clone(), url, headers, body: body.clone(), limit };
            let answer = match method == Method::GET || method == Method::HEAD {
                true => self.client.follow(call).await?,
                false => self.client.send(call).await?,
            };
            // A server that the registry redirects to has no claim to the registry's credentials.
            let own = answer.url.authority() == url.authority();
            if answer.status == StatusCode::UNAUTHORIZED && !asked && own {
                asked = true;
                let authorization = auth::authorize(
                    &self.client,
                    (&answer.headers, actions),
                    self.reference,
                    &self.credentials,
                    self.plain,
                );
                self.authorization = Some(authorization.await?);
                continue;
            }
            return Ok(answer);
        }
    }

    fn refused(&self, answer: &Answer) -> String {
        let codes = serde_json::from_slice::<Refusal>(&answer.body)
            .ok()
            .map(|refusal| refusal.errors.into_iter().map(|entry| entry.code).collect::<Vec<_>>().join(", "));
        let code =
            codes.filter(|codes| !codes.is_empty()).map_or(String::new(), |codes| format!(" ({codes})"));
        let host = answer.url.authority().map_or("", |authority| authority.as_str());
        let mut message = format!("{}: {host} answers {}{code}", self.reference, answer.status);
        if answer.status == StatusCode::UNAUTHORIZED || answer.status == StatusCode::FORBIDDEN {
            message.push_str(match self.credentials {
                Credentials::None => "; there are no credentials for it",
                _ => "; it does not take the credentials",
            });
        }
        message
    }
}

/// Most bytes of a manifest, as registries have it.
const MANIFEST_BYTES: usize = 4 << 20;
