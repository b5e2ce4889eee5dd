//! `tidegate filter replay`: recorded requests are told to a module, and what it decides otherwise is shown.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use tidegate_proxy::Recorded;
use tidegate_wasm::{
    Capabilities, Event, Field, HeadersPause, Instance, Limits, Module, Note, Now, Plugin, PluginSpec,
    Shared, Tape,
};

use super::screen::{Paint, Tint};
use super::{config, diff};
use crate::apply::Workshop;
use crate::words::many;

/// `tidegate filter replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The file of records that `plugins.NAME.record` names.
    record: PathBuf,
    /// The module that they are told to.
    module: PathBuf,
    /// The filter's configuration, which is not in records: JSON, or a file.
    #[arg(long, value_name = "JSON|FILE", default_value = "")]
    config: String,
    /// Which of the module's root contexts, where it registers several.
    #[arg(long, value_name = "NAME", default_value = "")]
    root_id: String,
    /// Compare log lines too.
    #[arg(long)]
    logs: bool,
}

/// Tells all records to the module; exit 1 when it decides otherwise on one of them.
pub(crate) fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    let records = read(args)?;
    let workshop = Workshop::open()?;
    let bytes =
        std::fs::read(&args.module).with_context(|| format!("cannot read {}", args.module.display()))?;
    let module =
        workshop.engine.compile(&bytes).map_err(|why| anyhow!("{}: {why}", args.module.display()))?;
    let config = config::bytes(&args.config)?;
    let paint = Paint::of_stdout();
    let mut out = io::stdout().lock();
    let (mut same, mut other, mut skipped) = (0, 0, 0);
    for (number, record) in (1..).zip(&records) {
        let title = title(record);
        let mut line = |tint, word: &str| {
            writeln!(out, "{number:>4}  {}  {title}", paint.tint(tint, &format!("{word:<7}")))
        };
        if let Some(why) = &record.tape.incomplete {
            line(Tint::Dim, "skipped")?;
            writeln!(out, "        {why}")?;
            skipped += 1;
            continue;
        }
        let spec = spec(record, module.clone(), (&config, &args.root_id));
        let played = workshop.with_time(|| play(&workshop, spec, &record.tape))?;
        let differences = compare(&record.tape, &played, args.logs);
        if differences.is_empty() {
            line(Tint::Good, "same")?;
            same += 1;
        } else {
            line(Tint::Bad, "differs")?;
            write!(out, "{differences}")?;
            other += 1;
        }
    }
    writeln!(
        out,
        "{}: {same} same, {other} differ, {skipped} skipped",
        many(records.len() as u64, "record")
    )?;
    Ok(if other == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(args: &ReplayArgs) -> Result<Vec<Recorded>> {
    let name = args.record.display();
    let file = File::open(&args.record).with_context(|| format!("cannot read {name}"))?;
    let mut records = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        let record = serde_json::from_str(&line)
            .with_context(|| format!("{name}:{number}: no record, as `plugins.NAME.record` writes them"))?;
        records.push(record);
    }
    Ok(records)
}

/// The plugin of a record; what it called it may call.
fn spec(record: &Recorded, module: Module, (config, root_id): (&[u8], &str)) -> PluginSpec {
    let called = record.tape.notes.iter().filter_map(|note| match &note.event {
        Event::Call { upstream, .. } | Event::GrpcCall { upstream, .. } => Some(upstream.clone()),
        _ => None,
    });
    PluginSpec {
        vm_id: String::new(),
        name: record.plugin.clone(),
        root_id: root_id.to_owned(),
        module,
        config: config.to_vec().into(),
        vm_config: bytes::Bytes::new(),
        environment: Vec::new(),
        limits: Limits::default(),
        callable: called.collect(),
        capabilities: Capabilities::default(),
        on_headers_pause: HeadersPause::default(),
    }
}

