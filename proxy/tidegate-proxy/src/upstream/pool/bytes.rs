//! Connections to servers that carry one client's bytes: opened for it, never shared, never kept.

use std::io;
use std::rc::Rc;

use tokio_rustls::TlsConnector;

use crate::http::fail::{Fail, Reason, Retry};
use crate::transport::{Stream, Transport};
use crate::upstream::cluster::Cluster;
use crate::upstream::dial;
use crate::upstream::member::Member;
use crate::upstream::pool::refusals::Use;
use crate::upstream::pool::{Open, Place, Pool};

impl Place {
    /// Opens a connection on which nothing is said but what the client says. It counts as long as its [`Open`] lives.
    pub(crate) async fn bytes(&self) -> Result<(Stream, Open), Fail> {
        let pool = &self.pool;
        if !pool.makes_room() {
            pool.cluster.counters.of(pool.shard).overflow.add(1);
            return Err(Fail::upstream(Reason::Overflow, Retry::Never));
        }
        // Boxed: the client's connection, which goes on when this is over, would keep the room for it.
        Box::pin(pool.dial_for_bytes(&self.member))
            .await
            .map_err(|error| self.no_connection(error, Use::Bytes))
    }
}

impl Pool {
    /// As [`Place::bytes`], where there is room.
    pub(super) async fn dial_for_bytes(&self, member: &Rc<Member>) -> io::Result<(Stream, Open)> {
        let open = Open::new(&self.room);
        let connecting = connect(&self.cluster, member);
        let transport = tokio::time::timeout(self.cluster.spec.connect_timeout, connecting).await??;
        self.cluster.counters.of(self.shard).connections.add(1);
        self.connected(member);
        Ok((Stream::new(transport, Vec::new()), open))
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
