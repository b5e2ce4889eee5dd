//! `cargo xtask readme`: every block of commands of README.md, pasted into a fresh shell as it stands, with what it says
//! that comes of it.
//!
//! The shell begins in a folder of its own that looks as a clone does after a build. What would build a release, minutes of
//! it, is the build of the tests: a `cargo` that stands first in the path sees to that. Ports that a block writes into a
//! configuration are any that are free.

mod pasted;

use std::path::Path;

use crate::shell::{self, say};
use crate::{Outcome, filters, tools};

use self::pasted::{Pasted, paste};

/// Pastes all; `false` when something else came of one than README says.
pub(crate) fn run() -> Outcome<bool> {
    tools::ensure_program("curl", "asks the gateway")?;
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let folder = pasted::folder()?;
    let text = std::fs::read_to_string(shell::root().join("README.md"))?;
    let blocks: Vec<&str> =
        text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [commands, demo, tries, own, hello, gate] = blocks[..] else {
        return Err(format!(
            "README.md has {} blocks of commands; xtask/src/readme.rs knows six",
            blocks.len()
        )
        .into());
    };
    let steps: [(&str, &dyn Fn() -> Outcome<()>); 4] = [
        ("the demo and the lines to try", &|| try_demo(&folder, commands, demo, tries)),
        ("a configuration of one's own", &|| configuration(&folder, own)),
        ("the sample filter", &|| sample_filter(&folder, hello)),
        ("a filter of one's own", &|| own_filter(&folder, gate)),
    ];
    let mut passed = true;
    for (name, step) in steps {
        match step() {
            Ok(()) => say(&format!("README: {name}: ok")),
            Err(error) => {
                println!("README: {name}: {error}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

/// The first block names the two commands, of which `test` is what runs this; the second starts the demo; the third has
/// the lines to try.
fn try_demo(folder: &Path, commands: &str, demo: &str, tries: &str) -> Outcome<()> {
    let named: Vec<&str> =
        commands.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).collect();
    wanted(named == ["cargo xtask demo", "cargo xtask test"], "the two commands", commands)?;
    wanted(demo == "cargo xtask demo\n", "the demo's line", demo)?;
    let mut gateway = paste(folder, demo)?;
    let shown = gateway.until("websocket ")?;
    let address = shown.split("listens on http://").nth(1).and_then(|rest| rest.split(',').next());
    let address =
        address.ok_or_else(|| format!("the demo does not say where it listens:\n{shown}"))?.to_owned();
    // Each line by itself, as somebody does who reads.
    let joined = tries.replace("\\\n", "");
    let lines = joined.lines().filter(|line| !line.starts_with('#'));
    let said: Vec<String> = lines
        .map(|line| paste(folder, &line.replace("127.0.0.1:8080", &address))?.into_end(line.contains("-m 2")))
        .collect::<Outcome<_>>()?;
    let [allowed, refused, canary, rewritten, websocket] = &said[..] else {
        return Err(format!("five lines to try, not {}", said.len()).into());
    };
    wanted(allowed.contains("HTTP/1.1 200") && allowed.contains("/orders"), "allowed", allowed)?;
    wanted(refused.contains("HTTP/1.1 401"), "refused", refused)?;
    let counted = canary.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    wanted(counted.sum::<u32>() == 50 && canary.contains("v1"), "fifty answers, most of v1", canary)?;
    wanted(rewritten.contains("/new/shoes?size=42"), "the server sees /new/shoes", rewritten)?;
    wanted(websocket.contains("HTTP/1.1 101"), "101", websocket)?;
    gateway.interrupt()
}

fn configuration(folder: &Path, block: &str) -> Outcome<()> {
    let block = block.replace("/tmp/tidegate.yaml", "tidegate.yaml");
    let block = block
        .replace("127.0.0.1:9900", "127.0.0.1:0")
        .replace("address: 127.0.0.1:8080", "address: 127.0.0.1:0");
    let mut gateway = paste(folder, &block)?;
    let (shown, address) = listening(&mut gateway, "web")?;
    wanted(shown.contains("tidegate.yaml: ok"), "`check` has nothing to say", &shown)?;
    wanted(shown.contains("greeting") && shown.contains("rest"), "`explain` names both rules", &shown)?;
    let answer = paste(folder, &format!("curl -i http://{address}/hello\n"))?.into_end(false)?;
    wanted(
        answer.contains("HTTP/1.1 200") && answer.contains("hello\n"),
        "the first rule's answer",
        &answer,
    )?;
    gateway.interrupt()
}

fn sample_filter(folder: &Path, block: &str) -> Outcome<()> {
    let example = folder.join("examples/hello/tidegate.yaml");
    let text = std::fs::read_to_string(&example)?;
    // The sample's own server is asked at the address that it has, so that one must be known.
    let server = pasted::free_address()?;
    let text = text.replace("127.0.0.1:9900", "127.0.0.1:0").replace("127.0.0.1:8080", "127.0.0.1:0");
    let port = server.rsplit(':').next().unwrap_or_default();
    std::fs::write(
        &example,
        text.replace("127.0.0.1:3001", &server).replace("port: 3001", &format!("port: {port}")),
    )?;
    let mut gateway = paste(folder, block)?;
    let (_, address) = listening(&mut gateway, "web")?;
    let answer = paste(folder, &format!("curl -i http://{address}/\n"))?.into_end(false)?;
    wanted(answer.contains("x-hello: world"), "x-hello: world", &answer)?;
    gateway.interrupt()
}

fn own_filter(folder: &Path, block: &str) -> Outcome<()> {
    let run = block.lines().find(|line| line.starts_with("tidegate filter run")).unwrap_or_default();
    let any_port = format!("{run} --port 0");
    let mut gateway = paste(folder, &block.replace(run, &any_port))?;
    let shown = gateway.until("curl -i http")?;
    wanted(shown.contains("test result: ok"), "its tests pass", &shown)?;
    let address = shown.rsplit("curl -i ").next().unwrap_or_default().trim().to_owned();
    let answer = paste(folder, &format!("curl -i {address}\n"))?.into_end(false)?;
    wanted(answer.contains("HTTP/1.1 401"), "a request without a key is refused", &answer)?;
    gateway.interrupt()
}

/// What a gateway says until it serves, and where this listener is.
fn listening(gateway: &mut Pasted, listener: &str) -> Outcome<(String, String)> {
    let shown = gateway.until("configuration live on all workers")?;
    let line = shown.lines().find(|line| line.contains(&format!("listener=\"{listener}\"")));
    let address =
        line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next().map(str::to_owned));
    let address = address.ok_or_else(|| format!("no listener {listener}:\n{shown}"))?;
    Ok((shown, address))
}

fn wanted(holds: bool, what: &str, found: &str) -> Outcome<()> {
    match holds {
        true => Ok(()),
        false => Err(format!("expected {what}, found:\n{found}").into()),
    }
}
