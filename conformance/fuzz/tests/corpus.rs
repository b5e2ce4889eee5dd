//! Runs the corpus: no panic, the neighbour serves on, nothing of it is told. `TIDEGATE_FUZZ="5000 100000"` runs other
//! seeds instead.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tidegate_fuzz::{Anew, Lab, Outcome};

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

/// The seeds to run: those of the corpus, or what the variable says.
fn seeds() -> Vec<u64> {
    let chosen =
        std::env::var("TIDEGATE_FUZZ").unwrap_or_else(|_| include_str!("../corpus/seeds.txt").to_owned());
    let ranges = chosen.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (first, count) = (words.next()?, words.next()?);
        Some(first..first + count)
    });
    ranges.flatten().collect()
}

/// Adds up what became of instances that were to be used again.
fn count_anew(tally: &mut Tally, sum: &mut Anew, name: String, one: impl FnOnce() -> Anew) {
    tally.count(name, || {
        let anew = one();
        (sum.made, sum.given_up) = (sum.made + anew.made, sum.given_up + anew.given_up);
        Outcome::Ended
    });
}

/// Kernels before 6.7 do not tell where a guest has written: no instance is used again then.
fn kernel_tells() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// Every tenth seed: each needs an image of its own.
#[test]
fn nothing_of_a_request_is_left_in_an_instance_that_is_used_again() {
    let mut lab = Lab::new();
    let (mut tally, mut sum) = (Tally::default(), Anew::default());
    for seed in seeds().into_iter().step_by(10) {
        count_anew(&mut tally, &mut sum, seed.to_string(), || lab.hostile_anew(seed));
    }
    for (name, wasm) in random_modules() {
        count_anew(&mut tally, &mut sum, name, || lab.module_anew(&wasm));
    }
    println!("{sum:?}");
    tally.check();
    assert!(!kernel_tells() || sum.made > 100, "too few were used again: {sum:?}");
}

#[test]
fn the_hostile_guest() {
    let mut lab = Lab::new();
    let mut tally = Tally::default();
    for seed in seeds() {
        tally.count(seed.to_string(), || lab.hostile(seed));
    }
    tally.check();
    assert!(tally.outcomes.contains_key("Ended"), "no seed comes to its end: {:?}", tally.outcomes);
}

/// Modules that wasm-smith has made, by name.
fn random_modules() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files =
        folder.read_dir().expect("the folder is in the repository").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    files.sort();
    assert!(!files.is_empty());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("a file of the repository"))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn modules_made_at_random() {
    let mut lab = Lab::new();
    let mut tally = Tally::default();
    for (name, wasm) in random_modules() {
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
