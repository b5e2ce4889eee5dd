//! Modules that come over the network: from web servers and registries, through a cache on disk, with retries.
//!
//! All of it happens on the control thread or beside it. Whoever builds plugins asks the [`Library`] what is at hand
//! and never waits for a server.

mod cache;
pub(crate) mod client;
mod docker_config;
mod library;
mod oci;
mod unpack;

use std::fmt;
use std::sync::Arc;

use http::Uri;
use tidegate_config::plan::{self, Fetch, ModuleSource, OciReference};

use crate::assets::{self, ModuleBytes};
use cache::{Cache, Resolved};
pub(crate) use client::{Call, Client};
pub(crate) use library::{Library, Shelved};
pub(crate) use oci::push;
use oci::{LayerPacking, Pulled};

/// A module that is to be fetched, with all that decides which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    source: ModuleSource,
    sha256: Option<String>,
    fetch: Fetch,
}

impl Wanted {
    /// None for a module that is not fetched.
    pub(crate) fn of(spec: &plan::Plugin) -> Option<Self> {
        match spec.module {
            ModuleSource::File(_) | ModuleSource::Builtin(_) => None,
            ModuleSource::Https(_) | ModuleSource::Oci(_) => Some(Self {
                source: spec.module.clone(),
                sha256: spec.sha256.clone(),
                fetch: spec.loading.fetch.clone(),
            }),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ModuleSource::File(path) => write!(f, "{}", path.display()),
            ModuleSource::Builtin(name) => write!(f, "builtin:{name}"),
            // A query may hold a secret.
            ModuleSource::Https(url) => f.write_str(url.split('?').next().unwrap_or_default()),
            ModuleSource::Oci(reference) => write!(f, "{reference}"),
        }
    }
}

/// A module that is at hand.
#[derive(Clone)]
struct Found {
    module: Arc<ModuleBytes>,
    /// Of the manifest that named it.
    manifest: Option<String>,
}

/// One attempt. None: what is known is what the registry has.
async fn attempt(wanted: &Wanted, known: Option<&str>, cache: &Arc<Cache>) -> Result<Option<Found>, String> {
    let within = tokio::time::timeout(wanted.fetch.timeout, transfer(wanted, known));
    let timeout = wanted.fetch.timeout;
    let Some(transferred) =
        within.await.map_err(|_| format!("{wanted}: not fetched within {timeout:?}"))??
    else {
        return Ok(None);
    };
    let (wanted, cache) = (wanted.clone(), Arc::clone(cache));
    // Digests and archives of large modules take a while.
    let finished = tokio::task::spawn_blocking(move || finish(&wanted, transferred, &cache));
    finished.await.map_err(|error| format!("the module could not be kept: {error}"))?.map(Some)
}

/// Bytes as they came.
struct Transferred {
    bytes: bytes::Bytes,
    packing: LayerPacking,
    manifest: Option<String>,
}

async fn transfer(wanted: &Wanted, known: Option<&str>) -> Result<Option<Transferred>, String> {
    match &wanted.source {
        ModuleSource::File(_) | ModuleSource::Builtin(_) => Err(format!("{wanted} is not fetched")),
        ModuleSource::Oci(reference) => match oci::pull(reference, &wanted.fetch, known).await? {
            Pulled::Same => Ok(None),
            Pulled::Layer { manifest, bytes, packing } => {
                Ok(Some(Transferred { bytes, packing, manifest: Some(manifest) }))
            }
        },
        ModuleSource::Https(url) => {
            let url: Uri = url.parse().map_err(|_| format!("{wanted} is no URL"))?;
            let limit = usize::try_from(LARGEST_MODULE).unwrap_or(usize::MAX);
            let answer = Client::new(wanted.fetch.ca.as_deref())?.follow(Call::get(&url, limit)).await?;
            match answer.status.is_success() {
                true => {
                    Ok(Some(Transferred { bytes: answer.body, packing: LayerPacking::Bare, manifest: None }))
                }
                false => Err(format!("{wanted}: {} answers {}", client::told(&answer.url), answer.status)),
            }
        }
    }
}

/// Unpacks, checks the digest, and keeps the module on disk.
fn finish(wanted: &Wanted, transferred: Transferred, cache: &Cache) -> Result<Found, String> {
    let Transferred { bytes, packing, manifest } = transferred;
    let limit = usize::try_from(LARGEST_MODULE).unwrap_or(usize::MAX);
    let bytes = match packing {
        LayerPacking::Bare => bytes.to_vec(),
        LayerPacking::Archive => {
            unpack::plugin_wasm(&bytes, limit).map_err(|why| format!("{wanted}: {why}"))?
        }
    };
    let module =
        assets::checked(bytes.into(), wanted.sha256.as_deref()).map_err(|why| format!("{wanted}: {why}"))?;
    cache.keep(&module.bytes, &module.digest);
    if let Some(manifest) = &manifest {
        cache.remember(&wanted.to_string(), &Resolved { module: module.digest, manifest: manifest.clone() });
    }
    Ok(Found { module: Arc::new(module), manifest })
}

/// Pulls a module, past all caches.
pub(crate) async fn pull(reference: &OciReference, fetch: &Fetch) -> Result<Vec<u8>, String> {
    let limit = usize::try_from(LARGEST_MODULE).unwrap_or(usize::MAX);
    match oci::pull(reference, fetch, None).await? {
        Pulled::Same => Err(format!("{reference}: nothing is known, yet the registry has nothing else")),
        Pulled::Layer { bytes, packing: LayerPacking::Bare, .. } => Ok(bytes.to_vec()),
        Pulled::Layer { bytes, packing: LayerPacking::Archive, .. } => {
            unpack::plugin_wasm(&bytes, limit).map_err(|why| format!("{reference}: {why}"))
        }
    }
}

/// Largest Wasm module, and largest layer.
pub(crate) const LARGEST_MODULE: u64 = 64 << 20;
