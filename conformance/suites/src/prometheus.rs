//! A real Prometheus scrapes a gateway that is used: the page passes `promtool check metrics`, the alerts are valid
//! and ring when they should, and every query of the dashboards has an answer.

mod process;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::{Authority, ScriptedUpstream, fill};

use process::{Process, get, get_with};

/// How long queries may lack an answer: a rate needs two scrapes.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 2
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: http }
  - { name: secure, address: 127.0.0.1:0, protocol: https, tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }
plugins: { guest: { module: '${guest}' } }
routes:
  - name: all
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { matches: [{ path: { prefix: /guest } }], filters: [{ plugin: guest }], respond: {} }
      - { forward: [{ upstream: shop }] }
upstreams:
  shop: { servers: ['${shop}'] }
  lost: { servers: ['127.0.0.1:1'], ejection: false }
";

/// `prometheus --tidegate PROGRAM --guest MODULE --docs FOLDER`
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    let (Some(tidegate), Some(guest), Some(docs)) = (value("--tidegate"), value("--guest"), value("--docs"))
    else {
        eprintln!("suite prometheus: --tidegate PROGRAM --guest MODULE --docs FOLDER");
        return ExitCode::FAILURE;
    };
    let problems = run(&tidegate, &guest, &docs);
    for problem in &problems {
        println!("prometheus: {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(tidegate: &Path, guest: &Path, docs: &Path) -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("tidegate-prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the suite");
    let certificate = Authority::new().issue(&["localhost"]);
    fs::write(folder.join("cert.pem"), &certificate.cert).expect("a file");
    fs::write(folder.join("key.pem"), &certificate.key).expect("a file");
    let shop = ScriptedUpstream::plain();
    let yaml = fill(CONFIGURATION, &[("guest", &guest.display()), ("shop", &shop.address())]);
    fs::write(folder.join("tidegate.yaml"), yaml).expect("a file");
    let gateway = Process::tidegate(tidegate, &folder);
    let mut problems = rules(docs, &folder);
    use_it(&gateway);
    problems.extend(page(&gateway));
    let prometheus = Process::prometheus(&folder, gateway.address("admin"));
    problems.extend(queries(docs, &gateway, &prometheus));
    drop((gateway, prometheus));
    // What is left over does no harm.
    drop(fs::remove_dir_all(&folder));
    problems
}

/// Answers, failures, a guest, a handshake that fails.
fn use_it(gateway: &Process) {
    for path in ["/", "/lost", "/guest"] {
        get(gateway.address("web"), path);
    }
    get(gateway.address("secure"), "/");
}

/// The alerts are valid, and ring for what they are for and nothing else.
fn rules(docs: &Path, folder: &Path) -> Vec<String> {
    let (file, tests) = (folder.join("alerts.yaml"), folder.join("alerts_test.yaml"));
    fs::copy(docs.join("observability/alerts.yaml"), &file).expect("the alerts are there");
    fs::write(&tests, include_str!("../prometheus/alerts_test.yaml")).expect("a file");
    let promtool = |action: &str, file: &Path| {
        let done = Command::new("promtool").args([action, "rules"]).arg(file).output();
        let done = done.expect("promtool was installed");
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        println!("prometheus: promtool {action} rules: {}", done.status);
        (!done.status.success()).then(|| format!("promtool {action} rules: {said}"))
    };
    [promtool("check", &file), promtool("test", &tests)].into_iter().flatten().collect()
}

/// The page, as promtool sees it.
fn page(gateway: &Process) -> Vec<String> {
    let page = get(gateway.address("admin"), "/metrics");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool was installed");
    promtool.stdin.take().expect("it was asked for").write_all(page.as_bytes()).expect("promtool reads all");
    let checked = promtool.wait_with_output().expect("promtool ends");
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    println!(
        "prometheus: {} lines of metrics, checked by promtool: {}",
        page.lines().count(),
        checked.status
    );
    if checked.status.success() && said.is_empty() { Vec::new() } else { vec![format!("promtool: {said}")] }
}

/// Asks every query of the dashboards and alerts until each has an answer; those that have none in time.
fn queries(docs: &Path, gateway: &Process, prometheus: &Process) -> Vec<String> {
    let mut open = BTreeSet::new();
    for name in ["overview", "routes", "plugins"] {
        let file = docs.join(format!("observability/{name}.json"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for target in
            dashboard["panels"].as_array().into_iter().flatten().flat_map(|panel| panel["targets"].as_array())
        {
            open.extend(target.iter().filter_map(|target| target["expr"].as_str()).map(filled));
        }
    }
    let all = open.len();
    let deadline = Instant::now() + PATIENCE;
    let mut why = Vec::new();
    while !open.is_empty() && Instant::now() < deadline {
        use_it(gateway);
        why.clear();
        open.retain(|query| match answer(prometheus, query) {
            Ok(0) => {
                why.push(format!("no series: {query}"));
                true
            }
            Ok(_) => false,
            Err(problem) => {
                why.push(format!("{query}: {problem}"));
                true
            }
        });
        std::thread::park_timeout(Duration::from_millis(500));
    }
    println!("prometheus: {} of {all} queries of the dashboards have an answer", all - open.len());
    why
}

/// With values for Grafana's variables. What is only shown where it is not zero is asked for all the same.
fn filled(query: &str) -> String {
    let query = query.replace("$__rate_interval", "30s").trim_end_matches(" > 0").to_owned();
    ["$job", "$route", "$upstream", "$plugin"].iter().fold(query, |query, name| query.replace(name, ".*"))
}

/// How many series a query has.
fn answer(prometheus: &Process, query: &str) -> Result<usize, String> {
    let text = get_with(prometheus.address("web"), &format!("/api/v1/query?query={}", encoded(query)), "");
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    match answer["data"]["result"].as_array() {
        Some(series) => Ok(series.len()),
        None => Err(answer["error"].as_str().unwrap_or(&text).to_owned()),
    }
}

fn encoded(query: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    query.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
