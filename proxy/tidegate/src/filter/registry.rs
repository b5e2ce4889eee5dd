//! `tidegate filter push` and `tidegate filter pull`: modules into registries and out of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tidegate_config::is_local_registry;
use tidegate_config::plan::{Fetch, OciReference};

use super::build::short;
use super::screen::show;
use crate::fetch;
use crate::module::commands::replace;
use crate::module::inspect::{Report, size};
use crate::run;

/// What both need to know of a registry.
#[derive(Debug, Args)]
struct RegistryArgs {
    /// Docker configuration file with the registry's credentials. Default: `config.json` in `$DOCKER_CONFIG` or
    /// `~/.docker`, if it is there.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// PEM file of trusted authorities. Default: the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The registry speaks HTTP without TLS. Default: only where it is on this machine.
    #[arg(long)]
    plain_http: bool,
}

/// `tidegate filter push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The module.
    module: PathBuf,
    /// Where to, such as `oci://ghcr.io/team/geo-guard:1.2`.
    reference: String,
    /// Name and value that the manifest carries, such as `org.opencontainers.image.source=https://…`; may be repeated.
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// `tidegate filter pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Where from, such as `oci://ghcr.io/team/geo-guard:1.2`.
    reference: String,
    /// Where the module is written. Default: the repository's last part with `.wasm`.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pushes a module.
pub(crate) fn push(args: &PushArgs) -> Result<ExitCode> {
    let shown = args.module.display();
    let bytes = fs::read(&args.module).with_context(|| format!("cannot read {shown}"))?;
    let report = Report::of(&bytes).map_err(|why| anyhow!("{shown}: {why}"))?;
    if let Some(why) = report.refused {
        bail!("{shown}: Tidegate does not take it, so it is not pushed: {why}");
    }
    let (reference, fetch) = target(&args.reference, &args.registry)?;
    if reference.digest.is_some() {
        bail!("{:?} names a digest, which is not known before the push; name a tag", args.reference);
    }
    let mut annotations = Vec::new();
    for written in &args.annotations {
        let Some((name, value)) = written.split_once('=') else {
            bail!("{written:?} is no annotation; wanted NAME=VALUE");
        };
        annotations.push((name.to_owned(), value.to_owned()));
    }
    let pushed = run::on_control_thread(async {
        fetch::push(&reference, &fetch, &bytes, annotations).await.map_err(|why| anyhow!(why))
    })?;
    let tag = reference.tag.as_deref().unwrap_or("latest");
    show(&format!("oci://{}/{}:{tag}", reference.registry, reference.repository));
    show(&format!("{:<10} {pushed}", "manifest"));
    show(&format!("{:<10} {}", "sha256", report.sha256));
    show(&format!("{:<10} {}", "size", size(bytes.len())));
    Ok(ExitCode::SUCCESS)
}

/// Pulls a module.
pub(crate) fn pull(args: &PullArgs) -> Result<ExitCode> {
    let (reference, fetch) = target(&args.reference, &args.registry)?;
    let bytes =
        run::on_control_thread(async { fetch::pull(&reference, &fetch).await.map_err(|why| anyhow!(why)) })?;
    let name = reference.repository.rsplit('/').next().unwrap_or("module");
    let output = args.output.clone().unwrap_or_else(|| Path::new(name).with_added_extension("wasm"));
    replace(&output, &bytes)?;
    let report = Report::of(&bytes).map_err(|why| anyhow!("{}: {why}", output.display()))?;
    show(&format!("{}", short(&output).display()));
    show(&format!("{:<10} {}", "sha256", report.sha256));
    show(&format!("{:<10} {}", "size", size(bytes.len())));
    Ok(ExitCode::SUCCESS)
}

fn target(written: &str, args: &RegistryArgs) -> Result<(OciReference, Fetch)> {
    let reference = tidegate_config::oci_reference(written).map_err(|why| anyhow!(why))?;
    let fetch = Fetch {
        ca: args.ca.clone(),
        pull_secret: args.credentials.clone(),
        plain_http: args.plain_http || args.ca.is_none() && is_local_registry(&reference.registry),
        ..Fetch::default()
    };
    Ok((reference, fetch))
}
