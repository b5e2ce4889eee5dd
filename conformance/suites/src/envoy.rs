//! Sends the same requests through the same module to Envoy and to Tidegate and compares what comes of it: answers,
//! what the upstream received, and every line that the guest logged, statuses and bytes included.

mod cases;
mod compare;
mod config;
mod differences;
mod login;
mod observe;
mod peer;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use compare::Verdict;
use peer::Peer;

/// Where the outside programs are.
struct Options {
    envoy: PathBuf,
    tidegate: PathBuf,
    guest: PathBuf,
    report: Option<PathBuf>,
    /// Only cases whose name contains it.
    only: String,
    verbose: bool,
}

/// `envoy --envoy PROGRAM --tidegate PROGRAM --guest MODULE [--report FILE] [--only TEXT] [--verbose]`
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let options = match read(arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("suite envoy: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let cases: Vec<_> = cases::all().into_iter().filter(|case| case.name.contains(&options.only)).collect();
    let mut envoy = Peer::envoy(&options.envoy, &options.guest);
    let mut tidegate = Peer::tidegate(&options.tidegate, &options.guest);
    let mut report = compare::Report::default();
    for case in &cases {
        let (mut theirs, mut ours, mut verdict);
        let mut tries = 0;
        // What arrives together depends on the sockets' timing: a difference is one that shows again and again.
        loop {
            (theirs, ours) = (envoy.observe(case), tidegate.observe(case));
            verdict = compare::judge(case, &theirs, &ours);
            tries += 1;
            if !matches!(verdict, Verdict::Differs(_))
                || tries == TRIES
                || case.listener.starts_with("fragile")
            {
                break;
            }
        }
        if let Verdict::Differs(lines) = &verdict {
            println!("{}: DIFFERS", case.name);
            lines.iter().take(LONGEST).for_each(|line| println!("    {line}"));
        }
        if options.verbose {
            println!("{}: envoy {theirs:#?}\n{}: tidegate {ours:#?}", case.name, case.name);
        }
        report.add(case, verdict);
    }
    if login::is_wanted(&options.only) {
        login::compare(&envoy, &tidegate, &mut report).iter().for_each(|line| println!("{line}"));
    }
    report.print();
    if let Some(path) = &options.report {
        std::fs::write(path, report.markdown()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many lines show a difference.
const LONGEST: usize = 60;

/// How often a case must differ in a row.
const TRIES: usize = 8;

fn read(arguments: &[String]) -> Result<Options, String> {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let path = |name: &str| value(name).map(PathBuf::from).ok_or(format!("{name} PATH is missing"));
    Ok(Options {
        envoy: path("--envoy")?,
        tidegate: path("--tidegate")?,
        guest: path("--guest")?,
        report: value("--report").map(PathBuf::from),
        only: value("--only").unwrap_or_default(),
        verbose: arguments.iter().any(|argument| argument == "--verbose"),
    })
}
