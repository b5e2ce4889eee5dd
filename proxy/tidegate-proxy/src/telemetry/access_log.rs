//! The access log: one JSON line for each exchange, written by a thread of its own. Workers never wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::exchange::finish::Record;

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

/// Writes the line of an exchange that has ended.
pub(crate) fn write(record: &Record, took: Duration) {
    let local = &record.client.local;
    if local.log.0.try_send(Message::Line(line(record, took))).is_err() {
        local.shard.log_dropped.add(1);
    }
}

fn line(record: &Record, took: Duration) -> Vec<u8> {
    let mut line = Line(Vec::with_capacity(512));
    let local = &record.client.local;
    line.0.push(b'{');
    line.number("time_ms", u64::try_from(local.clock.wall().as_millis()).unwrap_or(0));
    line.text("client", record.client.address.to_string().as_bytes());
    if let Some(listener) = record.view.listener(record.listener) {
        line.text("listener", listener.spec.name.as_bytes());
    }
    if let Some(target) = &record.target {
        line.text("method", target.method.as_str().as_bytes());
        line.text("host", target.host.as_ref().map_or(&[], |host| host.as_bytes()));
        line.text("path", target.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        if let Some(id) = &target.request_id {
            line.text("request_id", id.as_bytes());
        }
        if let Some(agent) = &target.agent {
            line.text("user_agent", agent.as_bytes());
        }
    }
    line.text("protocol", format!("{:?}", record.version).as_bytes());
    line.number("status", record.status.map_or(0, |status| u64::from(status.as_u16())));
    if let Some(rule) = record.rule.and_then(|rule| record.view.rule(rule)) {
        line.text("route", rule.route.as_bytes());
        line.text("rule", rule.name.as_bytes());
    }
    if let Some((upstream, server)) = record.upstream
        && let Some(pool) = record.view.pools.get(upstream)
    {
        line.text("upstream", pool.cluster.spec.name.as_bytes());
        if let Some(server) = pool.cluster.servers.get(server) {
            line.text("server", server.address.to_string().as_bytes());
        }
    }
    line.number("attempts", u64::from(record.attempts));
    if let Some(slot) = record.replied.and_then(|plugin| record.view.plugins.get(plugin)) {
        line.text("answered_by", slot.entry.name.as_bytes());
    }
    if let Some(reason) = record.reason {
        line.text("reason", reason.word().as_bytes());
    }
    line.number("bytes_received", record.progress.as_ref().map_or(0, |progress| progress.bytes.get()));
    line.number("bytes_sent", record.sent);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if let Some(at) = record.answered_at {
        line.number("head_us", micros(at.saturating_sub(record.start)));
    }
    line.number("duration_us", micros(took));
    line.0.extend_from_slice(b"}\n");
    line.0
}

/// A JSON object in the making.
struct Line(Vec<u8>);

impl Line {
    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Bytes that are not ASCII text are written as `\u00XX`, so that no client can break a line or a terminal.
    fn text(&mut self, key: &str, value: &[u8]) {
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
        let mut line = Line(b"{".to_vec());
        line.text("a", b"x\"\\\n\x1b[31m\xff");
        line.number("b", 7);
        assert_eq!(
            String::from_utf8(line.0).expect("is ASCII"),
            r#"{"a":"x\"\\\u000a\u001b[31m\u00ff","b":7"#
        );
    }
}
