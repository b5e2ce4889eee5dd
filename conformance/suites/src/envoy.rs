//! Sends the same requests through the same module to Envoy and to Tidegate and compares what comes of it: answers,
//! what the upstream received, and every line that the guest logged, statuses and bytes included.

mod cases;
mod certificates;
mod compare;
mod config;
mod differences;
mod groups;
mod login;
mod observe;
mod peer;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use cases::Case;
use compare::{Report, Verdict};
use peer::{Kind, Peer, Programs};

/// What is asked of the suite.
struct Options {
    programs: Programs,
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
    let report = compare_all(&options, &cases);
    // Nothing is in it when no gateway was started.
    let _ = std::fs::remove_dir_all(&options.programs.cache);
    report.print();
    if let Some(path) = &options.report {
        std::fs::write(path, report.markdown()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Several groups of cases at once: most of a case's time is waiting.
fn compare_all(options: &Options, cases: &[Case]) -> Report {
    let groups = Mutex::new(groups::of(cases));
    let verdicts = Mutex::new(Vec::new());
    let logins = std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    // Not in the loop's condition, which would hold the lock while the group runs.
                    let next = groups.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(group) = next else { return };
                    let came = compare_group(options, cases, &group);
                    verdicts.lock().unwrap_or_else(PoisonError::into_inner).extend(came);
                }
            });
        }
        let wanted = login::is_wanted(&options.only);
        if wanted { login::compare(&options.programs) } else { Vec::new() }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|(nth, _)| *nth);
    let mut report = Report::default();
    verdicts.into_iter().for_each(|(nth, verdict)| report.add(&cases[nth], verdict));
    for (case, verdict) in logins {
        print!("{}", shown(&case, &verdict));
        report.add(&case, verdict);
    }
    report
}

/// One group after the other, in a pair of proxies of its own.
fn compare_group(options: &Options, cases: &[Case], group: &[usize]) -> Vec<(usize, Verdict)> {
    let mut listeners: Vec<String> = group.iter().map(|nth| cases[*nth].listener.clone()).collect();
    listeners.sort();
    listeners.dedup();
    let mut envoy = Peer::new(Kind::Envoy, &options.programs, listeners.clone());
    let mut tidegate = Peer::new(Kind::Tidegate, &options.programs, listeners);
    let verdicts =
        group.iter().map(|nth| (*nth, compare_one(options, &cases[*nth], &mut envoy, &mut tidegate)));
    verdicts.collect()
}

fn compare_one(options: &Options, case: &Case, envoy: &mut Peer<'_>, tidegate: &mut Peer<'_>) -> Verdict {
    let started = std::time::Instant::now();
    let (mut theirs, mut ours, mut verdict);
    let mut tries = 0;
    // What arrives together depends on the sockets' timing: a difference is one that shows again and again.
    loop {
        (theirs, ours) = (envoy.observe(case), tidegate.observe(case));
        verdict = compare::judge(case, &theirs, &ours);
        tries += 1;
        let settled = !matches!(verdict, Verdict::Differs(_)) || tries == TRIES;
        if settled || case.listener.starts_with("fragile") {
            break;
        }
    }
    let mut text = shown(case, &verdict);
    if options.verbose {
        let took = started.elapsed().as_millis();
        text += &format!(
            "{}: {tries} tries, {took} ms, envoy {theirs:#?}\n{}: tidegate {ours:#?}\n",
            case.name, case.name
        );
    }
    print!("{text}");
    verdict
}

/// A difference in lines; nothing where there is none that is not known.
fn shown(case: &Case, verdict: &Verdict) -> String {
    let Verdict::Differs(lines) = verdict else { return String::new() };
    let lines: String = lines.iter().take(LONGEST).map(|line| format!("    {line}\n")).collect();
    format!("{}: DIFFERS\n{lines}", case.name)
}

/// How many pairs of proxies are asked at once.
const AT_ONCE: usize = 4;

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
    // Code of this very build, so that nobody else's counts.
    let cache = std::env::temp_dir().join(format!("tidegate-side-by-side-{}", std::process::id()));
    Ok(Options {
        programs: Programs {
            envoy: path("--envoy")?,
            tidegate: path("--tidegate")?,
            guest: path("--guest")?,
            cache,
        },
        report: value("--report").map(PathBuf::from),
        only: value("--only").unwrap_or_default(),
        verbose: arguments.iter().any(|argument| argument == "--verbose"),
    })
}
