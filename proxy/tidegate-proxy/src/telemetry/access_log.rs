//! The access log: one JSON line for each exchange, written by a thread of its own. Workers never wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Lines that may wait for the writer; more are dropped and counted.
const WAITING: usize = 8192;

enum Message {
    Open(PathBuf),
    Line(Vec<u8>),
}

/// Sends lines to the writing thread.
#[derive(Clone)]
pub(crate) struct Writer(SyncSender<Message>);

impl Writer {
    /// Hands a line over; false: the writer is behind and the line is lost.
    pub(crate) fn write(&self, line: Line) -> bool {
        self.0.try_send(Message::Line(line.end())).is_ok()
    }

    /// Writes to this file from here on; it is opened again after it was renamed.
    pub(crate) fn open(&self, path: &Path) {
        // A writer that is behind so far keeps its file; the next reload tells it again.
        drop(self.0.try_send(Message::Open(path.to_owned())));
    }
}

/// Starts the writing thread; it ends with the last [`Writer`].
pub(crate) fn start() -> io::Result<Writer> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::Builder::new().name("access-log".into()).spawn(move || run(&receiver))?;
    Ok(Writer(sender))
}

fn run(messages: &Receiver<Message>) {
    let mut out: Option<(PathBuf, File)> = None;
    let mut batch = Vec::with_capacity(64 * 1024);
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Open(path) => {
                    flush(&mut out, &mut batch);
                    out = open(path);
                }
            }
            next = if batch.len() < 60 * 1024 { messages.try_recv().ok() } else { None };
        }
        flush(&mut out, &mut batch);
    }
}

fn open(path: PathBuf) -> Option<(PathBuf, File)> {
    match OpenOptions::new().append(true).create(true).open(&path) {
        Ok(file) => Some((path, file)),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot open the access log");
            None
        }
    }
}

fn flush(out: &mut Option<(PathBuf, File)>, batch: &mut Vec<u8>) {
    if batch.is_empty() {
        return;
    }
    if let Some((path, file)) = out {
        if !path.starts_with("/dev") && !path.exists() {
            // Renamed by a rotation.
            if let Some((_, fresh)) = open(path.clone()) {
                *file = fresh;
            }
        }
        if let Err(error) = file.write_all(batch) {
            tracing::error!(path = %path.display(), %error, "cannot write the access log");
        }
    }
    batch.clear();
}

/// A JSON object in the making.
pub(crate) struct Line(Vec<u8>);

impl Line {
    /// An empty object.
    pub(crate) fn begin() -> Self {
        let mut line = Vec::with_capacity(512);
        line.push(b'{');
        Self(line)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// A whole number.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Bytes that are not ASCII text are written as `\u00XX`, so that no client can break a line or a terminal.
    pub(crate) fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.0.push(b'"');
        for &byte in value {
            match byte {
                b'"' | b'\\' => self.0.extend_from_slice(&[b'\\', byte]),
                0x20..0x7f => self.0.push(byte),
                _ => self.0.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            }
        }
        self.0.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut line = Line::begin();
        line.text("a", b"x\"\\\n\x1b[31m\xff");
        line.number("b", 7);
        assert_eq!(
            String::from_utf8(line.end()).expect("is ASCII"),
            concat!(r#"{"a":"x\"\\\u000a\u001b[31m\u00ff","b":7}"#, "\n")
        );
    }
}
