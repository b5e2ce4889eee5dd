//! `tidegate filter run`: a gateway with an echo behind it and the filter in front, and on the screen what the filter
//! does with each request.

mod echo;
mod guest_log;
mod show;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tidegate_proxy::Recorded;
use tokio::task::spawn_local;

use super::config;
use super::screen::{self, Paint, Tint};
use crate::apply::Workshop;
use crate::demo::free_port;
use crate::run::{self, Control, Started};
use crate::signals::Signals;
use crate::status::{PluginState, Status};

/// `tidegate filter run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The module; it is watched.
    module: PathBuf,
    /// The filter's configuration: JSON, or a file, which is watched.
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    /// Where the gateway listens. Default: the next free port from 8080 on.
    #[arg(long)]
    port: Option<u16>,
    /// Which of the module's root contexts, where it registers several or none without a name.
    #[arg(long, value_name = "NAME", default_value = "")]
    root_id: String,
    /// The filter is for connections of bytes, not for requests.
    #[arg(long)]
    tcp: bool,
    /// An upstream that the filter calls, such as `auth=127.0.0.1:9000`; may be repeated. `echo` is always there,
    /// by that name with a server of your own in its place.
    #[arg(long = "upstream", value_name = "NAME=HOST:PORT")]
    upstreams: Vec<String>,
}

/// Runs a filter until a signal ends it.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let module =
        args.module.canonicalize().with_context(|| format!("cannot read {}", args.module.display()))?;
    let paint = Paint::of_stdout();
    guest_log::start(paint);
    run::on_control_thread(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let echo = echo::start(args.tcp).await.context("the echo cannot start")?;
        let folder = Folder::create()?;
        let port = args.port.unwrap_or_else(|| free_port(([127, 0, 0, 1], PORT).into()).port());
        let document = document(args, &module, port, echo)?;
        let path = folder.0.join("run.json");
        std::fs::write(&path, format!("{document:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;

        let (sink, records) = sync_channel(WAITING);
        let workshop = Workshop { records: Some(sink), ..Workshop::open()? };
        let mut control = match Control::start_with(path, workshop).await? {
            Started::Running(control) => control,
            Started::Refused(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("the filter cannot be run:\n{}", lines.join("\n"));
            }
        };
        let address = control.addresses(LISTENER).first().copied().context("the gateway listens nowhere")?;
        greet(args, address, paint);
        let screen =
            std::thread::Builder::new().name("screen".into()).spawn(move || show(&records, paint))?;
        let status = control.status();
        tell_state(&status, paint);
        spawn_local(tell_reloads(Rc::clone(&status), args.module.clone(), paint));
        let code = control.serve(&mut signals, DRAIN).await;
        // The screen has shown all that came before.
        drop(control);
        if screen.is_finished() {
            screen::show("");
        }
        code
    })
}

/// Shows records as they come.
fn show(records: &Receiver<Recorded>, paint: Paint) {
    while let Ok(record) = records.recv() {
        screen::show(show::record(&record, paint).trim_end());
    }
}

fn greet(args: &RunArgs, address: SocketAddr, paint: Paint) {
    let module = args.module.display();
    screen::show(&format!("{module} in front of an echo, on {address}"));
    screen::show(&paint.tint(Tint::Dim, "the module and the configuration are watched; Ctrl-C ends"));
    let attempt = match args.tcp {
        true => format!("printf 'hello\\n' | nc -q 1 {} {}", address.ip(), address.port()),
        false => format!("curl -i http://{address}/"),
    };
    screen::show(&format!("\n  {attempt}\n"));
}

/// What there is to tell of the filter as it runs now; whether it does.
fn tell_state(status: &Status, paint: Paint) -> bool {
    let current = status.current.borrow();
    let states = current.iter().flat_map(|current| current.plugins.values());
    let mut runs = true;
    for state in states {
        if let PluginState::Failed { why } = state {
            runs = false;
            screen::show(&format!(
                "{}\n  {why}",
                paint.tint(Tint::Bad, "the filter cannot be loaded, requests are refused:")
            ));
        }
    }
    for warning in current.iter().flat_map(|current| &current.warnings) {
        screen::show(&format!("{} {}", paint.tint(Tint::Odd, "warning"), warning.message));
    }
    runs
}

