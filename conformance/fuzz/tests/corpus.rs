//! Runs the corpus: no panic, the neighbour serves on, nothing of it is told. `TIDEGATE_FUZZ="5000 100000"` runs other
//! seeds instead.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tidegate_fuzz::{Lab, Outcome};

/// Counts how far the guests came, and keeps the names of those that have found a fault.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    failures: Vec<String>,
}

impl Tally {
    fn count(&mut self, name: String, one: impl FnOnce() -> Outcome) {
        match catch_unwind(AssertUnwindSafe(one)) {
            Ok(outcome) => *self.outcomes.entry(format!("{outcome:?}")).or_default() += 1,
            Err(_) => self.failures.push(name),
        }
    }

    fn check(&self) {
        println!("{:?}", self.outcomes);
        assert!(self.failures.is_empty(), "these have found a fault: {:?}", self.failures);
    }
}

#[test]
fn the_hostile_guest() {
    let chosen =
        std::env::var("TIDEGATE_FUZZ").unwrap_or_else(|_| include_str!("../corpus/seeds.txt").to_owned());
    let mut lab = Lab::new();
    let mut tally = Tally::default();
    for line in chosen.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (Some(first), Some(count)) = (words.next(), words.next()) else { continue };
        for seed in first..first + count {
            tally.count(seed.to_string(), || lab.hostile(seed));
        }
    }
    tally.check();
    assert!(tally.outcomes.contains_key("Ended"), "no seed comes to its end: {:?}", tally.outcomes);
}

#[test]
fn modules_made_at_random() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files =
        folder.read_dir().expect("the folder is in the repository").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut lab = Lab::new();
    let mut tally = Tally::default();
    for path in files {
        let wasm = std::fs::read(&path).expect("a file of the repository");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tally.count(name.clone(), || lab.module(&wasm, None));
        for seed in 1..=3 {
            tally.count(format!("{name}, broken {seed}"), || lab.module(&wasm, Some(seed)));
        }
    }
    tally.check();
    // Random code mostly breaks off; what counts is that it runs at all.
    let ran = ["Ended", "Trapped"].iter().any(|outcome| tally.outcomes.contains_key(*outcome));
    assert!(ran, "no module runs: {:?}", tally.outcomes);
}
