//! A command that shows lines while it runs, until it is interrupted.

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::process::{Folder, command};

/// It is killed with its owner.
pub(crate) struct Shown {
    child: Child,
    lines: Receiver<String>,
}

impl Shown {
    /// Starts it.
    pub(crate) fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let started = command(&folder.path("")).args(arguments).stdout(Stdio::piped()).spawn();
        let mut child = started.expect("the binary was built");
        let stdout = child.stdout.take().expect("it was asked for");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that has this in it.
    pub(crate) fn until(&mut self, part: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {part:?}, but:\n{}", seen.join("\n")),
            }
        }
    }

    /// Interrupts it, as Ctrl-C does, and waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let kill = format!("kill -INT {}", self.child.id());
        let status = std::process::Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(status.success(), "{kill}");
        self.child.wait().expect("it was started")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
