//! `cargo xtask first-filter`: the way of someone who writes a first filter, typed by a machine with a watch: new, build,
//! run, curl. With warm caches it must take less than a minute.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::shell::{self, say};
use crate::sizes::tidegate;
use crate::{filters, tools};

/// Does it; `false` when it took too long.
pub(crate) fn run() -> Outcome<bool> {
    tools::ensure_program("curl", "asks the gateway")?;
    // These warm what a user has warm after the first filter: the standard library and the SDK.
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let folder = shell::root().join("target/first-filter");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;

    let began = Instant::now();
    shell::run(tidegate(&folder).args(["new", "guard", "--template", "auth"]))?;
    shell::run(tidegate(&folder).args(["build", "guard"]))?;
    let mut gateway = Gateway::start(&folder)?;
    for (field, wanted) in [("x-api-key: wrong", "401"), ("x-api-key: alpha", "200")] {
        let status = curl(&gateway.url, field)?;
        if status != wanted {
            return Err(format!("with {field:?} curl got {status}, not {wanted}").into());
        }
    }
    let took = began.elapsed();
    gateway.end()?;
    say(&format!("from `tidegate filter new` to what curl sees: {:.1} s", took.as_secs_f64()));
    if took > LONGEST {
        println!("first-filter: it took {:.1} s, more than {} s", took.as_secs_f64(), LONGEST.as_secs());
    }
    Ok(took <= LONGEST)
}

/// A gateway with the filter, ended with its owner.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    fn start(folder: &Path) -> Outcome<Self> {
        let module = shell::root().join("target/wasm/filters/guard.wasm");
        let mut command = tidegate(folder);
        command.arg("run").arg(module).args(["--config", "guard/config.json", "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let mut gateway = Self { child, url: String::new() };
        for line in BufReader::new(output.ok_or("no output to read")?).lines() {
            if let Some((_, address)) = line?.split_once("curl -i ") {
                gateway.url = address.trim().to_owned();
                return Ok(gateway);
            }
        }
        Err("`tidegate filter run` ended before it told where it listens".into())
    }

    /// As Ctrl-C does.
    fn end(&mut self) -> Outcome<()> {
        shell::run(Command::new("kill").arg("-INT").arg(self.child.id().to_string()))?;
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err("`tidegate filter run` did not end well after Ctrl-C".into()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has ended already is none to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status that curl sees.
fn curl(url: &str, field: &str) -> Outcome<String> {
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", field, url]);
    shell::output(&mut command).ok_or_else(|| format!("`{}` failed", shell::line(&command)).into())
}

/// What the whole way may take.
const LONGEST: Duration = Duration::from_secs(60);