fn play(workshop: &Workshop, spec: PluginSpec, tape: &Tape) -> Result<Tape> {
    let plugin = Plugin::build(&workshop.engine, spec, Arc::new(Shared::new()))?;
    let mut instance = Instance::start(&Arc::new(plugin), Now::default())?;
    tape.play(&mut instance).map_err(|why| anyhow!("a record cannot be told: {why}"))
}

fn title(record: &Recorded) -> String {
    let head = record.tape.notes.iter().find_map(|note| match &note.event {
        Event::RequestHeaders { headers, .. } => Some(diff::title(headers)),
        _ => None,
    });
    head.unwrap_or_else(|| match record.tape.of_bytes {
        true => format!("a connection from {}", record.tape.client),
        false => "a request without a head".to_owned(),
    })
}

/// Where two tapes differ, in lines; empty: nowhere.
fn compare(recorded: &Tape, played: &Tape, logs: bool) -> String {
    let (before, after) = (moments(recorded, logs), moments(played, logs));
    let mut text = String::new();
    for (index, (told, old)) in before.iter().enumerate() {
        let Some((_, new)) = after.get(index) else {
            let _ = writeln!(text, "        {told}: not told, what came before was decided otherwise");
            break;
        };
        if old.len() == new.len() && old.iter().zip(new).all(|(old, new)| alike(old, new)) {
            continue;
        }
        let _ = writeln!(text, "        {told}");
        for old in old.iter().filter(|old| !new.iter().any(|new| alike(old, new))) {
            let _ = writeln!(text, "          recorded  {}", describe(old, new));
        }
        for new in new.iter().filter(|new| !old.iter().any(|old| alike(old, new))) {
            let _ = writeln!(text, "          now       {}", describe(new, &[]));
        }
    }
    text
}

/// What was told, each with what came of it.
fn moments(tape: &Tape, logs: bool) -> Vec<(&'static str, Vec<&Event>)> {
    let mut moments: Vec<(&'static str, Vec<&Event>)> = Vec::new();
    for Note { event, .. } in &tape.notes {
        if event.is_told() {
            moments.push((name(event), Vec::new()));
        } else if let Some((_, outcomes)) = moments.last_mut()
            && (logs || !matches!(event, Event::Log { .. }))
        {
            outcomes.push(event);
        }
    }
    moments
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::RequestHeaders { .. } => "request headers",
        Event::ResponseHeaders { .. } => "response headers",
        Event::Body { side: tidegate_wasm::TapeSide::Request, .. } => "request body",
        Event::Body { .. } => "response body",
        Event::Trailers { .. } => "trailers",
        Event::Answer { .. } => "answer to a call",
        Event::ForeignResult { .. } => "result of a foreign function",
        Event::GrpcHead { .. } => "head of a gRPC stream",
        Event::GrpcMessage { .. } => "message of a gRPC call",
        Event::GrpcTrailers { .. } => "trailers of a gRPC stream",
        Event::GrpcClosed { .. } => "end of a gRPC call",
        Event::Connected => "new connection",
        Event::Data { side: tidegate_wasm::TapeSide::Request, .. } => "bytes from the client",
        Event::Data { .. } => "bytes from the upstream",
        Event::SideClosed { side: tidegate_wasm::TapeSide::Request, .. } => "the client's end is closed",
        Event::SideClosed { .. } => "the upstream's end is closed",
        _ => "the end",
    }
}

