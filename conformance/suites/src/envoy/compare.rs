//! Compares two observations and keeps the score.

use super::cases::Case;
use super::differences::{self, Expected};
use super::observe::Observation;

/// How a case came out.
pub(crate) enum Verdict {
    Same,
    /// Differs as the list of known differences says.
    Known(&'static Expected),
    /// Each line shows one difference.
    Differs(Vec<String>),
}

/// Compares.
pub(crate) fn judge(case: &Case, envoy: &Observation, tidegate: &Observation) -> Verdict {
    let differences = differences(envoy, tidegate);
    if differences.is_empty() {
        return Verdict::Same;
    }
    match differences::known(&case.name) {
        Some(known) if known.explains(&differences) => Verdict::Known(known),
        _ => Verdict::Differs(differences),
    }
}

fn differences(envoy: &Observation, tidegate: &Observation) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, peer) in [("envoy", envoy), ("tidegate", tidegate)] {
        if peer.crashed {
            lines.push(format!("{name} crashed"));
        }
    }
    if envoy.client != tidegate.client {
        lines.push(format!("client: envoy {}", shown(&envoy.client)));
        lines.push(format!("client: tidegate {}", shown(&tidegate.client)));
    }
    list("upstream", &envoy.upstream, &tidegate.upstream, &mut lines);
    list("guest", &envoy.lines, &tidegate.lines, &mut lines);
    // A guest that is called for ever says the same for ever.
    lines.dedup();
    lines
}

fn shown(outcome: &super::observe::Outcome) -> String {
    let status = outcome.status.map_or("none".to_owned(), |status| status.to_string());
    let broken = if outcome.broken { ", broken off" } else { "" };
    format!("{status} {:?} {:?} {:?}{broken}", outcome.headers, outcome.body, outcome.trailers)
}

/// Lines of one list that the other does not have at that place, after what both begin and end with.
fn list(what: &str, envoy: &[String], tidegate: &[String], out: &mut Vec<String>) {
    if envoy == tidegate {
        return;
    }
    let same = envoy.iter().zip(tidegate).take_while(|(a, b)| a == b).count();
    let (envoy, tidegate) = (&envoy[same..], &tidegate[same..]);
    let tail = envoy.iter().rev().zip(tidegate.iter().rev()).take_while(|(a, b)| a == b).count();
    out.extend(envoy[..envoy.len() - tail].iter().map(|line| format!("{what}: envoy {line}")));
    out.extend(tidegate[..tidegate.len() - tail].iter().map(|line| format!("{what}: tidegate {line}")));
}

/// The score.
#[derive(Default)]
pub(crate) struct Report {
    same: usize,
    known: Vec<(String, &'static Expected)>,
    differing: Vec<String>,
    seen: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, case: &Case, verdict: Verdict) {
        self.seen.push(case.name.clone());
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::Known(known) => self.known.push((case.name.clone(), known)),
            Verdict::Differs(_) => self.differing.push(case.name.clone()),
        }
    }

    /// Whether nothing differs that is not known to.
    pub(crate) fn is_good(&self) -> bool {
        self.differing.is_empty()
    }

    pub(crate) fn print(&self) {
        println!(
            "side by side with Envoy: {} cases, {} the same, {} known to differ, {} differ",
            self.seen.len(),
            self.same,
            self.known.len(),
            self.differing.len()
        );
        self.differing.iter().for_each(|name| println!("  differs: {name}"));
    }

    /// A page that lists what stays different, with reasons.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Side by side with Envoy\n\n{} cases: {} come out the same, {} differ as listed, {} differ otherwise.\n\n\
             | case | difference | reason |\n|---|---|---|\n",
            self.seen.len(),
            self.same,
            self.known.len(),
            self.differing.len()
        );
        for (name, known) in &self.known {
            text += &format!("| {name} | {} | {} |\n", known.what, known.why);
        }
        for name in &self.differing {
            text += &format!("| {name} | not looked into | |\n");
        }
        text
    }
}
