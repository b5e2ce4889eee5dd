//! Processes that a suite starts, and the lines that they write.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that were read from a process, in order.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    came: Condvar,
}

impl Log {
    /// Lines so far that contain `text`.
    pub(crate) fn having(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until `count` lines contain `text`; false when they did not come in time.
    pub(crate) fn wait(&self, text: &str, count: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.iter().filter(|line| line.contains(text)).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            lines = self.came.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn push(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.came.notify_all();
    }
}

/// Starts a process and reads what it writes to its error output.
pub(crate) fn spawn(command: &mut Command) -> (Child, Arc<Log>) {
    let started = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = child.stderr.take().expect("it was asked for");
    let log = Arc::new(Log::default());
    let writing = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            writing.push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    (child, log)
}
