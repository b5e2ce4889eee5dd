//! One of the two proxies as a process, with the servers behind it and what its guests log.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tidegate_testkit::provider::Provider;
use tidegate_testkit::{Answer, Gate, GrpcUpstream, ScriptedUpstream, Step};

use super::cases::Case;
use super::certificates::ISSUED;
use super::config::{self, Servers};
use super::observe::Observation;
use super::traffic;
use crate::process::{self, Log};

/// Where the programs are, and the modules.
pub(crate) struct Programs {
    pub(crate) envoy: PathBuf,
    pub(crate) tidegate: PathBuf,
    /// The scripted guest; the other modules are in its folder.
    pub(crate) guest: PathBuf,
    /// Where Tidegate keeps compiled code, which all of its processes share.
    pub(crate) cache: PathBuf,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Envoy,
    Tidegate,
}

/// A proxy under comparison. It is started when it is needed, with the listeners that it needs, and again when it
/// crashed.
pub(crate) struct Peer<'a> {
    kind: Kind,
    programs: &'a Programs,
    listeners: Vec<String>,
    pub(crate) behind: Behind,
    running: Option<Arc<Running>>,
}

/// The servers behind a proxy.
pub(crate) struct Behind {
    pub(crate) upstream: ScriptedUpstream,
    /// What holds the upstream's chunks back.
    pub(crate) gates: Arc<Mutex<Vec<Gate>>>,
    pub(crate) provider: Provider,
    grpc: GrpcUpstream,
    silent: ScriptedUpstream,
    /// A socket that does not listen: nobody else gets its port, and connections to it are refused.
    dead: Socket,
}

/// Its process, which ends with it.
pub(crate) struct Running {
    child: Mutex<Child>,
    folder: PathBuf,
    pub(crate) log: Arc<Log>,
    addresses: HashMap<String, SocketAddr>,
    probe: Mutex<Option<TcpStream>>,
}

impl<'a> Peer<'a> {
    /// One that will have these listeners.
    pub(crate) fn new(kind: Kind, programs: &'a Programs, listeners: Vec<String>) -> Self {
        Self { kind, programs, listeners, behind: Behind::start(), running: None }
    }

    /// Sends a case's traffic and collects what comes of it.
    pub(crate) fn observe(&mut self, case: &Case) -> Observation {
        let running = self.running.take().unwrap_or_else(|| Arc::new(self.start()));
        let mut observation = traffic::run(&running, &self.behind, case);
        observation.crashed = running.has_ended();
        if !observation.crashed {
            self.running = Some(running);
        }
        observation
    }

    /// Where a listener is, of a proxy that is started if it was not.
    pub(crate) fn address(&mut self, listener: &str) -> SocketAddr {
        let running = self.running.take().unwrap_or_else(|| Arc::new(self.start()));
        let address = running.address(listener);
        self.running = Some(running);
        address
    }

    fn start(&self) -> Running {
        let servers = self.behind.servers();
        match self.kind {
            Kind::Envoy => Running::envoy(self.programs, &self.listeners, &servers),
            Kind::Tidegate => Running::tidegate(self.programs, &self.listeners, &servers),
        }
    }
}

impl Behind {
    fn start() -> Self {
        let gates: Arc<Mutex<Vec<Gate>>> = Arc::default();
        let held = Arc::clone(&gates);
        let upstream = ScriptedUpstream::start(move |call| {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
            traffic::answer(call, &held)
        });
        let silent = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
        let dead = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        dead.bind(&any.into()).expect("loopback has a free port");
        let (provider, grpc) = (Provider::elsewhere(), super::cases::external::service());
        Self { upstream, gates, provider, grpc, silent, dead }
    }

    fn servers(&self) -> Servers {
        let dead = self.dead.local_addr().ok().and_then(|address| address.as_socket());
        let dead = dead.expect("it is bound to an address of IPv4");
        Servers {
            up: self.upstream.address(),
            dead,
            silent: self.silent.address(),
            provider: self.provider.address(),
            grpc: self.grpc.address(),
        }
    }
}

