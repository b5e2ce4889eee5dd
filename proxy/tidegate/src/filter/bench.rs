//! `tidegate filter bench`: what a filter costs, callback by callback, and what has changed since the last time.

mod connection;
mod course;
mod exchange;
mod table;
mod walk;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use tidegate_wasm::{Capabilities, Engine, HeadersPause, Instance, Limits, Plugin, PluginSpec, Shared};

use super::config;
use super::screen::Paint;
use crate::apply::Workshop;
use crate::assets::{digest, hex};
use crate::module::inspect::size;
use connection::Connection;
use course::Course;
use exchange::Exchange;

/// `tidegate filter bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The module.
    module: PathBuf,
    /// The filter's configuration: JSON, or a file.
    #[arg(long, value_name = "JSON|FILE", default_value = "")]
    config: String,
    /// Which of the module's root contexts, where it registers several or none without a name.
    #[arg(long, value_name = "NAME", default_value = "")]
    root_id: String,
    /// Path of the request.
    #[arg(long, default_value = "/orders/1234?currency=EUR")]
    path: String,
    /// A further field of the request, as `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Measure a connection of bytes; so is a filter that has no callback for requests.
    #[arg(long)]
    tcp: bool,
    /// What the client of a connection sends first.
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// Bytes of the request's body and of the response's; or what both sides of a connection send. At most 64 MiB, as of
    /// what a plugin may hold.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = value_parser!(u32).range(..=64 << 20))]
    body: u32,
    /// Requests, or connections, of one run, of which there are ten.
    #[arg(long, default_value_t = 2000, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What was measured; kept beside the module for the next time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    /// Digest of the module.
    sha256: String,
    /// Of the file.
    bytes: usize,
    /// Of the guest, after all requests.
    memory: usize,
    /// What the request was: only with the same one figures can be compared.
    request: String,
    /// What the callbacks of it are together.
    #[serde(default)]
    whole: String,
    callbacks: Vec<Figures>,
}

/// One callback.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Figures {
    name: String,
    instructions: u64,
    nanoseconds: f64,
    calls: u64,
    copied: u64,
}

/// Measures a module and compares it with the last time.
pub(crate) fn bench(args: &BenchArgs) -> Result<ExitCode> {
    let shown = args.module.display();
    let bytes = fs::read(&args.module).with_context(|| format!("cannot read {shown}"))?;
    let config = config::bytes(&args.config)?;
    let engine = Engine::measuring()?;
    let counted = plugin(&engine, &bytes, (&config, &args.root_id)).with_context(|| shown.to_string())?;
    let course = course(args, &counted)?;
    let request = format!("{course} {}", hex(&digest(&config)));
    let mut measured = Measured {
        sha256: hex(&digest(&bytes)),
        bytes: bytes.len(),
        request,
        whole: course.whole().to_owned(),
        ..Measured::default()
    };
    measured.callbacks = count(&counted, &course).with_context(|| shown.to_string())?;
    let workshop = Workshop::open()?;
    let plugin =
        plugin(&workshop.engine, &bytes, (&config, &args.root_id)).with_context(|| shown.to_string())?;
    measured.memory = workshop.with_time(|| time(&plugin, &course, args.rounds, &mut measured.callbacks))?;

    let last = args.module.with_extension("bench.json");
    let before: Option<Measured> = fs::read(&last).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let before = before.filter(|before| before.request == measured.request);
    let mut out = io::stdout().lock();
    writeln!(out, "{shown}  {}, {} KiB of memory", size(measured.bytes), measured.memory >> 10)?;
    writeln!(out, "{course}\n")?;
    table::write(&mut out, &measured, before.as_ref(), Paint::of_stdout())?;
    let text = serde_json::to_string_pretty(&measured)?;
    fs::write(&last, text).with_context(|| format!("cannot write {}", last.display()))?;
    let compared = match &before {
        Some(before) if before.sha256 == measured.sha256 => {
            "compared with the last run of the same module in"
        }
        Some(_) => "compared with the version before in",
        None => "kept for the next run in",
    };
    writeln!(out, "\n{compared} {}", last.display())?;
    Ok(ExitCode::SUCCESS)
}

