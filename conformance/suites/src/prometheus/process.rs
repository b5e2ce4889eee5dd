//! The gateway and Prometheus as processes, and requests to them.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A process, ended with its owner.
pub(super) struct Process {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
}

impl Process {
    /// Starts the gateway of a folder and waits until it serves.
    pub(super) fn tidegate(program: &Path, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["run", "tidegate.yaml", "--log-format", "json"]).current_dir(folder);
        command.env("TIDEGATE_CACHE", folder.join("cache")).env_remove("TIDEGATE_LOG");
        let mut addresses = HashMap::new();
        let child = start(&mut command, |line| {
            let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
            let name = line["listener"].as_str().unwrap_or("admin").to_owned();
            if let Some(address) = line["address"].as_str().and_then(|address| address.parse().ok()) {
                addresses.insert(name, address);
            }
            line["message"].as_str().is_some_and(|text| text.starts_with("configuration live on all"))
        });
        Self { child, addresses }
    }

    /// Starts Prometheus, which scrapes this address, and waits until it is ready.
    pub(super) fn prometheus(folder: &Path, scraped: SocketAddr) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs: [{{ job_name: gateway, static_configs: [{{ targets: ['{scraped}'] }}] }}]\n"
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).expect("a file");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.args([
            "--web.listen-address=127.0.0.1:0",
            "--log.format=json",
            "--enable-feature=exemplar-storage",
        ]);
        let mut addresses = HashMap::new();
        let child = start(&mut command, |line| {
            let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
            if line["msg"].as_str() == Some("Listening on")
                && let Some(address) = line["address"].as_str().and_then(|address| address.parse().ok())
            {
                addresses.insert("web".to_owned(), address);
            }
            line["msg"].as_str().is_some_and(|text| text.starts_with("Server is ready"))
        });
        Self { child, addresses }
    }

    /// Where it listens.
    pub(super) fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("no address of {name} was told"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is none to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a process and reads its log until a line says that it is ready.
fn start(command: &mut Command, mut ready: impl FnMut(&str) -> bool) -> Child {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a program to start");
    let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
    let mut seen = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) => {
                let is_ready = ready(&line);
                seen.push(line);
                if is_ready {
                    break;
                }
            }
            _ => panic!("{command:?} ended before it was ready:\n{}", seen.join("\n")),
        }
    }
    // Who logs into a closed pipe ends.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// The body of an answer; nothing where there is none.
pub(super) fn get(address: SocketAddr, path: &str) -> String {
    get_with(address, path, "")
}

/// The same with more lines of the head.
pub(super) fn get_with(address: SocketAddr, path: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // A listener with TLS closes what is none.
    drop(stream.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer);
    text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}
