//! A gateway with one scripted upstream, and what a piece of traffic looked like on both of its sides.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testkit::{
    Answer, Call, PATIENCE, RawClient, ReadError, Received, Response, ScriptedUpstream, State, TestGateway,
    fill,
};

/// A gateway in front of one upstream. `/admin` is guarded by a rule that answers 403, so a request for it that
/// reaches the upstream has passed the gateway unseen.
#[derive(Debug)]
pub struct Lab {
    /// The gateway; its listener is `web`.
    pub gateway: TestGateway,
    /// The upstream behind it.
    pub upstream: ScriptedUpstream,
    probes: AtomicUsize,
}

/// What happened on both sides.
#[derive(Debug)]
pub struct Observation {
    /// Well-formed responses that the client got.
    pub responses: Vec<Response>,
    /// Why there was no further response.
    pub ended: ReadError,
    /// What the upstream got.
    pub requests: Vec<Received>,
    /// The gateway answered a request that was sent after the responses on the same connection.
    pub kept_alive: bool,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// With an upstream that answers 200 to everything, with the target in `x-target`.
    pub fn new() -> Self {
        Self::over(ScriptedUpstream::plain(), CONFIG)
    }

    /// With an upstream that follows a script.
    pub fn scripted(script: impl Fn(&Call<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::over(ScriptedUpstream::start(script), CONFIG)
    }

    /// With a configuration that names the upstream's address `${up}`.
    pub fn over(upstream: ScriptedUpstream, config: &str) -> Self {
        let gateway = TestGateway::start(&fill(config, &[("up", &upstream.address())]));
        Self { gateway, upstream, probes: AtomicUsize::new(0) }
    }

    /// A new connection to the listener `web`.
    pub fn client(&self) -> RawClient {
        RawClient::connect(self.gateway.address("web"))
    }

    /// Sends one request on a new connection.
    ///
    /// # Panics
    /// If there is no well-formed response.
    pub fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        self.client().exchange(request)
    }

    /// Sends the pieces on a new connection, reads all responses, and collects what the upstream made of it.
    ///
    /// After the first response a request for `/admin/after` follows, which a connection that the gateway says it
    /// closed must not answer.
    pub fn observe<P: AsRef<[u8]>>(&self, pieces: &[P], method: &str, expected: usize) -> Observation {
        let mut client = self.client();
        client.send_pieces(pieces);
        let mut responses = Vec::new();
        let mut ended = None;
        for _ in 0..expected.max(1) {
            match client.response(method) {
                Ok(response) => responses.push(response),
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
        let mut kept_alive = false;
        if ended.is_none() {
            client.send("GET /admin/after HTTP/1.1\r\nhost: a.test\r\n\r\n");
            client.half_close();
            ended = Some(loop {
                match client.response("GET") {
                    Ok(response) if response.header("x-guard") == Some("after") => kept_alive = true,
                    Ok(response) => responses.push(response),
                    Err(error) => break error,
                }
            });
        }
        drop(client);
        let requests = self.collect();
        Observation { responses, ended: ended.unwrap_or(ReadError::Closed), requests, kept_alive }
    }

    /// Waits until the gateway is through with what it got so far, then takes what the upstream received.
    ///
    /// # Panics
    /// If the gateway doesn't answer an ordinary request properly afterwards.
    pub fn collect(&self) -> Vec<Received> {
        self.probe();
        self.upstream.wait("requests in flight to end", |connections| {
            connections.iter().flat_map(|c| &c.requests).all(|r| r.state != State::Started)
        });
        let mut requests = self.upstream.requests();
        self.upstream.forget();
        requests.retain(|r| !is_probe(r));
        requests
    }

    /// The gateway ends everything that it has begun, then itself; all that the upstream received, to the end of its
    /// connections. Clients must be gone.
    ///
    /// # Panics
    /// If the gateway doesn't answer an ordinary request properly before, or does not end.
    pub fn finish(self) -> Vec<Received> {
        self.probe();
        let Self { gateway, upstream, .. } = self;
        assert!(gateway.drain(PATIENCE), "the gateway does not end what it has begun");
        drop(gateway);
        upstream.wait("connections to end", |connections| connections.iter().all(|c| c.finished));
        let mut requests = upstream.requests();
        requests.retain(|r| !is_probe(r));
        requests
    }

    /// An ordinary request, which must get its own answer whatever came before.
    fn probe(&self) {
        let target = format!("/probe/{}", self.probes.fetch_add(1, Ordering::Relaxed));
        let answer = self.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        assert_eq!(
            answer.header("x-target"),
            Some(target.as_str()),
            "the answer to another request: {answer:?}"
        );
    }
}

fn is_probe(request: &Received) -> bool {
    request.target().starts_with("/probe/") && request.state == State::Complete
}

const CONFIG: &str = "
listeners:
  - name: web
    address: 127.0.0.1:0
    protocol: http
    timeouts: { headers: 1s, body: 1s, idle: 5s }
routes:
  - name: main
    rules:
      - name: guard-after
        matches: [{ path: { exact: /admin/after } }]
        respond: { status: 403, headers: { x-guard: after }, body: no }
      - name: guard
        matches: [{ path: { prefix: /admin } }]
        respond: { status: 403, headers: { x-guard: admin }, body: no }
      - name: all
        forward: [{ upstream: up }]
upstreams:
  up: { servers: [\"${up}\"] }
";
