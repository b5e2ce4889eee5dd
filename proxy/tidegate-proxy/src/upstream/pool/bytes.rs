//! Connections to servers that carry one client's bytes: opened for it, never shared, never kept.

use std::io;

use tokio_rustls::TlsConnector;

use crate::http::fail::{Fail, Reason, Retry};
use crate::transport::{Stream, Transport};
use crate::upstream::cluster::Cluster;
use crate::upstream::dial;
use crate::upstream::member::Member;
use crate::upstream::pool::{Open, Place};

impl Place {
    /// Opens a connection on which nothing is said but what the client says. It counts as long as its [`Open`] lives.
    pub(crate) async fn bytes(&self) -> Result<(Stream, Open), Fail> {
        let pool = &self.pool;
        if !pool.makes_room() {
            pool.cluster.counters.of(pool.shard).overflow.add(1);
            return Err(Fail::upstream(Reason::Overflow, Retry::Never));
        }
        let open = Open::new(&pool.room);
        let connecting = connect(&pool.cluster, &self.member);
        match tokio::time::timeout(pool.cluster.spec.connect_timeout, connecting).await {
            Ok(Ok(transport)) => {
                pool.cluster.counters.of(pool.shard).connections.add(1);
                Ok((Stream::new(transport, Vec::new()), open))
            }
            Ok(Err(error)) => Err(self.failed_by(error)),
            Err(elapsed) => Err(self.no_connection().because(elapsed)),
        }
    }
}

async fn connect(cluster: &Cluster, member: &Member) -> io::Result<Transport> {
    let tcp = dial::tcp(member, cluster.spec.pool.stagger, None).await?;
    match (&cluster.tls_for_bytes, &member.identity.name) {
        (Some(config), Some(name)) => {
            let tls = TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?;
            Ok(Transport::Client(Box::new(tls)))
        }
        _ => Ok(Transport::Plain(tcp)),
    }
}
