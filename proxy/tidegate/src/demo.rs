//! `tidegate demo`: a gateway with sample upstreams and a sample configuration, nothing to prepare. With `--check` it
//! tries everything itself.

mod check;
mod client;
mod folder;
mod upstreams;
mod websocket;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::builtin;
use crate::cli::DemoArgs;
use crate::run::{self, Control, Started};
use crate::signals::Signals;
use check::Check;
use client::SAMPLE_KEY;
use folder::{Addresses, Folder, KEY};
use upstreams::Upstreams;
pub(crate) use upstreams::headers_as_json;

/// Runs the demo.
pub(crate) fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let Some(filter) = builtin::module("api-key") else {
        bail!("this binary was built without the filters that the demo shows; run `cargo xtask demo`");
    };
    run::on_control_thread(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let upstreams = Upstreams::start().await.context("the sample upstreams cannot start")?;
        let (gateway, admin) = match args.check {
            true => (any_port(args.address), any_port(args.admin)),
            false => (free_port(args.address), if_free(args.admin).unwrap_or_else(|| any_port(args.admin))),
        };
        let folder = Rc::new(Folder::create(args.dir.as_deref())?);
        folder.write(&Addresses { gateway, admin, upstreams: &upstreams }, filter)?;
        let mut control = match Control::start(folder.configuration()).await? {
            Started::Running(control) => control,
            Started::Refused(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("the demo's configuration was refused:\n{}", lines.join("\n"));
            }
        };
        let gateway = control.addresses(LISTENER).first().copied().context("the gateway listens nowhere")?;
        let admin = control.admin_address().context("the admin API listens nowhere")?;
        if !args.check {
            print!("{}", guide(gateway, admin, &folder));
            return control.serve(&mut signals, DRAIN).await;
        }
        let check = Check { gateway, admin, folder, status: control.status() };
        tokio::select! {
            well = check.run() => Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            code = control.serve(&mut signals, DRAIN) => code,
        }
    })
}

/// What the user may try.
fn guide(gateway: SocketAddr, admin: SocketAddr, folder: &Folder) -> String {
    let (file, keys) = (folder.configuration(), folder.keys());
    format!(
        "\
The gateway listens on http://{gateway}, the admin API on http://{admin} (/config, /metrics, /readyz).

Try, in another terminal:

  allowed     curl -i -H 'x-api-key: {KEY}' http://{gateway}/orders
  refused     curl -i http://{gateway}/orders
  canary      for i in $(seq 50); do curl -s http://{gateway}/canary; done | grep '\"app\"' | sort | uniq -c
  rewritten   curl -s 'http://{gateway}/old/shoes?size=42'
  websocket   curl -i -N --http1.1 -m 2 -H 'connection: upgrade' -H 'upgrade: websocket' \\
                -H 'sec-websocket-version: 13' -H 'sec-websocket-key: {SAMPLE_KEY}' --output - http://{gateway}/ws

Then edit, and try again; no restart is needed:

  {keys}
      add a line with another key: it is accepted at once
  {file}
      change the weights of the rule \"canary\", or break the file: what is wrong is told here, and the last good one runs on

Ctrl-C ends the demo.
",
        keys = keys.display(),
        file = file.display(),
    )
}

fn any_port(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}

/// The first free port from the wanted one on; any where the next ones are all taken.
pub(crate) fn free_port(wanted: SocketAddr) -> SocketAddr {
    let ports = wanted.port()..=wanted.port().saturating_add(PORTS_TRIED);
    let found = ports.into_iter().find_map(|port| if_free(SocketAddr::new(wanted.ip(), port)));
    found.unwrap_or_else(|| any_port(wanted))
}

fn if_free(address: SocketAddr) -> Option<SocketAddr> {
    TcpListener::bind(address).ok().map(|_| address)
}

const LISTENER: &str = "web";
const PORTS_TRIED: u16 = 20;
const DRAIN: Duration = Duration::from_secs(5);
