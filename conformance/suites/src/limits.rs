//! What limits admit under load: the gateway as a process with two workers, h2load as fast as it can, every answer counted.
//!
//! A limit whose window outlasts the run must admit exactly its units; one of a second no more than its units in each of
//! the seconds, and no fewer but for how late units may come back.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{self, Log};

/// Requests of one run, all gateways together.
const REQUESTS: u64 = 400_000;

/// How long a run with windows of a second lasts.
const SECONDS: u64 = 8;

/// `limits --tidegate PROGRAM --filter MODULE`
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    let (Some(tidegate), Some(filter)) = (value("--tidegate"), value("--filter")) else {
        eprintln!("suite limits: --tidegate PROGRAM or --filter MODULE is missing");
        return ExitCode::FAILURE;
    };
    let redis = Redis::start();
    let mut good = true;
    for (rate, units) in
        [("100000/h", 100_000), ("1/h burst 100000", 100_000), ("100000 per 300 days", 100_000)]
    {
        let gateway = [Gateway::start(&tidegate, &filter, &redis, rate, false)];
        good &= Row { rate, gateways: 1, units, run: flood(&gateway, None) }.exactly();
    }
    for (rate, units) in [("250/s", 250), ("5000/s", 5000)] {
        let gateway = [Gateway::start(&tidegate, &filter, &redis, rate, false)];
        good &= Row { rate, gateways: 1, units, run: flood(&gateway, Some(SECONDS)) }.by_windows();
    }
    for (rate, units) in [("20000/h", 20_000), ("1/h burst 20000", 20_000), ("20000 per 300 days", 20_000)] {
        let gateways = [(); 2].map(|()| Gateway::start(&tidegate, &filter, &redis, rate, true));
        good &= Row { rate, gateways: 2, units, run: flood(&gateways, None) }.exactly();
    }
    let gateways = [(); 2].map(|()| Gateway::start(&tidegate, &filter, &redis, "2000/s", true));
    good &=
        Row { rate: "2000/s", gateways: 2, units: 2000, run: flood(&gateways, Some(SECONDS)) }.by_windows();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of the requests of a run.
#[derive(Debug, Default)]
struct Run {
    admitted: u64,
    refused: u64,
    other: u64,
    /// How long the slowest of the clients took.
    seconds: f64,
}

struct Row<'a> {
    rate: &'a str,
    gateways: usize,
    units: u64,
    run: Run,
}

impl Row<'_> {
    fn exactly(&self) -> bool {
        self.print(self.run.admitted == self.units, &self.units.to_string())
    }

    fn by_windows(&self) -> bool {
        // Units come back late by at most a hundredth of the window (Redis), or a 256th.
        let whole = (self.run.seconds / 1.01).floor();
        let (least, most) = (whole * self.units as f64, (self.run.seconds.floor() + 1.0) * self.units as f64);
        let admitted = self.run.admitted as f64;
        self.print((least..=most).contains(&admitted), &format!("{least} to {most}"))
    }

    fn print(&self, good: bool, wanted: &str) -> bool {
        let Run { admitted, refused, other, seconds } = &self.run;
        let good = good && *other == 0;
        let rate = (admitted + refused) as f64 / seconds;
        println!(
            "{:18} {} gateways, 2 workers each: {rate:6.0} requests/s, admitted {admitted}, wanted {wanted}, refused {refused}, \
             else {other}: {}",
            self.rate,
            self.gateways,
            if good { "good" } else { "WRONG" }
        );
        good
    }
}

/// Sends requests to all gateways at once: a number of them, or for some seconds.
fn flood(gateways: &[Gateway], seconds: Option<u64>) -> Run {
    let clients: Vec<Child> = gateways
        .iter()
        .map(|gateway| {
            let mut command = Command::new("h2load");
            command.args(["--h1", "-c", "32", "-t", "1", "-m", "8"]);
            match seconds {
                Some(seconds) => command.arg("-D").arg(seconds.to_string()),
                None => command.arg("-n").arg((REQUESTS / gateways.len() as u64).to_string()),
            };
            command.arg(format!("http://{}/", gateway.address)).stdout(Stdio::piped());
            command.spawn().expect("h2load is installed")
        })
        .collect();
    clients.into_iter().fold(Run::default(), |mut sum, client| {
        let output = client.wait_with_output().expect("h2load ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let codes = line(&text, "status codes: ");
        let (admitted, refused) = (number(codes, "2xx"), number(codes, "4xx"));
        sum.admitted += admitted;
        sum.refused += refused;
        sum.other +=
            number(codes, "3xx") + number(codes, "5xx") + number(line(&text, "requests: "), "errored");
        let seconds = line(&text, "finished in ").split('s').next().and_then(|text| text.parse().ok());
        sum.seconds = sum.seconds.max(seconds.unwrap_or_else(|| panic!("no duration in seconds: {text}")));
        sum
    })
}

/// The rest of the line that begins so.
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no {start:?} in {text}"))
}

/// The number before a word.
fn number(text: &str, word: &str) -> u64 {
    let part = text.split(", ").find_map(|part| part.trim().strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {word} in {text}"))
}

/// A gateway with two workers that answers by itself what its limit admits.
struct Gateway {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    fn start(tidegate: &Path, filter: &Path, redis: &Redis, rate: &str, global: bool) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("tidegate-limits-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        // Another name for each limit, since Redis keeps what was counted before.
        let name: String = rate.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let document = json!({
            "workers": 2,
            "listeners": [{ "name": "web", "address": "127.0.0.1:0", "protocol": "http" }],
            "plugins": { "limits": {
                "module": filter,
                "capabilities": { "upstreams": ["redis"] },
                "config": {
                    "redis": { "upstream": "redis", "timeout": "10s", "onError": "deny" },
                    "limits": [{ "name": name, "rate": rate, "global": global }],
                },
            }},
            "routes": [{ "name": "r", "rules": [{
                "filters": [{ "plugin": "limits" }], "respond": { "status": 200, "body": "ok" },
            }]}],
            "upstreams": { "redis": { "servers": [format!("127.0.0.1:{}", redis.port)], "protocol": "redis" } },
        });
        let file = folder.join("tidegate.yaml");
        std::fs::write(&file, document.to_string()).expect("the folder was made for it");
        let mut command = Command::new(tidegate);
        command.arg("run").arg(&file).args(["--log-format", "json"]);
        command.env("TIDEGATE_CACHE", folder.join("cache")).env_remove("TIDEGATE_LOG");
        let (child, log) = process::spawn(&mut command);
        let address = listening(&log);
        Gateway { child, folder, address }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder is a temporary one.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until a gateway serves, and finds out where.
fn listening(log: &Arc<Log>) -> SocketAddr {
    let line = "configuration live on all workers";
    assert!(log.wait(line, 1, START), "no line {line:?}:\n{}", log.having("").join("\n"));
    let lines = log.having("listening");
    let address = lines.iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["address"].as_str()?.parse().ok()
    });
    address.unwrap_or_else(|| panic!("no address in {lines:?}"))
}

/// How long a start may take; a debug build compiles the module slowly.
const START: Duration = Duration::from_secs(120);

/// A server that keeps nothing on disk.
struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    fn start() -> Self {
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Redis { port, child }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on; the server cannot choose one itself.
fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    bound.expect("loopback has a free port").port()
}
