//! `tidegate filter push` and `pull` with Debian's `docker-registry`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::shell;
use crate::{filters, tools};

/// Runs the suite.
pub(crate) fn run(_: &[String]) -> Outcome<bool> {
    tools::ensure_program("docker-registry", "a registry to push to")?;
    let modules = filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let folder = shell::root().join("target/registry");
    std::fs::create_dir_all(&folder)?;
    let config = format!(
        "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {:?} }} }}\nhttp: {{ addr: \"127.0.0.1:0\" }}\n",
        folder.join("data").display().to_string()
    );
    std::fs::write(folder.join("config.yml"), config)?;
    let registry =
        Registry::start(Command::new("docker-registry").arg("serve").arg(folder.join("config.yml")))?;
    let tidegate = shell::target_folder().join("debug/tidegate");
    for module in &modules {
        let name = module.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
        let place = format!("oci://{}/filters/{name}:1", registry.address);
        // The second time everything is there already.
        for _ in 0..2 {
            shell::run(Command::new(&tidegate).args(["filter", "push"]).arg(module).arg(&place))?;
        }
        let back = folder.join("back.wasm");
        shell::run(Command::new(&tidegate).args(["filter", "pull", &place, "-o"]).arg(&back))?;
        if std::fs::read(module)? != std::fs::read(&back)? {
            println!("registry: {place} came back as another module");
            return Ok(false);
        }
    }
    Ok(true)
}

/// The registry's process, ended with its owner.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take();
        let mut registry = Self { child, address: String::new() };
        let mut lines = BufReader::new(log.ok_or("no output to read")?).lines();
        for line in lines.by_ref() {
            if let Some((_, rest)) = line?.split_once("listening on ") {
                let end =
                    rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
                registry.address = rest.get(..end).unwrap_or_default().to_owned();
                // Who logs into a closed pipe ends.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(registry);
            }
        }
        Err("docker-registry ended before it told where it listens".into())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // One that has ended already is none to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