/// The same, as far as what was redacted lets that be known.
fn alike(one: &Event, other: &Event) -> bool {
    use Event::{BodyLeft, Call, GrpcCall, GrpcSent, Reply, RequestLeft, ResponseLeft, TrailersLeft};
    let fields = |one: &[Field], other: &[Field]| diff::fields(one, other).is_empty();
    match (one, other) {
        (RequestLeft { headers: a }, RequestLeft { headers: b })
        | (ResponseLeft { headers: a }, ResponseLeft { headers: b }) => fields(a, b),
        (TrailersLeft { headers: a, side: x }, TrailersLeft { headers: b, side: y }) => {
            x == y && fields(a, b)
        }
        (BodyLeft { side: x, body: a }, BodyLeft { side: y, body: b }) => x == y && diff::same(a, b),
        (Reply { status: x, headers: a, body: c }, Reply { status: y, headers: b, body: d }) => {
            x == y && fields(a, b) && diff::same(c, d)
        }
        (Call { upstream: x, headers: a, body: c }, Call { upstream: y, headers: b, body: d }) => {
            x == y && fields(a, b) && diff::same(c, d)
        }
        (
            GrpcCall { upstream: x, headers: a, messages: c },
            GrpcCall { upstream: y, headers: b, messages: d },
        ) => {
            let same = c.len() == d.len() && c.iter().zip(d).all(|(c, d)| diff::same(c, d));
            x == y && fields(a, b) && same
        }
        (GrpcSent { call: x, body: a }, GrpcSent { call: y, body: b }) => x == y && diff::same(a, b),
        _ => one == other,
    }
}

/// An outcome in words. Of a head, where there is one to compare it with, only what differs.
fn describe(event: &Event, others: &[&Event]) -> String {
    match event {
        Event::Continue => "lets it go on".to_owned(),
        Event::Pause | Event::Wait => "holds it".to_owned(),
        Event::Trap { message } => format!("fails: {message}"),
        Event::Resume { .. } => "lets go of what it held".to_owned(),
        Event::Reply { status, body, .. } => format!("answers {status}, {}", many(body.len() as u64, "byte")),
        Event::Reset => "breaks it off".to_owned(),
        Event::SetUpstream => "chooses an upstream".to_owned(),
        Event::SetRoute => "chooses a rule".to_owned(),
        Event::Foreign => "asks for what takes some time".to_owned(),
        Event::ClearRoute => "has the route chosen again".to_owned(),
        Event::Call { upstream, headers, .. } => format!("calls {upstream}: {}", diff::title(headers)),
        Event::GrpcCall { upstream, headers, .. } => {
            format!("calls {upstream} by gRPC: {}", diff::title(headers))
        }
        Event::GrpcSent { body, .. } => {
            format!("sends a gRPC message of {}", many(body.len() as u64, "byte"))
        }
        Event::Log { level, message } => format!("logs {level}: {message}"),
        Event::Refused { function } => format!("is refused {function}"),
        Event::RequestLeft { headers } => head("request", headers, others),
        Event::ResponseLeft { headers } => head("response", headers, others),
        Event::TrailersLeft { headers, .. } => head("trailers", headers, others),
        Event::BodyLeft { body, .. } => format!("lets {} go on", many(body.len() as u64, "byte")),
        _ => String::new(),
    }
}

