//! A file with a list of servers. It is read again when it looks different.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_config::SourceText;
use tokio::task::spawn_blocking;

use super::source::{Found, Told, Trouble, Turn};
use crate::files::{Files, Stamps};
use crate::provider::FileProvider;

/// The file of one upstream.
pub(super) struct ListFile {
    path: PathBuf,
    watch: FileProvider,
    read: bool,
}

impl ListFile {
    /// Not read yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), watch: FileProvider::new(), read: false }
    }

    /// The list, at once for the first time, then when the file has changed.
    pub(super) async fn ask(&mut self) -> Result<Turn, Trouble> {
        if self.read {
            self.watch.changed().await;
        }
        let path = self.path.clone();
        // A file system that hangs must not hold the control thread.
        let read = spawn_blocking(move || read(&path)).await;
        let (list, stamps) = read.map_err(|error| format!("the file could not be read: {error}"))?;
        self.watch.watch(stamps);
        self.read = true;
        match list {
            Ok(servers) => Ok(Turn { told: Told::Servers(servers), pause: Duration::ZERO }),
            Err(why) => Err(Trouble { why, at_once: true }),
        }
    }
}

fn read(path: &Path) -> (Result<Vec<Found>, String>, Stamps) {
    let mut files = Files::default();
    let text = files.read_text(path, LARGEST_LIST);
    let list = match text {
        Ok(text) if text.trim().is_empty() => Err(format!("{}: the file is empty", path.display())),
        Ok(text) => list(&path.display().to_string(), text),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    };
    (list, files.into_stamps())
}

/// Reads a list, whoever wrote it.
pub(super) fn list(name: &str, text: String) -> Result<Vec<Found>, String> {
    let source = SourceText { name: name.to_owned(), text };
    match tidegate_config::load_servers(&source) {
        Ok(servers) => Ok(servers.into_iter().map(Found::listed).collect()),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().take(MOST_PROBLEMS).map(ToString::to_string).collect();
            let more = problems.len().saturating_sub(MOST_PROBLEMS);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            Err(format!("{}{more}", lines.join("; ")))
        }
    }
}

/// Largest list.
pub(super) const LARGEST_LIST: u64 = 16 << 20;

/// Problems of one list that are shown.
const MOST_PROBLEMS: usize = 10;
