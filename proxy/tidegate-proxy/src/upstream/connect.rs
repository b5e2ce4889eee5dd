//! Opens connections to servers: TCP, TLS, and what ALPN says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::plan::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::certificate;
use crate::telemetry::trace::Value;
use crate::transport::{Stream, Transport};
use crate::upstream::cluster::Cluster;
use crate::upstream::course::{Course, noted};
use crate::upstream::dial;
use crate::upstream::member::Member;

/// A connection on which nothing was said yet.
pub(crate) struct Opened {
    /// The bytes.
    pub(crate) stream: Stream,
    /// HTTP/2 is to be spoken, else HTTP/1.1.
    pub(crate) http2: bool,
}

/// Whether there was no connection because the process, or the system, may open no more.
pub(crate) fn no_descriptor_is_left(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Connects to a server. The caller bounds the time.
pub(crate) async fn open(cluster: &Cluster, member: &Member, course: Option<&Course>) -> io::Result<Opened> {
    if cluster.spec.protocol == UpstreamProtocol::Redis {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "server speaks Redis, not HTTP"));
    }
    let tcp = dial::tcp(member, cluster.spec.pool.stagger, course).await?;
    dressed(cluster, member.identity.name.as_ref(), tcp, course).await
}

/// Connects to a server, whatever it speaks. The caller bounds the time.
pub(crate) async fn any(cluster: &Cluster, member: &Member) -> io::Result<Opened> {
    let tcp = dial::tcp(member, cluster.spec.pool.stagger, None).await?;
    dressed(cluster, member.identity.name.as_ref(), tcp, None).await
}

/// Connects to one address of a server. The caller bounds the time.
pub(crate) async fn to(
    cluster: &Cluster,
    address: SocketAddr,
    name: Option<&ServerName<'static>>,
) -> io::Result<Opened> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    dressed(cluster, name, tcp, None).await
}

async fn dressed(
    cluster: &Cluster,
    name: Option<&ServerName<'static>>,
    tcp: TcpStream,
    course: Option<&Course>,
) -> io::Result<Opened> {
    match (&cluster.tls, name) {
        (Some(config), Some(name)) => {
            noted(course, "tls", secure(config, name, tcp, (cluster.spec.protocol, course))).await
        }
        _ => Ok(Opened {
            stream: Stream::new(Transport::Plain(tcp), Vec::new()),
            http2: cluster.spec.protocol == UpstreamProtocol::Http2,
        }),
    }
}

async fn secure(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    tcp: TcpStream,
    (protocol, course): (UpstreamProtocol, Option<&Course>),
) -> io::Result<Opened> {
    if let Some(course) = course {
        course.says(|span| span.says("server.address", name.to_str().into_owned()));
    }
    let tls = TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?;
    if let Some(course) = course {
        let session = tls.get_ref().1;
        course.says(|span| {
            span.says("tls.protocol.name", "tls");
            span.says("tls.protocol.version", certificate::version_number(session.protocol_version()));
            if let Some(suite) = session.negotiated_cipher_suite() {
                span.says("tls.cipher", format!("{:?}", suite.suite()));
            }
            if let Some(protocol) = session.alpn_protocol() {
                span.says("tls.next_protocol", String::from_utf8_lossy(protocol).into_owned());
            }
            let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            span.says("tls.resumed", Value::Truth(resumed));
        });
    }
    let agreed = tls.get_ref().1.alpn_protocol();
    let http2 = match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Redis => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Auto => agreed == Some(b"h2"),
    };
    if http2 && agreed.is_some_and(|agreed| agreed != b"h2") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "server does not speak HTTP/2 (by ALPN)"));
    }
    Ok(Opened { stream: Stream::new(Transport::Client(Box::new(tls)), Vec::new()), http2 })
}
