//! Modules into registries, as the CNCF's Wasm OCI artifact: a configuration that says what the module is, and one layer
//! that is the module itself.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tidegate_config::plan::{Fetch, OciReference};

use super::Session;
use crate::assets::{digest, hex};
use crate::fetch::client::{Call, resolve};

/// Names and values that a manifest carries.
pub(crate) type Annotations = Vec<(String, String)>;

/// Pushes a module under the reference's tag. Returns the digest of the manifest.
pub(crate) async fn push(
    reference: &OciReference,
    fetch: &Fetch,
    module: &[u8],
    annotations: Annotations,
) -> Result<String, String> {
    let mut session = Session::open(reference, fetch)?;
    let layer = Blob::new(module.to_vec());
    let config = Blob::new(configuration(&layer).to_string().into_bytes());
    let annotations: Map<String, Value> =
        annotations.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    });
    if !annotations.is_empty() {
        manifest["annotations"] = annotations.into();
    }
    for blob in [&config, &layer] {
        session.upload(blob).await?;
    }
    let manifest = Blob::new(manifest.to_string().into_bytes());
    let version = reference.tag.as_deref().unwrap_or("latest");
    let url = session.url(&format!("manifests/{version}"))?;
    let put = session.put(&url, MANIFEST, &manifest.bytes).await?;
    match put.status.is_success() {
        true => Ok(manifest.digest),
        false => Err(session.refused(&put)),
    }
}

/// What the artifact says of the module.
fn configuration(layer: &Blob) -> Value {
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [layer.digest],
    })
}

/// Bytes by their digest.
struct Blob {
    bytes: Bytes,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&digest(&bytes)));
        Self { bytes: bytes.into(), digest }
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({ "mediaType": kind, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl Session<'_> {
    /// Uploads a blob, unless the registry has it.
    async fn upload(&mut self, blob: &Blob) -> Result<(), String> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let head = Call { method: Method::HEAD, ..Call::get(&url, ANSWER) };
        if self.ask(head, ACTIONS).await?.status.is_success() {
            return Ok(());
        }
        let url = self.url("blobs/uploads/")?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let begun =
            self.ask(Call { method: Method::POST, headers, ..Call::get(&url, ANSWER) }, ACTIONS).await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(self.refused(&begun));
        }
        let location = begun.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location =
            location.ok_or_else(|| format!("{}: the registry does not say where to", self.reference))?;
        let place = resolve(&url, location)?;
        let separator = if place.query().is_some() { '&' } else { '?' };
        let text = format!("{place}{separator}digest={}", blob.digest);
        let place: Uri =
            text.parse().map_err(|_| format!("{}: the registry names no URL", self.reference))?;
        let put = self.put(&place, "application/octet-stream", &blob.bytes).await?;
        match put.status.is_success() {
            true => Ok(()),
            false => Err(self.refused(&put)),
        }
    }

    async fn put(&mut self, url: &Uri, kind: &str, body: &Bytes) -> Result<super::Answer, String> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_str(kind).map_err(|error| error.to_string())?;
        headers.insert(CONTENT_TYPE, kind);
        let call = Call { method: Method::PUT, headers, body: body.clone(), ..Call::get(url, ANSWER) };
        self.ask(call, ACTIONS).await
    }

    fn url(&self, path: &str) -> Result<Uri, String> {
        let text = format!("{}/{path}", self.base);
        text.parse().map_err(|_| format!("{text:?} is no URL"))
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// What the token server is asked to allow.
const ACTIONS: &str = "pull,push";

/// Most bytes of an answer to a push.
const ANSWER: usize = 64 << 10;
