//! A registry of servers that holds its answers until its list changes, in each of the ways that are understood; and the
//! real Consul, where there is one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_testkit::{Answer, Call, ScriptedUpstream};

use crate::process::request_with;

/// How a registry tells news from what is known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Etag,
    Index,
    Consul,
}

/// The registry.
pub(crate) struct Registry {
    server: ScriptedUpstream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    index: u64,
    body: String,
    fails: bool,
    /// The request that is being held.
    held: Option<String>,
    requests: Vec<String>,
}

impl Registry {
    /// By `ETag` and `If-None-Match`.
    pub(crate) fn by_etag() -> Self {
        Self::start(Form::Etag)
    }

    /// By `x-index`.
    pub(crate) fn by_index() -> Self {
        Self::start(Form::Index)
    }

    /// As Consul does.
    pub(crate) fn consul() -> Self {
        Self::start(Form::Consul)
    }

    fn start(form: Form) -> Self {
        let shared = Arc::<Shared>::default();
        shared.state().index = 10;
        let served = Arc::clone(&shared);
        let server = ScriptedUpstream::start(move |call| served.answer(call, form));
        Self { server, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Another list.
    pub(crate) fn put(&self, body: &str) {
        self.shared.change(|state| {
            state.index += 1;
            state.body = body.to_owned();
        });
    }

    /// Another list, counted from the beginning.
    pub(crate) fn begin_anew(&self, body: &str) {
        self.shared.change(|state| {
            state.index = 1;
            state.body = body.to_owned();
        });
    }

    /// Whether it answers 500.
    pub(crate) fn fail(&self, fails: bool) {
        self.shared.change(|state| state.fails = fails);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// Waits until a request is held that knows the present list.
    pub(crate) fn wait_until_held(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut state = self.shared.state();
        loop {
            if let Some(held) = &state.held {
                return held.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no request is held: {:?}", state.requests);
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Held requests are let go, for their threads to end.
        self.shared.change(|state| state.fails = true);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.held = None;
        drop(state);
        self.changed.notify_all();
    }

    fn answer(&self, call: &Call<'_>, form: Form) -> Answer {
        let header = |name: &str| call.head.headers.get(name).map(str::to_owned);
        let target = call.head.target.clone();
        let fields = ["authorization", "x-consul-token", "if-none-match", "prefer"];
        let shown = fields.iter().filter_map(|name| Some(format!("{name}: {}", header(name)?)));
        let request = format!("{target} {}", shown.collect::<Vec<_>>().join(", "));
        let known = match form {
            Form::Etag => header("if-none-match").and_then(|etag| etag.trim_matches('"').parse().ok()),
            Form::Index | Form::Consul => {
                let index = target.split(['?', '&']).find_map(|part| part.strip_prefix("index="));
                index.and_then(|index| index.parse::<u64>().ok())
            }
        };
        let mut state = self.state();
        state.requests.push(request.clone());
        let deadline = Instant::now() + Duration::from_secs(20);
        while known.is_some() && known == Some(state.index) && !state.fails && Instant::now() < deadline {
            state.held = Some(request.clone());
            self.changed.notify_all();
            let left = deadline.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.fails {
            return Answer::reply("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9\r\n\r\nNo leader");
        }
        let (index, body) = (state.index, &state.body);
        let field = match form {
            Form::Etag => format!("etag: \"{index}\""),
            Form::Index => format!("x-index: {index}"),
            Form::Consul => format!("x-consul-index: {index}\r\nx-consul-knownleader: true"),
        };
        let length = body.len();
        Answer::reply(format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: {length}\r\n\r\n{body}"))
    }
}

/// A development agent of the real Consul.
pub(crate) struct RealConsul {
    child: Child,
    address: SocketAddr,
}

impl RealConsul {
    /// None: there is no `consul` on the path.
    pub(crate) fn start() -> Option<Self> {
        Command::new("consul").arg("version").stdout(Stdio::null()).status().ok()?;
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free().expect("loopback has a free port");
        let port = format!("-http-port={}", address.port());
        let others = ["-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-log-level=error"];
        let mut agent = Command::new("consul");
        agent.args(["agent", "-dev", "-bind=127.0.0.1", &port]).args(others).stdout(Stdio::null());
        for kind in ["server", "serf-lan", "serf-wan"] {
            agent.arg(format!("-{kind}-port={}", free().expect("a free port").port()));
        }
        let child = agent.spawn().expect("it told its version");
        let consul = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() || !consul.has_leader() {
            assert!(Instant::now() < deadline, "consul does not come up");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Some(consul)
    }

    fn has_leader(&self) -> bool {
        request_with(self.address, "GET", "/v1/status/leader", "").1.len() > 4
    }

    /// Where its API is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One more instance.
    pub(crate) fn register(&self, id: &str, server: SocketAddr) {
        let (ip, port) = (server.ip(), server.port());
        let body = format!(r#"{{"ID":"{id}","Name":"orders","Address":"{ip}","Port":{port}}}"#);
        let answer = request_with(self.address, "PUT", "/v1/agent/service/register", &body);
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    /// One less.
    pub(crate) fn deregister(&self, id: &str) {
        let answer = request_with(self.address, "PUT", &format!("/v1/agent/service/deregister/{id}"), "");
        assert_eq!(answer.0, 200, "{answer:?}");
    }
}

impl Drop for RealConsul {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
