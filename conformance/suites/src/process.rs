//! Processes that a suite starts, and the lines that they write.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that were read from a process, in order.
#[derive(Default)]
pub(crate) struct Log {
    written: Mutex<Written>,
    came: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// The process is over.
    ended: bool,
}

impl Log {
    /// Lines so far that contain `text`.
    pub(crate) fn having(&self, text: &str) -> Vec<String> {
        self.written().lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until `count` lines contain `text`; false when they did not come in time or before the process ended.
    pub(crate) fn wait(&self, text: &str, count: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut written = self.written();
        let (mut seen, mut found) = (0, 0);
        loop {
            found += written.lines[seen..].iter().filter(|line| line.contains(text)).count();
            seen = written.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if found >= count || written.ended || left.is_zero() {
                return found >= count;
            }
            written = self.came.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.written());
        self.came.notify_all();
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
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
            writing.change(|written| written.lines.push(String::from_utf8_lossy(&line).into_owned()));
        }
        writing.change(|written| written.ended = true);
    });
    (child, log)
}
