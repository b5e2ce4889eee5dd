//! What is known of a connection to a server, for guests that ask. It is read once for each connection, and only then.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use tidegate_wasm::{TlsDetails, UpstreamConnection};

use crate::http::certificate;
use crate::transport::Stream;

/// See the module.
pub(crate) struct Peer {
    local: Option<SocketAddr>,
    session: Option<Session>,
    read: OnceCell<Rc<UpstreamConnection>>,
}

struct Session {
    version: Option<ProtocolVersion>,
    /// The server's certificate.
    certificate: Option<CertificateDer<'static>>,
}

impl Peer {
    /// Notes what the stream's ends are.
    pub(crate) fn of(stream: &Stream) -> Self {
        let session = stream.client_session().map(|session| Session {
            version: session.protocol_version(),
            certificate: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .cloned()
                .map(CertificateDer::into_owned),
        });
        Self { local: stream.local_address(), session, read: OnceCell::new() }
    }

    /// As guests read it.
    pub(crate) fn details(&self) -> Rc<UpstreamConnection> {
        let read = || {
            let tls = self.session.as_ref().map(|session| TlsDetails {
                version: certificate::version(session.version).into(),
                peer: session.certificate.as_ref().map(|der| certificate::details(der)).unwrap_or_default(),
                ..TlsDetails::default()
            });
            Rc::new(UpstreamConnection { local: self.local, tls })
        };
        self.read.get_or_init(read).clone()
    }
}
