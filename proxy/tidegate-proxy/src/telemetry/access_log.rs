//! Access logs: a thread for each place where lines go, which workers never wait for.

pub(crate) mod batch;
pub(crate) mod kept;
pub(crate) mod line;
pub(crate) mod noted;
pub(crate) mod pad;
pub(crate) mod piece;
mod record;
pub(crate) mod room;
mod syslog;
mod text;
mod timestamp;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tidegate_config::plan::LogTarget;

use crate::telemetry::otlp::Exporter;
use crate::telemetry::otlp::records::Record;
use batch::Batch;
pub(crate) use line::Line;
use pad::Pad;
use syslog::Sender;
pub(crate) use timestamp::Timestamp;

/// Lines that may wait for a writer, and of each worker; more are dropped and counted.
const WAITING: usize = 8192;
/// Bytes of a worker's lines for a writer from which on it takes no more.
const WAITING_BYTES: usize = 1024 * 1024;
/// Bytes that wait for a writer from which on workers hand over no more.
const HANDED_OVER: usize = 2 * 1024 * 1024;
/// Bytes that are written together at most.
const TOGETHER: usize = 60 * 1024;
/// Longest wait at the end for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line of a log, or a record.
pub(crate) struct Entry {
    /// A line without its end; a record as it is encoded.
    pub(crate) text: Vec<u8>,
    /// It is about something that failed.
    pub(crate) failed: bool,
}

enum Message {
    /// To a server: each is sent alone.
    Entry(Entry),
    /// To a file: lines with their ends, how many, and by what the pad is given back.
    Batch(Pad, u64, Option<SyncSender<Pad>>),
    /// Nothing to write: a file may have to be opened again.
    Look,
    /// Gone once everything before it is written.
    Written(SyncSender<()>),
}

/// Sends lines to the thread that writes them, or records to the one that sends them. Cheap to clone; the thread ends with
/// the last one.
#[derive(Clone)]
pub(crate) enum Writer {
    Lines(Lines),
    Records(Exporter<Record>),
}

/// Lines to a file or a syslog server.
#[derive(Clone)]
pub(crate) struct Lines {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    target: LogTarget,
    /// The file is to be opened again.
    reopen: AtomicBool,
    /// Lines that could not be written.
    lost: AtomicU64,
    /// Bytes that batches hold which wait.
    waiting: AtomicUsize,
}

impl Shared {
    fn new(target: LogTarget) -> Self {
        let (reopen, lost, waiting) = Default::default();
        Self { target, reopen, lost, waiting }
    }
}

impl Lines {
    /// What nobody writes, and where it can be seen.
    #[cfg(test)]
    fn unwritten() -> (Self, Receiver<Message>) {
        let (sender, messages) = sync_channel(WAITING);
        (Self { sender, shared: Arc::new(Shared::new(LogTarget::File("/dev/null".into()))) }, messages)
    }

    /// Whether both go to the same writer.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Hands lines over; the writer that is behind gets none of them.
    fn send(&self, pad: Pad, lines: u64, giver: Option<SyncSender<Pad>>) -> Result<(), Pad> {
        let room = |waiting| (waiting < HANDED_OVER).then_some(waiting + pad.capacity());
        if self.shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Err(pad);
        }
        self.put(pad, lines, giver);
        Ok(())
    }

    /// Hands a worker's last lines over, however much waits.
    fn send_last(&self, pad: Pad, lines: u64) {
        self.shared.waiting.fetch_add(pad.capacity(), Ordering::Relaxed);
        self.put(pad, lines, None);
    }

    fn put(&self, pad: Pad, lines: u64, giver: Option<SyncSender<Pad>>) {
        if self.sender.try_send(Message::Batch(pad, lines, giver)).is_err() {
            // Its thread has ended: they are lost, whenever they come.
            self.lose(lines);
        }
    }

    /// So many lines cannot be written.
    fn lose(&self, lines: u64) {
        self.shared.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Writer {
    /// Starts the thread that writes lines. A file is opened at once, and again after it was renamed.
    pub(crate) fn start(target: &LogTarget) -> io::Result<Self> {
        let (sender, messages) = sync_channel(WAITING);
        let shared = Arc::new(Shared::new(target.clone()));
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("access-log".into());
        thread.spawn(move || run(&messages, &of_thread))?;
        let writer = Self::Lines(Lines { sender, shared });
        // What is wrong with a file shows at the start.
        writer.reopen();
        Ok(writer)
    }

    /// Whether it writes lines there.
    pub(crate) fn is_of(&self, target: &LogTarget) -> bool {
        matches!(self, Self::Lines(lines) if lines.shared.target == *target)
    }

    /// What gathers on workers, where that goes to a file.
    pub(crate) fn batch(&self, known: impl Fn(&Lines) -> Option<Rc<Batch>>) -> Option<Rc<Batch>> {
        let Self::Lines(lines) = self else { return None };
        let is_file = matches!(lines.shared.target, LogTarget::File(_));
        is_file.then(|| known(lines).unwrap_or_else(|| Batch::new(lines.clone())))
    }

    /// What sends records.
    pub(crate) fn exporter(&self) -> Option<&Exporter<Record>> {
        match self {
            Self::Lines(_) => None,
            Self::Records(exporter) => Some(exporter),
        }
    }

    /// Hands a line over; false: the writer is behind and the line is lost.
    pub(crate) fn write(&self, entry: Entry) -> bool {
        match self {
            Self::Lines(lines) => lines.sender.try_send(Message::Entry(entry)).is_ok(),
            Self::Records(exporter) => exporter.offer(Record(entry.text)),
        }
    }

    /// Opens the file again, soon.
    pub(crate) fn reopen(&self) {
        let Self::Lines(lines) = self else { return };
        lines.shared.reopen.store(true, Ordering::Release);
        // One that is behind looks before its next line.
        drop(lines.sender.try_send(Message::Look));
    }

    /// Waits until the lines so far are written, but not for ever.
    pub(crate) fn finish(&self) {
        let Self::Lines(lines) = self else { return };
        let (done, written) = sync_channel(0);
        if lines.sender.try_send(Message::Written(done)).is_ok() {
            // That it is gone is the answer.
            let _ = written.recv_timeout(PATIENCE);
        }
    }

    /// Lines that could not be written, records that the collector did not take.
    pub(crate) fn lost(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.shared.lost.load(Ordering::Relaxed),
            Self::Records(exporter) => exporter.counts().lost,
        }
    }
}

