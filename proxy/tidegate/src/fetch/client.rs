//! A small HTTP client for the control thread: one request on a connection of its own, answers of limited size.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio_rustls::TlsConnector;

/// Sends requests.
pub(crate) struct Client {
    tls: TlsConnector,
    /// What certificates must be for; none: the host that is asked.
    name: Option<String>,
    /// A Unix socket that is asked in place of any host.
    socket: Option<PathBuf>,
}

/// What is asked for.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Most bytes of the answer's body.
    pub(crate) limit: usize,
}

impl<'a> Call<'a> {
    /// A GET without headers.
    pub(crate) fn get(url: &'a Uri, limit: usize) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), limit }
    }
}

/// What came back.
pub(crate) struct Answer {
    /// Where it came from, redirections followed.
    pub(crate) url: Uri,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// A client that trusts the authorities of a PEM file, or those that the system trusts.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let roots = match ca {
            Some(path) => own_roots(path)?,
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::with(Arc::new(config), None))
    }

    /// A client that speaks TLS as is said, with servers of this name where there is one.
    pub(crate) fn with(config: Arc<ClientConfig>, name: Option<String>) -> Self {
        Self { tls: TlsConnector::from(config), name, socket: None }
    }

    /// Asks at this Unix socket, whatever host a URL names.
    pub(crate) fn at_socket(self, path: PathBuf) -> Self {
        Self { socket: Some(path), ..self }
    }

    /// Follows redirections, to other servers without the credentials. From HTTPS they go to HTTPS only.
    pub(crate) async fn follow(&self, call: Call<'_>) -> Result<Answer, String> {
        let Call { method, url, mut headers, body, limit } = call;
        let mut url = url.clone();
        for _ in 0..=REDIRECTIONS {
            let call = Call {
                method: method.clone(),
                url: &url,
                headers: headers.clone(),
                body: body.clone(),
                limit,
            };
            let answer = self.send(call).await?;
            let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let Some(location) = location.filter(|_| is_redirection(answer.status)) else {
                return Ok(answer);
            };
            let next = resolve(&url, location)?;
            if url.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(format!("{} redirects to {}, which is not HTTPS", told(&url), told(&next)));
            }
            if next.authority() != url.authority() {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(format!("{}: more than {REDIRECTIONS} redirections", told(&url)))
    }

    /// Sends one request. Errors name the URL without its query, which may hold a secret.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer, String> {
        let limit = call.limit;
        let url = call.url.clone();
        let wrong = |why: String| format!("{}: {why}", told(&url));
        let (request, stream) = self.connect(&call).await?;
        exchange(stream, request, &url, limit).await.map_err(wrong)
    }

    /// As [`Client::send`] for an answer whose body comes bit by bit; to be called on a thread of local tasks.
    pub(crate) async fn begin(&self, call: Call<'_>) -> Result<Coming, String> {
        let wrong = |why: hyper::Error| format!("{}: {why}", told(call.url));
        let (request, stream) = self.connect(&call).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(wrong)?;
        // Its error reaches the answer as well.
        let connection = spawn_local(async move { drop(connection.await) });
        let answer = sender.send_request(request).await.map_err(wrong)?;
        let (head, body) = answer.into_parts();
        Ok(Coming { status: head.status, body, url: told(call.url), connection: connection.abort_handle() })
    }

    async fn connect(&self, call: &Call<'_>) -> Result<(Request<Full<Bytes>>, Box<dyn Io>), String> {
        let url = call.url;
        let told = told(url);
        let (Some(authority), Some(scheme)) = (url.authority(), url.scheme_str()) else {
            return Err(format!("{told} is not a whole URL"));
        };
        if let Some(path) = &self.socket {
            let stream = UnixStream::connect(path).await;
            let stream =
                stream.map_err(|error| format!("{told}: cannot connect to {}: {error}", path.display()))?;
            let request = request(call).map_err(|error| format!("{told}: {error}"))?;
            return Ok((request, Box::new(stream)));
        }
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port))
            .await
            .map_err(|error| format!("{told}: cannot connect to {host}:{port}: {error}"))?;
        let _ = stream.set_nodelay(true);
        let request = request(call).map_err(|error| format!("{told}: {error}"))?;
        if scheme == "http" {
            return Ok((request, Box::new(stream)));
        }
        let name = self.name.as_deref().unwrap_or(bare);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{told}: {name:?} is no name that a certificate could have"))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("{told}: TLS: {error}"))?;
        Ok((request, Box::new(stream)))
    }
}

