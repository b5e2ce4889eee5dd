//! `tidegate tap`: live requests of a running gateway with the path that each took, by its admin API.

mod text;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use serde_json::Value;

use crate::credentials::{Asking, Credentials};
use crate::fetch::Call;
use crate::run::on_control_thread;
use text::Paint;

/// `tidegate tap`.
#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// Of one route: its name, or `route/rule`.
    #[arg(long)]
    route: Option<String>,
    /// Answered so: `404`, `5xx`, `200-204`, several with commas; 0 for those without an answer.
    #[arg(long)]
    status: Option<String>,
    /// By one listener.
    #[arg(long)]
    listener: Option<String>,
    /// For which an upstream was asked.
    #[arg(long)]
    upstream: Option<String>,
    /// That met a plugin.
    #[arg(long)]
    plugin: Option<String>,
    /// With this method.
    #[arg(long)]
    method: Option<String>,
    /// Whose path begins so.
    #[arg(long)]
    path: Option<String>,
    /// For one host, or with `*.example.com` for all below it.
    #[arg(long)]
    host: Option<String>,
    /// With this field: `name`, or `name: value`; may be repeated.
    #[arg(short = 'H', long)]
    header: Vec<String>,
    /// That failed for this reason; `any` for all that failed.
    #[arg(long)]
    reason: Option<String>,
    /// That took at least this long, such as `500ms`.
    #[arg(long, value_name = "TIME")]
    slower_than: Option<String>,
    /// How many of them are looked at.
    #[arg(long, allow_hyphen_values = true)]
    percent: Option<String>,
    /// Requests until the end [default: 100].
    #[arg(long)]
    limit: Option<String>,
    /// Requests in a second; more are dropped and counted [default: 100].
    #[arg(long)]
    rate: Option<String>,
    /// How long, such as `30s` [default: 5m].
    #[arg(long)]
    time: Option<String>,
    /// First bytes of each body, where `admin.tap.bodies` allows it.
    #[arg(long, value_name = "BYTES")]
    body: Option<String>,
    /// A JSON object a line, as the admin API gives it.
    #[arg(long)]
    json: bool,
    /// Where the gateway's admin API is, or `unix:` and the path of its socket.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: String,
    #[command(flatten)]
    credentials: Credentials,
}

impl TapArgs {
    /// The admin API's parameters; it says what is wrong with them.
    fn query(&self) -> String {
        let own = [
            ("listener", &self.listener),
            ("route", &self.route),
            ("upstream", &self.upstream),
            ("plugin", &self.plugin),
            ("status", &self.status),
            ("method", &self.method),
            ("path", &self.path),
            ("host", &self.host),
            ("reason", &self.reason),
            ("slowerThan", &self.slower_than),
            ("percent", &self.percent),
            ("limit", &self.limit),
            ("rate", &self.rate),
            ("time", &self.time),
            ("body", &self.body),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let all = own.chain(self.header.iter().map(|header| ("header", header)));
        all.map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
    }
}

/// A value as a query holds it.
fn escaped(value: &str) -> String {
    let escaped = value.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' | b',' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    escaped.collect()
}

/// Shows requests until there are enough, or the time is over.
pub(crate) fn run(args: &TapArgs) -> Result<ExitCode> {
    let base = args.admin.trim_end_matches('/');
    let path = format!("/tap?{}", args.query());
    let Asking { client, url, headers } = args.credentials.asking(base, &path)?;
    on_control_thread(async move {
        let call = Call { method: Method::GET, url: &url, headers, body: Default::default(), limit: LARGEST };
        let mut answer = client.begin(call).await.map_err(anyhow::Error::msg)?;
        if !answer.status.is_success() {
            let why = answer.whole(LARGEST).await.map_err(anyhow::Error::msg)?;
            bail!("{base}/tap: answered {}: {}", answer.status, String::from_utf8_lossy(&why).trim());
        }
        // Whoever reads the output is not disturbed.
        writeln!(stderr(), "waiting for requests").context("standard error is closed")?;
        let color = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut shown = Shown { paint: Paint { color }, json: args.json, rest: Vec::new(), ended: false };
        while let Some(piece) = answer.next().await.map_err(anyhow::Error::msg)? {
            shown.take(&piece)?;
        }
        if !shown.ended {
            bail!("the gateway ended the tap before its time");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What has come so far.
struct Shown {
    paint: Paint,
    json: bool,
    /// The begin of a line.
    rest: Vec<u8>,
    ended: bool,
}

impl Shown {
    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.show(&line)?;
        }
        if self.rest.len() > LARGEST {
            bail!("a line of the answer is longer than {LARGEST} bytes");
        }
        Ok(())
    }

    fn show(&mut self, line: &[u8]) -> Result<()> {
        let value: Value = serde_json::from_slice(line).context("a line of the answer is no JSON")?;
        self.ended = value.get("end").is_some();
        let mut out = stdout().lock();
        let written = match (self.json, self.ended) {
            (true, _) => out.write_all(line),
            (false, true) => writeln!(stderr(), "{}", text::end(&value)),
            (false, false) => out.write_all(text::request(&value, self.paint).as_bytes()),
        };
        written.and_then(|()| out.flush()).context("the output is closed")
    }
}

/// Bytes of a line at most.
const LARGEST: usize = 16 << 20;
