//! A client by HTTP/2, for tests that want to see the fields of answers: those are packed, and need a decoder of their own.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

/// A connection in clear text, with prior knowledge.
#[derive(Debug)]
pub struct Http2Client {
    runtime: Runtime,
    /// Its connection's task runs while somebody waits.
    tasks: LocalSet,
    sender: SendRequest<Bytes>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Http2Answer {
    /// Interim answers that came before it.
    pub interim: Vec<(u16, HeaderMap)>,
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Http2Answer {
    /// A field, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http2Client {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens there, or it is no HTTP/2.
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime needs little");
        let tasks = LocalSet::new();
        let sender = tasks.block_on(&runtime, async {
            let socket = TcpStream::connect(address).await.expect("it listens");
            let (sender, connection) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
            spawn_local(async move { drop(connection.await) });
            sender
        });
        Self { runtime, tasks, sender }
    }

    /// Asks for a path of a host with these fields, and waits for the answer.
    ///
    /// # Panics
    /// If there is no whole answer.
    pub fn get(&mut self, host: &str, path: &str, fields: &[(&str, &str)]) -> Http2Answer {
        self.get_hearing(host, path, fields, |_| {})
    }

    /// [`Http2Client::get`], and is told each interim answer's status when it comes.
    ///
    /// # Panics
    /// As that.
    pub fn get_hearing(
        &mut self,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
        hear: impl Fn(u16),
    ) -> Http2Answer {
        self.ask_hearing(("GET", host, path), fields, b"", hear)
    }

    /// Asks by a method for a path of a host, with these fields and a body, and waits for the answer.
    ///
    /// # Panics
    /// If there is no whole answer.
    pub fn ask(&mut self, target: (&str, &str, &str), fields: &[(&str, &str)], body: &[u8]) -> Http2Answer {
        self.ask_hearing(target, fields, body, |_| {})
    }

    fn ask_hearing(
        &mut self,
        (method, host, path): (&str, &str, &str),
        fields: &[(&str, &str)],
        body: &[u8],
        hear: impl Fn(u16),
    ) -> Http2Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{host}{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a test's request is one");
        let (sender, body) = (&mut self.sender, Bytes::copy_from_slice(body));
        self.tasks.block_on(&self.runtime, async {
            let sent = sender.send_request(request, body.is_empty());
            let (mut answer, mut stream) = sent.expect("the connection is open");
            if !body.is_empty() {
                stream.send_data(body, true).expect("the request goes on");
            }
            let mut interim = Vec::new();
            while let Some(next) = poll_fn(|cx| answer.poll_informational(cx)).await {
                let (head, ()) = next.expect("an interim answer is whole").into_parts();
                hear(head.status.as_u16());
                interim.push((head.status.as_u16(), head.headers));
            }
            let (head, mut rest) = answer.await.expect("an answer comes").into_parts();
            let mut body = Vec::new();
            while let Some(piece) = rest.data().await {
                let piece = piece.expect("the answer is whole");
                rest.flow_control().release_capacity(piece.len()).expect("it was taken");
                body.extend_from_slice(&piece);
            }
            Http2Answer { interim, status: head.status.as_u16(), headers: head.headers, body }
        })
    }
}
