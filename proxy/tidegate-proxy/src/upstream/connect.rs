//! Opens connections to servers: TCP, TLS, and what ALPN says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::plan::UpstreamProtocol;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::transport::{Stream, Transport};
use crate::upstream::cluster::Cluster;
use crate::upstream::dial;
use crate::upstream::member::Member;

/// A connection on which nothing was said yet.
pub(crate) struct Opened {
    /// The bytes.
    pub(crate) stream: Stream,
    /// HTTP/2 is to be spoken, else HTTP/1.1.
    pub(crate) http2: bool,
}

/// Connects to a server. The caller bounds the time.
pub(crate) async fn open(cluster: &Cluster, member: &Member) -> io::Result<Opened> {
    if cluster.spec.protocol == UpstreamProtocol::Redis {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "server speaks Redis, not HTTP"));
    }
    any(cluster, member).await
}

/// Connects to a server, whatever it speaks. The caller bounds the time.
pub(crate) async fn any(cluster: &Cluster, member: &Member) -> io::Result<Opened> {
    let tcp = dial::tcp(member, cluster.spec.pool.stagger).await?;
    dressed(cluster, member.identity.name.as_ref(), tcp).await
}

/// Connects to one address of a server. The caller bounds the time.
pub(crate) async fn to(
    cluster: &Cluster,
    address: SocketAddr,
    name: Option<&ServerName<'static>>,
) -> io::Result<Opened> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    dressed(cluster, name, tcp).await
}

async fn dressed(
    cluster: &Cluster,
    name: Option<&ServerName<'static>>,
    tcp: TcpStream,
) -> io::Result<Opened> {
    match (&cluster.tls, name) {
        (Some(config), Some(name)) => secure(config, name, tcp, cluster.spec.protocol).await,
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
    protocol: UpstreamProtocol,
) -> io::Result<Opened> {
    let tls = TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?;
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
