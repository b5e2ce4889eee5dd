//! The echo behind the filter: it answers a request with what it saw, and a connection with its own bytes.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::demo::headers_as_json;
use crate::filter::screen;

/// Starts the echo on a free port of the loopback address.
pub(super) async fn start(tcp: bool) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if tcp {
                spawn_local(echo(stream));
            } else {
                spawn_local(serve(stream));
            }
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(describe(request).await) });
    // A connection that breaks is the gateway's to tell.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What came, as JSON.
async fn describe(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut seen = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(ToString::to_string),
        "headers": headers_as_json(&head.headers),
    });
    match Limited::new(body, LARGEST).collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            if !bytes.is_empty() {
                seen["body"] = String::from_utf8_lossy(&bytes).into();
            }
        }
        Err(error) => seen["bodyProblem"] = error.to_string().into(),
    }
    let mut response = Response::new(Full::new(format!("{seen:#}\n").into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn echo(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    match tokio::io::copy(&mut from, &mut to).await {
        Ok(bytes) => {
            screen::show(&format!("connection   {bytes} bytes came past the filter and were sent back"))
        }
        Err(error) => screen::show(&format!("connection   broken: {error}")),
    }
}

/// Bytes of a body that is shown.
const LARGEST: usize = 1 << 20;
