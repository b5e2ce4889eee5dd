//! Records of requests inside plugins: tapes, written to a file by a thread of their own. Workers never wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::{Deserialize, Serialize};
use tidegate_config::plan::Recording;
use tidegate_wasm::Tape;

/// One request, or one connection of bytes, inside one plugin, as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The plugin's name.
    pub plugin: String,
    /// Digest of its module.
    pub module: String,
    /// Status of the answer that the client got; none: it got none, as a connection of bytes does.
    pub status: Option<u16>,
    /// From the request's first byte to the answer's last, in microseconds; of a connection from its beginning to its end.
    pub took: u64,
    /// What happened.
    #[serde(flatten)]
    pub tape: Tape,
}

/// Takes records in place of files.
pub type RecordSink = SyncSender<Recorded>;

/// Records the requests of one plugin. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Inner>);

struct Inner {
    /// None: all requests go to the sink as they are.
    settings: Option<Recording>,
    /// Shares of requests seen so far, in millionths.
    seen: AtomicU64,
    sink: RecordSink,
}

impl Recorder {
    /// Starts the thread that writes; the file is opened with the first record.
    pub(crate) fn start(settings: &Recording) -> io::Result<Self> {
        let (sink, records) = sync_channel(WAITING);
        let file = Target { settings: settings.clone(), open: None, told: false };
        std::thread::Builder::new().name("records".into()).spawn(move || file.run(&records))?;
        Ok(Self(Arc::new(Inner { settings: Some(settings.clone()), seen: AtomicU64::new(0), sink })))
    }

    /// Records everything there.
    pub(crate) fn to(sink: RecordSink) -> Self {
        Self(Arc::new(Inner { settings: None, seen: AtomicU64::new(0), sink }))
    }

    /// Whether it does what these settings say.
    pub(crate) fn is_of(&self, settings: &Recording) -> bool {
        self.0.settings.as_ref() == Some(settings)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a request that comes is to be noted.
    pub(crate) fn begins(&self) -> bool {
        self.0.settings.as_ref().is_none_or(|settings| !settings.all || self.draws(settings))
    }

    /// Whether one that is over is to be kept.
    pub(crate) fn keeps(&self, failing: bool) -> bool {
        let fails = |settings: &Recording| settings.all || failing && self.draws(settings);
        self.0.settings.as_ref().is_none_or(fails)
    }

    /// Every so many-th, evenly.
    fn draws(&self, settings: &Recording) -> bool {
        let share = u64::from(settings.share);
        self.0.seen.fetch_add(share, Ordering::Relaxed) % MILLION + share >= MILLION
    }

    /// Hands a record over; false: the writer is behind and it is lost.
    pub(crate) fn send(&self, record: Recorded) -> bool {
        self.0.sink.try_send(record).is_ok()
    }
}

/// The file on the thread that writes it.
struct Target {
    settings: Recording,
    open: Option<(File, u64)>,
    /// The log has that it cannot be written.
    told: bool,
}

impl Target {
    fn run(mut self, records: &Receiver<Recorded>) {
        while let Ok(mut record) = records.recv() {
            record.tape.redact(|name| self.settings.is_secret(name), self.settings.bodies);
            if let Err(error) = self.write(&record)
                && !std::mem::replace(&mut self.told, true)
            {
                tracing::error!(path = %self.settings.path.display(), %error, "cannot write records");
            }
        }
    }

    fn write(&mut self, record: &Recorded) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let length = line.len() as u64;
        if self.open.as_ref().is_some_and(|(_, size)| *size > 0 && size + length > self.settings.size) {
            self.open = None;
            let mut old = PathBuf::from(&self.settings.path).into_os_string();
            old.push(".1");
            std::fs::rename(&self.settings.path, old)?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            None => {
                // Whoever may read it sees requests of others.
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(&self.settings.path)?;
                let size = file.metadata()?.len();
                self.open.insert((file, size))
            }
        };
        file.write_all(&line)?;
        *size += length;
        self.told = false;
        Ok(())
    }
}

/// Records that may wait for the writer; more are lost and counted.
const WAITING: usize = 64;

/// Bytes that are noted of one request; what is longer is recorded up to there.
pub(crate) const ROOM: usize = 256 << 10;

/// Bytes that are noted of one that a tap may show.
pub(crate) const BRIEF_ROOM: usize = 32 << 10;

const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn_evenly() {
        let settings = |all, share| Recording {
            path: "x".into(),
            all,
            share,
            size: 1 << 20,
            headers: Vec::new(),
            bodies: true,
        };
        for (share, expected) in [(1_000_000, 1000), (100_000, 100), (1, 0)] {
            let settings = settings(true, share);
            let (sink, _records) = sync_channel(1);
            let recorder =
                Recorder(Arc::new(Inner { settings: Some(settings), seen: AtomicU64::new(0), sink }));
            assert_eq!((0..1000).filter(|_| recorder.begins()).count(), expected, "{share}");
            assert!(recorder.keeps(false));
        }
        let (sink, _records) = sync_channel(1);
        let failing = settings(false, 500_000);
        let recorder = Recorder(Arc::new(Inner { settings: Some(failing), seen: AtomicU64::new(0), sink }));
        assert!((0..10).all(|_| recorder.begins()), "who will fail is not known");
        assert_eq!((0..10).filter(|_| recorder.keeps(true)).count(), 5);
        assert!(!recorder.keeps(false));
    }
}
