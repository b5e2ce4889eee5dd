//! The file provider: a file, or a folder of files, that is read again whenever it or a file it names changes.
//!
//! Events come from inotify and are only a hint that something may have happened: what counts is whether a file looks
//! different from when it was read. The same comparison is made every few seconds, for events that got lost, and now and
//! then what is in the files is compared, for file systems whose stamps tell too little.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tidegate_config::SourceText;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use super::debounce::Debounce;
use super::folders;
use super::recheck::{self, Recheck};
use super::writers::Writers;
use crate::files::{self, Depth, Files, Stamp, Stamps};

/// Watches the files of a configuration.
pub(crate) struct FileProvider {
    signal: Arc<Notify>,
    writers: Arc<Writers>,
    debounce: Debounce,
    stamps: Arc<Stamps>,
    /// The folders being watched; the stamp tells a folder from a new one in its place.
    folders: BTreeMap<PathBuf, Option<Stamp>>,
    watcher: Option<RecommendedWatcher>,
    recheck: Recheck,
}

/// The texts of a configuration.
pub(crate) struct FileDocuments {
    /// In the order of their names.
    pub(crate) sources: Vec<SourceText>,
    /// The folder that relative paths start from.
    pub(crate) base: PathBuf,
}

/// Reads the file, or every `*.yaml`, `*.yml` and `*.json` of the folder, in the order of their names.
pub(crate) fn read(main: &Path, files: &mut Files) -> io::Result<FileDocuments> {
    let main = std::path::absolute(main)?;
    let folder = std::fs::metadata(&main).map(|metadata| metadata.is_dir());
    if !folder.inspect_err(|_| files.note(&main))? {
        let base = main.parent().unwrap_or(Path::new("/")).to_owned();
        let text = text(&main, files)?;
        return Ok(FileDocuments { sources: vec![SourceText { name: shown(&main), text }], base });
    }
    files.note(&main);
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(&main)? {
        let path = entry?.path();
        if is_document(&path) {
            paths.insert(path);
        }
    }
    if paths.is_empty() {
        return Err(io::Error::other("has no *.yaml, *.yml or *.json file"));
    }
    let read = |path: PathBuf| {
        let text = text(&path, files)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(SourceText { name: shown(&path), text })
    };
    let sources = paths.into_iter().map(read).collect::<io::Result<_>>()?;
    Ok(FileDocuments { sources, base: main })
}

fn text(path: &Path, files: &mut Files) -> io::Result<String> {
    let text = files.read_text(path, LARGEST_DOCUMENT)?;
    // Some editors and scripts empty a file before they write it: that moment is not a configuration, and neither is the
    // one when only the comments at its beginning are there.
    match text.trim().is_empty() {
        true => Err(io::Error::other("the file is empty")),
        false if text.lines().all(says_nothing) => Err(io::Error::other(
            "the file has nothing but comments or null (for an empty configuration write {})",
        )),
        false => Ok(text),
    }
}

/// Whether a line of YAML is blank, a comment, the beginning or end of a document, or null, which templates make of
/// values that they were not given.
fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    let said = line.strip_prefix("--- ").unwrap_or(line);
    let said = said.split_once(" #").map_or(said, |(said, _)| said).trim();
    said.is_empty() || said.starts_with('#') || matches!(said, "---" | "..." | "null" | "Null" | "NULL" | "~")
}

