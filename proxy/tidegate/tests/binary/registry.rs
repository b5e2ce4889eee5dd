//! A small registry and web server on a real socket, with or without TLS: what a test puts on its shelves is served,
//! what it breaks is broken.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tidegate_testkit::{Authority, Certificate};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// A server with its shelves.
pub(crate) struct Registry {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shelves: Arc<Mutex<Shelves>>,
}

/// What is served and how.
#[derive(Default)]
pub(crate) struct Shelves {
    /// By `REPOSITORY/VERSION`; with the media type.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// By digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// By path, for plain HTTP.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The value of `authorization` without which nothing is served, and the challenge.
    pub(crate) wants: Option<(String, String)>,
    /// The value of `authorization` that the token server wants, and the token that it gives.
    pub(crate) token: Option<(String, String)>,
    /// Blobs are at this base URL.
    pub(crate) blobs_at: Option<String>,
    /// Answers have this many bytes less than they say.
    pub(crate) cut: usize,
    /// Connections are closed at once.
    pub(crate) down: bool,
    /// Each request: path, and `authorization` if it had one.
    pub(crate) seen: Vec<(String, Option<String>)>,
}

impl Registry {
    /// One that speaks clear text.
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }

    /// One with a certificate for 127.0.0.1 of this authority.
    pub(crate) fn secure(authority: &Authority) -> Self {
        Self::start(Some(authority.issue(&["127.0.0.1"])))
    }

    fn start(certificate: Option<Certificate>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let shelves: Arc<Mutex<Shelves>> = Arc::default();
        let served = Arc::clone(&shelves);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs a few descriptors only");
            LocalSet::new().block_on(&runtime, accept(listener, certificate, served));
        });
        Self { address, shelves }
    }

    /// To look at or change what is served.
    pub(crate) fn shelves(&self) -> MutexGuard<'_, Shelves> {
        lock(&self.shelves)
    }

    /// Puts a module under a tag, as the CNCF's artifact. Returns the manifest's digest.
    pub(crate) fn put_artifact(&self, repository: &str, tag: &str, module: &[u8]) -> String {
        self.put(repository, tag, ("application/wasm", module))
    }

    /// Puts a module under a tag, as an image with an archive. Returns the manifest's digest.
    pub(crate) fn put_image(&self, repository: &str, tag: &str, module: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&tar("plugin.wasm", module)).expect("memory takes all");
        let layer = encoder.finish().expect("memory takes all");
        self.put(repository, tag, ("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer))
    }

    fn put(&self, repository: &str, tag: &str, (kind, layer): (&str, &[u8])) -> String {
        let name = digest(layer);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{}","size":2}},"layers":[{{"mediaType":"{kind}","digest":"{name}","size":{}}}]}}"#,
            digest(b"{}"),
            layer.len()
        );
        let own = digest(manifest.as_bytes());
        let mut shelves = self.shelves();
        shelves.blobs.insert(name, layer.to_vec());
        for version in [tag, &own] {
            let entry = (MANIFEST.to_owned(), manifest.clone().into_bytes());
            shelves.manifests.insert(format!("{repository}/{version}"), entry);
        }
        own
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// As registries write it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// As `sha256sum` prints it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = vec![0; 512];
    archive[..name.len()].copy_from_slice(name.as_bytes());
    archive[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    archive[156] = b'0';
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

fn lock(shelves: &Mutex<Shelves>) -> MutexGuard<'_, Shelves> {
    shelves.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: std::net::TcpListener,
    certificate: Option<Certificate>,
    shelves: Arc<Mutex<Shelves>>,
) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    let tls = certificate.map(|certificate| {
        tokio_rustls::TlsAcceptor::from(Arc::new(certificate.server_config(&["http/1.1"])))
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        if lock(&shelves).down {
            continue;
        }
        let (tls, shelves) = (tls.clone(), Arc::clone(&shelves));
        spawn_local(async move {
            match tls {
                None => serve(stream, shelves).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shelves).await;
                    }
                }
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, shelves: Arc<Mutex<Shelves>>) {
    let cut = lock(&shelves).cut;
    if cut > 0 {
        return serve_cut(stream, cut, &shelves).await;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let shelves = Arc::clone(&shelves);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let request = Request::from_parts(head, body);
            Ok::<_, Infallible>(lock(&shelves).answer(&request))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers with less than the length says, whatever is asked for.
async fn serve_cut<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, cut: usize, shelves: &Mutex<Shelves>) {
    let body = lock(shelves).files.values().next().cloned().unwrap_or_default();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let part = body.get(..body.len().saturating_sub(cut)).unwrap_or_default();
    let _ = stream.write_all(&[head.as_bytes(), part].concat()).await;
    let _ = stream.shutdown().await;
}

impl Shelves {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        self.seen.push((path.to_owned(), shown.map(str::to_owned)));
        if path == "/token" {
            return match &self.token {
                Some((wanted, token)) if shown == Some(wanted) => {
                    let query = request.uri().query().unwrap_or_default();
                    assert!(query.contains("scope=repository:"), "{query}");
                    respond(StatusCode::OK, format!(r#"{{"token":"{token}"}}"#))
                }
                _ => respond(StatusCode::UNAUTHORIZED, ""),
            };
        }
        if let Some(file) = self.files.get(path) {
            return respond(StatusCode::OK, file.clone());
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return respond(StatusCode::NOT_FOUND, "") };
        if let Some((wanted, challenge)) = &self.wants
            && shown != Some(wanted)
        {
            let mut refused = respond(StatusCode::UNAUTHORIZED, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
            refused.headers_mut().insert("www-authenticate", challenge.parse().expect("a valid value"));
            return refused;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return self.take(request, rest);
        }
        if let Some((repository, version)) = rest.split_once("/manifests/")
            && let Some((kind, manifest)) = self.manifests.get(&format!("{repository}/{version}"))
        {
            let mut found = respond(StatusCode::OK, manifest.clone());
            found.headers_mut().insert("content-type", kind.parse().expect("a valid value"));
            return found;
        }
        if let Some((_, name)) = rest.split_once("/blobs/") {
            if let Some(base) = &self.blobs_at {
                let mut moved = respond(StatusCode::TEMPORARY_REDIRECT, "");
                let target = format!("{base}/blobs/{name}?signature=x");
                moved.headers_mut().insert("location", target.parse().expect("a valid value"));
                return moved;
            }
            if let Some(blob) = self.blobs.get(name) {
                return respond(StatusCode::OK, blob.clone());
            }
        }
        respond(StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
    }
}

impl Shelves {
    /// What is pushed. Blobs must have their digest, manifests must name blobs that are here.
    fn take(&mut self, request: &Request<Bytes>, rest: &str) -> Response<Full<Bytes>> {
        let body = request.body();
        if let Some((_, "")) = rest.split_once("/blobs/uploads/") {
            let mut begun = respond(StatusCode::ACCEPTED, "");
            let target = format!("/v2/{rest}session?state=1");
            begun.headers_mut().insert("location", target.parse().expect("a valid value"));
            return begun;
        }
        if rest.contains("/blobs/uploads/") {
            let wanted =
                request.uri().query().and_then(|query| query.split("digest=").nth(1)).unwrap_or_default();
            if wanted != digest(body) {
                return respond(StatusCode::BAD_REQUEST, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            self.blobs.insert(wanted.to_owned(), body.to_vec());
            return respond(StatusCode::CREATED, "");
        }
        let Some((repository, tag)) = rest.split_once("/manifests/") else {
            return respond(StatusCode::NOT_FOUND, "");
        };
        let manifest: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let mut named =
            layers.chain([&manifest["config"]]).map(|blob| blob["digest"].as_str().unwrap_or_default());
        if !named.all(|name| self.blobs.contains_key(name)) {
            return respond(StatusCode::BAD_REQUEST, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
        }
        for version in [tag, &digest(body)] {
            self.manifests.insert(format!("{repository}/{version}"), (MANIFEST.to_owned(), body.to_vec()));
        }
        respond(StatusCode::CREATED, "")
    }
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
