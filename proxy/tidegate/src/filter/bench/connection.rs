//! The connection of bytes that is measured, event by event.

use std::fmt;

use anyhow::Result;
use bytes::Bytes;
use http::Version;
use tidegate_wasm::{Instance, Now, Peer, Side, StreamInfo};

use super::walk::{Call, Walk};

/// The events, in order.
pub(super) const NAMES: [&str; 6] = [
    "new connection",
    "client's bytes",
    "server's bytes",
    "answer to a call",
    "result of the host",
    "closes, log, done",
];

/// What both sides send, once each.
pub(super) struct Connection {
    client: Bytes,
    server: Bytes,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a connection with {} bytes from the client, {} back", self.client.len(), self.server.len())
    }
}

impl Connection {
    /// The client sends `data` and then so many bytes more; the server answers as many.
    pub(super) fn new(data: &str, more: usize) -> Self {
        let mut client = data.as_bytes().to_vec();
        client.resize(client.len() + more, b'x');
        Self { client: client.into(), server: vec![b'x'; more].into() }
    }

    /// Runs it once; `measure` is given each call with the number of its event.
    pub(super) fn run(
        &self,
        instance: &mut Instance,
        now: Now,
        measure: &mut dyn FnMut(usize, &mut Instance, Call<'_>),
    ) -> Result<()> {
        let address = ([127, 0, 0, 1], 8080).into();
        let id = instance.open_connection(StreamInfo::new(address, address, Version::HTTP_11), now);
        let mut walk = Walk::new(id, now, 3);
        walk.step(instance, 0, measure, |instance| instance.on_new_connection(id, now).map(drop))?;
        if !walk.over {
            let bytes = self.client.clone();
            walk.step(instance, 1, measure, |instance| {
                instance.on_downstream_data(id, bytes, false, now).map(drop)
            })?;
            instance.take_data(id, Side::Request);
        }
        if !walk.over {
            let bytes = self.server.clone();
            walk.step(instance, 2, measure, |instance| {
                instance.on_upstream_data(id, bytes, false, now).map(drop)
            })?;
            instance.take_data(id, Side::Response);
        }
        walk.step(instance, 5, measure, |instance| {
            instance.on_downstream_close(id, Peer::Remote, now)?;
            instance.on_upstream_close(id, Peer::Local, now)?;
            instance.close_stream(id, now);
            Ok(())
        })
    }
}