impl FileProvider {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            signal: Arc::new(Notify::new()),
            writers: Arc::default(),
            debounce: Debounce::default(),
            stamps: Arc::default(),
            folders: BTreeMap::new(),
            watcher: None,
            recheck: Recheck::new(Instant::now()),
        }
    }

    /// From now on watches these files, each as it was when it was read.
    pub(crate) fn watch(&mut self, stamps: Stamps) {
        if self.watcher.is_none() {
            self.watcher = start(&self.signal, &self.writers);
        }
        self.stamps = Arc::new(stamps);
        self.recheck = Recheck::new(Instant::now());
        self.update_folders();
        // What changed between the reading and now gave no event.
        if files::differ(&self.stamps, Depth::Stamps) {
            self.signal.notify_one();
        }
    }

    /// Waits until one of the files looks different. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        loop {
            let wake = self.debounce.deadline().unwrap_or(self.recheck.due());
            let wake =
                self.writers.until(|path| self.may_concern(path)).map_or(wake, |until| until.max(wake));
            tokio::select! {
                () = self.signal.notified() => self.debounce.on_event(Instant::now()),
                () = tokio::time::sleep_until(wake.into()) => {
                    if self.has_changed(Instant::now()).await {
                        return;
                    }
                }
            }
        }
    }

    /// Whether a file of this name is watched, or may become one of the documents of a folder. Links on the way to a file
    /// change where it is seen, but seldom what it is called.
    fn may_concern(&self, path: &Path) -> bool {
        let mut watched = self.stamps.keys();
        is_document_name(path) && self.stamps.keys().any(|watched| watched.is_dir())
            || watched.any(|watched| watched.file_name() == path.file_name())
    }

    async fn has_changed(&mut self, now: Instant) -> bool {
        self.debounce.poll_over(now);
        let depth = self.recheck.on_look(now);
        self.update_folders();
        let stamps = Arc::clone(&self.stamps);
        // A file system that hangs must not hold the control thread.
        spawn_blocking(move || files::differ(&stamps, depth)).await.unwrap_or(false)
    }

    /// Watches the folders that matter now; links and folders may have been replaced.
    fn update_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeSet::new();
        for path in self.stamps.keys() {
            folders::add(path, &mut wanted);
            // A folder of documents is watched itself, not only by its parent.
            if path.is_dir() {
                wanted.insert(path.clone());
            }
        }
        let gone: Vec<PathBuf> =
            self.folders.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in gone {
            self.folders.remove(&folder);
            // Fails when the folder is gone, and the watch with it.
            let _ = watcher.unwatch(&folder);
        }
        for folder in wanted {
            let now = files::stamp(&folder);
            let same = self.folders.get(&folder).is_some_and(|then| Stamp::is_same_file(then, &now));
            if same {
                continue;
            }
            let _ = watcher.unwatch(&folder);
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    debug!(folder = %folder.display(), "watching");
                    self.folders.insert(folder, now);
                }
                Err(error) => warn!(
                    folder = %folder.display(), %error,
                    "cannot watch, looking every {} s instead", recheck::EVERY.as_secs()
                ),
            }
        }
    }
}

fn start(signal: &Arc<Notify>, writers: &Arc<Writers>) -> Option<RecommendedWatcher> {
    let (signal, writers) = (Arc::clone(signal), Arc::clone(writers));
    let on_event = move |event: notify::Result<Event>| {
        if let Ok(event) = &event {
            writers.on_event(event, Instant::now());
        }
        if event.map_or(true, |event| matters(event.kind)) {
            signal.notify_one();
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| {
            warn!(%error, "cannot watch files, looking every {} s instead", recheck::EVERY.as_secs());
        })
        .ok()
}

/// Reading a file is an event too, and the gateway itself reads.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn is_document(path: &Path) -> bool {
    is_document_name(path) && path.is_file()
}

fn is_document_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    known && !hidden
}

