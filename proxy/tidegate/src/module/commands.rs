//! `tidegate filter keygen|sign|verify|manifest`: keys, signatures and manifests of modules.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Subcommand;

use super::manifest::Manifest;
use super::signature::{self, PrivateKey, PublicKey};

/// What can be done with a module's file.
#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Make a pair of keys: NAME.key, which signs, and NAME.pub, which is trusted.
    Keygen {
        /// Files to make, without their endings.
        name: PathBuf,
    },
    /// Sign a module. Other keys' signatures stay.
    Sign {
        /// The module.
        module: PathBuf,
        /// PEM file of the private ed25519 key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the signed module is written; default: in its place.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Tell whether a module is signed by a trusted key; exit 1 when it is not.
    Verify {
        /// The module.
        module: PathBuf,
        /// PEM file of public ed25519 keys.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Put a manifest into a module. Signatures become void: sign afterwards.
    Manifest {
        /// The module.
        module: PathBuf,
        /// JSON file of the manifest.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Where the module is written; default: in its place.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Does it; the exit code tells how it went.
pub(crate) fn run(command: ModuleCommand) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match command {
        ModuleCommand::Keygen { name } => {
            let keys = signature::keygen().map_err(|why| anyhow!(why))?;
            let (private, public) = (name.with_added_extension("key"), name.with_added_extension("pub"));
            create(&private, keys.private.as_bytes(), 0o600)?;
            create(&public, keys.public.as_bytes(), 0o644)?;
            writeln!(out, "key {}: {} signs, {} is trusted", keys.id, private.display(), public.display())?;
        }
        ModuleCommand::Sign { module, key, output } => {
            let key = PrivateKey::read(&read(&key)?).map_err(|why| anyhow!("{}: {why}", key.display()))?;
            let signed = key.sign(&read(&module)?).map_err(|why| anyhow!("{}: {why}", module.display()))?;
            let output = output.unwrap_or(module);
            replace(&output, &signed)?;
            writeln!(out, "{}: signed by {}", output.display(), key.id())?;
        }
        ModuleCommand::Verify { module, key } => {
            let keys =
                PublicKey::read_all(&read(&key)?).map_err(|why| anyhow!("{}: {why}", key.display()))?;
            match signature::verify(&read(&module)?, &keys) {
                Ok(id) => writeln!(out, "{}: signed by {id}", module.display())?,
                Err(why) => {
                    writeln!(out, "{}: {why}", module.display())?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        ModuleCommand::Manifest { module, from, output } => {
            let manifest =
                Manifest::parse(&read(&from)?).map_err(|why| anyhow!("{}: {why}", from.display()))?;
            let with = manifest.put(&read(&module)?).map_err(|why| anyhow!("{}: {why}", module.display()))?;
            let output = output.unwrap_or(module);
            replace(&output, &with)?;
            writeln!(out, "{}: has the manifest of {}", output.display(), from.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes a file that must not be there yet: a key that is gone cannot be made again.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a file under another name first, so that a gateway that watches it never sees a part of it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_added_extension("new");
    let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