impl Running {
    /// Starts Envoy and waits until it serves.
    fn envoy(programs: &Programs, listeners: &[String], servers: &Servers) -> Self {
        let folder = folder("envoy");
        let file = folder.join("envoy.yaml");
        std::fs::write(&file, config::envoy(&programs.guest, listeners, servers))
            .expect("the folder was made for it");
        ISSUED.write(&folder);
        let admin = folder.join("admin");
        let mut command = Command::new(&programs.envoy);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info", "-c"]);
        command.arg(&file).arg("--admin-address-path").arg(&admin).current_dir(&folder);
        let mut running = Self::spawn(&mut command, folder);
        running.ready("starting main dispatch loop");
        let address = std::fs::read_to_string(&admin).expect("Envoy writes its admin address");
        let address = address.trim().parse().expect("an address");
        for line in get(address, "/listeners?format=text").lines() {
            if let Some((name, address)) = line.split_once("::") {
                running.addresses.insert(name.to_owned(), address.parse().expect("an address"));
            }
        }
        running
    }

    /// Starts Tidegate and waits until it serves.
    fn tidegate(programs: &Programs, listeners: &[String], servers: &Servers) -> Self {
        let folder = folder("tidegate");
        let file = folder.join("tidegate.yaml");
        std::fs::write(&file, config::tidegate(&programs.guest, listeners, servers))
            .expect("the folder was made for it");
        ISSUED.write(&folder);
        let mut command = Command::new(&programs.tidegate);
        command.arg("run").arg(&file).args(["--log-format", "json"]);
        command.current_dir(&folder).env("TIDEGATE_CACHE", &programs.cache).env_remove("TIDEGATE_LOG");
        let mut running = Self::spawn(&mut command, folder);
        running.ready("configuration live on all workers");
        for line in running.log.having("listening") {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            if let (Some(name), Some(address)) = (line["listener"].as_str(), line["address"].as_str()) {
                running.addresses.insert(name.to_owned(), address.parse().expect("an address"));
            }
        }
        running
    }

    fn spawn(command: &mut Command, folder: PathBuf) -> Self {
        let (child, log) = process::spawn(command);
        Self { child: Mutex::new(child), folder, log, addresses: HashMap::new(), probe: Mutex::default() }
    }

    /// Where a listener is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        *self
            .addresses
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.addresses))
    }

    /// Returns when the proxy's only worker has looked at everything that was sent to it before: it answers requests
    /// that came later.
    pub(crate) fn rounds(&self) {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket = match probe.take() {
            Some(socket) => socket,
            None => {
                let Ok(socket) = TcpStream::connect(self.address(config::PROBE)) else { return };
                socket
            }
        };
        let rounds = (0..ROUNDS).all(|_| round(&mut socket).is_some());
        // A proxy that crashed answers nothing; the case shows it.
        *probe = rounds.then_some(socket);
    }

    fn has_ended(&self) -> bool {
        matches!(self.child().try_wait(), Ok(Some(_)) | Err(_))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, line: &str) {
        if !self.log.wait(line, 1, START) {
            let lines = self.log.having("");
            let tail = &lines[lines.len().saturating_sub(20)..];
            let state = self.child().try_wait();
            panic!("no line {line:?} within {START:?} ({state:?}); the last ones:\n{}", tail.join("\n"));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder is a temporary one.
        let _ = self.child().kill();
        let _ = self.child().wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One request that no guest sees, and its answer.
fn round(socket: &mut TcpStream) -> Option<()> {
    socket.set_read_timeout(Some(START)).ok()?;
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let read = socket.read(&mut part).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&part[..read]);
    }
    Some(())
}

fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-side-by-side-{name}-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    folder
}

/// One plain request to an admin address.
fn get(address: SocketAddr, target: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the admin address listens");
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    // Chunk sizes are lines without "::", which no caller looks at.
    body.to_owned()
}

/// How often the worker answers until it surely has seen what came before: tasks wake tasks.
const ROUNDS: usize = 4;

/// How long a start may take; Envoy compiles the module for each VM.
const START: Duration = Duration::from_secs(240);
