//! Which cases share a pair of proxies: those of one listener, in their order, because their guest may remember; many
//! cases of a scripted guest, which forgets, are parted.

use std::collections::BTreeMap;

use super::cases::Case;
use super::{config, differences};

/// Groups of positions in `cases`, the largest last.
pub(super) fn of(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut by_listener: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (nth, case) in cases.iter().enumerate() {
        by_listener.entry(family(case)).or_default().push(nth);
    }
    let mut groups = Vec::new();
    for (listener, mut positions) in by_listener {
        if !config::speaks(listener) {
            groups.push(positions);
            continue;
        }
        let parts = positions.len().div_ceil(LARGEST);
        // What crashes Envoy comes last, each in another part: nothing follows that would need a new start.
        let crashing: Vec<usize> =
            positions.extract_if(.., |nth| differences::crashes(&cases[*nth].name)).collect();
        let mut parted: Vec<Vec<usize>> = vec![Vec::new(); parts];
        for (at, position) in positions.into_iter().chain(crashing).enumerate() {
            parted[at % parts].push(position);
        }
        groups.extend(parted);
    }
    groups.sort_by_key(Vec::len);
    groups
}

/// Listeners whose cases need not be apart.
fn family(case: &Case) -> &str {
    if case.listener.starts_with("fragile") { "fragile" } else { &case.listener }
}

/// How many cases a part has at most: a start costs about as much as a few cases.
const LARGEST: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_group_and_listeners_that_remember_stay_together() {
        let cases = super::super::cases::all();
        let groups = of(&cases);
        let mut positions = groups.concat();
        positions.sort_unstable();
        assert_eq!(positions, (0..cases.len()).collect::<Vec<_>>());
        for (nth, case) in cases.iter().enumerate().filter(|(_, case)| !config::speaks(&case.listener)) {
            let group = groups.iter().find(|group| group.contains(&nth)).expect("it is in one");
            let own = group.iter().filter(|nth| cases[**nth].listener == case.listener).count();
            assert_eq!(own, cases.iter().filter(|other| other.listener == case.listener).count());
            assert!(group.is_sorted(), "in their order");
        }
    }
}