fn plugin(engine: &Engine, module: &[u8], (config, root_id): (&[u8], &str)) -> Result<Arc<Plugin>> {
    let spec = PluginSpec {
        vm_id: String::new(),
        name: "bench".to_owned(),
        root_id: root_id.to_owned(),
        module: engine.compile(module)?,
        config: config.to_vec().into(),
        vm_config: bytes::Bytes::new(),
        environment: Vec::new(),
        limits: Limits::default(),
        callable: UPSTREAMS.map(str::to_owned).to_vec(),
        capabilities: Capabilities::default(),
        on_headers_pause: HeadersPause::default(),
    };
    Ok(Arc::new(Plugin::build(engine, spec, Arc::new(Shared::new()))?))
}

/// What the module is for; a module by other SDKs has callbacks for all.
fn course(args: &BenchArgs, plugin: &Plugin) -> Result<Course> {
    match (args.tcp, plugin.serves_requests(), plugin.serves_connections()) {
        (false, true, _) => {
            Ok(Course::of_request(Exchange::new(&args.path, &args.headers, args.body as usize)?))
        }
        (_, _, true) => Ok(Course::of_connection(Connection::new(&args.data, args.body as usize))),
        (true, ..) => bail!("the module has no callback for connections, which --tcp measures"),
        _ => bail!("the module has no callback for requests or connections, and others are not measured"),
    }
}

/// Instructions, calls and bytes; exact. The second request counts: the first one may set things up.
fn count(plugin: &Arc<Plugin>, course: &Course) -> Result<Vec<Figures>> {
    let mut instance =
        Instance::start(plugin, course.now()).map_err(|why| anyhow!("it does not start: {why}"))?;
    let started = instance.usage();
    let mut figures: Vec<Figures> = course
        .names()
        .iter()
        .map(|name| Figures { name: (*name).to_owned(), ..Figures::default() })
        .collect();
    for _ in 0..2 {
        figures
            .iter_mut()
            .for_each(|figures| *figures = Figures { name: figures.name.clone(), ..Figures::default() });
        course.run(&mut instance, &mut |at, instance, call| {
            let before = instance.usage();
            call(instance);
            let used = instance.usage() - before;
            if let Some(figures) = figures.get_mut(at) {
                figures.instructions += used.instructions;
                figures.calls += used.calls;
                figures.copied += used.copied;
            }
        })?;
    }
    figures.insert(
        0,
        Figures {
            name: START.to_owned(),
            instructions: started.instructions,
            nanoseconds: 0.0,
            calls: started.calls,
            copied: started.copied,
        },
    );
    Ok(figures)
}

/// Nanoseconds: the least of ten runs, since other work on the machine can only add. Returns the memory at the end.
fn time(plugin: &Arc<Plugin>, course: &Course, rounds: u32, figures: &mut [Figures]) -> Result<usize> {
    let clock = (0..1000).map(|_| since(std::time::Instant::now())).fold(f64::MAX, f64::min);
    let mut least = vec![f64::MAX; figures.len()];
    let mut memory = 0;
    for _ in 0..RUNS {
        let began = std::time::Instant::now();
        let mut instance =
            Instance::start(plugin, course.now()).map_err(|why| anyhow!("it does not start: {why}"))?;
        let mut sums = vec![0.0; figures.len()];
        if let Some(start) = sums.first_mut() {
            *start = since(began) * f64::from(rounds);
        }
        for _ in 0..rounds {
            course.run(&mut instance, &mut |at, instance, call| {
                let began = std::time::Instant::now();
                call(instance);
                if let Some(sum) = sums.get_mut(at + 1) {
                    *sum += (since(began) - clock).max(0.0);
                }
            })?;
        }
        for (least, sum) in least.iter_mut().zip(&sums) {
            *least = least.min(sum / f64::from(rounds));
        }
        memory = instance.memory_bytes();
    }
    for (figures, least) in figures.iter_mut().zip(least) {
        figures.nanoseconds = least;
    }
    Ok(memory)
}

fn since(began: std::time::Instant) -> f64 {
    began.elapsed().as_nanos() as f64
}

const START: &str = "start";
const RUNS: u32 = 10;

/// What the filter may call; each call is answered at once.
const UPSTREAMS: [&str; 5] = ["auth", "echo", "upstream", "backend", "app"];
