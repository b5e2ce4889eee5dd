//! What the gateway knows besides messages: addresses, TLS, route, upstream, times and sizes.
//!
//! Names and types are those of Envoy's attributes. What is not known, or not yet, is `None`.

use std::net::IpAddr;
use std::time::Duration;

use crate::{Error, Outcome, host};

/// The properties of the request, response or connection that a handler is about.
///
/// ```no_run
/// # fn of(request: &tidegate_sdk::Request) {
/// let client = request.properties().source().ip();
/// let certificate = request.properties().connection().peer_uri();
/// let tenant = request.properties().text("filter_state.tenant");
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Properties(());

impl Properties {
    pub(crate) const fn new() -> Self {
        Properties(())
    }

    /// Where the client is.
    pub fn source(self) -> Address {
        Address { address: "source\0address", port: "source\0port" }
    }

    /// Who has connected: the client, or a trusted proxy that says for whom it asks, who is then the [source](Self::source).
    /// Nobody on hosts other than Tidegate, which do not tell.
    pub fn peer(self) -> Address {
        Address { address: "tidegate.peer\0address", port: "tidegate.peer\0port" }
    }

    /// Where the client has connected to.
    pub fn destination(self) -> Address {
        Address { address: "destination\0address", port: "destination\0port" }
    }

    /// The client's connection.
    pub fn connection(self) -> ConnectionProperties {
        ConnectionProperties(())
    }

    /// The request as a whole.
    pub fn request(self) -> RequestProperties {
        RequestProperties(())
    }

    /// The response as a whole.
    pub fn response(self) -> ResponseProperties {
        ResponseProperties(())
    }

    /// The server that the request went to.
    pub fn upstream(self) -> UpstreamProperties {
        UpstreamProperties(())
    }

    /// Which listener, route and rule the request has met.
    pub fn route(self) -> RouteProperties {
        RouteProperties(())
    }

    /// Any property by its path, segments joined by dots, as bytes.
    pub fn bytes(self, path: &str) -> Option<Vec<u8>> {
        get(path.replace('.', "\0").as_bytes())
    }

    /// Any property that is text.
    pub fn text(self, path: &str) -> Option<String> {
        String::from_utf8(self.bytes(path)?).ok()
    }

    /// Any property that is a whole number.
    pub fn number(self, path: &str) -> Option<i64> {
        number(&self.bytes(path)?)
    }

    /// Any property that is a truth value.
    pub fn flag(self, path: &str) -> Option<bool> {
        Some(self.bytes(path)?.first()? != &0)
    }

    /// A property that a filter of this request has [`set`](Properties::set), by its whole name: dots are a part of it.
    pub fn own(self, name: &str) -> Option<Vec<u8>> {
        get(name.as_bytes())
    }

    /// Sets a property for the other filters of this request, and for those that log; [`own`](Properties::own) reads it.
    ///
    /// # Errors
    /// When there is no request, or the host refuses.
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Outcome<()> {
        host::set_property(name.as_bytes(), value.as_ref())
            .map_err(|refusal| Error::refused(format!("set the property {name}"), refusal))
    }
}

/// An end of a connection.
///
/// ```no_run
/// # fn is_inside(request: &tidegate_sdk::Request) -> bool {
/// let client = request.properties().source();
/// let inside = client.ip_addr().is_some_and(|ip| ip.is_loopback());
/// # inside
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Address {
    address: &'static str,
    port: &'static str,
}

impl Address {
    /// Address and port, as `192.0.2.1:40000`.
    pub fn address(self) -> Option<String> {
        text(self.address)
    }

    /// The address alone, as text.
    pub fn ip(self) -> Option<String> {
        let mut address = get(self.address.as_bytes())?;
        if let Some(colon) = address.iter().rposition(|byte| *byte == b':') {
            address.truncate(colon);
        }
        if address.last() == Some(&b']') {
            address.pop();
            address.remove(0);
        }
        String::from_utf8(address).ok()
    }

    /// The address alone, parsed.
    pub fn ip_addr(self) -> Option<IpAddr> {
        self.ip()?.parse().ok()
    }

    /// The port.
    pub fn port(self) -> Option<u16> {
        integer(self.port).and_then(|port| port.try_into().ok())
    }
}

