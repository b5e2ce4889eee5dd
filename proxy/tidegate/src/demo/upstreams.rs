//! The demo's upstreams: two versions of an app that answer with what they saw, and a WebSocket echo. They run inside
//! the process, on the control thread.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tracing::debug;

use super::websocket;

/// Where the upstreams listen.
pub(crate) struct Upstreams {
    pub(crate) v1: SocketAddr,
    pub(crate) v2: SocketAddr,
    pub(crate) echo: SocketAddr,
}

impl Upstreams {
    /// Starts all of them on free ports of the loopback address.
    pub(crate) async fn start() -> io::Result<Self> {
        Ok(Self {
            v1: start(App::Version("v1")).await?,
            v2: start(App::Version("v2")).await?,
            echo: start(App::Echo).await?,
        })
    }
}

/// What an upstream is.
#[derive(Debug, Clone, Copy)]
enum App {
    /// A version of the sample app.
    Version(&'static str),
    /// The WebSocket echo.
    Echo,
}

async fn start(app: App) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(serve(stream, app));
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, app: App) {
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(app.answer(request)) });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, "sample upstream");
    }
}

impl App {
    fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self {
            App::Version(version) => describe(version, &request),
            App::Echo => upgrade(request),
        }
    }
}

/// What the app saw, as JSON.
fn describe(version: &'static str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let seen = json!({
        "app": version,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map(ToString::to_string),
        "headers": headers_as_json(request.headers()),
    });
    let mut response = Response::new(Full::new(format!("{seen:#}\n").into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(APP_VERSION, HeaderValue::from_static(version));
    response
}

/// Fields by name; values of one name are joined.
pub(crate) fn headers_as_json(fields: &HeaderMap) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            _ => drop(headers.insert(name.to_string(), value.into())),
        }
    }
    headers
}

/// Turns the connection into a WebSocket.
fn upgrade(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .and_then(|key| HeaderValue::from_str(&websocket::accept(key.as_bytes())).ok());
    let Some(accept) = accept else {
        let mut response = Response::new(Full::new("this is a WebSocket, ask for an upgrade\n".into()));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    spawn_local(async move {
        let ended = match upgraded.await {
            Ok(stream) => websocket::echo(TokioIo::new(stream)).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = ended {
            debug!(%error, "sample websocket");
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Names the version that answered.
pub(crate) const APP_VERSION: HeaderName = HeaderName::from_static("x-app-version");