/// Tells of each reload, and of each that was refused.
async fn tell_reloads(status: Rc<Status>, module: PathBuf, paint: Paint) {
    let mut settled = status.settled.subscribe();
    let mut published = status.published.get();
    let mut rejections = status.rejections.get();
    while settled.changed().await.is_ok() {
        if status.published.get() > published {
            published = status.published.get();
            if tell_state(&status, paint) {
                screen::show(&format!("{} {}", paint.tint(Tint::Good, "reloaded"), module.display()));
            }
        } else if status.rejections.get() > rejections && status.rejected.borrow().is_some() {
            rejections = status.rejections.get();
            screen::show(&paint.tint(Tint::Bad, "not reloaded, the version before serves:"));
            for problem in status.rejected.borrow().iter().flat_map(|rejected| &rejected.problems) {
                screen::show(&format!("  {}", problem.message));
            }
        }
    }
}

/// What the gateway is to do.
fn document(args: &RunArgs, module: &Path, port: u16, echo: SocketAddr) -> Result<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut upstreams = json!({ ECHO: { "servers": [echo.to_string()] } });
    for written in &args.upstreams {
        let Some((name, server)) = written.split_once('=') else {
            bail!("{written:?} is no upstream; wanted NAME=HOST:PORT, for instance auth=127.0.0.1:9000");
        };
        upstreams[name] = json!({ "servers": [server] });
    }
    let names: Vec<&String> = upstreams.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    let mut plugin =
        json!({ "module": module, "rootId": args.root_id, "capabilities": { "upstreams": names } });
    if let Some(config) = &args.config {
        plugin["config"] = configuration(config)?;
    }
    let rule = json!({ "filters": [{ "plugin": NAME }], "forward": [{ "upstream": ECHO }] });
    Ok(json!({
        "listeners": [{
            "name": LISTENER,
            "address": address.to_string(),
            "protocol": if args.tcp { "tcp" } else { "http" },
        }],
        "plugins": { NAME: plugin },
        "routes": [{ "name": "all", "listeners": [LISTENER], "rules": [rule] }],
        "upstreams": upstreams,
    }))
}

/// A file by its path, else JSON, as the document has it.
fn configuration(written: &str) -> Result<Value> {
    let path = Path::new(written);
    if path.is_file() {
        let path = path.canonicalize().with_context(|| format!("cannot read {written}"))?;
        return Ok(Value::from(format!("${{file:{}}}", path.display())));
    }
    config::inline(written)
}

/// A folder for the configuration, removed with its owner.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("tidegate-run-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it; the system clears its temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LISTENER: &str = "run";
const NAME: &str = "filter";
const ECHO: &str = "echo";
const PORT: u16 = 8080;
const DRAIN: Duration = Duration::from_secs(2);

/// Records that may wait for the screen.
const WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> RunArgs {
        RunArgs {
            module: "a.wasm".into(),
            config: None,
            port: None,
            root_id: String::new(),
            tcp: false,
            upstreams: Vec::new(),
        }
    }

    struct NoSecrets;

    impl tidegate_config::Secrets for NoSecrets {
        fn env(&self, _: &str) -> Result<String, String> {
            Err("there are none".to_owned())
        }

        fn file(&self, _: &Path) -> Result<String, String> {
            Err("there are none".to_owned())
        }
    }

    #[test]
    fn what_is_written_becomes_a_document() {
        let echo = SocketAddr::from(([127, 0, 0, 1], 9));
        for tcp in [false, true] {
            let config = Some(r#"{ "a": 1 }"#.to_owned());
            let args = RunArgs { config, tcp, upstreams: vec!["auth=127.0.0.1:7".to_owned()], ..args() };
            let document = document(&args, Path::new("/a.wasm"), 80, echo).expect("a document");
            assert_eq!(document["plugins"][NAME]["config"]["a"], 1);
            assert_eq!(document["plugins"][NAME]["capabilities"]["upstreams"], json!(["echo", "auth"]));
            let text = document.to_string();
            let text = tidegate_config::SourceText { name: "run.json".to_owned(), text };
            let loaded = tidegate_config::load(&[text], Path::new("/"), &NoSecrets);
            assert!(loaded.is_ok(), "{:?}", loaded.err().map(|problems| problems.to_string()));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        let echo = SocketAddr::from(([127, 0, 0, 1], 9));
        let wrong = RunArgs { config: Some("{ a }".to_owned()), ..args() };
        let why = document(&wrong, Path::new("/a.wasm"), 80, echo).expect_err("no JSON").to_string();
        assert!(why.contains("{ a }"), "{why}");
        let wrong = RunArgs { upstreams: vec!["auth".to_owned()], ..args() };
        let why = document(&wrong, Path::new("/a.wasm"), 80, echo).expect_err("no upstream").to_string();
        assert!(why.contains("NAME=HOST:PORT"), "{why}");
    }
}
