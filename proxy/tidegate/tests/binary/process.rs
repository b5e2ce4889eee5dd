//! Starts the binary in a folder of its own, reads its log, talks to it over real sockets.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder with a configuration, removed with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty one; `name` must be unique among the tests.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-binary-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file as editors do: under another name first.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (path, fresh) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&fresh, text).expect("the folder can be written");
        fs::rename(&fresh, &path).expect("both are in one folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// Runs a command to its end.
pub(crate) fn tidegate(folder: &Folder, arguments: &[&str]) -> Output {
    command(&folder.0).args(arguments).output().expect("the binary was built")
}

/// The lines that a command printed.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The binary, to be run in a folder.
pub(crate) fn command(folder: &Path) -> Command {
    command_of(Path::new(PROGRAM), folder)
}

/// A program that is the binary, to be run in a folder.
pub(crate) fn command_of(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("TIDEGATE_CACHE", folder.join(".cache")).env_remove("TIDEGATE_LOG");
    command.env("DOCKER_CONFIG", folder.join(".docker"));
    command
}

/// A running gateway, killed with its owner.
pub(crate) struct Gateway {
    child: Child,
    log: Receiver<Value>,
    /// Where its listener `web` is.
    pub(crate) web: SocketAddr,
    /// Where its admin API is.
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Runs `tidegate run FILE` and waits until it serves. The configuration needs a listener `web` and an admin API.
    pub(crate) fn start(folder: &Folder, file: &str) -> Self {
        Self::start_by(command(&folder.0), file)
    }

    /// As [`Gateway::start`], by a command of its own.
    pub(crate) fn start_by(mut command: Command, file: &str) -> Self {
        let mut child = command
            .args(["run", file, "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let stderr = child.stderr.take().expect("it was asked for");
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self { child, log, web: nowhere, admin: nowhere };
        gateway.admin = gateway.address("admin API listening");
        gateway.web = gateway.address("listening");
        gateway.wait("configuration live on all workers");
        gateway
    }

    /// Waits for a line of the log and returns its address.
    pub(crate) fn address(&mut self, message: &str) -> SocketAddr {
        let line = self.wait(message);
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("the line has an address")
    }

    /// Waits for a line of the log.
    pub(crate) fn wait(&mut self, message: &str) -> Value {
        self.up_to(message).1
    }

    /// As [`Gateway::wait`], with the lines before it.
    pub(crate) fn up_to(&mut self, message: &str) -> (Vec<Value>, Value) {
        let deadline = Instant::now() + LONGEST;
        let mut seen: Vec<Value> = Vec::new();
        loop {
            let why = match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line["message"].as_str().is_some_and(|text| text.starts_with(message)) => {
                    return (seen, line);
                }
                Ok(line) => {
                    seen.push(line);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => "no line",
                Err(RecvTimeoutError::Disconnected) => "ended before",
            };
            let seen: Vec<_> = seen.iter().map(Value::to_string).collect();
            panic!("{why} {message:?}, but:\n{}", seen.join("\n"));
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(status.success(), "{kill}");
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        // Its log ends with it.
        let deadline = Instant::now() + LONGEST;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("it was started"),
                Err(RecvTimeoutError::Timeout) => panic!("the process has not ended"),
            }
        }
    }

    /// The status and body that the gateway answers with.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        request(self.web, "GET", path)
    }

    /// What the admin API answers.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        request(self.admin, "GET", path)
    }

    /// The admin API's `/config`.
    pub(crate) fn config(&self) -> Value {
        let (status, body) = self.admin("/config");
        assert_eq!(status, 200);
        serde_json::from_str(&body).expect("it is JSON")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request on a connection of its own.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    request_with(address, method, path, "")
}

/// As [`request`], with a body.
pub(crate) fn request_with(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("something listens there");
    stream.set_read_timeout(Some(LONGEST)).expect("not zero");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).expect("the connection is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text and ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk begins with its size");
        let size = usize::from_str_radix(size, 16).expect("the size is hexadecimal");
        if size == 0 {
            return body;
        }
        body.push_str(after.get(..size).expect("the chunk is whole"));
        rest = after.get(size + 2..).expect("the chunk has an end");
    }
}

const LONGEST: Duration = Duration::from_secs(30);

/// A gateway that answers by each kind of rule, with this for its admin API.
pub(crate) fn configuration(admin: &str) -> String {
    format!(
        "
admin: {admin}
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes:
  - name: shop
    rules:
      - {{ name: teapot, matches: [{{ path: {{ prefix: /tea }} }}], respond: {{ status: 418 }} }}
      - {{ name: gone, matches: [{{ path: {{ prefix: /gone }} }}], forward: [{{ upstream: nobody }}] }}
      - {{ name: rest, respond: {{ status: 200, body: hello }} }}
upstreams: {{ nobody: {{ servers: [127.0.0.1:9] }} }}
"
    )
}
