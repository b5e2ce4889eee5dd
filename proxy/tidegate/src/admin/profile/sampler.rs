//! Samples stacks on a timer of CPU time, by a signal that interrupts whichever thread is running.
//!
//! Threads inside of the C library or the kernel are not walked, only counted: a handler that walks a stack there could
//! wait for a lock that the interrupted thread itself holds.

use std::collections::HashMap;

use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tidegate_proxy::GuestCode;

use super::super::metrics::cpu_seconds;
use super::stacks::{GUEST, Stacks};

/// A profile that is being taken; it ends with its owner.
pub(super) struct Sampler {
    guard: ProfilerGuard<'static>,
    frequency: u32,
    /// CPU time of the process at the beginning.
    since: f64,
}

impl Sampler {
    /// Begins with so many samples for a second of CPU time.
    pub(super) fn begin(frequency: u32) -> Result<Self, String> {
        let rate = i32::try_from(frequency).map_err(|error| error.to_string())?;
        let guard = ProfilerGuardBuilder::default().frequency(rate).blocklist(&NOT_WALKED).build();
        let guard = guard.map_err(|error| format!("the profile cannot be taken: {error}"))?;
        Ok(Self { guard, frequency, since: cpu_seconds().unwrap_or_default() })
    }

    /// Ends it, and names what was met. Takes a while: symbols of the whole program are read.
    pub(super) fn end(self, code: &[GuestCode]) -> Result<Stacks, String> {
        let spent = cpu_seconds().unwrap_or_default() - self.since;
        let report = self.guard.report().build_unresolved();
        let report = report.map_err(|error| format!("the profile cannot be read: {error}"))?;
        drop(self.guard);
        let mut names = Names { code, known: HashMap::new(), unknown: unknown() };
        let mut stacks = Stacks::default();
        for (sampled, count) in &report.data {
            let thread = sampled.thread_name.get(..sampled.thread_name_length).unwrap_or_default();
            let mut stack: Vec<String> = Vec::new();
            for frame in &sampled.frames {
                stack.extend_from_slice(names.of(frame.ip() as usize));
            }
            // The innermost are the handler's own, and the kernel's way into it.
            if let Some(handler) = stack.iter().rposition(|name| name.contains("perf_signal_handler")) {
                let first =
                    handler + 1 + usize::from(stack.get(handler + 1).is_some_and(|name| is_way_in(name)));
                stack.drain(..first);
            }
            stack.dedup_by(|name, before| name == before && *name == names.unknown);
            stack.push(String::from_utf8_lossy(thread).into_owned());
            stack.reverse();
            stacks.add(stack, u64::try_from(*count).unwrap_or(0));
        }
        // What was read of the program for its names is some hundred megabytes.
        backtrace::clear_symbol_cache();
        let expected = (spent * f64::from(self.frequency)) as u64;
        let missing = expected.saturating_sub(stacks.total());
        if missing > 0 {
            stacks.add(vec![KERNEL.to_owned()], missing);
        }
        Ok(stacks)
    }
}

/// Names of functions by address.
struct Names<'a> {
    code: &'a [GuestCode],
    known: HashMap<usize, Vec<String>>,
    /// What has no name.
    unknown: String,
}

impl Names<'_> {
    /// The functions at an address, the innermost first: what was inlined has no frame of its own.
    fn of(&mut self, address: usize) -> &[String] {
        let (code, unknown) = (self.code, &self.unknown);
        self.known.entry(address).or_insert_with(|| match guest(code, address) {
            Some(name) => vec![name],
            None => {
                let mut names = Vec::new();
                // An address to return to is behind the call.
                backtrace::resolve(address.wrapping_sub(1) as *mut _, |symbol| {
                    names.extend(symbol.name().map(|name| format!("{name:#}")));
                });
                if names.is_empty() {
                    names.push(unknown.clone());
                }
                names
            }
        })
    }
}

/// The guest's function at an address.
fn guest(code: &[GuestCode], address: usize) -> Option<String> {
    let found = code.iter().find(|function| (function.start..function.end).contains(&address))?;
    Some(format!("{GUEST}{}: {}", found.plugin, found.function))
}

fn is_way_in(name: &str) -> bool {
    name.starts_with(UNKNOWN) || name.contains("restore_rt")
}

/// Names are read from the program's file, by its path: once another one is there, as after an upgrade, there are none.
fn unknown() -> String {
    let replaced = std::fs::read_link("/proc/self/exe")
        .is_ok_and(|path| path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"));
    match replaced {
        true => format!("{UNKNOWN}: the program's file was replaced after the start"),
        false => UNKNOWN.to_owned(),
    }
}

/// Libraries in which nothing is walked.
const NOT_WALKED: [&str; 5] = ["libc.so", "libpthread", "libgcc_s", "ld-linux", "vdso"];

const UNKNOWN: &str = "unknown";

/// Stands for the time that was only counted.
const KERNEL: &str = "(kernel and C library)";