/// The path as it is shown in problems: relative to the working folder where it lies in it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Largest configuration file.
const LARGEST_DOCUMENT: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use notify::event::{CreateKind, DataChange, ModifyKind, RenameMode};

    fn names(documents: &FileDocuments) -> Vec<&str> {
        documents.sources.iter().filter_map(|source| source.name.rsplit('/').next()).collect()
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names_without_hidden_files() {
        let scratch = Scratch::new("file-folder");
        for name in ["b.yaml", "a.json", "c.yml", ".d.yaml", "e.txt", "f.yaml~"] {
            scratch.write(name, "{}");
        }
        let mut files = Files::default();
        let documents = read(scratch.path(), &mut files).expect("a folder");
        assert_eq!(names(&documents), ["a.json", "b.yaml", "c.yml"]);
        assert_eq!(documents.base, scratch.path());
        assert!(files.into_stamps().contains_key(scratch.path()), "new files are seen by the folder");
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused_but_watched() {
        let scratch = Scratch::new("file-refused");
        let empty = scratch.write("empty.yaml", " \n");
        let comments = scratch.write("comments.yaml", "# The gateway of the shop.\n---\n\n  # Listeners\n");
        let null = scratch.write("null.yaml", "--- # shop\nNull # none\n...\n--- ~\n");
        for (path, why) in [
            (empty, "empty"),
            (comments, "comments"),
            (null, "or null"),
            (scratch.path().join("gone.yaml"), "No such file"),
        ] {
            let mut files = Files::default();
            let error = read(&path, &mut files).err().expect("refused").to_string();
            assert!(error.contains(why), "{error}");
            assert!(files.into_stamps().contains_key(&path));
        }
    }

    #[test]
    fn reading_is_not_a_change() {
        assert!(!matters(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!matters(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(matters(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(matters(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(matters(EventKind::Modify(ModifyKind::Name(RenameMode::To))));
        assert!(matters(EventKind::Create(CreateKind::File)));
    }

    /// Runs `change` on watched files and waits until the provider has seen it.
    fn sees(files: &[&Path], change: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut noted = Files::default();
            files.iter().for_each(|path| noted.note(path));
            let mut provider = FileProvider::new();
            provider.watch(noted.into_stamps());
            change();
            let seen = tokio::time::timeout(recheck::EVERY / 2, provider.changed()).await;
            seen.expect("the change is seen by its event, before the files are compared anyway");
        });
    }

    /// A provider to which no event comes, of files that were read at `start`.
    fn blind(path: &Path, start: Instant) -> FileProvider {
        let mut noted = Files::default();
        noted.read(path, 100).expect("it is there");
        let mut provider = FileProvider::new();
        provider.stamps = Arc::new(noted.into_stamps());
        provider.recheck = Recheck::new(start);
        provider
    }

    #[test]
    fn a_change_whose_event_got_lost_is_seen_at_the_next_comparison() {
        let scratch = Scratch::new("file-lost");
        let path = scratch.write("a.yaml", "old");
        let start = Instant::now();
        block_on(async {
            let mut provider = blind(&path, start);
            assert!(!provider.has_changed(start + recheck::EVERY).await, "nothing has changed");
            scratch.write("a.yaml", "newer");
            assert!(provider.has_changed(start + 2 * recheck::EVERY).await);
        });
    }

    #[test]
    fn a_change_that_leaves_the_stamps_alone_is_seen_when_contents_are_compared() {
        let scratch = Scratch::new("file-alike");
        let path = scratch.write("a.yaml", "old");
        let start = Instant::now();
        block_on(async {
            let mut provider = blind(&path, start);
            scratch.write("a.yaml", "new");
            files::look_alike(Arc::get_mut(&mut provider.stamps).expect("nobody else has them"));
            assert!(!provider.has_changed(start + recheck::EVERY / 2).await, "by its stamps it is the same");
            assert!(provider.has_changed(start + recheck::EVERY).await);
        });
    }

    #[test]
    fn without_events_the_comparison_is_made_when_it_is_due() {
        let scratch = Scratch::new("file-due");
        let path = scratch.write("a.yaml", "old");
        let long_ago =
            Instant::now().checked_sub(recheck::EVERY).expect("the machine has been up for longer");
        block_on(async {
            let mut provider = blind(&path, long_ago);
            scratch.write("a.yaml", "newer");
            let seen = tokio::time::timeout(recheck::EVERY / 2, provider.changed()).await;
            seen.expect("it is due at once");
        });
    }

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test);
    }

    #[test]
    fn a_rename_over_the_file_is_seen() {
        let scratch = Scratch::new("file-rename");
        let path = scratch.write("a.yaml", "old");
        sees(&[&path], || {
            std::fs::rename(scratch.write("a.yaml.new", "new"), &path).expect("same folder");
        });
    }

    #[test]
    fn deletion_and_return_are_seen() {
        let scratch = Scratch::new("file-return");
        let path = scratch.write("a.yaml", "old");
        sees(&[&path], || std::fs::remove_file(&path).expect("it is there"));
        sees(&[&path], || drop(scratch.write("a.yaml", "new")));
    }

    #[test]
    fn a_kubernetes_volume_swap_is_seen() {
        let scratch = Scratch::new("file-kubernetes");
        let at = |name: &str| scratch.path().join(name);
        for version in ["..1", "..2"] {
            std::fs::create_dir(at(version)).expect("a new folder");
            std::fs::write(at(version).join("a.yaml"), version).expect("a new file");
        }
        std::os::unix::fs::symlink("..1", at("..data")).expect("a new link");
        std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).expect("a new link");
        sees(&[&at("a.yaml")], || {
            std::os::unix::fs::symlink("..2", at("..data_tmp")).expect("a new link");
            std::fs::rename(at("..data_tmp"), at("..data")).expect("same folder");
            std::fs::remove_dir_all(at("..1")).expect("the old version");
        });
    }

    #[test]
    fn a_change_between_reading_and_watching_is_seen() {
        let scratch = Scratch::new("file-between");
        let path = scratch.write("a.yaml", "old");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut noted = Files::default();
            noted.note(&path);
            scratch.write("a.yaml", "newer");
            let mut provider = FileProvider::new();
            provider.watch(noted.into_stamps());
            let seen = tokio::time::timeout(recheck::EVERY / 2, provider.changed()).await;
            seen.expect("seen at once");
        });
    }
}