fn run(messages: &Receiver<Message>, shared: &Shared) {
    match &shared.target {
        LogTarget::File(path) => Appender::new(path, shared).run(messages),
        // Records have a thread of another kind.
        LogTarget::Otlp(_) => {}
        LogTarget::Syslog(server) => {
            let mut sender = Sender::new(server);
            while let Ok(message) = messages.recv() {
                if let Message::Entry(entry) = message
                    && !sender.send(&entry)
                {
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Appends lines to a file, many with one call.
struct Appender<'a> {
    path: &'a Path,
    shared: &'a Shared,
    file: Option<File>,
    batch: Vec<u8>,
    /// Lines of a worker that are written as they came, before those of the batch, and by what their pad is given back.
    came: (Pad, Option<SyncSender<Pad>>),
    lines: u64,
    /// What went wrong last, so that it is told once.
    told: Option<io::ErrorKind>,
}

impl<'a> Appender<'a> {
    fn new(path: &'a Path, shared: &'a Shared) -> Self {
        Self { path, shared, file: None, batch: Vec::new(), came: Default::default(), lines: 0, told: None }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let (mut next, mut waiting) = (Some(first), None);
            while let Some(message) = next {
                match message {
                    Message::Batch(pad, lines, giver) => {
                        self.shared.waiting.fetch_sub(pad.capacity(), Ordering::Relaxed);
                        self.lines += lines;
                        if self.batch.is_empty() && self.came.0.is_empty() {
                            self.came = (pad, giver);
                        } else {
                            self.batch.extend_from_slice(pad.written());
                            give_back(pad, giver);
                        }
                    }
                    Message::Entry(entry) => {
                        self.batch.extend_from_slice(&entry.text);
                        self.batch.push(b'\n');
                        self.lines += 1;
                    }
                    Message::Look => {}
                    Message::Written(done) => waiting = Some(done),
                }
                next = if self.waiting() < TOGETHER { messages.try_recv().ok() } else { None };
            }
            self.flush();
            drop(waiting);
        }
    }

    /// Bytes that are to be written.
    fn waiting(&self) -> usize {
        self.batch.len() + self.came.0.len()
    }

    fn flush(&mut self) {
        let asked = self.shared.reopen.swap(false, Ordering::Acquire);
        if self.file.is_some() && (asked || self.is_gone()) {
            self.file = None;
        }
        // A file that was asked for is there, even before its first line.
        if self.waiting() == 0 && !asked {
            return;
        }
        let written = self.write();
        match written {
            Ok(()) => self.told = None,
            Err(error) => {
                self.shared.lost.fetch_add(self.lines, Ordering::Relaxed);
                if self.told.replace(error.kind()) != Some(error.kind()) {
                    tracing::error!(path = %self.path.display(), %error, "cannot write the access log");
                }
                self.file = None;
            }
        }
        self.batch.clear();
        let (pad, giver) = std::mem::take(&mut self.came);
        give_back(pad, giver);
        self.lines = 0;
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).create(true).open(self.path)?),
        };
        file.write_all(self.came.0.written())?;
        file.write_all(&self.batch)
    }

    /// Whether the path names another file, or none: a rotation has renamed this one.
    fn is_gone(&self) -> bool {
        if self.path.starts_with("/dev") {
            return false;
        }
        let here = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = std::fs::metadata(self.path).ok();
        match (here, there) {
            (Some(here), Some(there)) => (here.dev(), here.ino()) != (there.dev(), there.ino()),
            _ => true,
        }
    }
}

/// Gives a pad back to its worker, which may have enough of them or be gone.
fn give_back(mut pad: Pad, giver: Option<SyncSender<Pad>>) {
    pad.clear();
    if let Some(giver) = giver {
        drop(giver.try_send(pad));
    }
}
