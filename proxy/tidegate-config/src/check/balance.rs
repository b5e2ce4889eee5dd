//! `balance`, `session`, `slowStart` and `panicThreshold` of an upstream.

use super::Check;
use crate::document::{BalanceDocument, BalanceEntry, BalanceMethod, HashEntry, UpstreamDocument};
use crate::node::Path;
use crate::plan::{Balance, Balancing, HashOn};
use crate::problem::Fault;
use crate::types::parse_header_name;

pub(super) fn balance(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &UpstreamDocument,
    zone: Option<&String>,
) -> (Balance, Balancing) {
    let defaults = Balancing::default();
    let threshold = written.panic_threshold.unwrap_or(defaults.panic_threshold);
    let session = written.session.as_ref();
    let session = session.and_then(|session| super::session::session(check, &path.key("session"), session));
    let mut balancing = Balancing {
        slow_start: written.slow_start.map(|time| time.0).filter(|time| !time.is_zero()),
        panic_threshold: threshold,
        zone: zone.cloned(),
        session,
        ..defaults
    };
    let path = path.key("balance");
    let (method, rule) = match &written.balance {
        None => (BalanceMethod::LeastRequest, None),
        Some(BalanceEntry::Method(method)) => (*method, None),
        Some(BalanceEntry::Rule(rule)) => (rule.method, Some(rule)),
    };
    let method = match method {
        BalanceMethod::RoundRobin => Balance::RoundRobin,
        BalanceMethod::LeastRequest => Balance::LeastRequest,
        BalanceMethod::PeakEwma => Balance::PeakEwma,
        BalanceMethod::Random => Balance::Random,
        BalanceMethod::RingHash => Balance::RingHash,
        BalanceMethod::Maglev => Balance::Maglev,
    };
    if let Some(rule) = rule {
        fitting(check, &path, rule, method);
        balancing.choices = rule.choices.map_or(balancing.choices, |choices| choices as usize);
        balancing.decay = check.positive(&path.key("decay"), rule.decay, balancing.decay);
        balancing.bounded_load = rule.bounded_load;
        if let Some(hash) = &rule.hash {
            balancing.hash = hash_on(check, &path.key("hash"), hash);
        }
    }
    if method.is_by_key() && balancing.slow_start.is_some() {
        let fault = Fault::new(format!("{} sends a key to its server whatever its age", method.word()));
        check.warn(&path, fault.hint("without slowStart, or another method"));
    }
    (method, balancing)
}

/// Details of one method say nothing to another.
fn fitting(check: &mut Check<'_>, path: &Path<'_>, rule: &BalanceDocument, method: Balance) {
    let details = [
        ("choices", rule.choices.is_some(), method == Balance::LeastRequest, "leastRequest"),
        ("decay", rule.decay.is_some(), method == Balance::PeakEwma, "peakEwma"),
        ("hash", rule.hash.is_some(), method.is_by_key(), "ringHash and maglev"),
        ("boundedLoad", rule.bounded_load.is_some(), method.is_by_key(), "ringHash and maglev"),
    ];
    for (key, there, fits, methods) in details {
        if there && !fits {
            let fault = Fault::new(format!("{key} is for {methods}, and the method is {}", method.word()));
            check.fault(&path.key(key), fault.hint(format!("leave {key} out, or take another method")));
        }
    }
}

fn hash_on(check: &mut Check<'_>, path: &Path<'_>, written: &[HashEntry]) -> Vec<HashOn> {
    let mut hash: Vec<HashOn> = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let path = path.index(index);
        let part = match entry {
            HashEntry::Word(_) => HashOn::Address,
            HashEntry::Part(part) => match (&part.header, &part.cookie, &part.query) {
                (Some(name), ..) => {
                    let name = check.take(&path.key("header"), parse_header_name(name));
                    HashOn::Header(name.unwrap_or_default())
                }
                (_, Some(name), _) => {
                    check.take(&path.key("cookie"), parse_header_name(name));
                    HashOn::Cookie(name.clone())
                }
                (_, _, name) => HashOn::Query(name.clone().unwrap_or_default()),
            },
        };
        if hash.contains(&part) {
            check.warn(&path, Fault::new(format!("{part} is there twice")));
        } else {
            hash.push(part);
        }
    }
    hash
}
