//! One of the two proxies as a process, with the servers behind it and what its guests log.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::provider::Provider;
use tidegate_testkit::{GrpcUpstream, ScriptedUpstream};

use super::config::{self, Servers};
use super::traffic;
use crate::process::{self, Log};

/// A proxy under comparison. Its process ends with it.
pub(crate) struct Peer {
    child: Child,
    start: Start,
    program: PathBuf,
    guest: PathBuf,
    folder: PathBuf,
    pub(crate) log: Arc<Log>,
    listeners: HashMap<String, SocketAddr>,
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) provider: Provider,
    _others: (ScriptedUpstream, GrpcUpstream),
}

/// The servers behind a proxy.
struct Behind {
    upstream: ScriptedUpstream,
    silent: ScriptedUpstream,
    provider: Provider,
    grpc: GrpcUpstream,
}

/// Starts a proxy from its program and the guest's module.
type Start = fn(&Path, &Path) -> Peer;

impl Peer {
    fn new(
        command: &mut Command,
        (start, program, guest, folder): (Start, &Path, &Path, PathBuf),
        behind: Behind,
    ) -> Self {
        let (child, log) = process::spawn(command);
        let (program, guest) = (program.to_owned(), guest.to_owned());
        let listeners = HashMap::new();
        let Behind { upstream, silent, provider, grpc } = behind;
        let _others = (silent, grpc);
        Self { child, start, program, guest, folder, log, listeners, upstream, provider, _others }
    }

    /// Starts Envoy and waits until it serves.
    pub(crate) fn envoy(program: &Path, guest: &Path) -> Self {
        let (behind, servers) = servers();
        let folder = folder("envoy");
        let file = folder.join("envoy.yaml");
        std::fs::write(&file, config::envoy(guest, &servers)).expect("the folder was made for it");
        let admin = folder.join("admin");
        let mut command = Command::new(program);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info", "-c"]);
        command.arg(&file).arg("--admin-address-path").arg(&admin);
        let paths = (Self::envoy as Start, program, guest, folder);
        let mut peer = Self::new(&mut command, paths, behind);
        peer.ready("starting main dispatch loop");
        let address = std::fs::read_to_string(&admin).expect("Envoy writes its admin address");
        let address = address.trim().parse().expect("an address");
        for line in get(address, "/listeners?format=text").lines() {
            if let Some((name, address)) = line.split_once("::") {
                peer.listeners.insert(name.to_owned(), address.parse().expect("an address"));
            }
        }
        peer
    }

    /// Starts Tidegate and waits until it serves.
    pub(crate) fn tidegate(program: &Path, guest: &Path) -> Self {
        let (behind, servers) = servers();
        let folder = folder("tidegate");
        let file = folder.join("tidegate.yaml");
        std::fs::write(&file, config::tidegate(guest, &servers)).expect("the folder was made for it");
        let mut command = Command::new(program);
        command.arg("run").arg(&file).args(["--log-format", "json"]);
        command.current_dir(&folder).env("TIDEGATE_CACHE", folder.join("cache")).env_remove("TIDEGATE_LOG");
        let paths = (Self::tidegate as Start, program, guest, folder);
        let mut peer = Self::new(&mut command, paths, behind);
        peer.ready("configuration live on all workers");
        for line in peer.log.having("listening") {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            if let (Some(name), Some(address)) = (line["listener"].as_str(), line["address"].as_str()) {
                peer.listeners.insert(name.to_owned(), address.parse().expect("an address"));
            }
        }
        peer
    }

    /// Where a listener is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        *self
            .listeners
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.listeners))
    }

    /// Sends a case's traffic and collects what comes of it.
    pub(crate) fn observe(&mut self, case: &super::cases::Case) -> super::observe::Observation {
        let mut observation = traffic::run(self, case);
        if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            observation.crashed = true;
            *self = (self.start)(&self.program.clone(), &self.guest.clone());
        }
        observation
    }

    fn ready(&mut self, line: &str) {
        if !self.log.wait(line, 1, START) {
            let lines = self.log.having("");
            let tail = &lines[lines.len().saturating_sub(20)..];
            let state = self.child.try_wait();
            panic!("no line {line:?} within {START:?} ({state:?}); the last ones:\n{}", tail.join("\n"));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder is a temporary one.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn servers() -> (Behind, Servers) {
    let upstream = ScriptedUpstream::start(traffic::answer);
    let silent =
        ScriptedUpstream::start(|_| tidegate_testkit::Answer::steps([tidegate_testkit::Step::UntilClosed]));
    // Bound and given back: nobody else is told of the port.
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let dead = dead.expect("loopback has a free port");
    let (provider, grpc) = (Provider::elsewhere(), super::cases::external::service());
    let servers = Servers {
        up: upstream.address(),
        dead,
        silent: silent.address(),
        provider: provider.address(),
        grpc: grpc.address(),
    };
    (Behind { upstream, silent, provider, grpc }, servers)
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

/// How long a start may take; Envoy compiles the module for each VM.
const START: Duration = Duration::from_secs(240);