/// A connection with or without TLS.
trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// An answer whose body comes bit by bit. Its connection ends with it.
pub(crate) struct Coming {
    pub(crate) status: StatusCode,
    body: Incoming,
    url: String,
    connection: AbortHandle,
}

impl Coming {
    /// The next piece; none: that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| format!("{}: the answer broke off: {error}", self.url))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All of it, up to so many bytes.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
            if all.len() > limit {
                return Err(format!("{}: the answer is larger than {limit} bytes", self.url));
            }
        }
        Ok(all)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The URL as it may be shown.
pub(crate) fn told(url: &Uri) -> String {
    let text = url.to_string();
    tidegate_config::without_secrets(text.split('?').next().unwrap_or_default()).into_owned()
}

fn request(call: &Call<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = call.url.path_and_query().map_or("/", |path| path.as_str());
    let mut request =
        Request::builder().method(call.method.clone()).uri(path).body(Full::new(call.body.clone()))?;
    let host = call.url.authority().map_or("", |authority| authority.as_str());
    *request.headers_mut() = call.headers.clone();
    request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// One request and its answer; the connection is driven beside it and ends with it.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    url: &Uri,
    limit: usize,
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                format!("the answer is larger than {limit} bytes")
            } else {
                format!("the answer broke off: {error}")
            }
        })?;
        Ok(Answer { url: url.clone(), status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    tokio::pin!(exchange, connection);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            // Its error reaches the exchange as well.
            _ = &mut connection, if open => open = false,
        }
    }
}

fn is_redirection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The URL that a `location` means.
pub(crate) fn resolve(base: &Uri, location: &str) -> Result<Uri, String> {
    let wrong = || format!("{} redirects to what is no URL", told(base));
    let next: Uri = match location.strip_prefix("//") {
        Some(rest) => format!("{}://{rest}", base.scheme_str().unwrap_or("https")).parse(),
        None if location.starts_with('/') => {
            let authority = base.authority().map_or("", |authority| authority.as_str());
            format!("{}://{authority}{location}", base.scheme_str().unwrap_or("https")).parse()
        }
        None => location.parse(),
    }
    .map_err(|_| wrong())?;
    match next.scheme_str() {
        Some("http" | "https") if next.authority().is_some() => Ok(next),
        _ => Err(wrong()),
    }
}

fn own_roots(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("{shown} is not a PEM file of certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{shown} has what is not an authority: {error}"))?;
    }
    match roots.is_empty() {
        true => Err(format!("{shown} has no certificate in it; wanted: a PEM file of authorities")),
        false => Ok(roots),
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // What cannot be read of them is missed when a certificate is verified, with an error that says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A header's value; an error for what no header may have.
pub(crate) fn header(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let value = HeaderValue::from_str(value).map_err(|_| format!("the {name} header cannot have its value"));
    value.map(|value| (name, value))
}

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Most redirections of one request.
const REDIRECTIONS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "https://a.test:8443/v2/x".parse().expect("a URL");
        for (location, expected) in [
            ("/b?c=d", "https://a.test:8443/b?c=d"),
            ("//b.test/c", "https://b.test/c"),
            ("http://b.test/c", "http://b.test/c"),
        ] {
            assert_eq!(resolve(&base, location).map(|url| url.to_string()).as_deref(), Ok(expected));
        }
        for location in ["", "b/c", "ftp://b.test/", "https://"] {
            assert!(resolve(&base, location).is_err(), "{location}");
        }
    }

    #[test]
    fn queries_are_not_told() {
        let url: Uri = "https://a.test/b?token=secret".parse().expect("a URL");
        assert_eq!(told(&url), "https://a.test/b");
    }
}