fn head(name: &str, headers: &[Field], others: &[&Event]) -> String {
    let other = others.iter().find_map(|other| match other {
        Event::RequestLeft { headers } if name == "request" => Some(headers),
        Event::ResponseLeft { headers } if name == "response" => Some(headers),
        _ => None,
    });
    match other {
        Some(other) => {
            let changes: Vec<String> = diff::fields(headers, other).iter().map(ToString::to_string).collect();
            format!("{name} with other fields; now: {}", changes.join(", "))
        }
        None => format!("{name} goes on with {}", many(headers.len() as u64, "field")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Version};
    use tidegate_wasm::StreamInfo;

    /// A guest that does this with a request's head.
    fn guest(workshop: &Workshop, rest: &str) -> Module {
        let text = format!(
            r#"(module
            (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_send_local_response"
                (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "x-new")
            (func (export "malloc") (param i32) (result i32) (i32.const 4096))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {rest}))"#
        );
        workshop.engine.compile(&wat::parse_str(text).expect("a module")).expect("a filter")
    }

    const PLAIN: &str = "(i32.const 0)";
    const ADDS: &str = "(drop (call $add (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 1))) (i32.const 0)";
    const REFUSES: &str = "(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))) (i32.const 1)";

    fn recorded(tape: Tape) -> Recorded {
        Recorded { plugin: "p".to_owned(), module: String::new(), status: Some(200), took: 1, tape }
    }

    /// What one guest makes of a request, told to another one.
    fn told(first: &str, second: &str) -> String {
        let workshop = Workshop::with_cache(None).expect("an engine");
        let address = ([127, 0, 0, 1], 1).into();
        let (head, ()) = Request::get("/a").header("host", "h").body(()).expect("a request").into_parts();
        let mut tape = {
            let spec = spec(&recorded(empty_tape()), guest(&workshop, first), (b"", ""));
            let plugin = Plugin::build(&workshop.engine, spec, Arc::new(Shared::new())).expect("a plugin");
            let mut instance = Instance::start(&Arc::new(plugin), Now::default()).expect("an instance");
            let id =
                instance.open_stream(StreamInfo::new(address, address, Version::HTTP_11), Now::default());
            instance.tape(id, 100_000);
            let step = instance.on_request_headers(id, head, true, Now::default()).expect("no trap");
            if step == tidegate_wasm::Step::Continue {
                instance.take_request_head(id);
            }
            while instance.poll_effect().is_some() {}
            let (answer, ()) =
                http::Response::builder().status(403).body(()).expect("a response").into_parts();
            instance.on_response_headers(id, answer, true, Now::default()).expect("no trap");
            instance.take_response_head(id);
            instance.close_stream(id, Now::default());
            instance.take_tape(id).expect("a tape")
        };
        // As the gateway writes it.
        tape.redact(|name| name == "host", true);
        let spec = spec(&recorded(tape.clone()), guest(&workshop, second), (b"", ""));
        compare(&tape, &play(&workshop, spec, &tape).expect("a record"), false)
    }

    fn empty_tape() -> Tape {
        let text = r#"{ "began": 0, "client": "127.0.0.1:1", "server": "127.0.0.1:1", "tls": false,
            "protocol": "HTTP/1.1", "notes": [] }"#;
        serde_json::from_str(text).expect("a tape")
    }

    #[test]
    fn the_same_decisions_are_the_same() {
        assert_eq!(told(PLAIN, PLAIN), "");
        assert_eq!(told(ADDS, ADDS), "");
        assert_eq!(told(REFUSES, REFUSES), "");
    }

    #[test]
    fn other_decisions_are_told() {
        let text = told(PLAIN, ADDS);
        assert!(text.contains("request headers\n") && text.contains("now: + x-new: x"), "{text}");
        let text = told(PLAIN, REFUSES);
        assert!(text.contains("recorded  lets it go on") && text.contains("now       answers 403"), "{text}");
    }

    #[test]
    fn records_of_connections_and_grpc_calls_are_read() {
        let line = r#"{ "plugin": "p", "module": "", "status": null, "took": 1, "began": 0, "client": "127.0.0.1:9",
            "server": "127.0.0.1:1", "tls": false, "protocol": "HTTP/1.1", "ofBytes": true, "notes": [
            { "at": 0, "event": "connected" }, { "at": 0, "event": "continue" },
            { "at": 1, "event": "data", "side": "request", "body": "ab", "end": false },
            { "at": 1, "event": "grpcCall", "upstream": "auth", "headers": [[":path", "/s/m"]], "messages": ["q"] },
            { "at": 2, "event": "grpcClosed", "call": 0, "status": 14 },
            { "at": 3, "event": "sideClosed", "side": "response", "by": 2 }, { "at": 3, "event": "closed" }] }"#;
        let record: Recorded = serde_json::from_str(line).expect("a record");
        assert_eq!(title(&record), "a connection from 127.0.0.1:9");
        let workshop = Workshop::with_cache(None).expect("an engine");
        let spec = spec(&record, guest(&workshop, PLAIN), (b"", ""));
        assert_eq!(spec.callable, ["auth"]);
        let text = compare(&record.tape, &play(&workshop, spec, &record.tape).expect("a record"), false);
        assert!(text.contains("bytes from the client\n"), "{text}");
        assert!(text.contains("recorded  calls auth by gRPC:  /s/m"), "{text}");
        assert!(text.contains("end of a gRPC call: not told"), "{text}");
    }
}
