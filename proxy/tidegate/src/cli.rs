//! The command line: what can be asked of the binary.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::credentials::Credentials;
use crate::diff::{self, DiffArgs};
use crate::filter::{self, FilterCommand};
use crate::tap::{self, TapArgs};
use crate::{demo, inspect, run, top, trace};

/// A gateway that routes HTTP and is extended by WebAssembly filters.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; the configuration and every file it names are watched.
    Run(RunArgs),
    /// Tell every problem of a configuration; exit 1 when there is one.
    Check {
        /// The configuration, or a folder of them.
        file: PathBuf,
        /// Tells each problem; else the first 50, and how many more there are.
        #[arg(long)]
        all: bool,
    },
    /// Tell what would become of a request or of a connection, and why the other rules lost.
    Explain(Box<ExplainArgs>),
    /// Run a gateway with sample upstreams and a sample configuration, nothing to prepare.
    Demo(DemoArgs),
    /// Show what a running gateway does, in the terminal.
    Top(TopArgs),
    /// Show live requests of a running gateway with the path that each took.
    Tap(Box<TapArgs>),
    /// Tell which requests a candidate configuration would treat otherwise than a running gateway does.
    Diff(Box<DiffArgs>),
    /// Write, try and publish filters; look at, sign and verify modules.
    #[command(subcommand)]
    Filter(FilterCommand),
    /// Print the JSON Schema of the configuration.
    Schema,
}

/// `tidegate run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration, or a folder of them.
    file: PathBuf,
    /// How long requests in flight may take after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain_seconds: u32,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// How the gateway's own log is written to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or by module as in `info,tidegate_proxy=debug`.
    #[arg(long, value_name = "LEVELS", env = "TIDEGATE_LOG", default_value = "info")]
    log: String,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `tidegate explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The configuration or a folder of them, unless `--admin` is there; the method, such as GET, none for a connection; the
    /// whole address, such as `https://shop.example.com/orders?x=1` or `tcp://127.0.0.1:5432`.
    #[arg(required = true, num_args = 1..=3, value_names = ["FILE", "METHOD", "URL"])]
    pub(crate) words: Vec<String>,
    /// Asks a running gateway, whose admin API is there, such as `http://127.0.0.1:9900` or `unix:/run/tidegate.sock`.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
    /// A request header as `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Where the connection comes from, as `10.0.0.1`; with `x-forwarded-for` it tells who is taken for the client.
    #[arg(long, value_name = "IP")]
    pub(crate) client_address: Option<IpAddr>,
}

/// `tidegate top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Where the gateway's admin API is, or `unix:` and the path of its socket.
    #[arg(default_value = "http://127.0.0.1:9900")]
    pub(crate) admin: String,
    /// The same, as other commands take it.
    #[arg(long = "admin", value_name = "URL", conflicts_with = "admin")]
    pub(crate) named_admin: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

impl TopArgs {
    /// Where the admin API is.
    pub(crate) fn admin(&self) -> &str {
        self.named_admin.as_deref().unwrap_or(&self.admin)
    }
}

/// `tidegate demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Try everything that the demo shows, tell how it went, and end.
    #[arg(long)]
    pub(crate) check: bool,
    /// Where the configuration is written; default: a new folder among the system's temporary files.
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    /// Where the gateway listens; the next free port where it is taken.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) address: SocketAddr,
    /// Where the admin API listens; any free port where it is taken.
    #[arg(long, default_value = "127.0.0.1:9900")]
    pub(crate) admin: SocketAddr,
}

impl Cli {
    /// Does what was asked; the exit code tells how it went.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Run(args) => {
                trace::start(args.log.log_format, &args.log.log)?;
                run::run(args.file, Duration::from_secs(args.drain_seconds.into()))
            }
            Command::Check { file, all } => inspect::check(&file, all),
            Command::Explain(args) => inspect::explain(&args),
            Command::Top(args) => top::run(&args),
            Command::Diff(args) => diff::run(&args),
            Command::Tap(args) => tap::run(&args),
            Command::Demo(args) => {
                // The demo speaks for itself; the check shows nothing but its results.
                trace::start(LogFormat::Text, if args.check { "off" } else { "warn,tidegate::run=info" })?;
                demo::demo(&args)
            }
            Command::Filter(command) => filter::run(command),
            Command::Schema => inspect::schema(),
        }
    }
}
