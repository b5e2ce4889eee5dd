//! One stream's script: for each callback a list of operations, `callback:op arg arg;op|callback:…`.
//!
//! `rqb#2` is the second call of a callback, `rqb$` the one with the end of the stream; the most particular one counts.

use crate::host;
use std::collections::HashMap;
use std::fmt::Write;

/// What one stream is to do.
#[derive(Default)]
pub(crate) struct Script {
    /// Names the lines of this stream.
    pub(crate) case: String,
    steps: HashMap<String, String>,
    calls: HashMap<&'static str, u32>,
}

/// What an operation does beyond its host call.
pub(crate) enum Wish {
    /// The callback's return value.
    Return(u32),
    /// An HTTP call was started.
    Called(u32),
    /// The root's tick is to run this stream's `tick`.
    Tick,
}

impl Script {
    /// Reads the text of an `x-script` header.
    pub(crate) fn parse(case: &str, text: &str) -> Self {
        let steps = text.split('|').filter_map(|part| part.split_once(':'));
        Self {
            case: case.to_owned(),
            steps: steps.map(|(name, steps)| (name.trim().to_owned(), steps.to_owned())).collect(),
            calls: HashMap::new(),
        }
    }

    /// Runs what the script has for a callback.
    pub(crate) fn run(&mut self, callback: &'static str, end: bool) -> Vec<Wish> {
        let call = self.calls.entry(callback).or_default();
        *call += 1;
        let at_end = end.then(|| self.steps.get(&format!("{callback}$"))).flatten();
        let steps = at_end
            .or_else(|| self.steps.get(&format!("{callback}#{call}")))
            .or_else(|| self.steps.get(callback));
        let Some(steps) = steps.cloned() else { return Vec::new() };
        let steps = steps.split(';').map(str::trim).filter(|step| !step.is_empty());
        steps.filter_map(|step| self.step(callback, step)).collect()
    }

    /// Writes a line that the suite compares.
    pub(crate) fn line(&self, text: &str) {
        if !self.case.is_empty() {
            host::log(&format!("tg:{}:{text};;", self.case));
        }
    }

    fn step(&self, callback: &str, step: &str) -> Option<Wish> {
        let words: Vec<&str> = step.split(' ').collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let number = |at: usize| word(at).parse::<u32>().unwrap_or_default();
        let bytes = |at: usize| unescape(word(at));
        let mut wish = None;
        let result = match word(0) {
            "ret" => return Some(Wish::Return(number(1))),
            "tick" => {
                host::tick_period(number(1));
                return Some(Wish::Tick);
            }
            "trap" => std::process::abort(),
            "get" => shown(host::value(number(1), &bytes(2))),
            "has" => host::value(number(1), &bytes(2)).0.to_string(),
            "size" => host::map_size(number(1)).to_string(),
            "pairs" => listed(host::pairs(number(1))),
            "setpairs" => host::set_pairs(number(1), &encode(word(2))).to_string(),
            "setraw" => host::set_pairs(number(1), &bytes(2)).to_string(),
            "add" => host::add(number(1), &bytes(2), &bytes(3)).to_string(),
            "rep" => host::replace(number(1), &bytes(2), &bytes(3)).to_string(),
            "del" => host::remove(number(1), &bytes(2)).to_string(),
            "buf" => shown(host::buffer(number(1), number(2), number(3))),
            "bufst" => {
                let (status, len) = host::buffer_status(number(1));
                format!("{status} {len}")
            }
            "set" => host::set_buffer(number(1), number(2), number(3), &bytes(4)).to_string(),
            "prop" => shown(host::property(&bytes(1))),
            "propst" => host::property(&bytes(1)).0.to_string(),
            "setprop" => host::set_property(&bytes(1), &bytes(2)).to_string(),
            "reply" => {
                let grpc = word(4).parse().unwrap_or(-1);
                host::reply(number(1), b"script", &bytes(2), &encode(word(3)), grpc).to_string()
            }
            "cont" => host::continue_stream(number(1)).to_string(),
            "close" => host::close_stream(number(1)).to_string(),
            "eff" => host::effective(number(1)).to_string(),
            "call" => {
                let head = format!(":method=GET,:path={},:authority=call.test", word(2));
                let (status, token) = self.call(&bytes(1), &encode(&head), word(3));
                wish = (status == 0).then_some(Wish::Called(token));
                status.to_string()
            }
            "callraw" => self.call(&bytes(1), &encode(word(2)), word(3)).0.to_string(),
            "shget" => shown(host::shared(&bytes(1))),
            "shset" => host::set_shared(&bytes(1), &bytes(2), number(3)).to_string(),
            "foreign" => shown(host::foreign(&bytes(1), &bytes(2))),
            other => format!("no operation {other}"),
        };
        self.line(&format!("{callback} {step} -> {result}"));
        wish
    }

    fn call(&self, to: &[u8], head: &[u8], timeout: &str) -> (u32, u32) {
        host::http_call(to, head, b"", timeout.parse().unwrap_or(1000))
    }
}

/// `a=b,c=d` as the ABI has it; `_` is empty.
fn encode(text: &str) -> Vec<u8> {
    let fields: Vec<(Vec<u8>, Vec<u8>)> = text
        .split(',')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect();
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, value: usize| {
        out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    };
    number(&mut out, fields.len());
    for (name, value) in &fields {
        number(&mut out, name.len());
        number(&mut out, value.len());
    }
    for (name, value) in &fields {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

/// The names and values of a serialized map, in order of names; only those that the test gave: `x-…` and pseudo ones.
fn listed((status, bytes): (u32, Vec<u8>)) -> String {
    let number = |at: usize| {
        let four = bytes.get(at * 4..at * 4 + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        usize::try_from(u32::from_le_bytes(four.unwrap_or_default())).unwrap_or_default()
    };
    let count = number(0);
    let mut at = 4 + count * 8;
    let mut fields = Vec::new();
    for nth in 0..count {
        let (name, value) = (number(1 + nth * 2), number(2 + nth * 2));
        let text = |from: usize, len: usize| escape(bytes.get(from..from + len).unwrap_or_default());
        fields.push((text(at, name), text(at + name + 1, value)));
        at += name + value + 2;
    }
    fields.retain(|(name, _)| {
        name.starts_with("x-t-") || matches!(name.as_str(), ":path" | ":method" | ":status")
    });
    fields.sort();
    let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{status} {}", fields.join(","))
}

fn shown((status, bytes): (u32, Vec<u8>)) -> String {
    format!("{status} {}", escape(&bytes))
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    text
}

/// `_` is empty, `%xx` a byte.
fn unescape(text: &str) -> Vec<u8> {
    if text == "_" {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = (*byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                out.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}