/// Makes a group of properties: a method for each name, with its type.
macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($(#[$item:meta])* $name:ident: $kind:ident $ty:ty = $path:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $group(());

        impl $group {
            $($(#[$item])*
            pub fn $name(self) -> Option<$ty> {
                $kind($path)?.try_into().ok()
            })*
        }
    };
}

group! {
    /// The client's connection.
    ConnectionProperties {
        /// Its number.
        id: integer u64 = "connection\0id",
        /// Whether the client has shown a certificate.
        mtls: truth bool = "connection\0mtls",
        /// The name that the client asked for.
        server_name: text String = "connection\0requested_server_name",
        /// As in `TLSv1.3`.
        tls_version: text String = "connection\0tls_version",
        /// The subject of the client's certificate.
        peer_subject: text String = "connection\0subject_peer_certificate",
        /// The first URI in the client's certificate, as a SPIFFE id.
        peer_uri: text String = "connection\0uri_san_peer_certificate",
        /// The first host name in the client's certificate.
        peer_name: text String = "connection\0dns_san_peer_certificate",
        /// SHA-256 of the client's certificate, in hexadecimal.
        peer_digest: text String = "connection\0sha256_peer_certificate_digest",
    }
}

impl ConnectionProperties {
    /// The SPIFFE id in the client's certificate: its one URI, if that begins with `spiffe://`.
    pub fn spiffe_id(self) -> Option<String> {
        self.peer_uri().filter(|uri| uri.starts_with("spiffe://"))
    }

    /// All URIs in the client's certificate; Tidegate only, elsewhere the first.
    pub fn peer_uris(self) -> Vec<String> {
        lines("connection\0uri_sans_peer_certificate")
            .unwrap_or_else(|| self.peer_uri().into_iter().collect())
    }

    /// All host names in the client's certificate; Tidegate only, elsewhere the first.
    pub fn peer_names(self) -> Vec<String> {
        lines("connection\0dns_sans_peer_certificate")
            .unwrap_or_else(|| self.peer_name().into_iter().collect())
    }
}

/// A list, one entry a line.
fn lines(path: &str) -> Option<Vec<String>> {
    Some(text(path)?.lines().map(str::to_owned).collect())
}

group! {
    /// The request as a whole.
    RequestProperties {
        /// The gateway's id of it.
        id: text String = "request\0id",
        /// `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
        protocol: text String = "request\0protocol",
        /// The path as the client wrote it.
        path: text String = "request\0path",
        /// Its host.
        host: text String = "request\0host",
        /// Its method.
        method: text String = "request\0method",
        /// When its first byte came, since 1970.
        time: duration Duration = "request\0time",
        /// Bytes of its body.
        size: integer u64 = "request\0size",
        /// Bytes of headers and body.
        total_size: integer u64 = "request\0total_size",
        /// How long all of the exchange took; at its end.
        duration: duration Duration = "request\0duration",
    }
}

group! {
    /// The response as a whole.
    ResponseProperties {
        /// Its status.
        code: integer u16 = "response\0code",
        /// Why it is what it is, in one word.
        code_details: text String = "response\0code_details",
        /// Bits of what went wrong.
        flags: integer u64 = "response\0flags",
        /// The status of gRPC.
        grpc_status: integer u32 = "response\0grpc_status",
        /// Bytes of its body.
        size: integer u64 = "response\0size",
        /// Bytes of headers and body.
        total_size: integer u64 = "response\0total_size",
        /// How long the upstream took for its head.
        backend_latency: duration Duration = "response\0backend_latency",
    }
}

group! {
    /// The server that the request went to.
    UpstreamProperties {
        /// Its address and port.
        address: text String = "upstream\0address",
        /// Its port.
        port: integer u16 = "upstream\0port",
        /// How often it was tried.
        attempts: integer u32 = "upstream\0request_attempt_count",
        /// Why it could not be reached.
        failure: text String = "upstream\0transport_failure_reason",
        /// The upstream's name in the configuration.
        name: text String = "xds\0cluster_name",
    }
}

group! {
    /// Names in the gateway's configuration.
    RouteProperties {
        /// The rule.
        rule: text String = "xds\0route_name",
        /// The route.
        name: text String = "xds\0virtual_host_name",
        /// The listener.
        listener: text String = "xds\0filter_chain_name",
        /// The plugin.
        plugin: text String = "plugin_name",
    }
}

fn get(path: &[u8]) -> Option<Vec<u8>> {
    host::property(path).ok().flatten()
}

fn text(path: &str) -> Option<String> {
    String::from_utf8(get(path.as_bytes())?).ok()
}

fn integer(path: &str) -> Option<i64> {
    number(&get(path.as_bytes())?)
}

fn truth(path: &str) -> Option<bool> {
    Some(get(path.as_bytes())?.first()? != &0)
}

fn duration(path: &str) -> Option<Duration> {
    Some(Duration::from_nanos(integer(path)?.try_into().ok()?))
}

/// Eight bytes, little endian; some hosts give figures.
fn number(bytes: &[u8]) -> Option<i64> {
    match bytes.try_into() {
        Ok(bytes) => Some(i64::from_le_bytes(bytes)),
        Err(_) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
    }
}
