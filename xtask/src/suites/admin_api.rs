//! The admin API against its own description: Schemathesis asks a running gateway whatever `openapi.json` allows, and much
//! that it does not.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Ran, python};
use crate::shell;
use crate::{Outcome, filters};

const PACKAGE: &str = "schemathesis==4.32.5";

/// How many requests are made up for each operation, besides those for each rule of its description.
const MADE_UP: &str = "50";
const MADE_UP_IN_CI: &str = "5";

/// Runs the suite; the arguments are Schemathesis' own.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    ask(&install()?, MADE_UP, arguments)
}

/// Less of the same; a machine on which Schemathesis cannot be had does not run it.
pub(crate) fn where_it_can() -> Outcome<Ran> {
    match install() {
        Ok(program) => ask(&program, MADE_UP_IN_CI, &[]).map(Ran::Passed),
        Err(problem) => Ok(Ran::Not(format!("Schemathesis cannot be installed here: {problem}"))),
    }
}

fn ask(program: &Path, made_up: &str, arguments: &[String]) -> Outcome<bool> {
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate"]))?;
    let source = shell::root().join("conformance/suites/admin-api");
    let gateway = Gateway::start(&source.join("tidegate.yaml"))?;
    let url = format!("http://{}", gateway.address);
    let mut command = Command::new(program);
    command.arg("--config-file").arg(source.join("schemathesis.toml"));
    command.arg("run").arg(format!("{url}/openapi.json")).args(["--url", &url, "--max-examples", made_up]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]).args(arguments);
    // What it keeps between runs stays out of the sources.
    let folder = shell::root().join("target/admin-api");
    std::fs::create_dir_all(&folder)?;
    shell::passes(command.current_dir(folder))
}

/// As the configuration has it.
const TOKEN: &str = "of-the-admin-api-suite";

fn install() -> Outcome<PathBuf> {
    let has = |folder: &Path| Some(folder.join("bin/schemathesis")).filter(|program| program.is_file());
    python::environment("schemathesis", PACKAGE, has).map(|(_, program)| program)
}

/// The gateway's process, ended with its owner.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(configuration: &Path) -> Outcome<Self> {
        let mut command = Command::new(shell::target_folder().join("debug/tidegate"));
        command.arg("run").arg(configuration).args(["--log-format", "json"]);
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take();
        let mut gateway = Self { child, address: String::new() };
        let mut lines = BufReader::new(log.ok_or("no output to read")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains("admin API listening")
                && let Some((_, rest)) = line.split_once("\"address\":\"")
            {
                gateway.address = rest.split('"').next().unwrap_or_default().to_owned();
            }
            if line.contains("configuration live on all workers") {
                // Who logs into a closed pipe ends.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(gateway);
            }
        }
        Err("the gateway ended before it served; try `tidegate check` with the suite's configuration".into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has ended already is none to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
